"""The engine in Python: the specification of what a data phase does.

Each role has two ways to move:

* a **sprint**, which does nothing between two transactions but receive, clock, a list's
  ``append`` and send, with everything bound to local names, and stops at the first thing
  that is not "a whole message went through and nothing is due";
* single **steps** for the start, the end, messages that come in parts, full buffers and
  lost datagrams.

Samples are appended raw and counted later in bulk, by C code inside Python: a histogram
update per transaction would cost a tenth of a loopback round trip.

Sends never block (MSG_DONTWAIT): a sender whose window does not fit into the socket
buffers has to read responses before the rest of it goes out, and has to see its deadline.

A UDP sender that looks for losses keeps its receive timeout always: nothing else gets it
out of a receive when a datagram is gone.
"""

from __future__ import annotations

import errno
import os
import select
import socket as socket_module
import struct
from collections import Counter, deque
from contextlib import suppress
from itertools import repeat
from socket import MSG_DONTWAIT, SO_RCVTIMEO, SOL_SOCKET, socket
from time import monotonic_ns

from xenrr.engine.base import (
    INTERIM_RECORD,
    SLOW_ROUND_TRIP_NS,
    TARGET_POLL,
    TICK_NS,
    AnySpec,
    Ended,
    LoopSpec,
    Role,
    Tally,
)
from xenrr.errors import LocalProtocolError
from xenrr.stats.histogram import HIGHEST_NS, Histogram, counts_index, highest_equivalent

__all__ = ["PureEngine"]

# Content of every message a sender sends; nobody looks at it.
TEXT = b"netperf"
# Larger messages move in pieces of this size.
CHUNK_BYTES = 1 << 20
# Empty datagrams a UDP target ignores before its first request: end markers of an earlier
# run. More than that come only from a socket that was shut down.
MAX_STRAYS = 64
# Shortest step by which a sender approaches its deadline.
MIN_STEP_NS = 1_000_000
DRAIN_LIMIT = 1_000_000
# Raw samples (40 bytes each) and distinct values (100 bytes) kept before they are counted.
FOLD_SAMPLES = 1 << 18
FOLD_VALUES = 1 << 17
NEVER = 1 << 63

# A peer that went away must not kill the process, whatever it does with SIGPIPE.
SEND_FLAGS = MSG_DONTWAIT | getattr(socket_module, "MSG_NOSIGNAL", 0)


class PureEngine:
    """Runs data phases in Python."""

    name = "pure"

    def run(
        self, sock: socket | None, spec: AnySpec, stop_fd: int = -1, report_fd: int = -1
    ) -> Tally:
        """Run one data phase; see ``base.Engine``."""
        if sock is None or not isinstance(spec, LoopSpec):
            raise LocalProtocolError("this engine does round trips only")
        if sock.gettimeout() is not None:
            raise LocalProtocolError("an engine needs a blocking socket without a timeout")
        loop = (_Sender(sock, spec, stop_fd, report_fd) if spec.role is Role.SENDER
                else _Target(sock, spec, stop_fd))
        try:
            return loop.run()
        finally:
            loop.restore()


class _Samples:
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


