"""What is asked: a test, and each of its ends."""

from __future__ import annotations

from collections.abc import Mapping

from xenrr.errors import SpecError
from xenrr.frozen import dataclass
from xenrr.lean import Any
from xenrr.units import (
    MAX_ALIGNMENT,
    MAX_BLOCK_BYTES,
    MAX_BUSY_POLL_US,
    MAX_CPU,
    MAX_DATAGRAM_BYTES,
    MAX_FLOWS,
    MAX_MESSAGE_BYTES,
    MAX_WIDTH,
    POLLERS,
)

__all__ = ["CONNECT_PORTS", "DIRECTIONS", "MAX_BURST", "MAX_DURATION_S", "MAX_RATE_TPS",
           "MIN_RATE_TPS", "NOTHING", "OMNI", "RECEIVE", "ROUND_TRIPS", "SEND", "TCP", "TESTS",
           "UDP", "EndSpec", "TestSpec", "mapping", "spec_from_plain"]

TCP, UDP = "tcp", "udp"
ROUND_TRIPS, SEND, RECEIVE, NOTHING = "rr", "send", "receive", "none"
# What each name stands for: protocol, direction seen from the sender, and whether every
# transaction has a connection of its own. OMNI says all three itself.
TESTS = {
    "TCP_RR": (TCP, ROUND_TRIPS, False),
    "UDP_RR": (UDP, ROUND_TRIPS, False),
    "TCP_CRR": (TCP, ROUND_TRIPS, True),
    "TCP_CC": (TCP, NOTHING, True),
    "TCP_STREAM": (TCP, SEND, False),
    "TCP_MAERTS": (TCP, RECEIVE, False),
    "TCP_SENDFILE": (TCP, SEND, False),
    "UDP_STREAM": (UDP, SEND, False),
}
OMNI = "OMNI"
DIRECTIONS = (ROUND_TRIPS, SEND, RECEIVE, NOTHING)
MAX_DURATION_S = 10_000_000
MAX_BURST = 1_000_000
# Requests per second, of each flow or of all.
MIN_RATE_TPS, MAX_RATE_TPS = 0.001, 1e9
# netperf's own range for the ports of connection tests.
CONNECT_PORTS = (5000, 65535)


@dataclass(frozen=True)
class EndSpec:
    """What is asked of one end of a test; -1 leaves a number to the system.

    Attributes:
        send_buffer, receive_buffer: SO_SNDBUF and SO_RCVBUF in bytes.
        send_bytes, receive_bytes: Bytes per send and per receive call of a one-way test.
        send_width, receive_width: Buffers in the rings; 0 for netperf's own choice.
        send_alignment, send_offset, receive_alignment, receive_offset: Where a buffer
            begins, in bytes.
        priority: SO_PRIORITY.
        tos: IP_TOS or the IPv6 traffic class, 0 to 255.
        congestion: TCP congestion control by name; empty leaves the system's.
        cpu: Bind to this CPU.
        measure_cpu: Ask for CPU utilisation, as netperf's -c and -C do. A sender measures its
            own anyway, and a xenrr target is always asked.
        fill_file: File that pre-fills the send buffers; at the remote end only its name
            travels, and a xenrr target ignores it.
        pace_us, pace_burst: At most ``pace_burst`` units every ``pace_us`` µs; 0 for no
            pace.
    """

    send_buffer: int = -1
    receive_buffer: int = -1
    send_bytes: int = -1
    receive_bytes: int = -1
    send_width: int = 0
    receive_width: int = 0
    send_alignment: int = 8
    send_offset: int = 0
    receive_alignment: int = 8
    receive_offset: int = 0
    priority: int = -1
    tos: int = -1
    congestion: str = ""
    cpu: int = -1
    measure_cpu: bool = False
    fill_file: str = ""
    pace_us: int = 0
    pace_burst: int = 0

    def check(self, end: str) -> None:
        """Refuse what no end can do.

        Args:
            end: ``local`` or ``remote``, for the message.

        Raises:
            SpecError: A value makes no sense.
        """
        for name, least, most in END_LIMITS:
            value = getattr(self, name)
            if not least <= value <= most:
                raise SpecError(f"{end}.{name} has to lie between {least} and {most}, "
                                f"got {value}")


# What travels into the kernel as an int, and SO_MAX_PACING_RATE, which is 64 bits there.
SOCKET_LIMITS = (("max_segment", MAX_MESSAGE_BYTES), ("multicast_ttl", 255),
                 ("pacing_rate", 2**63 - 1), ("busy_poll_us", MAX_BUSY_POLL_US))

