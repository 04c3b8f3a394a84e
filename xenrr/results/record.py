"""What was asked, and what happened: the two records everything else is made from.

Raw counts and conditions are kept; rates, percentiles and verdicts are computed when they
are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from xenrr.errors import ResultFormatError, SpecError
from xenrr.stats.histogram import Histogram

__all__ = ["SCHEMA", "SECOND_NS", "InterimPoint", "Run", "SocketFacts", "TargetTally",
           "TestSpec"]

# docs/results-format.md says what changed at each number.
SCHEMA = 1
SECOND_NS = 1_000_000_000

TESTS = ("TCP_RR", "UDP_RR")
# Both travel as a signed 32-bit word (netperf src/netlib.h); UDP carries 65507 bytes.
MAX_SIZE_BYTES = 2**31 - 1
MAX_DATAGRAM_BYTES = 65507
MAX_DURATION_S = 10_000_000


@dataclass(frozen=True)
class TestSpec:
    """One request/response test as it is asked for.

    Attributes:
        test: ``TCP_RR`` or ``UDP_RR``, in any case.
        request_bytes, response_bytes: Size of each, 1 or more.
        duration_s: How long, in s; ``None`` when ``transactions`` is given.
        transactions: How many transactions instead; ``None`` for a timed test.
        burst: First burst: requests in flight beyond the first.
        local_send_buffer, local_receive_buffer, remote_send_buffer,
        remote_receive_buffer: Socket buffers to ask for, in bytes; -1 leaves the default.
        nodelay: Set TCP_NODELAY at both ends.
        local_data_port, remote_data_port: Ports of the data connection, 0 for any.
        data_host: Where the data connection goes, ``None`` for the control host.
        data_local_host: Local address of the data connection, ``None`` for any.
        data_family: 4, 6, or 0 for that of the control connection.
        wait_s: Pause between set-up and the first request, in s.
        interim_s: Interval of interim results, in s; 0 for none.
        loss_timeout_s: UDP: a request without a response for this long is lost, in s.

    Raises:
        SpecError: A value makes no sense; the message says which and why.
    """

    __test__ = False  # not a test class, whatever pytest makes of the name

    test: str = "TCP_RR"
    request_bytes: int = 1
    response_bytes: int = 1
    duration_s: float | None = None
    transactions: int | None = None
    burst: int = 0
    local_send_buffer: int = -1
    local_receive_buffer: int = -1
    remote_send_buffer: int = -1
    remote_receive_buffer: int = -1
    nodelay: bool = False
    local_data_port: int = 0
    remote_data_port: int = 0
    data_host: str | None = None
    data_local_host: str | None = None
    data_family: int = 0
    wait_s: float = 0.0
    interim_s: float = 0.0
    loss_timeout_s: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", str(self.test).upper())
        if self.test not in TESTS:
            raise SpecError(f"there is no test {self.test}; xenrr has {' and '.join(TESTS)}")
        if self.duration_s is None and self.transactions is None:
            object.__setattr__(self, "duration_s", 10.0)
        if self.duration_s is not None and self.transactions is not None:
            raise SpecError("a test ends after a time or after a number of transactions, "
                            "not both")
        if self.duration_s is not None and not 0 < self.duration_s <= MAX_DURATION_S:
            raise SpecError(f"the duration has to be above 0 and at most {MAX_DURATION_S} s, "
                            f"got {self.duration_s:g}")
        if self.transactions is not None and not 0 < self.transactions <= MAX_SIZE_BYTES:
            raise SpecError("the number of transactions has to lie between 1 and "
                            f"{MAX_SIZE_BYTES}, got {self.transactions}")
        limit = MAX_DATAGRAM_BYTES if self.is_datagram else MAX_SIZE_BYTES
        for name, word in (("request_bytes", "request"), ("response_bytes", "response")):
            size = getattr(self, name)
            if not 1 <= size <= limit:
                raise SpecError(f"the {word} size has to lie between 1 and {limit} bytes "
                                f"for {self.test}, got {size}")
        if not 0 <= self.burst <= 1_000_000:
            raise SpecError("the first burst has to lie between 0 and 1000000, "
                            f"got {self.burst}")
        for name in ("local_send_buffer", "local_receive_buffer", "remote_send_buffer",
                     "remote_receive_buffer"):
            if not -1 <= getattr(self, name) <= MAX_SIZE_BYTES:
                raise SpecError(f"{name} has to lie between 0 and {MAX_SIZE_BYTES} bytes, "
                                f"or be -1 for the default, got {getattr(self, name)}")
        for name in ("local_data_port", "remote_data_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SpecError(f"{name} has to lie between 0 and 65535, "
                                f"got {getattr(self, name)}")
        if self.data_family not in (0, 4, 6):
            raise SpecError(f"data_family has to be 4, 6 or 0, got {self.data_family}")
        for name in ("wait_s", "interim_s", "loss_timeout_s"):
            if not 0 <= getattr(self, name) <= MAX_DURATION_S:
                raise SpecError(f"{name} has to lie between 0 and {MAX_DURATION_S} s, "
                                f"got {getattr(self, name):g}")

    @property
    def is_datagram(self) -> bool:
        """Whether requests travel as UDP datagrams."""
        return self.test.startswith("UDP")


@dataclass(frozen=True)
class SocketFacts:
    """How the data connection really was set up at one end.

    Buffer sizes are in bytes as the kernel reports them (Linux: twice what was asked);
    -1 where unknown.
    """

    send_buffer: int = -1
    receive_buffer: int = -1
    send_buffer_end: int = -1
    receive_buffer_end: int = -1
    nodelay: bool = False
    mss: int = -1


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
    wall-clock time.
    """

    end_ns: int
    interval_ns: int
    transactions: int
    p50_ns: int
    p99_ns: int
    max_ns: int
    at_epoch_s: float

    @property
    def rate_tps(self) -> float:
        """Transactions per second over the interval."""
        return self.transactions * SECOND_NS / self.interval_ns if self.interval_ns else 0.0


