"""What all data phases in Python share: buffers, samples, the clock, the way they end."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket as socket_module
import struct
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from itertools import cycle, islice, repeat
from socket import MSG_DONTWAIT, SO_RCVTIMEO, SOL_SOCKET, socket
from time import monotonic_ns
from typing import Union

from xenrr.engine.base import (
    INTERIM_RECORD,
    MAX_PIECE_BYTES,
    SPIN_NS,
    TICK_NS,
    AnySpec,
    Ended,
    Pace,
    Tally,
)
from xenrr.stats.histogram import HIGHEST_NS, Histogram, counts_index, highest_equivalent

__all__ = [
    "CHUNK_BYTES",
    "FOLD_SAMPLES",
    "MAX_STRAYS",
    "MIN_STEP_NS",
    "NEVER",
    "NO_SIGNAL",
    "TARGET_TEXT",
    "TEXT",
    "TRUNCATE",
    "Brake",
    "Incoming",
    "Outgoing",
    "Over",
    "Phase",
    "Samples",
    "Sendable",
    "SocketTimeout",
    "Taken",
    "Timed",
    "how_it_failed",
    "no_broken_pipe_signal",
    "pour",
    "receiver_function",
    "ring",
    "sender_function",
    "taker_function",
]

# Content of every message a sender sends, unless it was told another; nobody looks at it.
TEXT = b"netperf"
TARGET_TEXT = b"\0"
CHUNK_BYTES = MAX_PIECE_BYTES
# Empty datagrams a UDP target ignores before its first request: end markers of an earlier
# run. More than that come only from a socket that was shut down.
MAX_STRAYS = 64
# Shortest step by which a sender approaches its deadline.
MIN_STEP_NS = 1_000_000
# Raw samples (40 bytes each) and distinct values (100 bytes) kept before they are counted.
FOLD_SAMPLES = 1 << 18
FOLD_VALUES = 1 << 17
NEVER = 1 << 63
# Python's own buffers begin at a multiple of this.
NATURAL_ALIGNMENT = 8
# A multiple of every alignment that is likely to be asked for.
PAGE_BYTES = 4096

# A peer that went away must not kill the process, whatever it does with SIGPIPE.
NO_SIGNAL = getattr(socket_module, "MSG_NOSIGNAL", 0)
# Receives without copying. Only Linux takes it as a wish; elsewhere it is an answer.
TRUNCATE = getattr(socket_module, "MSG_TRUNC", 0) if sys.platform == "linux" else 0

Sendable = Union[bytes, memoryview]
Taken = Union[bytearray, memoryview]


class Over(Exception):
    """Leads out of nested waits when the phase has to end."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.name)
        self.ended = ended