# Buffer, call and ring sizes are memory: a ring of the largest is bounded once more below.
END_LIMITS = (
    ("send_buffer", -1, MAX_MESSAGE_BYTES), ("receive_buffer", -1, MAX_MESSAGE_BYTES),
    ("send_bytes", -1, MAX_BLOCK_BYTES), ("receive_bytes", -1, MAX_BLOCK_BYTES),
    ("send_width", 0, MAX_WIDTH), ("receive_width", 0, MAX_WIDTH),
    ("send_alignment", 0, MAX_ALIGNMENT), ("receive_alignment", 0, MAX_ALIGNMENT),
    ("send_offset", 0, MAX_ALIGNMENT), ("receive_offset", 0, MAX_ALIGNMENT),
    ("priority", -1, MAX_MESSAGE_BYTES), ("tos", -1, 255), ("cpu", -1, MAX_CPU),
    ("pace_us", 0, MAX_MESSAGE_BYTES), ("pace_burst", 0, MAX_MESSAGE_BYTES),
)


@dataclass(frozen=True)
class TestSpec:
    """One test as it is asked for.

    Attributes:
        test: A name of ``TESTS``, or ``OMNI``, in any case.
        protocol: ``tcp`` or ``udp``; OMNI only, the names have their own.
        direction: ``rr``, ``send``, ``receive`` (both seen from the sender) or ``none``;
            OMNI only.
        connecting: A connection for every transaction; OMNI only.
        request_bytes, response_bytes: Size of each, 1 or more in round trips.
        duration_s: How long, in s; ``None`` when a count or a number of bytes is given.
        transactions: How many transactions instead; of each flow.
        limit_bytes: How many bytes instead, in one-way tests; whole sends are sent.
        burst: First burst: requests in flight beyond the first, of each flow; with a rate the
            most there may be, 0 for 1023.
        local, remote: What is asked of each end.
        nodelay: Set TCP_NODELAY at both ends.
        cork: Set TCP_CORK at the sender.
        keepalive: Set SO_KEEPALIVE at both ends.
        routing: Let the data be routed; ``False`` sets SO_DONTROUTE. ``None`` is netperf's
            default: not in one-way UDP tests.
        copy_avoidance: Receivers let the kernel drop what arrives, uncopied.
        plain_write: Send with write() instead of send().
        spin: Round trips: the sender polls for a moment before it blocks; what a target does
            is its own affair.
        busy_poll_us: SO_BUSY_POLL of the sender's data socket in µs, -1 for the system's.
        fast_open: TCP Fast Open.
        defer_accept: TCP_DEFER_ACCEPT at the target.
        packet_info: The target answers from the address that was asked (IP_PKTINFO).
        dont_fragment: Set IP_MTU_DISCOVER to DO.
        max_segment: TCP_MAXSEG of the sender's data socket, -1 for the system's.
        pacing_rate: SO_MAX_PACING_RATE of the sender's data socket in bytes/s, -1 for none.
        multicast_ttl: IP_MULTICAST_TTL, -1 for the system's.
        socket_debug: Set SO_DEBUG.
        retry_connect: Keep trying when a connection is refused.
        no_control: No control connection: straight to the data port of any server.
        connect_ports: Local ports of a connecting test, lowest and highest.
        local_data_port, remote_data_port: Ports of the data connection, 0 for any.
        data_host: Where the data connection goes, ``None`` for the control host.
        data_local_host: Local address of the data connection, ``None`` for any.
        data_family: 4, 6, or 0 for that of the control connection.
        wait_s: Pause between set-up and the first request, in s.
        interim_s: Interval of interim results, in s; 0 for none.
        loss_timeout_s: UDP: a request without a response for this long is lost, in s.
        flows: Connections at once, each with its own window; all driven by one thread.
        rate_tps: Open loop: requests per second, whether or not earlier ones were answered;
            ``None`` for the closed loop.
        rate_per_flow: Whether that is the rate of each flow, not of all together.
        poisson: Open loop: exponential gaps between requests, not equal ones.
        seed: Of these gaps.
        poller: How to wait for many connections: ``io_uring``, ``epoll``, ``poll``, or
            ``auto`` for the fastest that is here.
        decompose: Take kernel timestamps and split each round trip into its parts.

    Raises:
        SpecError: A value makes no sense; the message says which and why.
    """

    __test__ = False  # not a test class, whatever pytest makes of the name

    test: str = "TCP_RR"
    protocol: str = ""
    direction: str = ""
    connecting: bool = False
    request_bytes: int = 1
    response_bytes: int = 1
    duration_s: float | None = None
    transactions: int | None = None
    limit_bytes: int | None = None
    burst: int = 0
    local: EndSpec = EndSpec()
    remote: EndSpec = EndSpec()
    nodelay: bool = False
    cork: bool = False
    keepalive: bool = False
    routing: bool | None = None
    copy_avoidance: bool = False
    plain_write: bool = False
    spin: bool = False
    busy_poll_us: int = -1
    fast_open: bool = False
    defer_accept: bool = False
    packet_info: bool = False
    dont_fragment: bool = False
    max_segment: int = -1
    pacing_rate: int = -1
    multicast_ttl: int = -1
    socket_debug: bool = False
    retry_connect: bool = False
    no_control: bool = False
    connect_ports: tuple[int, int] = CONNECT_PORTS
    local_data_port: int = 0
    remote_data_port: int = 0
    data_host: str | None = None
    data_local_host: str | None = None
    data_family: int = 0
    wait_s: float = 0.0
    interim_s: float = 0.0
    loss_timeout_s: float = 1.0
    flows: int = 1
    rate_tps: float | None = None
    rate_per_flow: bool = False
    poisson: bool = False
    seed: int = 0
    poller: str = "auto"
    decompose: bool = False

    def __post_init__(self) -> None:
        self._settle_shape()
        self._check_end()
        self._check_sizes()
        self.local.check("local")
        self.remote.check("remote")
        low, high = self.connect_ports
        if not 1 <= low <= high <= 65535:
            raise SpecError(f"connect_ports has to be two ports in order, got {low} to {high}")
        for name in ("local_data_port", "remote_data_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SpecError(f"{name} has to lie between 0 and 65535, "
                                f"got {getattr(self, name)}")
        if self.data_family not in (0, 4, 6):
            raise SpecError(f"data_family has to be 4, 6 or 0, got {self.data_family}")
        for name, most in SOCKET_LIMITS:
            if not -1 <= getattr(self, name) <= most:
                raise SpecError(f"{name} has to lie between -1 and {most}, "
                                f"got {getattr(self, name)}")
        for name in ("wait_s", "interim_s", "loss_timeout_s"):
            if not 0 <= getattr(self, name) <= MAX_DURATION_S:
                raise SpecError(f"{name} has to lie between 0 and {MAX_DURATION_S} s, "
                                f"got {getattr(self, name):g}")
        self._check_flows()

    def _check_flows(self) -> None:
        """Many flows, the open loop and decomposition are for round trips alone."""
        if not 1 <= self.flows <= MAX_FLOWS:
            raise SpecError(f"the number of flows has to lie between 1 and {MAX_FLOWS}, "
                            f"got {self.flows}")
        if self.poller not in POLLERS:
            raise SpecError(f"there is no poller {self.poller!r}; there are "
                            f"{', '.join(POLLERS)}")
        if not 0 <= self.seed < 1 << 63:
            raise SpecError(f"a seed lies between 0 and 2**63, got {self.seed}")
        rounds = self.direction == ROUND_TRIPS and not self.connecting
        for name, asked in (("flows", self.flows > 1), ("rate_tps", self.rate_tps is not None),
                            ("decompose", self.decompose)):
            if asked and not rounds:
                raise SpecError(f"{name} is for round trips on lasting connections, not for "
                                f"{self.test}")
            if asked and self.no_control:
                raise SpecError(f"{name} needs a control connection")
            if asked and self.spin:
                raise SpecError(f"a sender that spins does one flow as fast as it can: "
                                f"{name} and spin do not go together")
        if self.rate_tps is None:
            if self.rate_per_flow or self.poisson:
                raise SpecError("rate_per_flow and poisson say how to keep to a rate; there "
                                "is none")
        elif not MIN_RATE_TPS <= self.rate_tps <= MAX_RATE_TPS:
            raise SpecError(f"rate_tps has to lie between {MIN_RATE_TPS} and {MAX_RATE_TPS}, "
                            f"got {self.rate_tps:g}")
        elif self.transactions is not None:
            raise SpecError("a rate is kept for a time, not for a number of transactions")
        if self.decompose and (self.flows > 1 or self.rate_tps is not None or self.burst):
            raise SpecError("decompose takes one request at a time: no flows, rate or burst")

    def _settle_shape(self) -> None:
        settle = object.__setattr__
        settle(self, "test", str(self.test).upper())
        settle(self, "connect_ports", tuple(self.connect_ports))
        shape = TESTS.get(self.test)
        if shape is not None:
            asked = (self.protocol or shape[0], self.direction or shape[1],
                     self.connecting or shape[2])
            if asked != shape:
                raise SpecError(f"protocol, direction and connecting are fixed in {self.test}; "
                                "OMNI lets you choose them")
        elif self.test == OMNI:
            shape = (self.protocol or TCP, self.direction or SEND, self.connecting)
        else:
            raise SpecError(f"there is no test {self.test}; xenrr has "
                            f"{', '.join(TESTS)} and {OMNI}")
        for name, value in zip(("protocol", "direction", "connecting"), shape):
            settle(self, name, value)
        if self.protocol not in (TCP, UDP):
            raise SpecError(f"the protocol has to be tcp or udp, got {self.protocol!r}")
        if self.direction not in DIRECTIONS:
            raise SpecError(f"the direction has to be one of {', '.join(DIRECTIONS)}, "
                            f"got {self.direction!r}")
        if self.spin and (self.direction != ROUND_TRIPS or self.connecting):
            raise SpecError(f"a sender spins in round trips on one connection, not in "
                            f"{self.test}")
        if self.connecting and self.is_datagram:
            raise SpecError("UDP has no connections to make")
        if self.direction == NOTHING and not self.connecting:
            raise SpecError("a test without direction makes connections and nothing else")

    def _check_end(self) -> None:
        ends = [self.duration_s, self.transactions, self.limit_bytes]
        if ends.count(None) == len(ends):
            object.__setattr__(self, "duration_s", 10.0)
        elif ends.count(None) < len(ends) - 1:
            raise SpecError("a test ends after a time, a number of transactions or a number "
                            "of bytes, not after two of them")
        if self.transactions is not None and self.is_one_way:
            raise SpecError("a one-way test has no transactions to count; limit_bytes ends it")
        if self.limit_bytes is not None and not self.is_one_way:
            raise SpecError("limit_bytes ends one-way tests only; here it is transactions")
        if self.duration_s is not None and not 0 < self.duration_s <= MAX_DURATION_S:
            raise SpecError(f"the duration has to be above 0 and at most {MAX_DURATION_S} s, "
                            f"got {self.duration_s:g}")
        for name, what in (("transactions", "transactions"), ("limit_bytes", "bytes")):
            value = getattr(self, name)
            if value is not None and not 0 < value <= MAX_MESSAGE_BYTES:
                raise SpecError(f"the number of {what} has to lie between 1 and "
                                f"{MAX_MESSAGE_BYTES}, got {value}")

    def _check_sizes(self) -> None:
        limit = MAX_DATAGRAM_BYTES if self.is_datagram else MAX_MESSAGE_BYTES
        if self.direction == ROUND_TRIPS:
            for name, word in (("request_bytes", "request"), ("response_bytes", "response")):
                size = getattr(self, name)
                if not 1 <= size <= limit:
                    raise SpecError(f"the {word} size has to lie between 1 and {limit} bytes "
                                    f"for {self.test}, got {size}")
        if self.is_datagram and self.is_one_way:
            for size in (self.local.send_bytes, self.remote.send_bytes):
                if size > limit:
                    raise SpecError(f"a datagram carries at most {limit} bytes, got {size}")
        if not 0 <= self.burst <= MAX_BURST:
            raise SpecError(f"the first burst has to lie between 0 and {MAX_BURST}, "
                            f"got {self.burst}")

    @property
    def asked_rate_tps(self) -> float | None:
        """Requests per second of all flows together, ``None`` for the closed loop."""
        if self.rate_tps is None or not self.rate_per_flow:
            return self.rate_tps
        return self.rate_tps * self.flows

    @property
    def is_datagram(self) -> bool:
        """Whether the data travels as UDP datagrams."""
        return self.protocol == UDP

    @property
    def is_one_way(self) -> bool:
        """Whether data flows one way only, on one connection."""
        return self.direction in (SEND, RECEIVE) and not self.connecting


def spec_from_plain(plain: object) -> TestSpec:
    """A spec from what ``dataclasses.asdict`` made of it.

    Raises:
        SpecError: A value makes no sense.
        TypeError, KeyError: It is damaged.
    """
    values = mapping(plain)
    for name in ("local", "remote"):
        values[name] = EndSpec(**mapping(values[name]))
    return TestSpec(**values)


def mapping(value: object) -> dict[str, Any]:
    """A mapping from a record, with its keys as texts.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, got {type(value).__name__}")
    return {str(key): item for key, item in value.items()}