class _Loop:
    """What both roles share: the socket, the stop descriptor and the counters."""

    def __init__(
        self, sock: socket, spec: LoopSpec, stop_fd: int, in_bytes: int, out_bytes: int,
        text: bytes,
    ) -> None:
        self.sock = sock
        self.spec = spec
        self.stop_fd = stop_fd
        # One byte more than a datagram may have shows one that is too long.
        in_limit = min(in_bytes + spec.datagram, CHUNK_BYTES)
        # The text runs on from one send to the next: room to begin anywhere in it.
        self.out_limit = min(out_bytes, CHUNK_BYTES - len(TEXT))
        self.small = in_bytes <= in_limit and out_bytes <= self.out_limit
        self.in_view = memoryview(bytearray(in_limit))
        whole = text * (self.out_limit // len(text) + 2)
        self.out_view = memoryview(whole)[:self.out_limit + len(text)]
        self.out_small = bytes(self.out_view[:self.out_limit])
        self.stop_poll = select.poll()
        if stop_fd >= 0:
            self.stop_poll.register(stop_fd, select.POLLIN)
        self.old_timeout = sock.getsockopt(SOL_SOCKET, SO_RCVTIMEO, 32)
        # struct timeval has two words of 32 or of 64 bits.
        self.timeval = struct.Struct("=qq" if len(self.old_timeout) == 16 else "=ll")
        self.timeout_ns = 0
        if any(self.old_timeout):
            self.timeout_ns = -1
            self.set_timeout(0)

        self.started_ns = 0
        self.now = 0
        self.have = 0           # bytes of the current message received
        self.send_left = 0      # bytes of the current message still to send
        self.transactions = 0
        self.requests_sent = 0
        self.in_flight = 0
        self.lost = 0
        self.late = 0
        self.malformed = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.send_calls = 0
        self.recv_calls = 0
        self.interims_dropped = 0
        self.leftover_bytes = 0

    def run(self) -> Tally:
        error = 0
        try:
            ended = Ended.STOPPED if self.stop_asked() else self.start()
            while ended is None:
                ended = self.step()
        except ConnectionRefusedError as exc:
            # The socket at the other end was closed: the way a UDP peer ends without a word.
            ended = Ended.PEER if self.spec.datagram else Ended.ERROR
            error = 0 if self.spec.datagram else exc.errno or errno.ECONNREFUSED
        except OSError as exc:
            ended = Ended.ERROR
            error = exc.errno or errno.EIO
        # A sender knows the time of its last transaction or deadline; any other end is now.
        if ended not in (Ended.COUNT, Ended.TIME) or self.spec.role is Role.TARGET:
            self.now = monotonic_ns()
        latency_ns = self.finish()
        return Tally(
            ended=ended, errno=error, started_ns=self.started_ns,
            elapsed_ns=self.now - self.started_ns if self.started_ns else 0,
            transactions=self.transactions, requests_sent=self.requests_sent,
            in_flight=self.in_flight, lost=self.lost, late=self.late,
            malformed=self.malformed, bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received, send_calls=self.send_calls,
            recv_calls=self.recv_calls, interims_dropped=self.interims_dropped,
            leftover_bytes=self.leftover_bytes, latency_ns=latency_ns)

    def start(self) -> Ended | None:
        raise NotImplementedError

    def step(self) -> Ended | None:
        raise NotImplementedError

    def finish(self) -> Histogram:
        """Last duties; the latencies if there are any."""
        return Histogram()

    def restore(self) -> None:
        """Give the socket back the receive timeout it came with."""
        if self.timeout_ns != 0 or any(self.old_timeout):
            with suppress(OSError):  # closed under us: nothing left to restore
                self.sock.setsockopt(SOL_SOCKET, SO_RCVTIMEO, self.old_timeout)

    def stop_asked(self) -> bool:
        return self.stop_fd >= 0 and bool(self.stop_poll.poll(0))

    def set_timeout(self, timeout_ns: int) -> None:
        if timeout_ns != self.timeout_ns:
            seconds, rest_us = divmod(-(-timeout_ns // 1000), 1_000_000)
            self.sock.setsockopt(SOL_SOCKET, SO_RCVTIMEO, self.timeval.pack(seconds, rest_us))
            self.timeout_ns = timeout_ns

    def room_events(self, readable: bool, timeout_ns: int | None) -> tuple[int, bool]:
        """Wait for room to send: events of the socket, and whether to stop."""
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT | (select.POLLIN if readable else 0))
        if self.stop_fd >= 0:
            poll.register(self.stop_fd, select.POLLIN)
        timeout_ms = None if timeout_ns is None else max(0, -(-timeout_ns // 1_000_000))
        ready = dict(poll.poll(timeout_ms))
        stop = ready.pop(self.stop_fd, 0) != 0
        return ready.get(self.sock.fileno(), 0), stop


class _Sender(_Loop):
    """Issues requests and times them."""

    def __init__(self, sock: socket, spec: LoopSpec, stop_fd: int, report_fd: int) -> None:
        super().__init__(sock, spec, stop_fd, spec.response_bytes, spec.request_bytes, TEXT)
        self.report_fd = report_fd
        self.window = 1 + spec.burst
        self.samples = _Samples(spec.interim_ns > 0)
        self.starts: deque[int] = deque()   # of the requests in flight
        self.stamp = 0          # start of the request about to be sent, 0: not begun
        self.now_fresh = False  # nothing happened since `now` was read
        self.deadline = NEVER
        self.next_tick = NEVER
        self.next_interim = NEVER
        self.due = NEVER        # the earliest of the three
        self.tick_ns = 0
        self.tick_transactions = 0
        self.interim_ns = 0
        self.interim_transactions = 0
        self.interim_bytes = 0
        self.last_heard = 0
        self.silences = 0

    def start(self) -> Ended | None:
        spec = self.spec
        planned = self.tick_ns = self.now = monotonic_ns()
        if spec.duration_ns:
            self.deadline = planned + spec.duration_ns
        if spec.interim_ns and self.report_fd >= 0:
            self.next_interim = planned + spec.interim_ns
        self.plan_tick()
        # The first round trip starts after the set-up, and the time does with it.
        self.now = self.started_ns = self.last_heard = self.interim_ns = monotonic_ns()
        if spec.duration_ns:
            self.deadline += self.now - planned
        self.now_fresh = True
        return None

    def step(self) -> Ended | None:
        allowed = self.requests_allowed()
        if self.send_left or (self.in_flight < self.window and allowed > 0):
            return self.send_request()
        if self.small and not self.have and allowed > 0:
            return self.sprint(min(allowed, FOLD_SAMPLES))
        return self.receive_response(0)

    def requests_allowed(self) -> int:
        if not self.spec.transactions:
            return NEVER
        return self.spec.transactions - self.transactions - self.in_flight

    def sprint(self, budget: int) -> Ended | None:
        size = self.spec.response_bytes
        request = self.out_small
        request_bytes = len(request)
        view = self.in_view
        recv_into = self.sock.recv_into
        send = self.sock.send
        clock = monotonic_ns
        flags = SEND_FLAGS
        due = self.due
        samples = self.samples.raw
        append = samples.append
        before = len(samples)
        starts = self.starts
        popleft, push = starts.popleft, starts.append
        one = self.window == 1
        start = starts[0]
        got = size
        now = 0
        put = request_bytes
        failure: OSError | None = None
        try:
            if one:
                for _ in repeat(None, budget):
                    got = recv_into(view)
                    if got != size:
                        break
                    now = clock()
                    if now >= due:
                        break
                    append(now - start)
                    start = now
                    try:
                        put = send(request, flags)
                    except OSError as exc:
                        put, failure = -1, exc
                    if put != request_bytes:
                        break
            else:
                for _ in repeat(None, budget):
                    got = recv_into(view)
                    if got != size:
                        break
                    now = clock()
                    if now >= due:
                        break
                    append(now - popleft())
                    push(now)
                    try:
                        put = send(request, flags)
                    except OSError as exc:
                        put, failure = -1, exc
                    if put != request_bytes:
                        break
        except BlockingIOError:
            got = -1
        finally:
            done = len(samples) - before
            if one:
                starts[0] = start
            self.transactions += done
            self.recv_calls += done
            self.bytes_received += done * size
            self.requests_sent += done
            self.send_calls += done
            self.bytes_sent += done * request_bytes
            if done:
                self.silences = 0
                self.last_heard = starts[-1]
                self.now_fresh = False
        if len(samples) >= FOLD_SAMPLES:
            self.samples.fold()
        if got < 0:
            return self.heard_nothing()
        if got != size:
            return self.received(got)
        if now >= due:
            self.recv_calls += 1
            self.bytes_received += size
            self.now = now
            return self.complete()
        if put != request_bytes:
            # The last request went out in part or not at all.
            self.requests_sent -= 1
            self.send_calls -= 1
            self.bytes_sent -= request_bytes
            self.in_flight -= 1
            self.stamp = starts.pop()
            if failure is None:
                self.sent(put)
            elif not isinstance(failure, BlockingIOError):
                raise failure
        return None

    def send_request(self) -> Ended | None:
        if not self.now_fresh:
            self.now = monotonic_ns()
        if self.now >= self.due:
            ended = self.tick()
            if ended is not None:
                return ended
        left = self.send_left
        offset = 0
        if left:
            offset = (self.spec.request_bytes - left) % len(TEXT)
        else:
            left = self.spec.request_bytes
            if not self.stamp:
                self.stamp = self.now if self.now_fresh else monotonic_ns()
        self.now_fresh = False
        piece = self.out_view[offset:offset + min(left, self.out_limit)]
        try:
            put = self.sock.send(piece, SEND_FLAGS)
        except BlockingIOError:
            return self.wait_for_room()
        self.sent(put)
        return None

    def sent(self, put: int) -> None:
        self.send_calls += 1
        self.bytes_sent += put
        if not self.send_left:
            self.starts.append(self.stamp)
            self.stamp = 0
            self.in_flight += 1
            self.requests_sent += 1
            self.send_left = self.spec.request_bytes
        self.send_left -= put

    def wait_for_room(self) -> Ended | None:
        """Wait until a request fits or a response is there to be read."""
        readable = self.in_flight > (self.send_left > 0)
        events, stop = self.room_events(readable, self.due - monotonic_ns())
        if stop:
            return Ended.STOPPED
        if not events:
            self.now = monotonic_ns()
            return self.tick() if self.now >= self.due else None
        if readable and events & select.POLLIN:
            return self.receive_response(MSG_DONTWAIT)
        return None

    def receive_response(self, flags: int) -> Ended | None:
        want = len(self.in_view)
        if not self.spec.datagram:
            want = min(want, self.spec.response_bytes - self.have)
        try:
            got = self.sock.recv_into(self.in_view, want, flags)
        except BlockingIOError:
            return self.heard_nothing()
        return self.received(got)

    def received(self, got: int) -> Ended | None:
        if not got:
            return self.end_of_file()
        self.recv_calls += 1
        if self.spec.datagram and got != self.spec.response_bytes:
            self.malformed += 1
            return self.heard_nothing()
        self.bytes_received += got
        self.have += got
        self.now = monotonic_ns()
        if self.have == self.spec.response_bytes:
            return self.complete()
        return self.tick() if self.now >= self.due else None

    def complete(self) -> Ended | None:
        """A whole response has arrived at ``now``."""
        if self.now > self.deadline:
            self.have = self.spec.response_bytes
            return Ended.TIME
        self.have = 0
        self.samples.raw.append(self.now - self.starts.popleft())
        if len(self.samples.raw) >= FOLD_SAMPLES:
            self.samples.fold()
        self.in_flight -= 1
        self.transactions += 1
        self.silences = 0
        self.last_heard = self.now
        self.now_fresh = True
        if self.transactions == self.spec.transactions:
            return Ended.COUNT
        return self.tick() if self.now >= self.due else None

    def heard_nothing(self) -> Ended | None:
        """A receive timed out, or brought nothing that counts."""
        self.now = now = monotonic_ns()
        loss_timeout_ns = self.spec.loss_timeout_ns
        if (self.spec.datagram and loss_timeout_ns and self.in_flight
                and now < self.deadline and now - self.last_heard >= loss_timeout_ns):
            return self.lose_window()
        return self.tick() if now >= self.due else None

    def lose_window(self) -> Ended | None:
        """All in flight is lost: count what is still queued as late and begin anew."""
        self.lost += self.in_flight
        self.in_flight = 0
        self.starts.clear()
        self.stamp = 0
        self.silences += 1
        if self.silences >= LoopSpec.MAX_SILENCES:
            return Ended.LOST
        try:
            for _ in repeat(None, DRAIN_LIMIT):
                got = self.sock.recv_into(self.in_view, 0, MSG_DONTWAIT)
                if not got:
                    return self.end_of_file()
                self.recv_calls += 1
                if got == self.spec.response_bytes:
                    self.late += 1
                else:
                    self.malformed += 1
        except BlockingIOError:
            pass
        self.last_heard = self.now = monotonic_ns()
        return self.tick() if self.now >= self.due else None

    def end_of_file(self) -> Ended:
        """End of file, or an empty datagram, or shut down for reading from outside."""
        if self.stop_asked():
            return Ended.STOPPED
        self.now = monotonic_ns()
        return Ended.TIME if self.now >= self.deadline else Ended.PEER

    def plan_tick(self) -> None:
        """Decide how long a receive may wait and when to look again.

        Close to the deadline both are half of what is left, so a receive that starts just
        before the next tick still ends in time.
        """
        now = self.now
        done = self.transactions - self.tick_transactions
        left = self.deadline - now
        near = left < 2 * TICK_NS
        slow = not done or (now - self.tick_ns) // done > SLOW_ROUND_TRIP_NS
        losses = self.spec.datagram and self.spec.loss_timeout_ns > 0
        step = max(left // 2, MIN_STEP_NS) if near else TICK_NS
        timeout_ns = 0
        if near or slow or losses:
            timeout_ns = min(step, self.spec.loss_timeout_ns) if losses else step
        self.tick_ns = now
        self.tick_transactions = self.transactions
        self.next_tick = now + step
        self.due = min(self.next_tick, self.deadline, self.next_interim)
        self.set_timeout(timeout_ns)

    def tick(self) -> Ended | None:
        """Something is due at ``now``."""
        self.now_fresh = False
        if self.now >= self.deadline:
            return Ended.TIME
        if self.now >= self.next_interim:
            self.report_interim()
        if self.now < self.next_tick:
            self.due = min(self.next_tick, self.deadline, self.next_interim)
            return None
        if self.stop_asked():
            return Ended.STOPPED
        self.plan_tick()
        return None

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
        self.next_interim += self.spec.interim_ns
        if self.next_interim <= self.now:
            self.next_interim = self.now + self.spec.interim_ns

    def finish(self) -> Histogram:
        if self.next_interim != NEVER and self.now > self.interim_ns:
            self.report_interim()
        if not self.spec.datagram:
            self.leftover_bytes = self.have
        return self.samples.histogram()


class _Target(_Loop):
    """Answers requests; reads no clock while it runs."""

    def __init__(self, sock: socket, spec: LoopSpec, stop_fd: int) -> None:
        super().__init__(sock, spec, stop_fd, spec.request_bytes, spec.response_bytes, b"\0")
        self.peer: object = None
        self.sifting = False    # UDP: the queue may hold strangers' datagrams
        self.strays = 0
        self.poll_countdown = TARGET_POLL
        self.quiet_mark = -1
        self.quiet_since = 0

    def start(self) -> Ended | None:
        if self.spec.datagram:
            self.peer = self.sock.getpeername()[:2]
            self.sifting = True
        if self.spec.idle_end_ns:
            self.set_timeout(min(self.spec.idle_end_ns, TICK_NS))
        return None

    def step(self) -> Ended | None:
        if self.send_left:
            return self.send_response()
        if self.sifting:
            return self.sift_request()
        if self.small and not self.have and self.started_ns:
            return self.sprint()
        return self.receive_request()

    def sprint(self) -> Ended | None:
        size = self.spec.request_bytes
        response = self.out_small
        response_bytes = len(response)
        view = self.in_view
        recv_into = self.sock.recv_into
        send = self.sock.send
        flags = SEND_FLAGS
        budget = self.poll_countdown
        if self.spec.transactions:
            budget = min(budget, self.spec.transactions - self.transactions)
        got = size
        put = response_bytes
        failure: OSError | None = None
        done = 0
        try:
            for done in range(budget):  # noqa: B007  the count of the turns before
                got = recv_into(view)
                if got != size:
                    break
                try:
                    put = send(response, flags)
                except OSError as exc:
                    put, failure = 0, exc
                if put != response_bytes:
                    break
            else:
                done = budget
        except BlockingIOError:
            got = -1
        finally:
            # The turns before this one went through.
            self.transactions += done
            self.recv_calls += done
            self.bytes_received += done * size
            self.send_calls += done
            self.bytes_sent += done * response_bytes
            self.poll_countdown -= done
        if got < 0:
            return self.quiet()
        if got != size:
            return self.received(got)
        if put != response_bytes:
            self.recv_calls += 1
            self.bytes_received += size
            self.send_left = response_bytes
            if failure is None:
                return self.sent(put)
            if not isinstance(failure, BlockingIOError):
                raise failure
            return None
        if self.transactions == self.spec.transactions:
            return Ended.COUNT
        return self.poll_stop()

    def sift_request(self) -> Ended | None:
        """Take a datagram that was perhaps queued before the socket was connected."""
        try:
            got, address = self.sock.recvfrom_into(self.in_view, 0, MSG_DONTWAIT)
        except BlockingIOError:
            self.sifting = False
            return None
        if address[:2] != self.peer:
            self.poll_countdown -= 1
            return self.poll_stop()
        return self.received(got)

    def receive_request(self) -> Ended | None:
        want = len(self.in_view)
        if not self.spec.datagram:
            want = min(want, self.spec.request_bytes - self.have)
        try:
            got = self.sock.recv_into(self.in_view, want)
        except BlockingIOError:
            return self.quiet()
        return self.received(got)

    def received(self, got: int) -> Ended | None:
        if not got:
            if self.spec.datagram and not self.started_ns and self.strays < MAX_STRAYS:
                self.strays += 1
                if not self.stop_asked():
                    return None
            return Ended.STOPPED if self.stop_asked() else Ended.PEER
        self.recv_calls += 1
        self.poll_countdown -= 1
        if self.spec.datagram and got != self.spec.request_bytes:
            self.malformed += 1
            return self.poll_stop()
        self.bytes_received += got
        self.have += got
        if self.have == self.spec.request_bytes:
            self.have = 0
            self.send_left = self.spec.response_bytes
            if not self.started_ns:
                self.started_ns = monotonic_ns()
        return self.poll_stop()

    def send_response(self) -> Ended | None:
        piece = self.out_view[:min(self.send_left, self.out_limit)]
        try:
            put = self.sock.send(piece, SEND_FLAGS)
        except BlockingIOError:
            _, stop = self.room_events(readable=False, timeout_ns=None)
            return Ended.STOPPED if stop else None
        return self.sent(put)

    def sent(self, put: int) -> Ended | None:
        self.send_calls += 1
        self.bytes_sent += put
        self.send_left -= put
        if self.send_left:
            return None
        self.transactions += 1
        return Ended.COUNT if self.transactions == self.spec.transactions else None

    def poll_stop(self) -> Ended | None:
        if self.poll_countdown > 0:
            return None
        self.poll_countdown = TARGET_POLL
        return Ended.STOPPED if self.stop_asked() else None

    def quiet(self) -> Ended | None:
        """The receive timeout of a target that watches for the end by itself has passed."""
        now = monotonic_ns()
        mark = self.bytes_received + self.malformed
        if mark != self.quiet_mark:
            self.quiet_mark = mark
            self.quiet_since = now - self.timeout_ns
        if self.stop_asked():
            return Ended.STOPPED
        if (self.started_ns and now - self.started_ns >= self.spec.duration_ns
                and now - self.quiet_since >= self.spec.idle_end_ns):
            return Ended.IDLE
        return None
