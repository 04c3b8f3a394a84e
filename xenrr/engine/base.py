"""What an engine is: one blocking call that runs a whole data phase and times it.

Two engines keep this contract. ``pure`` is the specification, in Python; ``hot`` is the
same loop in C. Both pass ``tests/unit/engine/test_contract*.py``.

Three kinds of data phase, told by their spec: round trips on one connection
(``LoopSpec``), a connection for every transaction (``ConnectSpec``), and data that flows
one way (``StreamSpec``).

Rules that all keep:

* **Whoever measures has the deadline.** A sender, or the end that sends one way for a time,
  looks at the clock after every call and stops by itself. The other end is stopped by an
  end of file, an empty datagram, its count, or the stop descriptor.
* **A call that blocks does so for ``TICK_NS`` at most or can be released from outside.**
* Bytes of messages are never looked at, but for the numbers of datagrams.

Rules of round trips:

* **Nothing but the system calls, the clock and the histogram between two transactions.**
  One clock read ends a transaction and, without a burst, begins the next one.
* **A plain blocking receive while things go fast.** A receive timeout on the socket
  (SO_RCVTIMEO) costs a kernel timer per wait, 2 to 4 % of a loopback round trip, and
  polling before each receive costs 7 to 10 %. So a sender keeps a timeout of ``TICK_NS``
  only while round trips are slow (mean above ``SLOW_ROUND_TRIP_NS``) or the end of the
  test is less than two ticks away, where it is the time that is left. A UDP sender that
  looks for losses always has one: nothing else ends its wait for a lost datagram.
* **A loop that spins does so for ``SPIN_NS`` and then blocks.** Waking a thread on another
  processor takes several times longer than a loopback round trip itself, so with
  ``LoopSpec.spin`` each receive first polls (MSG_DONTWAIT) and gives the processor away
  (sched_yield) between two polls. Without the yield two ends on one processor need a
  scheduler's tick for every turn, and without the block a silent peer would cost a whole
  processor. What follows the spin is the plain receive with all its rules; nothing is
  counted differently, and polls that bring nothing are no receive calls.
* **A loop that decomposes asks between two transactions.** With ``LoopSpec.decompose`` the
  kernel stamps each request as it hands it to the device and each response as it receives
  it, so a round trip has three parts: send path (from the clock before the send), network
  and peer, wake-up (to the clock after the receive). They are kept in
  ``Tally.distributions`` under the names of ``PARTS``, and of every transaction that is in
  one the three make up its latency. One whose stamps are missing, or of which a part would
  be negative, or during which the time of day was set, is in none of them. To fetch a stamp
  is no part of a transaction; hence the clock is read once more here.
* **Time is checked at every transaction, the rest at ticks.** At least every ``TICK_NS``
  a sender polls the stop descriptor and re-decides its timeout. A target reads no clock
  while it runs; it polls the stop descriptor every ``TARGET_POLL`` transactions.
* **UDP round trips are numbered where both messages have room** (``LoopSpec.numbered``; a
  loop that decomposes has one request in flight and does without).
  The first ``HEAD_BYTES`` bytes of a request are ``MAGIC`` and a number that counts up, 4
  bytes in network order; a target that finds ``MAGIC`` there begins its response with the
  same bytes. So a response is known to belong to its request: each request has a timeout of
  its own, a second response or one that comes after the timeout is ``late``, one that comes
  after the response to a later request is ``reordered``. Another netserver answers with
  bytes of its own; then responses belong to requests in their order, and after a silence
  all that is in flight is lost. Which of the two it is, each response says for itself.
* **A target that is stopped ends between two transactions**: a response that it owes goes
  out first, unless the socket takes no more. So whoever answers from then on knows from
  ``Tally.leftover_bytes`` where in the data the target was.
* **A receive that blocks for ever is released from outside**: whoever started the loop
  shuts the socket down for reading (session/loop.py does). The engine sees an end of
  file and says ``STOPPED`` or ``TIME`` if it was asked to stop or its time is over.
* A sender never sends after its deadline, and a response that arrives after it is not a
  transaction: it stays in ``in_flight``. So ``requests_sent == transactions + in_flight
  + lost`` always holds.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from xenrr.errors import LocalProtocolError
from xenrr.frozen import dataclass, field
from xenrr.lean import ClassVar, IntEnum, NamedTuple, Protocol, Union
from xenrr.stats.histogram import Histogram
from xenrr.units import (
    MAX_ALIGNMENT,
    MAX_BLOCK_BYTES,
    MAX_DATAGRAM_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_WIDTH,
)

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from socket import socket

__all__ = [
    "HEAD",
    "HEAD_BYTES",
    "INTERIM_RECORD",
    "MAGIC",
    "MAX_BURST",
    "MAX_PIECE_BYTES",
    "PARTS",
    "SLOW_ROUND_TRIP_NS",
    "SPIN_NS",
    "STAMPS_GRACE",
    "STAMPS_GRACE_NS",
    "TARGET_POLL",
    "TICK_NS",
    "AnySpec",
    "Buffers",
    "ConnectSpec",
    "Ended",
    "Engine",
    "Interim",
    "LoopSpec",
    "Pace",
    "Role",
    "SocketOption",
    "StreamSpec",
    "Tally",
]

TICK_NS = 50_000_000
SLOW_ROUND_TRIP_NS = 500_000
TARGET_POLL = 1024
SPIN_NS = 50_000

# Larger messages of round trips and connections move in pieces, through one buffer.
MAX_PIECE_BYTES = 1 << 20
# All rings of an end together.
MAX_RING_BYTES = 1 << 31
# Start times of the requests in flight are kept: 8 bytes each.
MAX_BURST = 1_000_000
# Names in ``Tally.distributions``: the parts of a round trip, in their order.
PARTS = ("send_path_ns", "network_ns", "wakeup_ns")
# Stamps may be missing at first, since the kernel begins to take them in the background.
# After so many round trips and so much time without any, there are none.
STAMPS_GRACE = 8
STAMPS_GRACE_NS = 200_000_000

# What numbered datagrams begin with.
MAGIC = b"xRRn"
HEAD = struct.Struct("!4sI")
HEAD_BYTES = HEAD.size


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise LocalProtocolError(f"{name} is {value}, it has to lie between {least} and {most}")


class Role(IntEnum):
    """Which end of the transaction a loop plays."""

    SENDER = 0
    TARGET = 1


class Ended(IntEnum):
    """Why a loop came back."""

    TIME = 1        # the duration is over
    COUNT = 2       # the transactions or bytes asked for are done
    PEER = 3        # end of file or a reset, or the empty datagram that ends a UDP test
    STOPPED = 4     # the stop descriptor became readable
    IDLE = 5        # target: duration over and nothing heard for idle_end_ns
    LOST = 6        # UDP sender: MAX_SILENCES timeouts in a row, the peer is gone
    ERROR = 7       # a system call failed; see Tally.errno


@dataclass(frozen=True)
class Buffers:
    """Memory that messages are sent from and received into.

    Messages and one-way calls go round a ring of ``width`` buffers, each of which begins
    ``offset`` bytes behind a multiple of ``alignment``, as netperf's do (src/netlib.c,
    allocate_buffer_ring()). Of these multiples large ones use the beginnings of pages, if they
    can: copies are fastest there. Messages of more than ``MAX_PIECE_BYTES`` use one buffer of
    that size, piece after piece, whatever the width.

    Attributes:
        send_width, receive_width: Buffers in each ring, 1 to ``MAX_WIDTH``.
        send_alignment, receive_alignment: In bytes; 0 and 1 mean anywhere.
        send_offset, receive_offset: In bytes.
        fill: What the send buffers hold, repeated; it runs on from one buffer to the next
            and from piece to piece. Empty for the engine's own text ("netperf" at a
            sender, zeros at a target).
    """

    send_width: int = 1
    receive_width: int = 1
    send_alignment: int = 8
    receive_alignment: int = 8
    send_offset: int = 0
    receive_offset: int = 0
    fill: bytes = b""

    def __post_init__(self) -> None:
        for kind in ("send", "receive"):
            _within(f"{kind}_width", getattr(self, f"{kind}_width"), 1, MAX_WIDTH)
            for name in (f"{kind}_alignment", f"{kind}_offset"):
                _within(name, getattr(self, name), 0, MAX_ALIGNMENT)

    def check(self, send_bytes: int, receive_bytes: int) -> None:
        """Refuse rings of more than ``MAX_RING_BYTES`` bytes."""
        whole = (self.send_width * (send_bytes + self.send_alignment + self.send_offset)
                 + self.receive_width
                 * (receive_bytes + self.receive_alignment + self.receive_offset))
        _within("the size of all buffers", whole, 0, MAX_RING_BYTES)


def _pieces(role: Role, request_bytes: int, response_bytes: int) -> tuple[int, int]:
    """Size of a buffer to send from and of one to receive into."""
    request_bytes = min(request_bytes, MAX_PIECE_BYTES)
    response_bytes = min(response_bytes, MAX_PIECE_BYTES)
    if role is Role.SENDER:
        return request_bytes, response_bytes
    return response_bytes, request_bytes


@dataclass(frozen=True)
class Pace:
    """A brake: at most ``burst`` units (transactions, or sends) every ``interval_ns``.

    After every ``burst`` units the loop sleeps until the interval they began in is over;
    intervals follow each other without drift. 0 for both: no brake. A sleeping loop still
    ends at its deadline and looks at the stop descriptor.
    """

    interval_ns: int = 0
    burst: int = 0

    def __post_init__(self) -> None:
        _within("interval_ns", self.interval_ns, 0, 1 << 62)
        _within("burst", self.burst, 0, MAX_MESSAGE_BYTES)
        if bool(self.interval_ns) != bool(self.burst):
            raise LocalProtocolError("a pace needs both an interval and a burst")


class SocketOption(NamedTuple):
    """One setsockopt call: ``value`` is at most 16 bytes in native order."""

    level: int
    name: int
    value: bytes


@dataclass(frozen=True)
class LoopSpec:
    """Round trips on one connection.

    Attributes:
        role: Which end to play.
        datagram: False for TCP, True for UDP.
        request_bytes: Size of a request, 1 to ``MAX_MESSAGE_BYTES`` (UDP: 65507).
        response_bytes: Size of a response, likewise.
        duration_ns: Sender: how long to run, 0 for no limit. Target: only used with
            ``idle_end_ns``.
        transactions: How many to run, 0 for no limit.
        burst: Sender: requests in flight beyond the first, all sent at the start.
        interim_ns: Write an ``Interim`` to the report descriptor this often; 0 never.
        idle_end_ns: Target: end once ``duration_ns`` has passed since the first request
            and nothing has arrived for this long; 0 never (then a target uses no
            receive timeout at all).
        loss_timeout_ns: UDP sender: a request that has no response for this long is lost,
            and another one takes its place; without numbers, after this long without a
            response all requests in flight are. 0 waits for ever.
        own_thread: The calling thread ends after this loop and does nothing else. An
            engine may then give it a table of descriptors of its own: where threads share
            one, every system call counts references to its file, 1 to 2 % of a loopback
            round trip. Whatever the thread still wants to say has to go through
            ``report_fd``, because closing anything there is seen by nobody. It may also
            have the thread interrupted by a timer of its own instead of giving the socket
            timeouts, for which it takes the last signal but one unless that is handled.
        buffers: See there.
        pace: Unit: one transaction. A target that is given one brakes its responses.
        plain_write: Send with write() instead of send().
        spin: Poll for a message for ``SPIN_NS`` before blocking; either end.
        start_at_ns: Sender: wait for this time of the monotonic clock, with everything
            ready, before the first request; one that is past (0) is no wait. The stop
            descriptor ends the wait as well, with nothing counted.
        decompose: Sender without a burst: split each round trip into its parts. Where the
            system gives no time stamps of packets the loop ends with ``ERROR`` and
            EOPNOTSUPP, at once or within its first transactions.
    """

    role: Role
    datagram: bool
    request_bytes: int = 1
    response_bytes: int = 1
    duration_ns: int = 0
    transactions: int = 0
    burst: int = 0
    interim_ns: int = 0
    idle_end_ns: int = 0
    loss_timeout_ns: int = 0
    own_thread: bool = False
    buffers: Buffers = Buffers()
    pace: Pace = Pace()
    plain_write: bool = False
    spin: bool = False
    start_at_ns: int = 0
    decompose: bool = False

    # Timeouts in a row after which a UDP sender gives up with Ended.LOST.
    MAX_SILENCES: ClassVar[int] = 10

    def __post_init__(self) -> None:
        limit = MAX_DATAGRAM_BYTES if self.datagram else MAX_MESSAGE_BYTES
        _within("request_bytes", self.request_bytes, 1, limit)
        _within("response_bytes", self.response_bytes, 1, limit)
        _within("burst", self.burst, 0, MAX_BURST)
        for name in ("duration_ns", "transactions", "interim_ns", "idle_end_ns",
                     "loss_timeout_ns", "start_at_ns"):
            _within(name, getattr(self, name), 0, 1 << 62)
        self.buffers.check(*_pieces(self.role, self.request_bytes, self.response_bytes))
        if self.decompose and (self.role is not Role.SENDER or self.burst or self.spin):
            raise LocalProtocolError("only a sender decomposes, with one request in flight "
                                     "and without spinning")

    @property
    def numbered(self) -> bool:
        """Whether its datagrams carry numbers, or may."""
        return (self.datagram and not self.decompose
                and min(self.request_bytes, self.response_bytes) >= HEAD_BYTES)


@dataclass(frozen=True)
class ConnectSpec:
    """A TCP connection for every transaction: TCP_CRR, and TCP_CC without any data.

    Sender: make a socket, set ``options``, bind it to the next port of ``ports``, connect
    to ``destination``, send the request if it has bytes, read the response if it has, and
    read on to the end of file that the target's close brings; close. With ``close_first``
    it shuts down for writing before it waits for that end. A sample is the time from before
    the socket is made until after it is closed, like netperf's. A port that is taken is
    passed over; when a whole round of ports was taken, that is an error (EADDRNOTAVAIL).
    Whether SO_REUSEADDR is set is for ``options`` to say.
    Connections that the deadline cuts off stay in ``in_flight``, as does one that ends
    before its response is whole (``PEER``) or is reset (``ERROR``). Requests count from
    the moment their connection is begun, so the sum of ``LoopSpec`` holds here too.

    Target: accept, read the request if it has bytes, send the response if it has, close; in
    a TCP_CC it just closes. A connection that ends early or breaks is not a transaction, and
    the next one is accepted. With ``close_first`` it reads to the sender's end of file
    before it closes. A sender that connects and then says nothing holds it up for
    ``IDLE_CONNECTION_NS`` at most.

    The socket given to ``Engine.run`` is the listener at the target; at the sender it is
    ``None``.

    Attributes:
        role: Which end to play.
        request_bytes, response_bytes: 0 to ``MAX_MESSAGE_BYTES``.
        duration_ns: Sender: how long to run, 0 for no limit.
        transactions: How many to run, 0 for no limit.
        interim_ns, own_thread, buffers, pace, start_at_ns: As in ``LoopSpec``; the unit of
            the pace is a connection.
        destination: Sender: address to connect to, ``(host, port)`` or
            ``(host, port, flow, scope)``, numeric.
        source: Sender: local address, empty for any.
        ports: Sender: lowest and highest local port; ``(0, 0)`` leaves it to the system.
        first_port: Sender: where in ``ports`` to begin; 0 for a random place.
        options: Sender: set on every socket before it is bound.
        close_first: See above.
        retry_connect: Sender: try again when the connection is refused, instead of ending
            with ``ERROR``.
        peer: Target: numeric address that connections may come from, empty for any. Others
            are closed at once and counted as ``strangers``.
    """

    role: Role
    request_bytes: int = 1
    response_bytes: int = 1
    duration_ns: int = 0
    transactions: int = 0
    interim_ns: int = 0
    own_thread: bool = False
    buffers: Buffers = Buffers()
    pace: Pace = Pace()
    destination: tuple[str, int] | tuple[str, int, int, int] | None = None
    source: str = ""
    ports: tuple[int, int] = (0, 0)
    first_port: int = 0
    options: tuple[SocketOption, ...] = ()
    close_first: bool = False
    retry_connect: bool = False
    peer: str = ""
    start_at_ns: int = 0

    IDLE_CONNECTION_NS: ClassVar[int] = 1_000_000_000
    MAX_OPTIONS: ClassVar[int] = 32

    def __post_init__(self) -> None:
        for name in ("request_bytes", "response_bytes"):
            _within(name, getattr(self, name), 0, MAX_MESSAGE_BYTES)
        for name in ("duration_ns", "transactions", "interim_ns", "start_at_ns"):
            _within(name, getattr(self, name), 0, 1 << 62)
        self.buffers.check(*_pieces(self.role, self.request_bytes, self.response_bytes))
        low, high = self.ports
        _within("ports", low, 0, 65535)
        _within("ports", high, low, 65535)
        _within("first_port", self.first_port, 0, high)
        _within("the number of options", len(self.options), 0, self.MAX_OPTIONS)
        if (self.destination is not None) != (self.role is Role.SENDER):
            raise LocalProtocolError("a sender connects to a destination, a target to none")


@dataclass(frozen=True)
class StreamSpec:
    """Data that flows one way: TCP_STREAM, TCP_MAERTS, TCP_SENDFILE, UDP_STREAM.

    The end that sends does so in whole blocks until its time is over (``TIME``) or it has
    sent ``limit_bytes``, the last block included (``COUNT``). It does not end the
    connection: whoever called it does, with a shutdown or empty datagrams. The end that
    receives goes on until the end of file, or for UDP an empty datagram (``PEER``), its
    ``duration_ns`` if it has one, from the call on (``TIME``), or ``limit_bytes``
    (``COUNT``). Before the first datagram empty ones are ignored, as at a UDP target.
    Datagrams of any size are data; of a longer one ``block_bytes`` count.

    UDP: a datagram that the system does not take (ENOBUFS, EAGAIN, ECONNREFUSED) is a
    failed send and the loop goes on. A reset or a broken pipe ends a TCP loop with ``PEER``.

    A sample is the time of one send or receive call that moved something, from the end of
    the one before; ``send_calls`` and ``recv_calls`` count the same calls. ``transactions``
    stay 0.

    Attributes:
        sends: Whether this end sends; else it receives.
        datagram: False for TCP, True for UDP.
        block_bytes: Bytes per call, 1 to ``MAX_BLOCK_BYTES`` (UDP: 65507).
        duration_ns: How long, 0 for no limit.
        limit_bytes: How many bytes, 0 for no limit.
        interim_ns, own_thread, buffers, pace: As in ``LoopSpec``; the unit of the pace is a
            call.
        plain_write: Send with write() instead of send().
        discard: Receive: the kernel drops the data uncopied (MSG_TRUNC), where it can.
        file_fd, file_bytes: Send from this file with sendfile(), block after block and from
            its beginning again; -1 for memory. ``file_bytes`` is its size, at least 1.
            The last block before its end is as short as it has to be.
        short_ends: UDP receive: a datagram shorter than ``block_bytes`` ends it (classic
            UDP_STREAM).
    """

    sends: bool
    datagram: bool = False
    block_bytes: int = 16384
    duration_ns: int = 0
    limit_bytes: int = 0
    interim_ns: int = 0
    own_thread: bool = False
    buffers: Buffers = Buffers()
    pace: Pace = Pace()
    plain_write: bool = False
    discard: bool = False
    file_fd: int = -1
    file_bytes: int = 0
    short_ends: bool = False

    def __post_init__(self) -> None:
        _within("block_bytes", self.block_bytes, 1,
                MAX_DATAGRAM_BYTES if self.datagram else MAX_BLOCK_BYTES)
        for name in ("duration_ns", "limit_bytes", "interim_ns"):
            _within(name, getattr(self, name), 0, 1 << 62)
        self.buffers.check(self.block_bytes if self.sends else 0,
                           0 if self.sends else self.block_bytes)
        if self.file_fd >= 0 and (self.datagram or not self.sends or self.file_bytes < 1):
            raise LocalProtocolError("only TCP senders send from a file, and from one that "
                                     "has something in it")


AnySpec = Union[LoopSpec, ConnectSpec, StreamSpec]


# The fields of Interim as native unsigned 64-bit numbers: 64 bytes, below PIPE_BUF, so one
# write is never torn.
INTERIM_RECORD = struct.Struct("=8Q")


@dataclass(frozen=True)
class Interim:
    """What a running loop says of the interval that just ended.

    ``elapsed_ns`` and ``transactions`` count from the start of the loop, the others over
    the interval alone. ``interval_bytes`` are sent and received ones.
    """

    elapsed_ns: int
    interval_ns: int
    transactions: int
    interval_transactions: int
    interval_bytes: int
    p50_ns: int
    p99_ns: int
    max_ns: int


@dataclass(frozen=True)
class Tally:
    """What a data phase did.

    Attributes:
        ended: Why it came back.
        errno: Error number of the failed system call when ``ended`` is ``ERROR``, else 0.
        started_ns: Monotonic time just before the first request was sent (target: just
            after the first one had arrived), 0 if there was none.
        elapsed_ns: From ``started_ns`` to the end of the loop. A sender that ran out of
            time ends at its deadline or just after, a target when it saw the end.
        transactions: Whole ones: response complete at the sender, sent at the target.
        requests_sent: Sender: requests handed to the socket whole or in part.
        in_flight: Sender: of these, not answered when the loop ended.
        lost: UDP sender: given up after ``loss_timeout_ns``.
        late: UDP sender: responses that nothing in flight waited for: their request had been
            given up, or they came twice. They count for nothing else but ``recv_calls``.
        reordered: UDP sender: responses that came after one to a later request; only known
            where messages have room for a sequence number and the target sends it back.
        malformed: UDP: datagrams of another size than asked for; they count for nothing.
        bytes_sent, bytes_received, send_calls, recv_calls: All of the data phase.
        interims_dropped: Interim records that did not fit into the report pipe.
        leftover_bytes: TCP: bytes already received of responses that stay in flight; at a
            target, of a request that is not whole.
        failed_sends: UDP one way: datagrams that the system did not take.
        strangers: Target of connections: closed because they came from elsewhere.
        mss, retransmissions: Sender of connections: maximum segment size of the last one in
            bytes, and how many segments TCP sent again there; -1 where unknown. Where the
            deadline ends it, the last one is one that began just before.
        latency_ns: Round trip of every transaction (sender; empty at a target), or one
            way the time of every call (both ends).
        distributions: Histograms beside it that some data phases keep, by name.
    """

    ended: Ended
    errno: int = 0
    started_ns: int = 0
    elapsed_ns: int = 0
    transactions: int = 0
    requests_sent: int = 0
    in_flight: int = 0
    lost: int = 0
    late: int = 0
    reordered: int = 0
    malformed: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    send_calls: int = 0
    recv_calls: int = 0
    interims_dropped: int = 0
    leftover_bytes: int = 0
    failed_sends: int = 0
    strangers: int = 0
    mss: int = -1
    retransmissions: int = -1
    latency_ns: Histogram = field(default_factory=Histogram)
    distributions: Mapping[str, Histogram] = field(default_factory=dict)


class Engine(Protocol):
    """One way to run a data phase."""

    @property
    def name(self) -> str:
        """``pure`` or ``hot``; goes into every record."""

    def run(
        self, sock: socket | None, spec: AnySpec, stop_fd: int = -1, report_fd: int = -1
    ) -> Tally:
        """Run one data phase to its end; blocks.

        Args:
            sock: Connected and blocking; for connections see ``ConnectSpec``. A UDP target
                or receiver is given its socket connected to the sender, whose first
                datagram may still be queued; datagrams from elsewhere that were queued
                before are read and dropped.
            spec: What to do.
            stop_fd: Ends the loop as soon as it becomes readable; -1 for none.
            report_fd: Non-blocking write end of a pipe for ``INTERIM_RECORD``s; -1 for none.

        Returns:
            What happened, also when a system call failed in the middle: what was
            measured until then is not thrown away.
        """
