"""Round trips on one connection, in Python.

Each role has two ways to move:

* a **sprint**, which does nothing between two transactions but receive, clock, a list's
  ``append`` and send, with everything bound to local names, and stops at the first thing
  that is not "a whole message went through and nothing is due";
* single **steps** for the start, the end, messages that come in parts, full buffers,
  lost datagrams, rings of buffers and paced transactions.

A sprint moves messages with ``readinto`` and ``write`` of an unbuffered file around the
socket. They have one argument, which with Python 3.11 is 2 % of a TCP round trip on loopback
beside a socket's own methods, and 0.5 % beside ``os.read`` and ``os.write``; with 3.13 these
are 0.3 % ahead. Where nothing comes or goes before a timeout they return ``None``. Iterators
that make the calls without any bytecode (``map``, ``zip``) gained nothing.

Sends do not block (MSG_DONTWAIT) where a sender's window may not fit into the socket
buffers: it has to read responses before the rest of it goes out. write() knows no such
flag; there, a send timeout gets the loop back in time for its deadline.

A UDP sender that looks for losses keeps its receive timeout always: nothing else gets it
out of a receive when a datagram is gone.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from functools import partial
from io import FileIO
from itertools import repeat
from operator import length_hint
from socket import MSG_DONTWAIT, SO_SNDTIMEO, socket
from time import monotonic_ns
from typing import Any

from xenrr.engine.base import (
    HEAD_BYTES,
    MAGIC,
    SLOW_ROUND_TRIP_NS,
    TARGET_POLL,
    TICK_NS,
    Ended,
    LoopSpec,
)
from xenrr.engine.pure_common import (
    FOLD_SAMPLES,
    MAX_STRAYS,
    NEVER,
    NO_SIGNAL,
    TARGET_TEXT,
    TEXT,
    Incoming,
    Outgoing,
    Phase,
    Sendable,
    SocketTimeout,
    Timed,
    how_it_failed,
    receiver_function,
    sender_function,
    taker_function,
)
from xenrr.stats.histogram import Histogram

__all__ = ["SEND_FLAGS", "RoundTripSender", "RoundTripTarget"]

DRAIN_LIMIT = 1_000_000
FIRST_LOOK_NS = 4 * SLOW_ROUND_TRIP_NS
SEND_FLAGS = MSG_DONTWAIT | NO_SIGNAL


class _Ends:
    """What both roles have: the socket, its buffers and timeouts, and the message in work.

    Args:
        sock: The data connection.
        spec: What to do.
        in_bytes, out_bytes: Size of a message that arrives, and of one that is sent.
        text: What the latter holds, unless the spec says.
    """

    def __init__(
        self, sock: socket, spec: LoopSpec, in_bytes: int, out_bytes: int, text: bytes,
    ) -> None:
        buffers = spec.buffers
        # One byte more than a datagram may have shows one that is too long.
        self.incoming = Incoming(in_bytes + spec.datagram, buffers.receive_width,
                                 buffers.receive_alignment, buffers.receive_offset)
        self.outgoing = Outgoing(out_bytes, buffers.send_width, buffers.send_alignment,
                                 buffers.send_offset, buffers.fill or text)
        # Whether every message lies in one and the same buffer.
        self.small = (not self.outgoing.in_pieces and len(self.incoming.first) >= in_bytes
                      and self.incoming.width == self.outgoing.width == 1)
        self.sock = sock
        self.send = sender_function(sock, spec.plain_write)
        self.receive = receiver_function(sock, spec.spin)
        self.receive_timeout = SocketTimeout(sock)
        self.timeouts = [self.receive_timeout]
        # How a sprint moves messages: functions of one argument, and what that is.
        file = FileIO(sock.fileno(), "r+", closefd=False)
        self.take, self.taken = taker_function(file, self.receive, self.incoming, spec.spin)
        # Numbers are written into a message.
        message = self.outgoing.piece(0, out_bytes) if spec.numbered else self.outgoing.first
        self.put: Callable[[Any], int | None] = partial(sock.send, message)
        self.put_word: Sendable | int = SEND_FLAGS
        self.send_timeout: SocketTimeout | None = None
        if spec.plain_write or (self.small and not spec.burst):
            self.put, self.put_word = file.write, message
            self.send_timeout = SocketTimeout(sock, SO_SNDTIMEO)
            self.timeouts.append(self.send_timeout)
            self.send_timeout.set(TICK_NS)
        self.have = 0           # bytes of the current message received
        self.send_left = 0      # bytes of the current message still to send

    def room_events(
        self, stop_fd: int, readable: bool, timeout_ns: int | None
    ) -> tuple[int, bool]:
        """Wait for room to send: events of the socket, and whether to stop."""
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT | (select.POLLIN if readable else 0))
        if stop_fd >= 0:
            poll.register(stop_fd, select.POLLIN)
        timeout_ms = None if timeout_ns is None else max(0, -(-timeout_ns // 1_000_000))
        ready = dict(poll.poll(timeout_ms))
        stop = ready.pop(stop_fd, 0) != 0
        return ready.get(self.sock.fileno(), 0), stop


class RoundTripSender(_Ends, Timed):
    """Issues requests and times them."""

    def __init__(self, sock: socket, spec: LoopSpec, stop_fd: int, report_fd: int) -> None:
        Timed.__init__(self, spec, stop_fd, report_fd)
        _Ends.__init__(self, sock, spec, spec.response_bytes, spec.request_bytes, TEXT)
        self.spec = spec
        self.window = 1 + spec.burst
        self.starts: deque[int] = deque()   # of the requests in flight
        self.stamp = 0          # start of the request about to be sent, 0: not begun
        self.tick_ns = 0
        self.tick_transactions = 0
        self.last_heard = 0
        self.silences = 0

    def start(self) -> Ended | None:
        self.tick_ns = monotonic_ns()
        # The first round trip starts after the set-up, and the time does with it.
        self.set_clock()
        self.begin()
        self.last_heard = self.now
        return None

    def step(self) -> Ended | None:
        if self.brake.left <= 0:
            return self.pause()
        allowed = self.requests_allowed()
        if self.send_left or (self.in_flight < self.window and allowed > 0):
            return self.send_request()
        # The last transaction before a pause is a step: no request goes out after it.
        budget = min(allowed, FOLD_SAMPLES, self.brake.left - 1)
        if self.small and not self.have and budget > 0:
            return self.sprint(budget)
        return self.receive_response(0)

    def resumed(self) -> None:
        self.last_heard = self.now
        self.now_fresh = True

    def requests_allowed(self) -> int:
        if not self.spec.transactions:
            return NEVER
        return self.spec.transactions - self.transactions - self.in_flight

    def sprint(self, budget: int) -> Ended | None:
        size = self.spec.response_bytes
        request_bytes = self.spec.request_bytes
        take, taken = self.take, self.taken
        send, word = self.put, self.put_word
        clock = monotonic_ns
        due = self.due
        samples = self.samples.raw
        append = samples.append
        before = len(samples)
        starts = self.starts
        popleft, push = starts.popleft, starts.append
        one = self.window == 1
        start = starts[0]
        got: int | None = None
        now = 0
        put: int | None = request_bytes
        failure: OSError | None = None
        try:
            if one:
                for _ in repeat(None, budget):
                    got = take(taken)
                    if got != size:
                        break
                    now = clock()
                    if now >= due:
                        break
                    append(now - start)
                    start = now
                    try:
                        put = send(word)
                    except OSError as exc:
                        put, failure = None, exc
                    if put != request_bytes:
                        break
            else:
                for _ in repeat(None, budget):
                    got = take(taken)
                    if got != size:
                        break
                    now = clock()
                    if now >= due:
                        break
                    append(now - popleft())
                    push(now)
                    try:
                        put = send(word)
                    except OSError as exc:
                        put, failure = None, exc
                    if put != request_bytes:
                        break
        except BlockingIOError:
            got = None
        finally:
            if one:
                starts[0] = start
            self.sprinted(len(samples) - before, starts[-1])
        if got is None:
            return self.heard_nothing()
        if got != size:
            return self.received(got)
        if now >= due:
            self.recv_calls += 1
            self.bytes_received += size
            self.now = now
            return self.complete()
        if put != request_bytes:
            self.stamp = starts.pop()
            self.take_back(put, failure)
        return None

    def sprinted(self, done: int, last_heard: int) -> None:
        """Count the transactions of a sprint and the requests that followed them."""
        self.transactions += done
        self.recv_calls += done
        self.bytes_received += done * self.spec.response_bytes
        self.requests_sent += done
        self.send_calls += done
        self.bytes_sent += done * self.spec.request_bytes
        self.brake.left -= done
        if done:
            self.silences = 0
            self.last_heard = last_heard
            self.now_fresh = False

    def take_back(self, put: int | None, failure: OSError | None) -> None:
        """The last request of a sprint went out in part or not at all."""
        self.requests_sent -= 1
        self.send_calls -= 1
        self.bytes_sent -= self.spec.request_bytes
        self.in_flight -= 1
        if put is not None:
            self.sent(put)
        elif failure is not None and not isinstance(failure, BlockingIOError):
            raise failure

    def send_request(self) -> Ended | None:
        if not self.now_fresh:
            self.now = monotonic_ns()
        if self.now >= self.due:
            ended = self.tick()
            if ended is not None:
                return ended
        number = self.requests_sent
        left = self.send_left
        if left:
            number -= 1
        else:
            left = self.spec.request_bytes
            if not self.stamp:
                self.stamp = self.now if self.now_fresh else monotonic_ns()
        self.now_fresh = False
        try:
            put = self.send(self.message(number, left), SEND_FLAGS)
        except BlockingIOError:
            return self.wait_for_room()
        self.sent(put)
        return None

    def message(self, number: int, left: int) -> memoryview:
        """What to hand over of a request."""
        return self.outgoing.piece(number, left)

    def note_start(self) -> None:
        """The request that began at ``stamp`` is on its way."""
        self.starts.append(self.stamp)

    def forget_all(self) -> None:
        """Nothing is on its way any more."""
        self.starts.clear()

    def sent(self, put: int) -> None:
        self.send_calls += 1
        self.bytes_sent += put
        if not self.send_left:
            self.note_start()
            self.stamp = 0
            self.in_flight += 1
            self.requests_sent += 1
            self.send_left = self.spec.request_bytes
        self.send_left -= put

    def wait_for_room(self) -> Ended | None:
        """Wait until a request fits or a response is there to be read."""
        readable = self.in_flight > (self.send_left > 0)
        events, stop = self.room_events(
            self.stop_fd, readable, self.due - monotonic_ns())
        if stop:
            return Ended.STOPPED
        if not events:
            self.now = monotonic_ns()
            return self.tick() if self.now >= self.due else None
        if readable and events & select.POLLIN:
            return self.receive_response(MSG_DONTWAIT)
        return None

    def receive_response(self, flags: int) -> Ended | None:
        view = self.incoming.view(self.transactions)
        want = len(view)
        if not self.spec.datagram:
            want = min(want, self.spec.response_bytes - self.have)
        try:
            got = (self.sock.recv_into(view, want, flags) if flags
                   else self.receive(view, want))
        except BlockingIOError:
            return self.heard_nothing()
        return self.received(got)

    def received(self, got: int) -> Ended | None:
        if not got:
            return self.gone()
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
        return self.transacted(self.starts.popleft())

    def transacted(self, start: int) -> Ended | None:
        """A transaction that began at ``start`` is over at ``now``."""
        self.samples.raw.append(self.now - start)
        self.in_flight -= 1
        self.transactions += 1
        self.brake.left -= 1
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
        self.forget_all()
        self.stamp = 0
        self.silences += 1
        if self.silences >= LoopSpec.MAX_SILENCES:
            return Ended.LOST
        try:
            for _ in repeat(None, DRAIN_LIMIT):
                got = self.sock.recv_into(self.incoming.first, 0, MSG_DONTWAIT)
                if not got:
                    return self.gone()
                self.recv_calls += 1
                if got == self.spec.response_bytes:
                    self.late += 1
                else:
                    self.malformed += 1
        except BlockingIOError:
            pass
        self.last_heard = self.now = monotonic_ns()
        return self.tick() if self.now >= self.due else None

    def plan_tick(self) -> None:
        """Decide how long a receive may wait and when to look again."""
        now = self.now
        done = self.transactions - self.tick_transactions
        slow = not done or (now - self.tick_ns) // done > SLOW_ROUND_TRIP_NS
        losses = self.spec.datagram and self.spec.loss_timeout_ns > 0
        step_ns = self.next_step_ns()
        timeout_ns = 0
        if losses:
            timeout_ns = min(step_ns, self.spec.loss_timeout_ns)
        elif slow or self.deadline - now < 2 * TICK_NS:
            timeout_ns = step_ns
        self.tick_ns = now
        self.tick_transactions = self.transactions
        # Whether things go fast is known long before the first tick.
        self.next_tick = now + (step_ns if self.transactions
                                else min(step_ns, FIRST_LOOK_NS))
        self.due = self.earliest()
        self.receive_timeout.set(timeout_ns)
        if self.send_timeout is not None:
            self.send_timeout.set(step_ns)

    def failed(self, exc: OSError) -> tuple[Ended, int]:
        return how_it_failed(exc, self.spec.datagram)

    def finish(self) -> Histogram:
        if not self.spec.datagram:
            self.leftover_bytes = self.have
        return super().finish()


class RoundTripTarget(_Ends, Phase):
    """Answers requests; reads no clock while it runs."""

    keeps_time = False

    def __init__(self, sock: socket, spec: LoopSpec, stop_fd: int) -> None:
        Phase.__init__(self, spec, stop_fd)
        _Ends.__init__(self, sock, spec, spec.request_bytes, spec.response_bytes, TARGET_TEXT)
        self.spec = spec
        # What responses to requests without a number begin with, and the next one does.
        self.own_heads = [bytes(self.outgoing.piece(number, spec.response_bytes)[:HEAD_BYTES])
                          for number in range(self.outgoing.width if spec.numbered else 0)]
        self.head = b""
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
            self.receive_timeout.set(min(self.spec.idle_end_ns, TICK_NS))
        return None

    def step(self) -> Ended | None:
        if self.send_left:
            if self.brake.left <= 0 and self.send_left == self.spec.response_bytes:
                return self.pause()
            return self.send_response()
        if self.sifting:
            return self.sift_request()
        if self.small and not self.have and self.started_ns and self.brake.left > 0:
            return self.sprint()
        return self.receive_request()

    def sprint(self) -> Ended | None:
        size = self.spec.request_bytes
        response_bytes = self.spec.response_bytes
        take, taken = self.take, self.taken
        send, word = self.put, self.put_word
        numbered = self.spec.numbered
        head = b""
        if numbered:
            head_in = memoryview(taken)[:HEAD_BYTES]
            head_out = self.outgoing.piece(0, response_bytes)[:HEAD_BYTES]
            own_head, = self.own_heads
        budget = min(self.poll_countdown, self.brake.left)
        if self.spec.transactions:
            budget = min(budget, self.spec.transactions - self.transactions)
        # It knows how many turns are left, and makes no numbers as a range does.
        turns = repeat(None, budget)
        unfinished = 1
        got: int | None = None
        put: int | None = response_bytes
        failure: OSError | None = None
        try:
            if numbered:
                for _ in turns:
                    got = take(taken)
                    if got != size:
                        break
                    head = head_in.tobytes()
                    head_out[:] = head if head[:4] == MAGIC else own_head
                    try:
                        put = send(word)
                    except OSError as exc:
                        put, failure = None, exc
                    if put != response_bytes:
                        break
                else:
                    unfinished = 0
            else:
                for _ in turns:
                    got = take(taken)
                    if got != size:
                        break
                    try:
                        put = send(word)
                    except OSError as exc:
                        put, failure = None, exc
                    if put != response_bytes:
                        break
                else:
                    unfinished = 0
        except BlockingIOError:
            got = None
        finally:
            # The turns before this one went through.
            done = budget - length_hint(turns) - unfinished
            self.transactions += done
            self.recv_calls += done
            self.bytes_received += done * size
            self.send_calls += done
            self.bytes_sent += done * response_bytes
            self.poll_countdown -= done
            self.brake.left -= done
        if got is None:
            return self.quiet()
        if got != size:
            return self.received(got)
        if put != response_bytes:
            self.recv_calls += 1
            self.bytes_received += size
            self.owe_response(head)
            if put is not None:
                return self.sent(put)
            if failure is not None and not isinstance(failure, BlockingIOError):
                raise failure
            return None
        if self.transactions == self.spec.transactions:
            return Ended.COUNT
        return self.poll_stop()

    def sift_request(self) -> Ended | None:
        """Take a datagram that was perhaps queued before the socket was connected."""
        try:
            got, address = self.sock.recvfrom_into(
                self.incoming.view(self.transactions), 0, MSG_DONTWAIT)
        except BlockingIOError:
            self.sifting = False
            return None
        if address[:2] != self.peer:
            self.poll_countdown -= 1
            return self.poll_stop()
        return self.received(got)

    def receive_request(self) -> Ended | None:
        view = self.incoming.view(self.transactions)
        want = len(view)
        if not self.spec.datagram:
            want = min(want, self.spec.request_bytes - self.have)
        try:
            got = self.receive(view, want)
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
            self.owe_response(self.incoming.view(self.transactions)[:HEAD_BYTES])
            if not self.started_ns:
                self.started_ns = monotonic_ns()
                self.brake.start(self.started_ns)
            return None     # it ends between two transactions, if that can be
        return self.poll_stop()

    def owe_response(self, head: Sendable) -> None:
        """A whole request has arrived that begins with ``head``."""
        self.send_left = self.spec.response_bytes
        if self.spec.numbered:
            self.head = (bytes(head) if head[:4] == MAGIC
                         else self.own_heads[self.transactions % len(self.own_heads)])

    def send_response(self) -> Ended | None:
        piece = self.outgoing.piece(self.transactions, self.send_left)
        if self.spec.numbered:
            piece[:HEAD_BYTES] = self.head
        try:
            put = self.send(piece, SEND_FLAGS)
        except BlockingIOError:
            _, stop = self.room_events(self.stop_fd, readable=False, timeout_ns=None)
            return Ended.STOPPED if stop else None
        return self.sent(put)

    def sent(self, put: int) -> Ended | None:
        self.send_calls += 1
        self.bytes_sent += put
        self.send_left -= put
        if self.send_left:
            return None
        self.transactions += 1
        self.brake.left -= 1
        return (Ended.COUNT if self.transactions == self.spec.transactions
                else self.poll_stop())

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
            self.quiet_since = now - self.receive_timeout.timeout_ns
        if self.stop_asked():
            return Ended.STOPPED
        if (self.started_ns and now - self.started_ns >= self.spec.duration_ns
                and now - self.quiet_since >= self.spec.idle_end_ns):
            return Ended.IDLE
        return None

    def failed(self, exc: OSError) -> tuple[Ended, int]:
        return how_it_failed(exc, self.spec.datagram)

    def finish(self) -> Histogram:
        if not self.spec.datagram:
            self.leftover_bytes = self.have
        return super().finish()
