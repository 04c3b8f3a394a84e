"""UDP round trips whose requests carry numbers, in Python.

A target that knows the numbers sends each back, so every response is known to belong to its
request, whatever got lost, came twice or overtook another one on the way. One that does not
know them is taken for what it is with its first response: then everything goes by order, as
with messages that have no room for a number (``pure_rr``).
"""

from __future__ import annotations

from itertools import repeat
from socket import socket
from time import monotonic_ns
from typing import Generic, TypeVar

from xenrr.engine.base import HEAD, HEAD_BYTES, MAGIC, TICK_NS, Ended, LoopSpec
from xenrr.engine.pure_common import MIN_STEP_NS, NEVER
from xenrr.engine.pure_rr import RoundTripSender
from xenrr.stats.histogram import Histogram

__all__ = ["Numbered", "NumberedSender"]

Start = TypeVar("Start")

NUMBERS = 1 << 32


class Numbered(Generic[Start]):
    """Requests in flight, by what they begin with, the oldest first.

    Attributes:
        starts: What is remembered of each.
        next: Number of the next request.
        newest: Beginning of the latest request that was answered.
        echoed: Whether the last response had a number.
        reordered: Responses that came after one to a later request.
    """

    __slots__ = ("echoed", "newest", "next", "reordered", "starts")

    def __init__(self) -> None:
        self.starts: dict[bytes, Start] = {}
        self.next = 0
        self.newest = b""
        self.echoed = False
        self.reordered = 0

    def head(self) -> bytes:
        """What the next request begins with."""
        while True:
            head = HEAD.pack(MAGIC, self.next)
            self.next = (self.next + 1) % NUMBERS
            if head not in self.starts:     # of a request that waits since the last round
                return head

    def answered(self, head: bytes) -> Start | None:
        """Take out the request that a response is for.

        Args:
            head: What the response begins with.

        Returns:
            ``None`` if there is none: the response is late.
        """
        self.echoed = head[:len(MAGIC)] == MAGIC
        if not self.echoed:
            return self.starts.pop(next(iter(self.starts))) if self.starts else None
        start = self.starts.pop(head, None)
        if start is not None:
            if self.newest and (_number(self.newest) - _number(head)) % NUMBERS < NUMBERS // 2:
                self.reordered += 1
            else:
                self.newest = head
        return start

    def oldest(self) -> Start | None:
        """What is remembered of the oldest request in flight."""
        return next(iter(self.starts.values()), None)

    def give_up_oldest(self) -> None:
        """Forget the oldest request in flight."""
        del self.starts[next(iter(self.starts))]


def _number(head: bytes) -> int:
    return int(HEAD.unpack(head)[1])


