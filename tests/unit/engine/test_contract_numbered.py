"""UDP round trips with room for a number: what gets lost, comes late, twice, out of order."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from engines import (
    LIMIT_S,
    MS,
    Running,
    RunningFlows,
    RunningPool,
    check_accounts,
    check_flows,
    end,
    pollers_of,
    run_both,
    sender_spec,
    target_spec,
    udp_socket,
)

from xenrr.engine.base import HEAD, HEAD_BYTES, MAGIC, Buffers, Ended, LoopSpec
from xenrr.engine.flows import SERVICE, SLIP, FlowsSpec, Schedule
from xenrr.engine.load import load_engine

SIZE = 20


def spec_of(**values) -> LoopSpec:
    return sender_spec(True, **{"request_bytes": SIZE, "response_bytes": SIZE, **values})


class ByHand:
    """A target that answers as a test wants it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(LIMIT_S)

    def take(self, count: int) -> list[bytes]:
        """So many requests; each has a number, and those count up."""
        requests = [self.sock.recv(1 << 16) for _ in range(count)]
        assert all(request[:4] == MAGIC and len(request) == SIZE for request in requests)
        return requests

    def answer(self, *requests: bytes) -> None:
        for request in requests:
            self.sock.send(request[:HEAD_BYTES] + b"r" * (SIZE - HEAD_BYTES))

    def silent(self, seconds: float = 0.02) -> bool:
        return not select.select([self.sock], [], [], seconds)[0]


def numbers(requests: list[bytes]) -> list[int]:
    return [HEAD.unpack_from(request)[1] for request in requests]


def test_numbers_count_up_and_the_rest_is_the_fill(engine, connect):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(transactions=4, burst=1,
                                        buffers=Buffers(fill=b"abcdefghij", send_width=3)))
    requests = hand.take(2)
    hand.answer(*requests)
    more = hand.take(2)
    hand.answer(*more)
    tally = run.tally()
    assert numbers(requests + more) == list(range(numbers(requests)[0],
                                                  numbers(requests)[0] + 4))
    assert requests[0][HEAD_BYTES:] == (b"abcdefghij" * 2)[HEAD_BYTES:]
    assert (tally.ended, tally.transactions, tally.late, tally.reordered) == (
        Ended.COUNT, 4, 0, 0)
    check_accounts(tally, spec_of())


@pytest.mark.parametrize(("request_bytes", "response_bytes"), [(7, 100), (100, 7)])
def test_without_room_there_is_no_number(pair, connect, request_bytes, response_bytes):
    near, far = connect(True)
    spec = spec_of(request_bytes=request_bytes, response_bytes=response_bytes, transactions=5)
    tally, answered = run_both(pair, (near, far), spec)
    assert (tally.ended, answered.transactions) == (Ended.COUNT, 5)
    run = Running(pair[0], near, spec)
    far.settimeout(LIMIT_S)
    assert far.recv(1000)[:4] != MAGIC
    for _ in range(4):
        far.send(bytes(response_bytes))
        far.recv(1000)
    far.send(bytes(response_bytes))
    assert run.tally().transactions == 5


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("burst", [0, 5])
def test_both_ends(pair, connect, burst, width):
    """In sprints, and in single steps, which a ring of buffers takes care of."""
    spec = spec_of(transactions=300, burst=burst, loss_timeout_ns=30_000 * MS,
                   buffers=Buffers(send_width=width, receive_width=width))
    sent, answered = run_both(pair, connect(True), spec)
    assert (sent.ended, sent.transactions) == (Ended.COUNT, 300)
    assert (sent.lost, sent.late, sent.reordered, sent.malformed) == (0, 0, 0, 0)
    assert answered.transactions == sent.requests_sent
    check_accounts(sent, spec)


def test_a_target_sends_back_what_has_the_magic(engine, connect):
    near, far = connect(True)
    run = Running(engine, far, target_spec(True, request_bytes=SIZE, response_bytes=30,
                                           buffers=Buffers(fill=b"0123456789")))
    near.settimeout(LIMIT_S)
    own = b"0123456789" * 3
    for head in (b"xRRn\0\0\0\7", b"xRRm\0\0\0\7", b"xRRn\xff\xff\xff\xff", b"netperfn"):
        near.send(head + b"q" * (SIZE - HEAD_BYTES))
        first = head if head[:4] == MAGIC else own[:HEAD_BYTES]
        assert near.recv(1000) == first + own[HEAD_BYTES:]
    end(near, True)
    assert run.tally().transactions == 4


