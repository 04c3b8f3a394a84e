"""A sender of many flows, in Python: the specification of ``FlowsEngine.run_flows``.

One thread waits for all connections with a poller and never in a call of one of them
(MSG_DONTWAIT). A response is received, timed and counted, and the next request of its flow
leaves, before another flow has its turn. So a flow's round trip holds the time in which
others had theirs: that is what one processor does with many connections.

In the open loop a heap says which flow has the next request to send. A flow is not in it
while it has to wait for something else, a place in its window or room in its socket; it
then sends all that has become due as soon as it can.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from socket import MSG_DONTWAIT, socket
from time import monotonic_ns

from xenrr.engine.base import HEAD_BYTES, Ended, LoopSpec
from xenrr.engine.flows import SERVICE, SLIP, Flow, FlowsSpec, FlowsTally, Schedule
from xenrr.engine.pure_common import (
    MIN_STEP_NS,
    NEVER,
    NO_SIGNAL,
    TEXT,
    Incoming,
    Outgoing,
    Over,
    Timed,
    how_it_failed,
)
from xenrr.engine.pure_numbered import Numbered
from xenrr.engine.pure_pollers import READABLE, WRITABLE, Poller
from xenrr.errors import LocalProtocolError
from xenrr.frozen import replace
from xenrr.stats.histogram import HIGHEST_NS, Histogram, PackedHistogram, counts_index

__all__ = ["FlowsSender", "arrivals"]

DRAIN_LIMIT = 1_000_000
SEND_FLAGS = MSG_DONTWAIT | NO_SIGNAL
# Raw samples of a flow that are kept before they are counted: a tenth of a millisecond.
FOLD_FLOW_SAMPLES = 512


def arrivals(schedule: Schedule, flow: int, flows: int) -> Iterator[int]:
    """When the requests of a flow are meant to leave, in ns after the start.

    Args:
        schedule: Which says how.
        flow: Number of the flow, from 0.
        flows: How many there are.
    """
    interval_ns = schedule.interval_ns
    if not schedule.poisson:
        first_ns = flow * interval_ns / flows
        for number in itertools.count():
            yield int(first_ns + number * interval_ns)
    at_ns = 0.0
    for drawn in _splitmix64(schedule.seed + flow):
        at_ns += -math.log(1.0 - (drawn >> 11) / (1 << 53)) * interval_ns
        yield int(at_ns)


def _splitmix64(state: int) -> Iterator[int]:
    # Sebastiano Vigna, splitmix64.c (public domain).
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        yield mixed ^ (mixed >> 31)


class Steps:
    """What a histogram holds, in a dictionary: a thousand of them stay small.

    Attributes:
        raw: Samples that ``fold`` has not counted yet.
    """

    __slots__ = ("_clamped", "_counts", "_max_ns", "_min_ns", "_sum_ns", "raw")

    def __init__(self) -> None:
        self.raw: list[int] = []
        self._counts: Counter[int] = Counter()
        self._min_ns = self._max_ns = self._sum_ns = self._clamped = 0

    def fold(self) -> None:
        """Count the raw samples."""
        raw = self.raw
        if not raw:
            return
        low, high = max(min(raw), 0), max(raw)
        if high > HIGHEST_NS:
            self._clamped += sum(value > HIGHEST_NS for value in raw)
            raw[:] = [min(value, HIGHEST_NS) for value in raw]
            high = HIGHEST_NS
        self._min_ns = min(low, self._min_ns) if self._counts else low
        self._max_ns = max(high, self._max_ns)
        self._sum_ns += sum(raw)
        self._counts.update(map(counts_index, raw))
        raw.clear()

    def packed(self) -> PackedHistogram:
        """All samples."""
        self.fold()
        return PackedHistogram(
            b"".join(PackedHistogram.PAIR.pack(*step) for step in sorted(self._counts.items())),
            self._min_ns, self._max_ns, self._sum_ns, self._clamped)

    def merge(self, other: Steps) -> None:
        """Add all that another one has counted."""
        self.fold()
        other.fold()
        if other._counts:
            self._min_ns = (min(self._min_ns, other._min_ns) if self._counts
                            else other._min_ns)
            self._max_ns = max(self._max_ns, other._max_ns)
            self._sum_ns += other._sum_ns
            self._clamped += other._clamped
            self._counts.update(other._counts)


class _Flow:
    """One connection, its window and its counts; the latter are named as in ``Tally``."""

    __slots__ = ("bytes_received", "bytes_sent", "due_ns", "ended", "errno", "fd", "have",
                 "in_flight", "index", "last_heard", "late", "lost", "malformed", "numbers",
                 "queued",
                 "recv_calls", "recv_into", "requests_sent", "send", "send_calls", "send_left",
                 "silences", "sock", "stamp", "starts", "steps", "times", "transactions",
                 "wants_room")

    def __init__(self, index: int, sock: socket) -> None:
        self.index = index
        self.sock = sock
        self.fd = sock.fileno()
        self.recv_into = sock.recv_into
        self.send = sock.send
        self.ended: Ended | None = None
        self.errno = 0
        # Of the requests in flight: when each was meant to leave, and when it did.
        self.starts: deque[tuple[int, int]] = deque()
        self.numbers: Numbered[tuple[int, int]] = Numbered()   # and if they have numbers
        self.stamp = 0          # start of the request about to be sent, 0: not begun
        self.have = 0           # bytes of the current response received
        self.send_left = 0      # bytes of the current request still to send
        self.wants_room = False     # it is told when its socket takes more
        self.last_heard = 0
        self.silences = 0
        self.steps = Steps()
        # Open loop: when its next request is due, the ones after that, and whether it
        # waits for that time.
        self.due_ns = NEVER
        self.times: Iterator[int] = iter(())
        self.queued = False
        self.transactions = self.requests_sent = self.in_flight = self.lost = 0
        self.late = self.malformed = self.bytes_sent = self.bytes_received = 0
        self.send_calls = self.recv_calls = 0

    def outcome(self, datagram: bool) -> Flow:
        assert self.ended is not None
        return Flow(
            ended=self.ended, errno=self.errno, transactions=self.transactions,
            requests_sent=self.requests_sent, in_flight=self.in_flight, lost=self.lost,
            late=self.late, malformed=self.malformed, bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            leftover_bytes=0 if datagram else self.have, latency_ns=self.steps.packed())


# Counts of flows that are those of all flows when they are added up.
SUMMED = ("transactions", "requests_sent", "in_flight", "lost", "late", "malformed",
          "bytes_sent", "bytes_received", "send_calls", "recv_calls")


class FlowsSender(Timed):
    """Issues requests on many connections and times them.

    Args:
        socks: Connected.
        spec: What to do.
        poller: ``epoll`` or ``poll``.
        stop_fd, report_fd: See ``base.Engine``.
    """

    def __init__(
        self, socks: Sequence[socket], spec: FlowsSpec, poller: str, stop_fd: int,
        report_fd: int,
    ) -> None:
        spec.check(len(socks))
        if any(sock.gettimeout() for sock in socks):
            raise LocalProtocolError("an engine needs sockets without a timeout")
        rounds = spec.rounds
        super().__init__(rounds, stop_fd, report_fd)
        self.spec = rounds
        self.schedule = spec.schedule
        self.window = 1 + rounds.burst
        buffers = rounds.buffers
        # One byte more than a datagram may have shows one that is too long.
        self.incoming = Incoming(rounds.response_bytes + rounds.datagram, 1,
                                 buffers.receive_alignment, buffers.receive_offset)
        self.outgoing = Outgoing(rounds.request_bytes, 1, buffers.send_alignment,
                                 buffers.send_offset, buffers.fill or TEXT)
        self.request = self.outgoing.first
        if rounds.numbered:
            self.request = self.numbered_request = self.outgoing.piece(0, rounds.request_bytes)
        self.flows = [_Flow(index, sock) for index, sock in enumerate(socks)]
        self.going = {flow.fd: flow for flow in self.flows}
        if len(self.going) < len(self.flows):
            raise LocalProtocolError("a connection is there twice")
        self.last: _Flow | None = None      # the one that ended last
        self.service = Steps()
        self.slip = Steps()
        # Open loop: flows that wait for the time of their next request.
        self.agenda: list[tuple[int, int]] = []
        self.next_look = NEVER      # when a request may have been in flight for too long
        self.poller = Poller(poller)

    def run_flows(self) -> FlowsTally:
        """Run to the end; see ``flows.FlowsEngine``."""
        total = self.run()
        if self.last is not None and not self.going:
            total = replace(total, ended=self.ended_by_flows(), errno=self.last.errno)
        if self.schedule is not None:
            total = replace(total, distributions={
                SERVICE: self.service.packed().unpack(), SLIP: self.slip.packed().unpack()})
        for flow in self.going.values():
            flow.ended, flow.errno = total.ended, total.errno
        return FlowsTally(total, tuple(flow.outcome(self.spec.datagram) for flow in self.flows),
                          self.poller.name)

    def restore(self) -> None:
        self.poller.close()

    def ended_by_flows(self) -> Ended:
        """How it ends when every flow has ended by itself."""
        assert self.last is not None and self.last.ended is not None
        counted = any(flow.ended is Ended.COUNT for flow in self.flows)
        return Ended.COUNT if counted else self.last.ended

    # ---- start and end ----

    def start(self) -> Ended | None:
        for fd in self.going:
            self.poller.add(fd)
        if self.stop_fd >= 0:
            self.poller.add(self.stop_fd)
        self.set_clock()
        self.begin()
        schedule = self.schedule
        for flow in self.flows:
            flow.last_heard = self.now
            if schedule is not None:
                flow.times = arrivals(schedule, flow.index, len(self.flows))
                self.plan_request(flow)
        if schedule is not None:
            self.agenda = [(flow.due_ns, flow.index) for flow in self.flows]
            heapq.heapify(self.agenda)
            for flow in self.flows:
                flow.queued = True
        if self.spec.datagram and self.spec.loss_timeout_ns:
            self.next_look = self.now + self.spec.loss_timeout_ns
        if schedule is None:
            for flow in self.flows:
                self.send_requests(flow)
        return None

    def end_flow(self, flow: _Flow, ended: Ended, error: int = 0) -> None:
        """A flow ends by itself."""
        flow.ended, flow.errno = ended, error
        self.poller.remove(flow.fd)
        del self.going[flow.fd]
        self.last = flow
        if not self.going:
            if ended is not Ended.COUNT:
                self.now = monotonic_ns()
            raise Over(self.ended_by_flows())

    def sum_up(self) -> None:
        for name in SUMMED:
            setattr(self, name, sum(getattr(flow, name) for flow in self.flows))

    def report_interim(self) -> None:
        self.sum_up()
        for flow in self.flows:
            self.fold(flow)
        super().report_interim()

    def fold(self, flow: _Flow) -> None:
        if self.every_ns:
            self.samples.raw += flow.steps.raw
        flow.steps.fold()

    def finish(self) -> Histogram:
        super().finish()
        self.sum_up()
        self.reordered = sum(flow.numbers.reordered for flow in self.flows)
        if not self.spec.datagram:
            self.leftover_bytes = sum(flow.have for flow in self.flows)
        merged = Steps()
        for flow in self.flows:
            merged.merge(flow.steps)
        return merged.packed().unpack()

    # ---- what goes on ----

    def step(self) -> Ended | None:
        self.now = monotonic_ns()
        self.check_time()
        if self.now >= self.next_look:
            self.look_for_losses()
        agenda = self.agenda
        self.send_what_is_due()
        wake = min(self.due, self.next_look)
        if agenda:
            wake = min(wake, agenda[0][0])
        for fd, events in self.poller.wait(wake - monotonic_ns(), exact=bool(agenda)):
            flow = self.going.get(fd)
            if flow is None:
                if fd == self.stop_fd:
                    return Ended.STOPPED
            elif events != WRITABLE:
                self.receive_responses(flow)
            else:
                self.send_requests(flow)
            if agenda and agenda[0][0] <= self.now:
                self.send_what_is_due()
        return None

    def check_time(self) -> None:
        """Do at ``now`` what is due."""
        if self.now >= self.due:
            ended = self.tick()
            if ended is not None:
                raise Over(ended)

    def receive_responses(self, flow: _Flow) -> None:
        """Take what has arrived, but no more than what this flow waits for."""
        size = self.spec.response_bytes
        datagram = self.spec.datagram
        for _ in range(max(flow.in_flight, 1)):
            try:
                got = flow.recv_into(self.incoming.first,
                                     0 if datagram else size - flow.have, MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as exc:
                self.end_flow(flow, *how_it_failed(exc, datagram))
                return
            if not got:
                ended = self.gone()
                if ended is not Ended.PEER:
                    raise Over(ended)
                self.end_flow(flow, ended)
                return
            flow.recv_calls += 1
            if datagram and got != size:
                flow.malformed += 1
                continue
            flow.bytes_received += got
            flow.have += got
            if not flow.in_flight and not datagram:
                # An answer to what nobody asked.
                self.end_flow(flow, Ended.ERROR, errno.EPROTO)
                return
            self.now = monotonic_ns()
            if flow.have == size:
                self.complete(flow)
                if flow.ended is not None:
                    return
            self.check_time()
            if flow.have:
                return
            self.send_requests(flow)
            if flow.ended is not None:
                return

    def complete(self, flow: _Flow) -> None:
        """A whole response has arrived at ``now``."""
        now = self.now
        if now > self.deadline:
            raise Over(Ended.TIME)
        flow.have = 0
        start = self.request_of(flow)
        if start is None:
            flow.late += 1
            flow.bytes_received -= self.spec.response_bytes
            return
        meant, left = start
        raw = flow.steps.raw
        raw.append(now - meant)
        if len(raw) >= FOLD_FLOW_SAMPLES:
            self.fold(flow)
        if self.schedule is not None:
            self.add(self.service, now - left)
        flow.in_flight -= 1
        flow.transactions += 1
        flow.silences = 0
        flow.last_heard = now
        self.now_fresh = True
        if flow.transactions == self.spec.transactions:
            self.end_flow(flow, Ended.COUNT)

    def request_of(self, flow: _Flow) -> tuple[int, int] | None:
        """Take out the request that a response is for."""
        if self.spec.numbered:
            return flow.numbers.answered(self.incoming.first[:HEAD_BYTES].tobytes())
        return flow.starts.popleft() if flow.starts else None

    def add(self, steps: Steps, value_ns: int) -> None:
        steps.raw.append(value_ns)
        if len(steps.raw) >= FOLD_FLOW_SAMPLES:
            steps.fold()

    def send_requests(self, flow: _Flow) -> None:
        """Send all that a flow may send now."""
        head = b""
        while flow.send_left or self.may_send(flow):
            if not self.now_fresh:
                self.now = monotonic_ns()
            self.check_time()
            left = flow.send_left
            if not left:
                left = self.spec.request_bytes
                # In the open loop it has not left before the socket has taken it.
                if not flow.stamp or self.schedule is not None:
                    flow.stamp = self.now
            self.now_fresh = False
            if self.spec.numbered:
                # The head is the flow's own; what follows it is the same for all.
                head = flow.numbers.head()
                self.numbered_request[:HEAD_BYTES] = head
            try:
                put = flow.send(self.request if left == self.outgoing.size
                                else self.outgoing.piece(0, left), SEND_FLAGS)
            except BlockingIOError:
                self.want_room(flow, True)
                return
            except OSError as exc:
                self.end_flow(flow, *how_it_failed(exc, self.spec.datagram))
                return
            self.sent(flow, put, head)
        self.want_room(flow, False)
        if self.schedule is not None and flow.in_flight < self.window and not flow.queued:
            flow.queued = True
            heapq.heappush(self.agenda, (flow.due_ns, flow.index))

    def may_send(self, flow: _Flow) -> bool:
        if flow.in_flight >= self.window:
            return False
        if self.schedule is not None:
            if not self.now_fresh:
                self.now = monotonic_ns()
                self.now_fresh = True
            return flow.due_ns <= self.now
        wanted = self.spec.transactions
        return not wanted or flow.transactions + flow.in_flight < wanted

    def sent(self, flow: _Flow, put: int, head: bytes) -> None:
        flow.send_calls += 1
        flow.bytes_sent += put
        if not flow.send_left:
            if not flow.in_flight:
                flow.last_heard = flow.stamp
            meant = flow.stamp
            if self.schedule is not None:
                meant = flow.due_ns
                self.add(self.slip, flow.stamp - meant)
                self.plan_request(flow)
            if head:
                flow.numbers.starts[head] = meant, flow.stamp
            else:
                flow.starts.append((meant, flow.stamp))
            flow.stamp = 0
            flow.in_flight += 1
            flow.requests_sent += 1
            flow.send_left = self.spec.request_bytes
        flow.send_left -= put

    def want_room(self, flow: _Flow, wanted: bool) -> None:
        """Be told when the socket takes more, or no longer."""
        if flow.wants_room != wanted:
            flow.wants_room = wanted
            self.poller.change(flow.fd, READABLE | WRITABLE if wanted else READABLE)

    # ---- open loop ----

    def plan_request(self, flow: _Flow) -> None:
        flow.due_ns = self.started_ns + next(flow.times)

    def send_what_is_due(self) -> None:
        agenda = self.agenda
        while agenda and agenda[0][0] <= self.now:
            flow = self.flows[heapq.heappop(agenda)[1]]
            flow.queued = False
            if flow.ended is None:
                self.send_requests(flow)

    # ---- losses ----

    def look_for_losses(self) -> None:
        """Give up what has been in flight for too long, and say when to look again."""
        limit_ns = self.spec.loss_timeout_ns
        next_loss = self.now + limit_ns
        for flow in list(self.going.values()):
            if not flow.in_flight:
                continue
            since = flow.last_heard
            if flow.numbers.echoed:
                since = self.lose_oldest(flow)
            elif self.now - since >= limit_ns:
                self.lose_window(flow)
                continue
            next_loss = min(next_loss, since + limit_ns)
        self.next_look = max(next_loss, self.now + MIN_STEP_NS)

    def lose_oldest(self, flow: _Flow) -> int:
        """Give up what has been in flight for too long; since when the next one has been."""
        limit_ns = self.spec.loss_timeout_ns
        silent = self.now - flow.last_heard >= limit_ns
        lost = 0
        oldest = flow.numbers.oldest()
        while oldest is not None and self.now - oldest[1] >= limit_ns:
            flow.numbers.give_up_oldest()
            lost += 1
            oldest = flow.numbers.oldest()
        if lost:
            flow.lost += lost
            flow.in_flight -= lost
            if silent and self.was_silent(flow):
                return self.now
            self.send_requests(flow)
        return oldest[1] if oldest else self.now

    def was_silent(self, flow: _Flow) -> bool:
        """A flow has heard nothing for the time of a loss; whether it is given up."""
        flow.last_heard = self.now
        flow.silences += 1
        if flow.silences < LoopSpec.MAX_SILENCES:
            return False
        self.end_flow(flow, Ended.LOST)
        return True

    def lose_window(self, flow: _Flow) -> None:
        """All that a flow has in flight is lost: what is still queued is late."""
        flow.lost += flow.in_flight
        flow.in_flight = 0
        flow.starts.clear()
        flow.numbers.starts.clear()
        flow.stamp = 0
        if self.was_silent(flow):
            return
        try:
            for _ in range(DRAIN_LIMIT):
                got = flow.recv_into(self.incoming.first, 0, MSG_DONTWAIT)
                if not got:
                    self.end_flow(flow, Ended.PEER)
                    return
                flow.recv_calls += 1
                if got == self.spec.response_bytes:
                    flow.late += 1
                else:
                    flow.malformed += 1
        except BlockingIOError:
            pass
        except OSError as exc:
            self.end_flow(flow, *how_it_failed(exc, True))
            return
        flow.last_heard = self.now = monotonic_ns()
        self.now_fresh = True
        self.check_time()
        self.send_requests(flow)