class NumberedSender(RoundTripSender):
    """Issues numbered requests and times them."""

    def __init__(self, sock: socket, spec: LoopSpec, stop_fd: int, report_fd: int) -> None:
        super().__init__(sock, spec, stop_fd, report_fd)
        self.numbers: Numbered[int] = Numbered()
        self.head = b""         # of the request that is about to be sent

    def start(self) -> Ended | None:
        ended = super().start()
        if self.spec.loss_timeout_ns:
            self.next_loss = self.now + self.spec.loss_timeout_ns
            self.due = self.earliest()
        return ended

    def message(self, number: int, left: int) -> memoryview:
        view = super().message(number, left)
        if not self.head:
            self.head = self.numbers.head()
        view[:HEAD_BYTES] = self.head
        return view

    def note_start(self) -> None:
        self.numbers.starts[self.head] = self.stamp
        self.head = b""

    def forget_all(self) -> None:
        self.numbers.starts.clear()

    def sprint(self, budget: int) -> Ended | None:
        if not self.numbers.echoed:
            return self.receive_response(0)
        size = self.spec.response_bytes
        request_bytes = self.spec.request_bytes
        take, taken = self.take, self.taken
        send, word = self.put, self.put_word
        head_in = memoryview(taken)[:HEAD_BYTES]
        head_out = self.outgoing.piece(0, request_bytes)[:HEAD_BYTES]
        clock = monotonic_ns
        pack = HEAD.pack
        due = self.due
        samples = self.samples.raw
        append = samples.append
        before = len(samples)
        numbers = self.numbers
        starts = numbers.starts
        pop = starts.pop
        newest = numbers.newest
        number = numbers.next
        budget = min(budget, NUMBERS - number)
        head = b""
        got: int | None = None
        now = heard = 0
        put: int | None = request_bytes
        strange = False
        failure: OSError | None = None
        try:
            for _ in repeat(None, budget):
                got = take(taken)
                if got != size:
                    break
                now = clock()
                head = head_in.tobytes()
                # Late, out of order, without a number, or of the round before.
                strange = now >= due or head <= newest or head not in starts
                if strange:
                    break
                append(now - pop(head))
                newest = head
                heard = now
                head = pack(MAGIC, number)
                number += 1
                head_out[:] = head
                starts[head] = now
                try:
                    put = send(word)
                except OSError as exc:
                    put, failure = None, exc
                if put != request_bytes:
                    break
        except BlockingIOError:
            got = None
        finally:
            numbers.newest = newest
            numbers.next = number % NUMBERS
            self.sprinted(len(samples) - before, heard)
        if got is None:
            return self.heard_nothing()
        if got != size:
            return self.received(got)
        if strange:
            self.recv_calls += 1
            return self.response(head)
        if put != request_bytes:
            self.stamp = starts.pop(head)
            self.head = head
            self.take_back(put, failure)
        return None

    def received(self, got: int) -> Ended | None:
        if got != self.spec.response_bytes:
            return super().received(got)
        self.recv_calls += 1
        return self.response(self.incoming.view(self.transactions)[:HEAD_BYTES].tobytes())

    def response(self, head: bytes) -> Ended | None:
        """A response has arrived that begins with ``head``."""
        self.now = monotonic_ns()
        if self.now > self.deadline:
            self.bytes_received += self.spec.response_bytes
            return Ended.TIME
        start = self.numbers.answered(head)
        if start is None:
            self.late += 1
            return self.heard_nothing()
        self.bytes_received += self.spec.response_bytes
        return self.transacted(start)

    def heard_nothing(self) -> Ended | None:
        self.now = monotonic_ns()
        return self.tick() if self.now >= self.due else None

    def tick(self) -> Ended | None:
        if self.next_loss <= self.now < self.deadline:
            ended = self.look_for_losses()
            if ended is not None:
                return ended
        return super().tick()

    def look_for_losses(self) -> Ended | None:
        """Give up what has been in flight for too long, and say when to look again."""
        limit_ns = self.spec.loss_timeout_ns
        silent = self.in_flight > 0 and self.now - self.last_heard >= limit_ns
        self.next_loss = NEVER
        if not self.numbers.echoed:
            ended = self.lose_window() if silent else None
            self.next_loss = max(self.last_heard + limit_ns, self.now + MIN_STEP_NS)
            return ended
        lost = 0
        while True:
            oldest = self.numbers.oldest()
            if oldest is None or self.now - oldest < limit_ns:
                break
            self.numbers.give_up_oldest()
            lost += 1
        self.lost += lost
        self.in_flight -= lost
        self.next_loss = max((oldest or self.now) + limit_ns, self.now + MIN_STEP_NS)
        if lost and silent:
            self.last_heard = self.now
            self.silences += 1
            if self.silences >= LoopSpec.MAX_SILENCES:
                return Ended.LOST
        return None

    def plan_tick(self) -> None:
        super().plan_tick()
        limit_ns = self.spec.loss_timeout_ns
        if limit_ns:
            # Nothing but this gets the loop to see that a request is lost while responses
            # to others come in slowly.
            self.receive_timeout.set(min(self.next_step_ns(), TICK_NS,
                                         max(limit_ns // 4, min(limit_ns, MIN_STEP_NS))))

    def resumed(self) -> None:
        super().resumed()
        # What came in meanwhile is still to be read.
        self.next_loss = max(self.next_loss, self.now + MIN_STEP_NS)

    def finish(self) -> Histogram:
        self.reordered = self.numbers.reordered
        return super().finish()