@contextmanager
def no_broken_pipe_signal() -> Iterator[None]:
    """Keep SIGPIPE from this thread; one that was raised meanwhile is taken back."""
    if not hasattr(signal, "sigtimedwait"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    finally:
        if signal.SIGPIPE not in before:
            if signal.SIGPIPE in signal.sigpending():
                signal.sigtimedwait({signal.SIGPIPE}, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- buffers ----

def ring(size: int, width: int, alignment: int, offset: int) -> list[memoryview]:
    """Buffers in one piece of memory, each ``offset`` bytes behind a multiple.

    Args:
        size: Of each, in bytes.
        width: How many.
        alignment: In bytes; 0 and 1 mean anywhere.
        offset: In bytes.
    """
    step = max(alignment, 1)
    if size >= PAGE_BYTES and PAGE_BYTES % step == 0:
        # Copies between the kernel and a place that is not the beginning of a page are slow.
        step = PAGE_BYTES
    stride = -(-size // step) * step
    whole = stride * width + step + offset
    memory: bytearray | array[int]
    if step <= NATURAL_ALIGNMENT:
        memory = bytearray(whole)   # zero pages until it is used
        first = offset
    else:
        memory = array("B", (0,)) * whole
        first = -memory.buffer_info()[0] % step + offset
    view = memoryview(memory)
    return [view[start:start + size]
            for start in range(first, first + stride * width, stride)] if size else [view[:0]]


def pour(view: memoryview, fill: bytes, start: int) -> None:
    """Write ``fill``, repeated, into a buffer, from place ``start`` of the repetition on."""
    unit = fill * max(1, (1 << 16) // len(fill))
    start %= len(fill)
    place = 0
    while place < len(view):
        part = unit[start:start + len(view) - place]
        view[place:place + len(part)] = part
        place += len(part)
        start = 0


class Outgoing:
    """Buffers that messages are sent from.

    Args:
        size: Of a message in bytes.
        whole: Whether every message lies in one buffer, whatever its size.
        width, alignment, offset, fill: See ``base.Buffers``.
    """

    def __init__(
        self, size: int, width: int, alignment: int, offset: int, fill: bytes,
        whole: bool = False,
    ) -> None:
        self.size = size
        self.in_pieces = size > CHUNK_BYTES and not whole
        self.width = 1 if self.in_pieces else width
        self._period = len(fill)
        # Pieces begin anywhere in the text, so there is room for one more of it.
        buffer_bytes = CHUNK_BYTES + len(fill) if self.in_pieces else size
        self._views = ring(buffer_bytes, self.width, alignment, offset)
        for number, view in enumerate(self._views):
            pour(view, fill, number * size)
        # bytes are handed to a system call a little faster than a view of memory.
        plain = self.width == 1 and alignment <= NATURAL_ALIGNMENT and not offset
        self.first: Sendable = (bytes(self._views[0]) if plain and size <= CHUNK_BYTES
                                else self._views[0])

    def piece(self, number: int, left: int) -> memoryview:
        """What to hand over when ``left`` bytes of a message have not been sent."""
        if self.in_pieces:
            start = (self.size - left) % self._period
            return self._views[0][start:start + min(left, CHUNK_BYTES)]
        return self._views[number % self.width][self.size - left:]

    def messages(self, number: int, count: int) -> Iterator[Sendable]:
        """``count`` whole messages from number ``number`` on."""
        if self.width == 1:
            return repeat(self.first, count)
        place = number % self.width
        return islice(cycle(self._views), place, place + count)


class Incoming:
    """Buffers that messages are received into."""

    def __init__(
        self, size: int, width: int, alignment: int, offset: int, whole: bool = False,
    ) -> None:
        in_pieces = size > CHUNK_BYTES and not whole
        self.width = 1 if in_pieces else width
        # Whether nobody asked for a place in memory.
        self.anywhere = self.width == 1 and alignment <= NATURAL_ALIGNMENT and not offset
        self._views = ring(CHUNK_BYTES if in_pieces else size, self.width, alignment, offset)
        self.first = self._views[0]

    def view(self, number: int) -> memoryview:
        """Where message ``number`` goes."""
        return self._views[number % self.width]

    def views(self, number: int, count: int) -> Iterator[memoryview]:
        """Where ``count`` messages go from number ``number`` on."""
        if self.width == 1:
            return repeat(self.first, count)
        place = number % self.width
        return islice(cycle(self._views), place, place + count)


# ---- samples ----

class Samples:
    """Round trips: raw at first, then counted, in the end in a histogram."""

    def __init__(self, keep_interval: bool) -> None:
        self.raw: list[int] = []
        self._keep_interval = keep_interval
        self._recent: Counter[int] = Counter()  # of this interval
        self._before: Counter[int] = Counter()  # of those before
        self._histogram = Histogram()

    def fold(self) -> None:
        """Count the raw samples."""
        self._recent.update(self.raw)
        self.raw.clear()
        if len(self._recent) > FOLD_VALUES and not self._keep_interval:
            self._end_recent()

    def end_interval(self) -> tuple[int, int, int]:
        """Median, 99th percentile and maximum since the last call, in ns, 0 without samples.

        Percentiles are those of ``Histogram.percentile``.
        """
        self.fold()
        total = sum(self._recent.values())
        if not total:
            return 0, 0, 0
        found = []
        values = iter(sorted(self._recent.items()))
        seen = value = 0
        for percent in (50, 99):
            rank = -(-percent * total // 100)
            while seen < rank:
                value, count = next(values)
                seen += count
            found.append(highest_equivalent(counts_index(min(value, HIGHEST_NS))))
        highest = min(max(self._recent), HIGHEST_NS)
        self._end_recent()
        return min(found[0], highest), min(found[1], highest), highest

    def histogram(self) -> Histogram:
        """All samples."""
        self.fold()
        self._end_recent()
        self._flush()
        return self._histogram

    def _end_recent(self) -> None:
        self._before.update(self._recent)
        self._recent.clear()
        if len(self._before) > FOLD_VALUES:
            self._flush()

    def _flush(self) -> None:
        for value, count in self._before.items():
            self._histogram.record(value, count)
        self._before.clear()



# ---- waiting ----

class SocketTimeout:
    """A receive or send timeout of a socket, given back in the end.

    Args:
        sock: Any socket.
        option: ``SO_RCVTIMEO`` or ``SO_SNDTIMEO``.
    """

    def __init__(self, sock: socket, option: int = SO_RCVTIMEO) -> None:
        self._sock = sock
        self._option = option
        self._before = sock.getsockopt(SOL_SOCKET, option, 32)
        # struct timeval has two words of 32 or of 64 bits.
        self._timeval = struct.Struct("=qq" if len(self._before) == 16 else "=ll")
        self.timeout_ns = 0
        if any(self._before):
            self.timeout_ns = -1
            self.set(0)

    def packed(self, timeout_ns: int) -> bytes:
        """The timeout as a struct timeval, rounded up to µs."""
        return self._timeval.pack(*divmod(-(-timeout_ns // 1000), 1_000_000))

    def set(self, timeout_ns: int) -> None:
        """Change it, if it is another; 0 is none."""
        if timeout_ns != self.timeout_ns:
            self._sock.setsockopt(SOL_SOCKET, self._option, self.packed(timeout_ns))
            self.timeout_ns = timeout_ns

    def restore(self) -> None:
        """Give the socket back what it came with."""
        if self.timeout_ns != 0 or any(self._before):
            with suppress(OSError):  # closed under us: nothing left to restore
                self._sock.setsockopt(SOL_SOCKET, self._option, self._before)


class Brake:
    """Counts what a ``Pace`` still allows before the loop has to sleep.

    Attributes:
        left: Units; without a pace more than any loop does.
        wakes: Monotonic time at which the interval is over.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.left = pace.burst or NEVER
        self.wakes = 0

    def start(self, now: int) -> None:
        """The first interval begins."""
        self.wakes = now + self._pace.interval_ns

    def renew(self, now: int) -> None:
        """The next burst begins, in the interval that ``now`` lies in."""
        interval_ns = self._pace.interval_ns
        self.left = self._pace.burst
        self.wakes += ((now - self.wakes) // interval_ns + 1) * interval_ns


def how_it_failed(exc: OSError, datagram: bool = False) -> tuple[Ended, int]:
    """How a connection ends that a system call failed on, and the error number to tell."""
    # The socket at the other end was closed: the way a UDP peer ends without a word.
    if datagram and isinstance(exc, ConnectionRefusedError):
        return Ended.PEER, 0
    return Ended.ERROR, exc.errno or errno.EIO


class Phase:
    """A data phase: the stop descriptor, the counters, and how it ends.

    Args:
        spec: What to do.
        stop_fd: Ends the phase when it becomes readable; -1 for none.
    """

    # Whether `now` is the time of the end when the phase ends by itself.
    keeps_time = True

    def __init__(self, spec: AnySpec, stop_fd: int) -> None:
        self.stop_fd = stop_fd
        self.stop_poll = select.poll()
        if stop_fd >= 0:
            self.stop_poll.register(stop_fd, select.POLLIN)
        self.brake = Brake(spec.pace)
        self.start_at_ns = getattr(spec, "start_at_ns", 0)
        self.timeouts: list[SocketTimeout] = []
        self.started_ns = 0
        self.now = 0
        self.due = NEVER        # when `tick` has something to do
        self.transactions = 0
        self.requests_sent = 0
        self.in_flight = 0
        self.lost = 0
        self.late = 0
        self.reordered = 0
        self.malformed = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.send_calls = 0
        self.recv_calls = 0
        self.interims_dropped = 0
        self.leftover_bytes = 0
        self.failed_sends = 0
        self.strangers = 0
        self.mss = -1
        self.retransmissions = -1

    def run(self) -> Tally:
        """Run to the end; see ``base.Engine``."""
        error = 0
        try:
            ended = Ended.STOPPED if self.stop_asked() else (
                self.wait_for_start() or self.start())
            while ended is None:
                ended = self.step()
        except Over as exc:
            ended = exc.ended
        except OSError as exc:
            ended, error = self.failed(exc)
        # A sender knows the time of its last transaction or deadline; any other end is now.
        if ended not in (Ended.COUNT, Ended.TIME) or not self.keeps_time:
            self.now = monotonic_ns()
        latency_ns = self.finish()
        return Tally(
            ended=ended, errno=error, started_ns=self.started_ns,
            elapsed_ns=self.now - self.started_ns if self.started_ns else 0,
            transactions=self.transactions, requests_sent=self.requests_sent,
            in_flight=self.in_flight, lost=self.lost, late=self.late,
            reordered=self.reordered, malformed=self.malformed, bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received, send_calls=self.send_calls,
            recv_calls=self.recv_calls, interims_dropped=self.interims_dropped,
            leftover_bytes=self.leftover_bytes, failed_sends=self.failed_sends,
            strangers=self.strangers, mss=self.mss,
            retransmissions=self.retransmissions, latency_ns=latency_ns,
            distributions=self.distributions())

    def wait_for_start(self) -> Ended | None:
        """Wait for the time at which the spec wants it to begin."""
        while (left_ns := self.start_at_ns - monotonic_ns()) > 0:
            if left_ns >= 2_000_000:
                if self.stop_poll.poll(min(left_ns, TICK_NS) // 1_000_000 - 1):
                    return Ended.STOPPED
            else:
                time.sleep(left_ns / 1e9)
        return None

    def start(self) -> Ended | None:
        """First duties; why it is over already, if it is."""
        raise NotImplementedError

    def step(self) -> Ended | None:
        """Go on for a while; why it is over, if it is."""
        raise NotImplementedError

    def tick(self) -> Ended | None:
        """Something is due at ``now``."""
        raise NotImplementedError

    def failed(self, exc: OSError) -> tuple[Ended, int]:
        """How a phase ends that a system call failed in, and the error number to tell."""
        return how_it_failed(exc)

    def finish(self) -> Histogram:
        """Last duties; the latencies if there are any."""
        return Histogram()

    def distributions(self) -> Mapping[str, Histogram]:
        """What is kept beside the latencies, by name."""
        return {}

    def restore(self) -> None:
        """Give the socket back the timeouts it came with."""
        for timeout in self.timeouts:
            timeout.restore()

    def stop_asked(self) -> bool:
        return self.stop_fd >= 0 and bool(self.stop_poll.poll(0))

    def pause(self) -> Ended | None:
        """The brake is on: sleep for a while, or go on when its interval is over."""
        self.now = monotonic_ns()
        if self.now >= self.brake.wakes:
            self.brake.renew(self.now)
            self.resumed()
            return None
        left_ns = min(self.brake.wakes, self.due, self.now + TICK_NS) - self.now
        if left_ns >= 2_000_000:
            if self.stop_poll.poll(left_ns // 1_000_000):
                return Ended.STOPPED
        elif left_ns > 0:
            time.sleep(left_ns / 1e9)
        self.now = monotonic_ns()
        return self.tick() if self.now >= self.due else None

    def resumed(self) -> None:
        """The brake was released."""


class Timed(Phase):
    """A phase that looks at the clock: deadline, ticks and interim results.

    ``due`` is the earliest of the three.
    """

    def __init__(self, spec: AnySpec, stop_fd: int, report_fd: int) -> None:
        super().__init__(spec, stop_fd)
        self.report_fd = report_fd
        self.duration_ns = spec.duration_ns
        self.every_ns = spec.interim_ns if report_fd >= 0 else 0
        self.samples = Samples(spec.interim_ns > 0)
        self.now_fresh = False  # nothing happened since `now` was read
        self.deadline = NEVER
        self.next_tick = NEVER
        self.next_interim = NEVER
        self.next_loss = NEVER  # UDP: a request may have been in flight for too long
        self.interim_ns = 0
        self.interim_transactions = 0
        self.interim_bytes = 0

    def set_clock(self) -> None:
        """The time begins; what it takes to plan the first tick does not count."""
        planned = self.now = monotonic_ns()
        if self.duration_ns:
            self.deadline = planned + self.duration_ns
        self.plan_tick()
        self.now = monotonic_ns()
        if self.duration_ns:
            self.deadline += self.now - planned
        self.brake.start(self.now)
        self.now_fresh = True

    def begin(self) -> None:
        """The first message is about to be sent, or has arrived."""
        self.started_ns = self.interim_ns = self.now
        if self.every_ns:
            self.next_interim = self.now + self.every_ns
            self.due = min(self.due, self.next_interim)

    def next_step_ns(self) -> int:
        """How long until the next tick.

        Close to the deadline it is half of what is left, so a call that starts just
        before the tick and lasts until the next one still ends in time.
        """
        left_ns = self.deadline - self.now
        return max(left_ns // 2, MIN_STEP_NS) if left_ns < 2 * TICK_NS else TICK_NS

    def earliest(self) -> int:
        """When something is due."""
        return min(self.next_tick, self.deadline, self.next_interim, self.next_loss)

    def plan_tick(self) -> None:
        """Decide when to look again."""
        step_ns = self.next_step_ns()
        self.next_tick = self.now + step_ns
        self.due = self.earliest()
        self.set_timeouts(step_ns)

    def set_timeouts(self, step_ns: int) -> None:
        """Let no call block for longer."""
        for timeout in self.timeouts:
            timeout.set(step_ns)

    def tick(self) -> Ended | None:
        self.now_fresh = False
        if self.now >= self.deadline:
            return Ended.TIME
        if self.now >= self.next_interim:
            self.report_interim()
        if self.now < self.next_tick:
            self.due = self.earliest()
            return None
        if self.stop_asked():
            return Ended.STOPPED
        # Here, where without a burst no request is in flight that would have to wait for it.
        if len(self.samples.raw) >= FOLD_SAMPLES:
            self.samples.fold()
            self.now = monotonic_ns()
        self.plan_tick()
        return None

    def look_at_clock(self) -> Ended | None:
        """A call timed out, or ended in a way that nobody has looked at the clock since."""
        self.now = monotonic_ns()
        return self.tick() if self.now >= self.due else None

    def gone(self) -> Ended:
        """End of file, an empty datagram, or the socket was shut down from outside."""
        if self.stop_asked():
            return Ended.STOPPED
        self.now = monotonic_ns()
        return Ended.TIME if self.now >= self.deadline else Ended.PEER

    def report_interim(self) -> None:
        p50_ns, p99_ns, max_ns = self.samples.end_interval()
        message = INTERIM_RECORD.pack(
            self.now - self.started_ns, self.now - self.interim_ns, self.transactions,
            self.transactions - self.interim_transactions,
            self.bytes_sent + self.bytes_received - self.interim_bytes,
            p50_ns, p99_ns, max_ns)
        try:
            os.write(self.report_fd, message)
        except OSError:
            self.interims_dropped += 1
        self.interim_ns = self.now
        self.interim_transactions = self.transactions
        self.interim_bytes = self.bytes_sent + self.bytes_received
        self.next_interim += self.every_ns
        if self.next_interim <= self.now:
            self.next_interim = self.now + self.every_ns

    def finish(self) -> Histogram:
        if self.next_interim != NEVER and self.now > self.interim_ns:
            self.report_interim()
        return self.samples.histogram()


def receiver_function(sock: socket, spin: bool) -> Callable[..., int]:
    """``sock.recv_into``, or the same with polls before it blocks (``LoopSpec.spin``)."""
    recv_into = sock.recv_into
    if not spin:
        return recv_into
    # Not everywhere in the standard library; to sleep for nothing gives way as well.
    give_way = getattr(os, "sched_yield", None) or partial(time.sleep, 0)
    clock = monotonic_ns

    def receive(view: memoryview, want: int = 0) -> int:
        until = 0
        while True:
            try:
                return recv_into(view, want, MSG_DONTWAIT)
            except BlockingIOError:
                now = clock()
            if not until:
                until = now + SPIN_NS
            elif now >= until:
                return recv_into(view, want)
            give_way()

    return receive


def taker_function(
    file: FileIO, receive: Callable[..., int], incoming: Incoming, spin: bool
) -> tuple[Callable[[Taken], int | None], Taken]:
    """A function that receives into what it is given, and what to give it.

    Args:
        file: The socket as an unbuffered file; ``None`` is what it returns at a timeout.
        receive: What ``receiver_function`` returned.
        incoming: Where messages have to lie, if it matters.
        spin: As there.
    """
    if spin:
        return receive, incoming.first
    # Python looks at a bytearray of its own a little faster than at a view of memory.
    plain = incoming.anywhere and len(incoming.first) < PAGE_BYTES
    return file.readinto, bytearray(len(incoming.first)) if plain else incoming.first


def sender_function(sock: socket, plain_write: bool) -> Callable[[Sendable, int], int]:
    """``sock.send``, or write() with the same arguments."""
    if not plain_write:
        return sock.send
    descriptor = sock.fileno()
    write = os.write

    def put(data: Sendable, flags: int) -> int:
        return write(descriptor, data)

    return put