@dataclass(frozen=True)
class Run:
    """One finished test, with its whole latency distribution.

    Attributes:
        spec: What was asked.
        target: Host name or address of the target as given.
        target_address: Address and port of the data connection's far end.
        local_address: Address and port of its near end.
        peer: The peer's release as far as its dialect shows it.
        engine: ``hot`` or ``pure``, the one that ran.
        started_epoch_s: Wall-clock time of the first request.
        elapsed_ns: From the first request to the end of the loop.
        transactions, requests_sent, in_flight, lost, late, malformed: See
            ``engine.base.Tally``.
        drained: Responses that arrived after the end of a TCP test, while it was closed.
        bytes_sent, bytes_received, send_calls, recv_calls: Of the sender.
        ended: ``time``, ``count``, ``peer``, ``stopped``, ``lost`` or ``error``.
        error: What went wrong after something had been measured, else empty.
        latency_ns: Round trip of every transaction.
        interims: The interim series, empty unless asked for.
        local, remote: Sockets of the two ends.
        target_tally: What the target counted.
        host: Facts about the sender's machine, collected by the run itself.
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
    host: Mapping[str, str] = field(default_factory=dict)
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
        rate = self.rate_tps
        return (1 + self.spec.burst) * 1e6 / rate if rate else 0.0

    def to_plain(self) -> dict[str, object]:
        """The whole record as JSON-ready values; ``from_plain`` takes it back."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("spec", "local", "remote", "target_tally"):
            plain[name] = asdict(plain[name])
        plain["interims"] = [asdict(point) for point in self.interims]
        plain["latency_ns"] = self.latency_ns.to_plain()
        plain["host"] = dict(self.host)
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> Run:
        """Build a record from what ``to_plain`` gave.

        Raises:
            ResultFormatError: It is damaged, or of a schema this xenrr does not know.
        """
        if plain.get("schema") != SCHEMA:
            raise ResultFormatError(f"this xenrr reads records of schema {SCHEMA}, "
                                    f"not {plain.get('schema')!r}")
        values: dict[str, Any] = dict(plain)
        try:
            values["spec"] = TestSpec(**_mapping(values["spec"]))
            values["local"] = SocketFacts(**_mapping(values["local"]))
            values["remote"] = SocketFacts(**_mapping(values["remote"]))
            values["target_tally"] = TargetTally(**_mapping(values["target_tally"]))
            interims = values["interims"]
            if not isinstance(interims, (list, tuple)):
                raise TypeError("interims is not a list")
            values["interims"] = tuple(InterimPoint(**_mapping(point)) for point in interims)
            values["latency_ns"] = Histogram.from_plain(_mapping(values["latency_ns"]))
            return cls(**values)
        except (KeyError, TypeError, ValueError, SpecError) as exc:
            raise ResultFormatError(f"the record is damaged: {exc}") from exc


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, got {type(value).__name__}")
    return {str(key): item for key, item in value.items()}