def test_a_lost_response_costs_one_place_for_one_timeout(engine, connect):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(transactions=40, burst=1, loss_timeout_ns=150 * MS))
    first, second = hand.take(2)
    hand.answer(second)             # the first is lost, and things go on with the other place
    for _ in range(10):
        hand.answer(*hand.take(1))
    hand.take(1)                    # lost as well: nothing comes before a timeout
    again = hand.take(1)
    hand.answer(first)              # late
    hand.answer(*again)
    while not run.over:
        if not hand.silent():
            hand.answer(*hand.take(1))
    tally = run.tally()
    assert tally.ended is Ended.COUNT
    assert tally.transactions == 40
    assert tally.late >= 1
    assert tally.lost >= 2
    check_accounts(tally, spec_of(burst=1))


def test_responses_out_of_order(engine, connect):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(transactions=8, burst=3))
    a, b, c, d = hand.take(4)
    hand.answer(b)                  # 1: nothing overtaken yet
    hand.answer(a)                  # 2: after b
    hand.answer(d, c)               # 3, 4: c after d
    e, f, g, h = hand.take(4)
    hand.answer(h, g, f, e)         # three after h
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.reordered) == (Ended.COUNT, 8, 5)
    assert (tally.lost, tally.late) == (0, 0)
    check_accounts(tally, spec_of(burst=3))


def test_each_response_is_timed_from_its_own_request(engine, connect):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(transactions=2, burst=1))
    a, b = hand.take(2)
    hand.answer(b)
    time.sleep(0.1)
    hand.answer(a)
    tally = run.tally()
    assert tally.latency_ns.max_ns >= 100 * MS
    assert tally.reordered == 1


def test_a_second_response_is_late(engine, connect):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(transactions=6, burst=1))
    a, b = hand.take(2)
    hand.answer(a, a, a)
    c, = hand.take(1)
    hand.answer(b, c, b, a)
    d, e = hand.take(2)
    hand.answer(d, e)
    hand.answer(*hand.take(1))
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 6)
    assert (tally.late, tally.lost, tally.reordered) == (4, 0, 0)
    assert tally.bytes_received == 6 * SIZE
    assert tally.recv_calls == 10
    check_accounts(tally, spec_of(burst=1))


def test_a_number_that_was_never_sent_is_late(engine, connect):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(transactions=2))
    a, = hand.take(1)
    number, = numbers([a])
    for other in (1, 1 << 31, (1 << 32) - 1):
        hand.answer(HEAD.pack(MAGIC, (number + other) % (1 << 32)))
    hand.answer(a)
    hand.answer(*hand.take(1))
    tally = run.tally()
    assert (tally.transactions, tally.late) == (2, 3)


@pytest.mark.parametrize("burst", [0, 3])
def test_a_target_that_knows_no_numbers_answers_in_order(engine, connect, burst):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(transactions=200, burst=burst,
                                        loss_timeout_ns=30_000 * MS))
    for _ in range(200):
        hand.take(1)
        far.send(b"netperf " * 2 + b"netp")
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.late, tally.reordered, tally.lost) == (
        Ended.COUNT, 200, 0, 0, 0)
    check_accounts(tally, spec_of(burst=burst))


def test_without_numbers_a_silence_loses_all(engine, connect):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(transactions=5, burst=2, loss_timeout_ns=200 * MS))
    hand.take(3)
    far.send(b"r" * SIZE)
    hand.take(1)
    hand.take(3)                    # all three anew
    for _ in range(4):
        far.send(b"r" * SIZE)
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 5)
    assert tally.lost >= 3      # more if the machine is busy
    check_accounts(tally, spec_of(burst=2))


@pytest.mark.parametrize("heard", [False, True])
def test_a_silent_peer_is_given_up(engine, connect, heard):
    near, far = connect(True)
    hand = ByHand(far)
    run = Running(engine, near, spec_of(loss_timeout_ns=10 * MS, burst=1))
    if heard:
        hand.answer(*hand.take(1))
    tally = run.tally()
    assert (tally.ended, tally.errno) == (Ended.LOST, 0)
    assert tally.in_flight == 0 or heard
    assert tally.lost >= LoopSpec.MAX_SILENCES
    assert tally.transactions <= heard
    check_accounts(tally, spec_of(burst=1))


# ---- a path that does all of it ----

