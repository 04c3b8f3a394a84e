"""What happened: the record of a run, which everything else is made from.

What was asked (``spec``) is a part of it, and its names are to be had here too.

Raw counts and conditions are kept; rates, percentiles and verdicts are computed when they
are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from xenrr.cpu.usage import CpuUsage, service_demand_us, usage_from_plain
from xenrr.errors import ResultFormatError, SpecError
from xenrr.frozen import asdict, dataclass, field, field_names, replace
from xenrr.lean import Any
from xenrr.results.spec import (
    CONNECT_PORTS,
    MAX_DURATION_S,
    NOTHING,
    OMNI,
    RECEIVE,
    ROUND_TRIPS,
    SEND,
    TESTS,
    EndSpec,
    TestSpec,
    mapping,
    spec_from_plain,
)
from xenrr.stats.histogram import Histogram, PackedHistogram

__all__ = ["CONNECT_PORTS", "MAX_DURATION_S", "NOTHING", "OMNI", "RECEIVE", "ROUND_TRIPS",
           "SCHEMA", "SECOND_NS", "SEND", "TESTS", "EndSpec", "FlowRecord", "InterimPoint",
           "Run", "SocketFacts", "TargetTally", "TestSpec", "spec_from_plain"]

# docs/results-format.md says what changed at each number.
SCHEMA = 3
SECOND_NS = 1_000_000_000

# So much of a rate may be missing.
SHORTFALL = 0.01
# What a run keeps by name.
MAPPINGS = ("host", "remote_host", "tcp_info", "tcp_info_start", "loop_thread", "throttling")


@dataclass(frozen=True)
class SocketFacts:
    """How the data connection really was set up at one end.

    Buffer sizes are in bytes as the kernel reports them (Linux: twice what was asked);
    -1 where unknown. ``send_bytes`` and ``receive_bytes`` are those of each call, the widths
    the numbers of buffers. ``priority`` and ``tos`` are what is in effect: -1 none asked for,
    -2 it failed, -3 not supported, and so is ``busy_poll_us``. ``spin`` is whether the loop
    polled before it blocked, ``None`` where nobody tells. ``retransmissions`` is TCP's count at
    the end.
    """

    send_buffer: int = -1
    receive_buffer: int = -1
    send_buffer_end: int = -1
    receive_buffer_end: int = -1
    nodelay: bool = False
    mss: int = -1
    send_bytes: int = -1
    receive_bytes: int = -1
    send_width: int = -1
    receive_width: int = -1
    cork: bool = False
    priority: int = -1
    tos: int = -1
    congestion: str = ""
    retransmissions: int = -1
    spin: bool | None = None
    busy_poll_us: int = -1


@dataclass(frozen=True)
class TargetTally:
    """What the target says it did; -1 where its dialect leaves the field unset."""

    transactions: int = -1
    bytes_received: int = -1
    bytes_sent: int = -1
    recv_calls: int = -1
    send_calls: int = -1
    elapsed_s: float = -1.0


@dataclass(frozen=True)
class InterimPoint:
    """One interval of a running test.

    ``end_ns`` counts from the start of the test; ``at_epoch_s`` is the same instant as a
    wall-clock time. ``bytes`` are those sent and received by the sender.
    """

    end_ns: int
    interval_ns: int
    transactions: int
    bytes: int
    p50_ns: int
    p99_ns: int
    max_ns: int
    at_epoch_s: float

    @property
    def rate_tps(self) -> float:
        """Transactions per second over the interval."""
        return self.transactions * SECOND_NS / self.interval_ns if self.interval_ns else 0.0


@dataclass(frozen=True)
class FlowRecord:
    """What one of many flows did; the names are those of ``Run``.

    ``local_address`` tells it from the others.
    """

    local_address: str
    ended: str
    errno: int = 0
    transactions: int = 0
    requests_sent: int = 0
    in_flight: int = 0
    lost: int = 0
    late: int = 0
    malformed: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    latency_ns: PackedHistogram = field(default_factory=PackedHistogram)

    def to_plain(self) -> dict[str, object]:
        """JSON-ready values."""
        plain = {name: getattr(self, name) for name in field_names(self)}
        plain["latency_ns"] = self.latency_ns.to_plain()
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> FlowRecord:
        """Take back what ``to_plain`` gave.

        Raises:
            TypeError, KeyError, ValueError: It is damaged.
        """
        values = dict(plain)
        values["latency_ns"] = PackedHistogram.from_plain(mapping(values["latency_ns"]))
        return cls(**values)


@dataclass(frozen=True)
class Run:
    """One finished test, with its whole latency distribution.

    In one-way tests a sample of ``latency_ns`` is one send or receive call, and there are no
    transactions.

    Attributes:
        spec: What was asked.
        target: Host name or address of the target as given.
        target_address: Address and port of the data connection's far end.
        local_address: Address and port of its near end.
        peer: The peer's release as far as its dialect shows it.
        engine: ``hot`` or ``pure``, the one that ran.
        started_epoch_s: Wall-clock time of the first request.
        elapsed_ns: From the first request to the end of the loop; one-way TCP tests that
            send: until the target has taken everything.
        transactions, requests_sent, in_flight, lost, late, reordered, malformed: See
            ``engine.base.Tally``; of all flows together.
        drained: Responses that arrived after the end of a TCP test, while it was closed.
        bytes_sent, bytes_received, send_calls, recv_calls: Of the sender.
        failed_sends: UDP: datagrams that the system did not take.
        ended: ``time``, ``count``, ``peer``, ``stopped``, ``lost`` or ``error``.
        error: What went wrong after something had been measured, else empty.
        latency_ns: Round trip of every transaction.
        interims: The interim series, empty unless asked for.
        local, remote: Sockets of the two ends.
        target_tally: What the target counted.
        local_cpu, remote_cpu: CPU utilisation during the test, ``None`` when not measured:
            always by the sender and by a xenrr target, by others where it was asked for.
        tcp_info: TCP_INFO of the data connection at the end, by field; empty without TCP.
        tcp_info_start: The same before the first request.
        loop_thread: What the sender's loop used: ``voluntary_switches``,
            ``involuntary_switches``, ``user_us``, ``system_us``; empty where unknown.
        throttling: How CPU quotas held the sender back: ``periods``, ``throttled`` of them,
            ``throttled_us``; empty where nobody counts.
        reordered: See ``engine.base.Tally``.
        poller: How the sender waited: ``blocking``, or what drove many flows or a schedule:
            ``io_uring``, ``epoll``, ``poll``; empty where an older record does not tell.
        flows: Each of several flows; empty for one.
        distributions: Histograms beside ``latency_ns``, by name. Open loop: ``service_ns``
            (from where a request really left) and ``slip_ns`` (how late it left). Decomposed:
            ``send_path_ns``, ``network_ns``, ``wakeup_ns``.
        host: Facts about the sender's machine, collected by the run itself.
        remote_host: The same about the target's, where it is a xenrr and told them.
        schema: Version of this layout.
    """

    spec: TestSpec
    target: str
    target_address: str
    local_address: str
    peer: str
    engine: str
    started_epoch_s: float
    elapsed_ns: int
    transactions: int
    requests_sent: int
    in_flight: int
    lost: int
    late: int
    malformed: int
    drained: int
    bytes_sent: int
    bytes_received: int
    send_calls: int
    recv_calls: int
    ended: str
    error: str
    latency_ns: Histogram
    interims: tuple[InterimPoint, ...] = ()
    local: SocketFacts = SocketFacts()
    remote: SocketFacts = SocketFacts()
    target_tally: TargetTally = TargetTally()
    failed_sends: int = 0
    local_cpu: CpuUsage | None = None
    remote_cpu: CpuUsage | None = None
    tcp_info: Mapping[str, int] = field(default_factory=dict)
    tcp_info_start: Mapping[str, int] = field(default_factory=dict)
    loop_thread: Mapping[str, int] = field(default_factory=dict)
    throttling: Mapping[str, int] = field(default_factory=dict)
    host: Mapping[str, str] = field(default_factory=dict)
    remote_host: Mapping[str, str] = field(default_factory=dict)
    reordered: int = 0
    poller: str = ""
    flows: tuple[FlowRecord, ...] = ()
    distributions: Mapping[str, Histogram] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def elapsed_s(self) -> float:
        """Length of the data phase in s."""
        return self.elapsed_ns / SECOND_NS

    @property
    def rate_tps(self) -> float:
        """Transactions per second; 0.0 when nothing was measured."""
        return self.transactions * SECOND_NS / self.elapsed_ns if self.elapsed_ns else 0.0

    @property
    def latency_from_rate_us(self) -> float:
        """netperf's round-trip latency in µs: derived from the rate, not measured."""
        rate, window = self.rate_tps, 1 + self.spec.burst
        return self.spec.flows * window * 1e6 / rate if rate else 0.0

    def flows_ended_early(self) -> tuple[FlowRecord, ...]:
        """Those of many flows that did not last as long as the run did."""
        # What ended the run, the end of the control connection say, stopped those that did.
        lasted = (self.ended, "stopped")
        return tuple(flow for flow in self.flows if flow.ended not in lasted)

    @property
    def early_flows_text(self) -> str:
        """How many flows ended early, in words; empty for none."""
        early, flows = len(self.flows_ended_early()), len(self.flows)
        if early == flows:
            return f"all {flows} flows ended early" if flows else ""
        return f"{early} of {flows} flows ended before the others" if early else ""

    @property
    def missed_rate(self) -> bool:
        """Whether clearly fewer requests were answered than a rate asked for."""
        asked_tps = self.spec.asked_rate_tps
        if asked_tps is None:
            return False
        due = asked_tps * self.elapsed_s
        # As many as are on their way all the time are so at the end. (Where nobody keeps up,
        # twice as many are missing: half of them have waited for less than the last ones.)
        under_way = asked_tps * self.latency_ns.percentile(50) / SECOND_NS
        # A request more or less at the start and of each flow at the end; and random arrivals
        # are not the same number twice.
        noise = 1 + self.spec.flows + (4 * due ** 0.5 if self.spec.poisson else 0.0)
        return due - under_way - self.transactions > max(SHORTFALL * due, noise)

    @property
    def undecomposed(self) -> int:
        """Transactions of a decomposed test that are in none of the parts' histograms."""
        parts = self.distributions.get("network_ns")
        return self.transactions - parts.total if self.spec.decompose and parts else 0

    def service_demand_us(self, end: str, *, with_steal: bool = True) -> float:
        """CPU time that one transaction, or one KB (1024 bytes) one way, cost an end.

        Args:
            end: ``local`` or ``remote``.
            with_steal: Whether stolen time counts as work, as netperf has it.

        Returns:
            µs, or -1.0 where it is not known.
        """
        usage: CpuUsage | None = getattr(self, f"{end}_cpu")
        units = self.transactions
        if self.spec.is_one_way:
            units = (self.bytes_sent + self.bytes_received) // 1024
        if usage is None or not units or not self.elapsed_ns:
            return -1.0
        if not with_steal:
            usage = replace(usage, percent=usage.percent_without_steal)
        return service_demand_us(usage, units * SECOND_NS / self.elapsed_ns)

    def to_plain(self) -> dict[str, object]:
        """The whole record as JSON-ready values; ``from_plain`` takes it back."""
        plain = {name: getattr(self, name) for name in field_names(self)}
        for name in ("spec", "local", "remote", "target_tally", "local_cpu", "remote_cpu"):
            if plain[name] is not None:
                plain[name] = asdict(plain[name])
        plain["interims"] = [asdict(point) for point in self.interims]
        plain["latency_ns"] = self.latency_ns.to_plain()
        plain["flows"] = [flow.to_plain() for flow in self.flows]
        plain["distributions"] = {
            name: histogram.to_plain() for name, histogram in self.distributions.items()}
        for name in MAPPINGS:
            plain[name] = dict(plain[name])
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> Run:
        """Build a record from what ``to_plain`` gave, of this schema or an older one.

        Raises:
            ResultFormatError: It is damaged, or of a schema this xenrr does not know.
        """
        schema = plain.get("schema")
        if schema not in range(1, SCHEMA + 1):
            raise ResultFormatError(f"this xenrr reads records of schema 1 to {SCHEMA}, "
                                    f"not {schema!r}")
        try:
            values: dict[str, Any] = dict(plain)
            values["spec"] = mapping(values["spec"])
            if schema == 1:
                _from_schema_1(values)
            values["spec"] = spec_from_plain(values["spec"])
            values["local"] = SocketFacts(**mapping(values["local"]))
            values["remote"] = SocketFacts(**mapping(values["remote"]))
            values["target_tally"] = TargetTally(**mapping(values["target_tally"]))
            for name in ("local_cpu", "remote_cpu"):
                if values.get(name) is not None:
                    values[name] = usage_from_plain(mapping(values[name]))
            for name in MAPPINGS:
                values[name] = mapping(values.get(name, {}))
            interims = values["interims"]
            if not isinstance(interims, (list, tuple)):
                raise TypeError("interims is not a list")
            values["interims"] = tuple(InterimPoint(**mapping(point)) for point in interims)
            values["latency_ns"] = Histogram.from_plain(mapping(values["latency_ns"]))
            values["flows"] = tuple(
                FlowRecord.from_plain(mapping(flow)) for flow in values.get("flows", ()))
            values["distributions"] = {
                name: Histogram.from_plain(mapping(plain))
                for name, plain in mapping(values.get("distributions", {})).items()}
            # What schema 3 added has its default in an older record.
            values["schema"] = SCHEMA
            return cls(**values)
        except (KeyError, TypeError, ValueError, SpecError) as exc:
            raise ResultFormatError(f"the record is damaged: {exc}") from exc


def _from_schema_1(values: dict[str, Any]) -> None:
    """Turn a record of schema 1 into one of schema 2, in place.

    There the buffers of both ends stood beside each other in the spec, and interims counted
    no bytes; every test was a request/response test, so they follow from its sizes.
    """
    spec = values["spec"]
    for end in ("local", "remote"):
        spec[end] = {f"{kind}_buffer": spec.pop(f"{end}_{kind}_buffer", -1)
                     for kind in ("send", "receive")}
    message_bytes = int(spec["request_bytes"]) + int(spec["response_bytes"])
    values["interims"] = [
        {**mapping(point), "bytes": int(mapping(point)["transactions"]) * message_bytes}
        for point in values["interims"]]
