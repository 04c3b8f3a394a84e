"""What an engine is: one blocking call that runs a whole data phase and times it.

Two engines keep this contract. ``pure`` is the specification, in Python; ``hot`` is the
same loop in C. Both pass ``tests/unit/engine/test_contract.py``.

Rules that both keep:

* **Nothing but the system calls, the clock and the histogram between two transactions.**
  One clock read ends a transaction and, without a burst, begins the next one.
* **A plain blocking receive while things go fast.** A receive timeout on the socket
  (SO_RCVTIMEO) costs a kernel timer per wait, 2 to 4 % of a loopback round trip, and
  polling before each receive costs 7 to 10 %. So a sender keeps a timeout of ``TICK_NS``
  only while round trips are slow (mean above ``SLOW_ROUND_TRIP_NS``) or the end of the
  test is less than two ticks away, where it is the time that is left. A UDP sender that
  looks for losses always has one: nothing else ends its wait for a lost datagram.
* **Time is checked at every transaction, the rest at ticks.** At least every ``TICK_NS``
  a sender polls the stop descriptor and re-decides its timeout. A target reads no clock
  while it runs; it polls the stop descriptor every ``TARGET_POLL`` transactions.
* **A receive that blocks for ever is released from outside**: whoever started the loop
  shuts the socket down for reading (session/loop.py does). The engine sees an end of
  file and says ``STOPPED`` or ``TIME`` if it was asked to stop or its time is over.
* A sender never sends after its deadline, and a response that arrives after it is not a
  transaction: it stays in ``in_flight``. So ``requests_sent == transactions + in_flight
  + lost`` always holds.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field
from socket import socket
from typing import ClassVar, Protocol

from xenrr.errors import LocalProtocolError
from xenrr.stats.histogram import Histogram

__all__ = ["INTERIM_RECORD", "MAX_BURST", "MAX_DATAGRAM_BYTES", "MAX_MESSAGE_BYTES",
           "SLOW_ROUND_TRIP_NS", "TARGET_POLL", "TICK_NS", "Ended", "Engine", "Interim",
           "LoopSpec", "Role", "Tally"]

TICK_NS = 50_000_000
SLOW_ROUND_TRIP_NS = 500_000
TARGET_POLL = 1024

# Sizes travel as signed 32-bit words (netperf src/netlib.h); UDP over IPv4 carries
# 65535 - 20 - 8 bytes at the most.
MAX_MESSAGE_BYTES = 2**31 - 1
MAX_DATAGRAM_BYTES = 65507
# Start times of the requests in flight are kept: 8 bytes each.
MAX_BURST = 1_000_000


class Role(enum.IntEnum):
    """Which end of the transaction a loop plays."""

    SENDER = 0
    TARGET = 1


class Ended(enum.IntEnum):
    """Why a loop came back."""

    TIME = 1        # the sender's duration is over
    COUNT = 2       # the transactions asked for are done
    PEER = 3        # end of file, or the empty datagram that ends a UDP test
    STOPPED = 4     # the stop descriptor became readable
    IDLE = 5        # target: duration over and nothing heard for idle_end_ns
    LOST = 6        # UDP sender: MAX_SILENCES timeouts in a row, the peer is gone
    ERROR = 7       # a system call failed; see Tally.errno


@dataclass(frozen=True)
class LoopSpec:
    """What one data phase is to do.

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
        loss_timeout_ns: UDP sender: after this long without a response all requests in
            flight are lost and the window is sent anew; 0 waits for ever.
        own_thread: The calling thread ends after this loop and does nothing else. An
            engine may then give it a table of descriptors of its own: where threads share
            one, every system call counts references to its file, 1 to 2 % of a loopback
            round trip. Whatever the thread still wants to say has to go through
            ``report_fd``, because closing anything there is seen by nobody.
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

    # Timeouts in a row after which a UDP sender gives up with Ended.LOST.
    MAX_SILENCES: ClassVar[int] = 10

    def __post_init__(self) -> None:
        limit = MAX_DATAGRAM_BYTES if self.datagram else MAX_MESSAGE_BYTES
        for name in ("request_bytes", "response_bytes"):
            if not 1 <= getattr(self, name) <= limit:
                raise LocalProtocolError(
                    f"{name} is {getattr(self, name)}, it has to lie between 1 and {limit}")
        if not 0 <= self.burst <= MAX_BURST:
            raise LocalProtocolError(f"burst is {self.burst}, at most {MAX_BURST} are possible")
        for name in ("duration_ns", "transactions", "interim_ns", "idle_end_ns",
                     "loss_timeout_ns"):
            if not 0 <= getattr(self, name) < 1 << 62:
                raise LocalProtocolError(f"{name} is out of range: {getattr(self, name)}")


# elapsed_ns, interval_ns, transactions, interval_transactions, p50_ns, p99_ns, max_ns as
# native unsigned 64-bit numbers: 56 bytes, below PIPE_BUF, so one write is never torn.
INTERIM_RECORD = struct.Struct("=7Q")


@dataclass(frozen=True)
class Interim:
    """What a running loop says of the interval that just ended.

    ``elapsed_ns`` and ``transactions`` count from the start of the loop, the others over
    the interval alone.
    """

    elapsed_ns: int
    interval_ns: int
    transactions: int
    interval_transactions: int
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
        late: UDP sender: datagrams that came back after they had been given up.
        malformed: UDP: datagrams of another size than asked for; they count for nothing.
        bytes_sent, bytes_received, send_calls, recv_calls: All of the data phase.
        interims_dropped: Interim records that did not fit into the report pipe.
        leftover_bytes: TCP sender: bytes already received of responses that stay in flight.
        latency_ns: Round trip of every transaction (sender); empty at the target.
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
    malformed: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    send_calls: int = 0
    recv_calls: int = 0
    interims_dropped: int = 0
    leftover_bytes: int = 0
    latency_ns: Histogram = field(default_factory=Histogram)


class Engine(Protocol):
    """One way to run a data phase."""

    @property
    def name(self) -> str:
        """``pure`` or ``hot``; goes into every record."""

    def run(
        self, sock: socket, spec: LoopSpec, stop_fd: int = -1, report_fd: int = -1
    ) -> Tally:
        """Run one data phase to its end; blocks.

        Args:
            sock: Connected and blocking. A UDP target is given its socket connected to
                the sender, whose first request may still be queued; datagrams from
                elsewhere that were queued before are read and dropped.
            spec: What to do.
            stop_fd: Ends the loop as soon as it becomes readable; -1 for none.
            report_fd: Non-blocking write end of a pipe for ``INTERIM_RECORD``s; -1 for none.

        Returns:
            What happened, also when a system call failed in the middle: what was
            measured until then is not thrown away.
        """