class BadPath:
    """Between two ends: drops, doubles and turns around datagrams, and counts what it does.

    Attributes:
        dropped, doubled, swapped: How many; of two that were swapped one.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.near, self.far = udp_socket(), udp_socket()
        self.far.connect(target)
        self.dropped = self.doubled = self.swapped = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._pass, args=ends) for ends in
                         ((self.near, self.far, 7, 0), (self.far, self.near, 11, 5))]
        self._sender: tuple[str, int] | None = None

    def _pass(self, source: socket.socket, sink: socket.socket, drop: int, trick: int) -> None:
        held = b""
        for count, datagram in enumerate(self._datagrams(source), 1):
            if count % drop == 0 and len(datagram) == SIZE:
                self.dropped += 1
            elif trick and count % (2 * trick) == 0:
                self._send(sink, datagram)
                self._send(sink, datagram)
                self.doubled += 1
            elif trick and count % (2 * trick) == 3 and select.select([source], [], [], 0)[0]:
                held = datagram
                continue
            else:
                self._send(sink, datagram)
            if held:
                self._send(sink, held)
                self.swapped += 1
                held = b""

    def _datagrams(self, source: socket.socket) -> Iterator[bytes]:
        source.settimeout(0.05)
        while not self._stop.is_set():
            with contextlib.suppress(OSError):
                datagram, address = source.recvfrom(1 << 16)
                if source is self.near:
                    self._sender = address
                yield datagram

    def _send(self, sink: socket.socket, datagram: bytes) -> None:
        with contextlib.suppress(OSError):
            if sink is self.near:
                sink.sendto(datagram, self._sender)
            else:
                sink.send(datagram)

    def __enter__(self) -> BadPath:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.near.close()
        self.far.close()


def check_path(tally, path: BadPath, burst: int) -> None:
    """Every datagram that the path lost, doubled or held back is in the counts."""
    # What was in flight at the end may have been dropped; a busy machine is later than a
    # timeout now and then, and what it answers then is late.
    assert path.dropped - burst - 1 <= tally.lost + tally.in_flight
    assert tally.late >= path.doubled - burst - 1
    assert tally.reordered <= path.swapped * (burst + 1) + tally.lost
    assert tally.malformed == 0


def test_a_bad_path(pair):
    with udp_socket() as near, udp_socket() as far, BadPath(far.getsockname()) as path:
        near.connect(path.near.getsockname())
        far.connect(path.far.getsockname())
        answering = Running(pair[1], far, target_spec(True, request_bytes=SIZE,
                                                      response_bytes=SIZE))
        spec = spec_of(transactions=100, burst=7, loss_timeout_ns=150 * MS)
        tally = Running(pair[0], near, spec).tally()
        time.sleep(0.02)
        while not answering.over:
            end(near, True)
            time.sleep(0.01)
        answered = answering.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 100)
    assert answered.transactions <= tally.requests_sent
    check_path(tally, path, 7)
    check_accounts(tally, spec)


# ---- many flows ----

@pytest.fixture(params=pollers_of("pure") + pollers_of("hot"))
def many(request):
    name, poller = request.param.split("-")
    return load_engine(name), poller


@pytest.fixture
def udp_pairs(connect) -> Callable[[int], list[tuple[socket.socket, socket.socket]]]:
    return lambda count: [connect(True) for _ in range(count)]


def test_flows_against_a_pool(many, udp_pairs):
    pairs = udp_pairs(4)
    spec = FlowsSpec(spec_of(transactions=50, burst=2, loss_timeout_ns=30_000 * MS), None,
                     many[1])
    with RunningPool(*many) as pool:
        for _, far in pairs:
            pool.add(far, True, SIZE, SIZE)
        tally = RunningFlows(many[0], [near for near, _ in pairs], spec).tally()
    total = tally.total
    assert total.transactions == 200
    assert (total.lost, total.late, total.reordered) == (0, 0, 0)
    check_flows(tally, spec)


@pytest.mark.parametrize("each", pollers_of("pure") + pollers_of("hot"))
@pytest.mark.parametrize("connected", [True, False])
def test_a_pool_sends_back_what_has_the_magic(each, connected):
    name, poller = each.split("-")
    with udp_socket() as near, udp_socket() as far, udp_socket() as stranger, \
            RunningPool(load_engine(name), poller) as pool:
        near.connect(far.getsockname())
        near.settimeout(LIMIT_S)
        stranger.sendto(b"xRRn" + bytes(SIZE - 4), far.getsockname())
        if connected:
            far.connect(near.getsockname())
        pool.add(far, True, SIZE, 30, peer=b"" if connected else socket.inet_aton("127.0.0.1"))
        heads = [b"xRRn\0\0\0\7", b"xRRm\0\0\0\7", b"xRRn\xff\xff\xff\xff", b"netperfn"]
        for head in heads:
            near.send(head + b"q" * (SIZE - HEAD_BYTES))
        assert [near.recv(1000) for _ in heads] == [
            (head if head[:4] == MAGIC else bytes(HEAD_BYTES)) + bytes(22) for head in heads]
        near.send(b"xRRn")
        near.send(b"")
        left, = pool.leaves()
    assert (left.ended, left.malformed) == (Ended.PEER, 1)
    assert left.transactions == len(heads) + (not connected)


def test_flows_on_one_socket_of_a_pool(many):
    with udp_socket() as far, contextlib.ExitStack() as stack:
        nears = [stack.enter_context(udp_socket()) for _ in range(3)]
        for near in nears:
            near.connect(far.getsockname())
        spec = FlowsSpec(spec_of(transactions=50, burst=1), None, many[1])
        with RunningPool(*many) as pool:
            pool.add(far, True, SIZE, SIZE, peer=socket.inet_aton("127.0.0.1"))
            tally = RunningFlows(many[0], nears, spec).tally()
            end(nears[0], True)
            left, = pool.leaves()
    assert (tally.total.ended, tally.total.late, tally.total.reordered) == (Ended.COUNT, 0, 0)
    assert left.transactions == 150
    check_flows(tally, spec)


def test_flows_know_what_is_late_and_out_of_order(many, udp_pairs):
    pairs = udp_pairs(2)
    spec = FlowsSpec(spec_of(transactions=4, burst=1), None, many[1])
    run = RunningFlows(many[0], [near for near, _ in pairs], spec)
    for hand in [ByHand(far) for _, far in pairs]:
        a, b = hand.take(2)
        hand.answer(b, b, a)
        c, d = hand.take(2)
        hand.answer(c, d)
    tally = run.tally()
    assert tally.total.ended is Ended.COUNT
    assert [flow.late for flow in tally.flows] == [1, 1]
    assert tally.total.reordered == 2
    check_flows(tally, spec)


def test_an_end_that_comes_together_with_an_answer(many, udp_pairs):
    pairs = udp_pairs(20)
    spec = FlowsSpec(spec_of(transactions=5), None, many[1])
    run = RunningFlows(many[0], [near for near, _ in pairs], spec)
    for _, far in pairs:
        ByHand(far).answer(*ByHand(far).take(1))
        end(far, True)
    tally = run.tally()
    assert {(flow.ended, flow.transactions) for flow in tally.flows} == {(Ended.PEER, 1)}


def test_a_lost_request_of_a_flow_does_not_stop_the_others_in_flight(many, udp_pairs):
    (near, far), = udp_pairs(1)
    spec = FlowsSpec(spec_of(transactions=50, burst=1, loss_timeout_ns=40 * MS), None, many[1])
    run = RunningFlows(many[0], [near], spec)
    hand = ByHand(far)
    _, b = hand.take(2)
    hand.answer(b)
    while not run.over:
        if not hand.silent():
            hand.answer(*hand.take(1))
    tally = run.tally()
    assert tally.total.ended is Ended.COUNT
    assert tally.total.lost >= 1
    check_flows(tally, spec)


def test_a_flow_that_falls_silent_is_given_up(many, udp_pairs):
    (near, far), (other, other_far) = udp_pairs(2)
    spec = FlowsSpec(spec_of(transactions=100, burst=1, loss_timeout_ns=20 * MS), None, many[1])
    run = RunningFlows(many[0], [near, other], spec)
    hand = ByHand(far)
    hand.answer(*hand.take(1))
    tally_of_other = ByHand(other_far)
    while not run.over:             # that one is answered to its end
        if not tally_of_other.silent():
            tally_of_other.answer(*tally_of_other.take(1))
    tally = run.tally()
    assert tally.flows[0].ended is Ended.LOST
    assert tally.flows[0].lost >= LoopSpec.MAX_SILENCES
    assert tally.flows[1].transactions > 0
    check_flows(tally, spec)


def test_numbers_on_a_schedule(many, udp_pairs):
    pairs = udp_pairs(3)
    spec = FlowsSpec(spec_of(duration_ns=150 * MS, burst=5, loss_timeout_ns=50 * MS),
                     Schedule(5.0 * MS, poisson=True), many[1])
    run = RunningFlows(many[0], [near for near, _ in pairs], spec)
    hands = [ByHand(far) for _, far in pairs]
    count = 0
    while not run.over:
        for hand in hands[:2]:      # the third one is never answered
            if not hand.silent(0.002):
                count += 1
                if count % 5:
                    hand.answer(*hand.take(1))
                else:
                    hand.take(1)
    total = run.tally().total
    assert total.ended is Ended.TIME
    assert total.distributions[SERVICE].total == total.transactions
    assert total.distributions[SLIP].total == total.requests_sent
    assert total.latency_ns.max_ns >= total.distributions[SERVICE].max_ns
    check_flows(run.tally(), spec)
