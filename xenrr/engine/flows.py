"""Many connections in one thread: what an engine is asked, and what it answers.

The rules of ``base`` hold here too. Two data phases:

* **A sender of many flows** (``FlowsSpec``, ``FlowsEngine.run_flows``): a fixed number of
  connections, each with its own window, its own count and its own histogram. All begin and
  end together; a flow whose connection ends is over by itself and the others go on.
* **A pool** (``FlowsEngine.serve_flows``): a target that connections join and leave while it
  runs, told through one pipe and telling through another. So one thread serves all senders
  of a server, and a session whose loop ran on a thread of its own (``LoopSpec``) moves here
  between two transactions when there are more of them than processors.

How it waits for many connections is its **poller**: ``io_uring`` (multishot receive into
buffers that all flows share), ``epoll``, ``poll``; which one ran is in the tally. But for
the numbers of datagrams (``base``) what a message says is looked at nowhere, so all flows
receive into the same memory and send from the same: a thousand of them cost a target no more
than their sockets.

**The open loop** (``Schedule``): requests leave when their time has come, whether or not
earlier ones were answered. A round trip counts from the time at which its request was
*meant* to leave (``Tally.latency_ns``); from where it really left is kept beside it
(``SERVICE``), and so is the difference (``SLIP``). A window that is full or a connection
that takes no more delays a request, and that delay is in the first and the last.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from socket import socket
from typing import Protocol

from xenrr.engine.base import MAX_PIECE_BYTES, Ended, LoopSpec, Role, Tally
from xenrr.errors import LocalProtocolError
from xenrr.frozen import dataclass, field
from xenrr.stats.histogram import PackedHistogram
from xenrr.units import MAX_FLOWS, POLLERS

__all__ = ["ADD", "DROP", "JOIN_RECORD", "LEAVE_RECORD", "MAX_FLOWS", "POLLERS", "SERVICE",
           "SLIP", "Flow", "FlowsEngine", "FlowsSpec", "FlowsTally", "Join", "Leave",
           "Schedule"]

# Requests in flight in all flows together: their start times are kept.
MAX_IN_FLIGHT = 1 << 22

# Names in ``Tally.distributions``.
SERVICE, SLIP = "service_ns", "slip_ns"


@dataclass(frozen=True)
class Schedule:
    """An open loop: when the requests of each flow leave.

    Attributes:
        interval_ns: Mean time between two requests of one flow, in ns. May have a fraction.
        poisson: Gaps are exponential, else all alike; flows are then spread evenly over the
            first interval: request ``k`` of flow ``i`` of ``n``, both from 0, is meant to
            leave ``i * interval_ns / n + k * interval_ns`` after the start.
        seed: Of the gaps: the same seed gives the same schedule in every engine. Flow number
            ``i`` draws from splitmix64 begun at ``seed + i``; the upper 53 bits of a draw
            over 2**53 are ``u``, and the gap is ``-log(1 - u) * interval_ns``. The first
            request leaves after the first gap. Gaps are added up in double precision, and
            each time is cut to whole ns.
    """

    interval_ns: float
    poisson: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.interval_ns <= 1e18:
            raise LocalProtocolError(f"an interval of {self.interval_ns} ns is no schedule")
        if not 0 <= self.seed < 1 << 63:
            raise LocalProtocolError(f"a seed lies between 0 and 2**63, got {self.seed}")


@dataclass(frozen=True)
class FlowsSpec:
    """Round trips on many connections at once, driven by one thread; sender only.

    Attributes:
        rounds: What every flow does. ``transactions`` is the count of each flow, the
            duration that of all. Without a schedule ``burst`` is what each keeps in flight
            beyond the first; with one, the most that may be in flight beyond the first. No
            pace, no ``plain_write``, no ``spin``; buffer rings are one buffer wide, messages
            of at most ``MAX_PIECE_BYTES``. A TCP peer that sends what nobody asked for ends
            its flow (``ERROR``, EPROTO); a datagram that nobody waits for is late.
        schedule: The open loop, ``None`` for the closed one. Not with ``transactions``.
        poller: One of ``POLLERS``; ``auto`` takes the fastest that this kernel has.
    """

    rounds: LoopSpec
    schedule: Schedule | None = None
    poller: str = "auto"

    def __post_init__(self) -> None:
        rounds = self.rounds
        if rounds.role is not Role.SENDER:
            raise LocalProtocolError("a target of many flows is a pool")
        if rounds.pace.burst or rounds.plain_write or rounds.spin or rounds.decompose:
            raise LocalProtocolError("many flows know no pace, plain writes, spinning or "
                                     "decomposing")
        if max(rounds.request_bytes, rounds.response_bytes) > MAX_PIECE_BYTES:
            raise LocalProtocolError(f"messages of many flows have at most {MAX_PIECE_BYTES} "
                                     "bytes")
        if self.schedule is not None and rounds.transactions:
            raise LocalProtocolError("a schedule ends after a time, not after a count")
        if self.poller not in POLLERS:
            raise LocalProtocolError(f"there is no poller {self.poller!r}; there are "
                                     f"{', '.join(POLLERS)}")

    def check(self, flows: int) -> None:
        """Refuse a number of flows that does not go with this spec."""
        if not 1 <= flows <= MAX_FLOWS:
            raise LocalProtocolError(f"the number of flows has to lie between 1 and "
                                     f"{MAX_FLOWS}, got {flows}")
        if flows * (self.rounds.burst + 1) > MAX_IN_FLIGHT:
            raise LocalProtocolError(f"{flows} flows with {self.rounds.burst + 1} requests "
                                     f"in flight each are more than {MAX_IN_FLIGHT}")


@dataclass(frozen=True)
class Flow:
    """What one of many flows did; the fields are those of ``Tally``."""

    ended: Ended
    errno: int = 0
    transactions: int = 0
    requests_sent: int = 0
    in_flight: int = 0
    lost: int = 0
    late: int = 0
    malformed: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    leftover_bytes: int = 0
    latency_ns: PackedHistogram = field(default_factory=PackedHistogram)


@dataclass(frozen=True)
class FlowsTally:
    """What many flows did.

    Attributes:
        total: Sums over all flows and the merged histogram; ``SERVICE`` and ``SLIP`` are in
            its ``distributions`` after an open loop. ``ended`` is ``TIME``, ``COUNT`` or
            ``STOPPED`` where the flows got there, also if some of them ended before;
            when all ended before, how the last one did.
        flows: Each flow, in the order of its socket.
        poller: The one that ran.
    """

    total: Tally
    flows: tuple[Flow, ...]
    poller: str


# What goes into a pool: ADD with a flow, DROP with an id (the rest is 0). Fixed size and
# below PIPE_BUF, so a write is never torn. Fields as in ``Join``.
JOIN_RECORD = struct.Struct("=8q16sq")
ADD, DROP = 1, 2


@dataclass(frozen=True)
class Join:
    """A connection that joins a pool.

    Attributes:
        id: Names it in the answer; of the caller's choice.
        fd: Its descriptor. It stays the caller's, who must not use or close it before the
            pool has said that it left.
        datagram, request_bytes, response_bytes, transactions: As in ``LoopSpec``; messages
            of at most ``MAX_PIECE_BYTES``.
        have_bytes: How much of the next request has been read already.
        peer: UDP, a socket that is *not* connected: take datagrams from this host alone
            (4 or 16 bytes as in ``inet_pton``), whatever their port, and answer each where
            it came from: one socket serves all flows of a sender, and the first empty
            datagram after a request ends them all. Empty: it is connected.

    A record that makes no sense leaves at once, with ``ERROR`` and a number that says why
    (EINVAL, EBADF, ENOTSOCK, EEXIST for an id or a descriptor that is there already); one
    that is neither ADD nor DROP is passed over, and so is a DROP of nobody.
    """

    id: int
    fd: int
    datagram: bool
    request_bytes: int
    response_bytes: int
    transactions: int = 0
    have_bytes: int = 0
    peer: bytes = b""

    def pack(self) -> bytes:
        """As the pool reads it from its pipe."""
        return JOIN_RECORD.pack(
            ADD, self.id, self.fd, int(self.datagram), self.request_bytes,
            self.response_bytes, self.transactions, self.have_bytes, self.peer,
            len(self.peer))


# What comes out of a pool when a flow has left it. Fields as in ``Leave``.
LEAVE_RECORD = struct.Struct("=12q")


@dataclass(frozen=True)
class Leave:
    """How a connection left a pool: by its end, its count, an error, or a DROP (STOPPED).

    Counts and times are those of its time in the pool, as in a target's ``Tally``;
    ``have_bytes`` is what it has read of a request that is not whole.
    """

    id: int
    ended: Ended
    errno: int
    started_ns: int
    elapsed_ns: int
    transactions: int
    bytes_received: int
    bytes_sent: int
    recv_calls: int
    send_calls: int
    malformed: int
    have_bytes: int

    @classmethod
    def unpack(cls, record: bytes) -> Leave:
        """From what a pool wrote."""
        number, ended, *rest = LEAVE_RECORD.unpack(record)
        return cls(number, Ended(ended), *rest)


class FlowsEngine(Protocol):
    """What an engine does with many connections; every ``Engine`` does it too."""

    def pollers(self) -> Sequence[str]:
        """Those that work here, the fastest first; ``auto`` is the first of them."""

    def run_flows(
        self, socks: Sequence[socket], spec: FlowsSpec, stop_fd: int = -1, report_fd: int = -1
    ) -> FlowsTally:
        """Run a sender's data phase over many connections to its end; blocks.

        Args:
            socks: Connected, UDP too. They may be blocking or not, and come back so.
            spec: What to do.
            stop_fd, report_fd: As in ``Engine.run``; interims are of all flows together.

        Raises:
            EngineUnavailable: The poller asked for does not work here.
        """

    def serve_flows(self, join_fd: int, leave_fd: int, poller: str = "auto") -> str:
        """Be a pool until the other end of ``join_fd`` is closed and all flows have left.

        Args:
            join_fd: Read end of a pipe of ``JOIN_RECORD``s, non-blocking. At its end of
                file, flows that are still there are dropped.
            leave_fd: Write end of a pipe that takes a ``LEAVE_RECORD`` for each flow that
                was added, blocking; whoever adds must read it.
            poller: One of ``POLLERS``.

        Returns:
            The poller that ran.

        Raises:
            EngineUnavailable: The poller asked for does not work here.
        """
