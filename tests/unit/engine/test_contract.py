"""The contract of ``xenrr.engine.base``, kept by both engines and by every pair of them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xenrr.engine import base, hot, pure
from xenrr.engine.base import INTERIM_RECORD, Ended, Engine, Interim, LoopSpec, Role, Tally
from xenrr.engine.load import load_engine
from xenrr.engine.shared import load_shared
from xenrr.errors import LocalProtocolError
from xenrr.stats import histogram

ENGINES = ["pure", pytest.param("hot", marks=pytest.mark.c_engine)]
PAIRS = ["pure-pure", *(pytest.param(pair, marks=pytest.mark.c_engine)
                        for pair in ("pure-hot", "hot-pure", "hot-hot"))]
# No test waits longer than this for anything.
LIMIT_S = 20.0
MS = 1_000_000
PROTOCOLS = pytest.mark.parametrize("datagram", [False, True], ids=["tcp", "udp"])


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return load_engine(request.param)


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    sender, target = request.param.split("-")
    return load_engine(sender), load_engine(target)


@pytest.fixture
def stop_pipe() -> Iterator[tuple[int, int]]:
    pipe = os.pipe()
    yield pipe
    for descriptor in pipe:
        os.close(descriptor)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    # Nagle's algorithm would add a delayed acknowledgement to every burst.
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def udp_pair() -> tuple[socket.socket, socket.socket]:
    near, far = udp_socket(), udp_socket()
    near.connect(far.getsockname())
    far.connect(near.getsockname())
    return near, far


@pytest.fixture
def connect() -> Iterator[Callable[[bool], tuple[socket.socket, socket.socket]]]:
    made: list[socket.socket] = []

    def make(datagram: bool) -> tuple[socket.socket, socket.socket]:
        two = udp_pair() if datagram else tcp_pair()
        made.extend(two)
        return two

    yield make
    for sock in made:
        sock.close()


class Running:
    """An engine at work on a thread."""

    def __init__(self, engine: Engine, sock: socket.socket, spec: LoopSpec,
                 stop_fd: int = -1, report_fd: int = -1) -> None:
        self._outcome: Tally | BaseException | None = None

        def work() -> None:
            try:
                self._outcome = engine.run(sock, spec, stop_fd, report_fd)
            except BaseException as exc:
                self._outcome = exc

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def tally(self) -> Tally:
        self._thread.join(LIMIT_S)
        assert self.over, "the loop does not end"
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


def sender_spec(datagram: bool = False, **values: Any) -> LoopSpec:
    return LoopSpec(role=Role.SENDER, datagram=datagram, **values)


def target_spec(datagram: bool = False, **values: Any) -> LoopSpec:
    return LoopSpec(role=Role.TARGET, datagram=datagram, **values)


def end(sock: socket.socket, datagram: bool) -> None:
    """What the session does after the sender's loop."""
    if datagram:
        sock.send(b"")
    else:
        sock.shutdown(socket.SHUT_WR)


def run_both(engines: tuple[Engine, Engine], sockets: tuple[socket.socket, socket.socket],
             spec: LoopSpec) -> tuple[Tally, Tally]:
    near, far = sockets
    answering = Running(engines[1], far, LoopSpec(
        role=Role.TARGET, datagram=spec.datagram, request_bytes=spec.request_bytes,
        response_bytes=spec.response_bytes))
    sent = Running(engines[0], near, spec).tally()
    if not spec.datagram:
        near.settimeout(0.01)
        end(near, False)
        while not answering.over:  # it may still have to say what nobody waits for
            with contextlib.suppress(socket.timeout):
                near.recv(1 << 20)
        near.settimeout(None)
    else:
        end(near, True)
    return sent, answering.tally()


def check_accounts(tally: Tally, spec: LoopSpec) -> None:
    assert tally.requests_sent == tally.transactions + tally.in_flight + tally.lost
    assert tally.latency_ns.total == tally.transactions
    if tally.transactions:
        assert 0 < tally.latency_ns.min_ns <= tally.latency_ns.max_ns
        assert tally.latency_ns.sum_ns >= tally.transactions * tally.latency_ns.min_ns
        assert tally.latency_ns.percentile(100) == tally.latency_ns.max_ns
    whole = tally.transactions * spec.response_bytes + tally.leftover_bytes
    if not spec.datagram:
        assert tally.bytes_received == whole
    assert tally.bytes_sent <= tally.requests_sent * spec.request_bytes


def answer(sock: socket.socket, message: bytes = b"r") -> bytes:
    """Play a target by hand: take one request, send one response."""
    request = sock.recv(1 << 16)
    sock.send(message)
    return request


TCP_SIZES = [(1, 1), (64, 64), (1, 1400), (8192, 8192), (60000, 1), ((3 << 20) + 1, 5),
             (5, (3 << 20) + 1)]
UDP_SIZES = [(1, 1), (64, 64), (1, 1400), (8192, 8192), (60000, 1), (65507, 65507)]


@pytest.mark.parametrize(("datagram", "request_bytes", "response_bytes"),
                         [(False, *sizes) for sizes in TCP_SIZES]
                         + [(True, *sizes) for sizes in UDP_SIZES])
def test_exactly_as_many_transactions_as_asked(
        pair, connect, datagram, request_bytes, response_bytes):
    spec = sender_spec(datagram, request_bytes=request_bytes, response_bytes=response_bytes,
                       transactions=7)
    sent, answered = run_both(pair, connect(datagram), spec)
    assert sent.ended is Ended.COUNT
    assert (sent.transactions, sent.requests_sent, sent.in_flight) == (7, 7, 0)
    assert sent.bytes_sent == answered.bytes_received == 7 * request_bytes
    assert sent.bytes_received == answered.bytes_sent == 7 * response_bytes
    assert answered.ended is Ended.PEER
    assert answered.transactions == 7
    assert answered.latency_ns.total == 0
    assert answered.started_ns >= sent.started_ns
    assert answered.elapsed_ns > 0
    check_accounts(sent, spec)
    for tally in (sent, answered):
        assert (tally.errno, tally.malformed, tally.late, tally.leftover_bytes) == (0, 0, 0, 0)
        assert tally.send_calls >= 7
        assert tally.recv_calls >= 7


@PROTOCOLS
@pytest.mark.parametrize("burst", [0, 1, 16])
def test_a_timed_run_ends_in_time_with_all_accounted(pair, connect, datagram, burst):
    spec = sender_spec(datagram, duration_ns=200 * MS, burst=burst)
    sent, answered = run_both(pair, connect(datagram), spec)
    assert sent.ended is Ended.TIME
    assert sent.elapsed_ns >= spec.duration_ns
    assert 0 <= sent.in_flight <= 1 + burst
    assert sent.transactions > 10
    assert answered.transactions == sent.requests_sent
    assert answered.bytes_received == sent.bytes_sent
    check_accounts(sent, spec)


@PROTOCOLS
@pytest.mark.parametrize("transactions", [1, 3, 17, 500])
def test_a_burst_sends_no_more_than_the_count(pair, connect, datagram, transactions):
    spec = sender_spec(datagram, transactions=transactions, burst=16)
    sent, answered = run_both(pair, connect(datagram), spec)
    assert sent.ended is Ended.COUNT
    assert sent.requests_sent == sent.transactions == answered.transactions == transactions
    check_accounts(sent, spec)


@PROTOCOLS
def test_the_whole_burst_is_in_flight_before_any_response(engine, connect, datagram):
    near, far = connect(datagram)
    run = Running(engine, near, sender_spec(datagram, transactions=30, burst=9))
    far.settimeout(LIMIT_S)
    seen = b""
    while len(seen) < 10:
        seen += far.recv(1 if datagram else 100)
    assert seen == b"n" * 10
    far.settimeout(0.05)
    with pytest.raises(socket.timeout):
        far.recv(1)
    far.settimeout(LIMIT_S)
    for _ in range(20):
        far.send(b"r")
        assert far.recv(1) == b"n"
    for _ in range(10):
        far.send(b"r")
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.COUNT, 30, 0)


@pytest.mark.parametrize("sizes", [(3 << 20, 3 << 20), (200_000, 5 << 20), (5 << 20, 1)])
def test_a_burst_that_no_buffer_holds_does_not_deadlock(pair, connect, sizes):
    spec = sender_spec(request_bytes=sizes[0], response_bytes=sizes[1], transactions=12,
                       burst=7)
    sent, answered = run_both(pair, connect(False), spec)
    assert sent.ended is Ended.COUNT
    assert sent.transactions == answered.transactions == 12
    check_accounts(sent, spec)


def test_a_large_burst_deadline_cuts_messages(pair, connect):
    spec = sender_spec(request_bytes=4 << 20, response_bytes=4 << 20, duration_ns=150 * MS,
                       burst=3)
    sent, _ = run_both(pair, connect(False), spec)
    assert sent.ended is Ended.TIME
    check_accounts(sent, spec)


def test_a_sender_says_netperf_and_a_target_zeros(pair, connect):
    near, far = connect(False)
    size = (2 << 20) + 3
    run = Running(pair[0], near, sender_spec(request_bytes=size, transactions=1))
    far.settimeout(LIMIT_S)
    seen = b""
    while len(seen) < size:
        seen += far.recv(1 << 20)
    far.send(b"r")
    assert run.tally().ended is Ended.COUNT
    assert seen == (b"netperf" * (size // 7 + 1))[:size]

    near, far = connect(False)
    run = Running(pair[1], far, target_spec(response_bytes=100, transactions=1))
    near.settimeout(LIMIT_S)
    near.send(b"x")
    assert near.recv(100, socket.MSG_WAITALL) == bytes(100)
    assert run.tally().ended is Ended.COUNT


def test_large_messages_need_no_large_buffers(connect):
    near, far = connect(False)
    size = 32 << 20
    engine = load_engine("pure")
    tracemalloc.start()
    try:
        spec = sender_spec(request_bytes=size, response_bytes=size, transactions=1)
        sent, _ = run_both((engine, engine), (near, far), spec)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent.transactions == 1
    assert peak < size // 2


@PROTOCOLS
def test_a_target_ends_at_its_count(pair, connect, datagram):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(datagram, transactions=1500))
    spec = sender_spec(datagram, transactions=1500)
    assert Running(pair[0], near, spec).tally().transactions == 1500
    tally = answering.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 1500)
    assert (tally.send_calls, tally.bytes_sent) == (1500, 1500)


# ---- stopping ----

@PROTOCOLS
@pytest.mark.parametrize("side", ["sender", "target"])
def test_stop_while_running(pair, connect, stop_pipe, datagram, side):
    near, far = connect(datagram)
    stop = {side: stop_pipe[0]}
    answering = Running(pair[1], far, target_spec(datagram), stop.get("target", -1))
    spec = sender_spec(datagram)
    sending = Running(pair[0], near, spec, stop.get("sender", -1))
    time.sleep(0.1)
    assert not sending.over and not answering.over
    os.write(stop_pipe[1], b"x")
    if side == "sender":
        tally = sending.tally()
        assert tally.ended is Ended.STOPPED
        assert tally.transactions > 0
        check_accounts(tally, spec)
        end(near, datagram)
        answering.tally()
    else:
        assert answering.tally().ended is Ended.STOPPED
        far.close()
        with contextlib.suppress(OSError):  # the sender may have seen the end already
            near.shutdown(socket.SHUT_RDWR)
        assert sending.tally().ended in (Ended.PEER, Ended.ERROR)


@PROTOCOLS
def test_stop_before_the_start(engine, connect, stop_pipe, datagram):
    near, far = connect(datagram)
    os.write(stop_pipe[1], b"x")
    for sock, spec in ((near, sender_spec(datagram)), (far, target_spec(datagram))):
        tally = Running(engine, sock, spec, stop_pipe[0]).tally()
        assert tally == Tally(ended=Ended.STOPPED)


@PROTOCOLS
def test_stop_while_a_slow_sender_waits(engine, connect, stop_pipe, datagram):
    near, _far = connect(datagram)
    run = Running(engine, near, sender_spec(datagram), stop_pipe[0])
    time.sleep(0.05)
    os.write(stop_pipe[1], b"x")
    tally = run.tally()
    assert (tally.ended, tally.in_flight, tally.requests_sent) == (Ended.STOPPED, 1, 1)


@PROTOCOLS
def test_a_blocked_target_is_released_from_outside(engine, connect, stop_pipe, datagram):
    near, far = connect(datagram)
    run = Running(engine, far, target_spec(datagram), stop_pipe[0])
    near.send(b"x")
    near.settimeout(LIMIT_S)
    near.recv(1)
    os.write(stop_pipe[1], b"x")
    time.sleep(0.1)
    assert not run.over
    far.shutdown(socket.SHUT_RD)
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.STOPPED, 1)


@PROTOCOLS
def test_a_target_without_a_request_is_released_too(engine, connect, datagram):
    _near, far = connect(datagram)
    run = Running(engine, far, target_spec(datagram))
    time.sleep(0.05)
    far.shutdown(socket.SHUT_RD)
    assert run.tally() == Tally(ended=Ended.PEER)


def test_stop_while_a_send_is_blocked(engine, connect, stop_pipe):
    near, _far = connect(False)
    run = Running(engine, near, sender_spec(request_bytes=1 << 30), stop_pipe[0])
    time.sleep(0.1)
    os.write(stop_pipe[1], b"x")
    tally = run.tally()
    assert (tally.ended, tally.requests_sent, tally.in_flight) == (Ended.STOPPED, 1, 1)
    assert 0 < tally.bytes_sent < 1 << 30


def test_stop_while_the_target_cannot_send(engine, connect, stop_pipe):
    near, far = connect(False)
    run = Running(engine, far, target_spec(response_bytes=1 << 30), stop_pipe[0])
    near.send(b"x")
    time.sleep(0.1)
    os.write(stop_pipe[1], b"x")
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.STOPPED, 0)
    assert 0 < tally.bytes_sent < 1 << 30


@PROTOCOLS
def test_the_deadline_ends_a_wait_that_nobody_answers(engine, connect, datagram):
    near, _far = connect(datagram)
    tally = Running(engine, near, sender_spec(datagram, duration_ns=120 * MS)).tally()
    assert tally.ended is Ended.TIME
    assert (tally.transactions, tally.in_flight, tally.requests_sent) == (0, 1, 1)
    assert tally.elapsed_ns >= 120 * MS


def test_the_deadline_ends_a_blocked_send(engine, connect):
    near, _far = connect(False)
    spec = sender_spec(request_bytes=1 << 30, duration_ns=120 * MS)
    tally = Running(engine, near, spec).tally()
    assert (tally.ended, tally.in_flight) == (Ended.TIME, 1)


def test_a_response_after_the_deadline_is_no_transaction(engine, connect):
    """Released from outside in the fast regime: no timeout gets the loop out of recv."""
    near, far = connect(False)
    spec = sender_spec(duration_ns=400 * MS)
    run = Running(engine, near, spec)
    ends = time.monotonic() + 0.15
    far.settimeout(LIMIT_S)
    answered = 0
    while time.monotonic() < ends:
        answered += len(answer(far))
    far.recv(1)
    time.sleep(0.5)
    if not run.over:
        far.send(b"r")
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, answered, 1)
    assert tally.leftover_bytes in (0, 1)
    check_accounts(tally, spec)


def test_a_response_cut_off_by_the_end_is_left_over(engine, connect):
    near, far = connect(False)
    spec = sender_spec(response_bytes=100, duration_ns=150 * MS)
    run = Running(engine, near, spec)
    far.send(b"r" * 100)
    far.send(b"r" * 40)
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, 1, 1)
    assert tally.leftover_bytes == 40
    check_accounts(tally, spec)


@PROTOCOLS
def test_timeouts_of_the_socket_come_back(pair, connect, datagram):
    near, far = connect(datagram)
    value = struct.pack("@ll", 7, 250_000)
    for sock in (near, far):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    before = near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    answering = Running(pair[1], far, target_spec(datagram, transactions=5, idle_end_ns=MS))
    spec = sender_spec(datagram, transactions=5, loss_timeout_ns=1000 * MS)
    assert Running(pair[0], near, spec).tally().ended is Ended.COUNT
    assert answering.tally().ended is Ended.COUNT
    for sock in (near, far):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == before


def test_a_socket_with_a_python_timeout_is_refused(engine, connect):
    near, _ = connect(False)
    near.settimeout(1)
    with pytest.raises(LocalProtocolError, match="blocking"):
        engine.run(near, sender_spec())


# ---- the other end goes away ----

@pytest.mark.parametrize("tail", [b"", b"r" * 40])
def test_end_of_file_at_the_sender(engine, connect, tail):
    near, far = connect(False)
    spec = sender_spec(response_bytes=100)
    run = Running(engine, near, spec)
    far.settimeout(LIMIT_S)
    far.recv(1)
    far.send(b"r" * 100 + tail)
    far.recv(1)
    far.shutdown(socket.SHUT_WR)
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.PEER, 1, 1)
    assert tally.leftover_bytes == len(tail)
    check_accounts(tally, spec)


@pytest.mark.parametrize("tail", [b"", b"x" * 40])
def test_end_of_file_at_the_target(engine, connect, tail):
    near, far = connect(False)
    run = Running(engine, far, target_spec(request_bytes=100))
    near.send(b"x" * 100 + tail)
    near.shutdown(socket.SHUT_WR)
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.PEER, 1)
    assert tally.bytes_received == 100 + len(tail)


@pytest.mark.parametrize("role", list(Role))
def test_a_reset_keeps_what_was_measured(engine, connect, role):
    near, far = connect(False)
    mine, other = (near, far) if role is Role.SENDER else (far, near)
    run = Running(engine, mine, LoopSpec(role=role, datagram=False))
    other.settimeout(LIMIT_S)
    if role is Role.TARGET:
        other.send(b"x")
    other.recv(1)
    if role is Role.SENDER:
        other.send(b"r")
        other.recv(1)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()
    tally = run.tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.ECONNRESET)
    assert tally.transactions == 1


def test_a_broken_pipe_is_an_error_and_no_signal(engine, connect):
    old = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        near, _far = connect(False)
        near.shutdown(socket.SHUT_WR)
        tally = Running(engine, near, sender_spec()).tally()
    finally:
        signal.signal(signal.SIGPIPE, old)
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.EPIPE)
    assert tally.requests_sent == 0


@pytest.mark.parametrize("role", list(Role))
def test_a_closed_udp_port_is_the_peers_end(engine, connect, role):
    near, far = connect(True)
    mine, other = (near, far) if role is Role.SENDER else (far, near)
    if role is Role.TARGET:
        other.send(b"x")
    other.close()
    tally = Running(engine, mine, LoopSpec(role=role, datagram=True)).tally()
    assert (tally.ended, tally.errno) == (Ended.PEER, 0)


def test_an_empty_datagram_ends_the_sender(engine, connect):
    near, far = connect(True)
    run = Running(engine, near, sender_spec(True))
    far.settimeout(LIMIT_S)
    answer(far)
    far.recv(1)
    far.send(b"")
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.PEER, 1, 1)


def test_an_unconnected_udp_target_is_an_error(engine):
    with udp_socket() as sock:
        tally = Running(engine, sock, target_spec(True)).tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.ENOTCONN)


# ---- UDP: loss, strangers, wrong sizes ----

def test_a_lost_window_is_sent_anew(engine, connect):
    near, far = connect(True)
    spec = sender_spec(True, transactions=6, burst=2, loss_timeout_ns=60 * MS)
    run = Running(engine, near, spec)
    far.settimeout(LIMIT_S)
    for _ in range(3):
        far.recv(1)             # lost, all three
    for _ in range(6):
        answer(far)
    tally = run.tally()
    assert tally.ended is Ended.COUNT
    assert (tally.transactions, tally.lost, tally.requests_sent) == (6, 3, 9)
    assert tally.in_flight == 0
    check_accounts(tally, spec)


def test_a_loss_while_things_go_fast_does_not_hang(engine, connect):
    near, far = connect(True)
    spec = sender_spec(True, transactions=3000, loss_timeout_ns=30 * MS)
    run = Running(engine, near, spec)
    far.settimeout(LIMIT_S)
    for turn in range(3002):
        far.recv(1)
        if turn not in (2000, 2500):
            far.send(b"r")
    tally = run.tally()
    assert tally.ended is Ended.COUNT
    # A busy machine may lose more, by time alone, and then ask us for more than we gave.
    assert (tally.transactions, tally.lost) == (3000, 2)
    check_accounts(tally, spec)


def test_a_silent_peer_is_given_up(engine, connect):
    near, _far = connect(True)
    spec = sender_spec(True, loss_timeout_ns=5 * MS, burst=1)
    tally = Running(engine, near, spec).tally()
    assert (tally.ended, tally.errno) == (Ended.LOST, 0)
    assert tally.lost == tally.requests_sent == 2 * LoopSpec.MAX_SILENCES
    assert (tally.in_flight, tally.transactions) == (0, 0)


def test_a_response_ends_the_row_of_silences(engine, connect):
    near, far = connect(True)
    spec = sender_spec(True, transactions=2, loss_timeout_ns=10 * MS)
    run = Running(engine, near, spec)
    far.settimeout(LIMIT_S)
    for _ in range(LoopSpec.MAX_SILENCES - 2):
        far.recv(1)
    answer(far)
    for _ in range(LoopSpec.MAX_SILENCES - 2):
        far.recv(1)
    answer(far)
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 2)
    assert tally.lost >= 2 * (LoopSpec.MAX_SILENCES - 2)
    check_accounts(tally, spec)


def test_datagrams_found_after_a_loss_are_late(engine, connect):
    near, far = connect(True)
    # The wrong size makes the sender look at the time, which is over by then; what stands
    # behind it in the queue is found by the drain.
    for message in (b"wrong", b"r", b"wrong", b"r"):
        far.send(message)
    spec = sender_spec(True, loss_timeout_ns=1, burst=1)
    tally = Running(engine, near, spec).tally()
    assert tally.ended is Ended.LOST
    assert (tally.late, tally.malformed, tally.transactions) == (2, 2, 0)
    assert tally.lost == tally.requests_sent == 2 * LoopSpec.MAX_SILENCES
    check_accounts(tally, spec)


def test_malformed_datagrams_count_for_nothing(pair, connect):
    near, far = connect(True)
    run = Running(pair[0], near, sender_spec(True, response_bytes=10, transactions=1))
    far.settimeout(LIMIT_S)
    far.recv(1)
    for message in (b"r", b"r" * 9, b"r" * 11, b"r" * 2000, b"r" * 10):
        far.send(message)
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.malformed) == (Ended.COUNT, 1, 4)
    assert (tally.bytes_received, tally.recv_calls) == (10, 5)

    near, far = connect(True)
    run = Running(pair[1], far, target_spec(True, request_bytes=10, transactions=2))
    for message in (b"x", b"x" * 10, b"x" * 11, b"x" * 2000, b"x" * 10):
        near.send(message)
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.malformed) == (Ended.COUNT, 2, 3)
    assert (tally.bytes_received, tally.recv_calls) == (20, 5)


def test_strangers_in_the_queue_are_dropped(engine):
    with udp_socket() as near, udp_socket() as far, udp_socket() as stranger:
        near.connect(far.getsockname())
        stranger.connect(far.getsockname())
        stranger.send(b"s")
        stranger.send(b"stranger")
        near.send(b"x")
        stranger.send(b"")
        stranger.send(b"s")
        near.send(b"x")
        far.connect(near.getsockname())
        run = Running(engine, far, target_spec(True))
        near.settimeout(LIMIT_S)
        near.recv(10)
        near.recv(10)
        near.send(b"")
        tally = run.tally()
        stranger.settimeout(0.05)
        with pytest.raises(OSError):  # nothing, or the port that was closed
            stranger.recv(10)
    assert (tally.ended, tally.transactions) == (Ended.PEER, 2)
    assert (tally.malformed, tally.bytes_received) == (0, 2)


def test_strangers_over_ipv6(engine):
    socks = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(3)]
    near, far, stranger = socks
    try:
        for sock in socks:
            sock.bind(("::1", 0))
    except OSError:
        for sock in socks:
            sock.close()
        pytest.skip("no IPv6 loopback here")
    with near, far, stranger:
        stranger.sendto(b"s", far.getsockname())
        near.connect(far.getsockname())
        near.send(b"x")
        far.connect(near.getsockname())
        tally = Running(engine, far, target_spec(True, transactions=1)).tally()
        assert (tally.ended, tally.bytes_received) == (Ended.COUNT, 1)


def test_stray_end_markers_before_the_first_request_are_ignored(engine, connect):
    near, far = connect(True)
    near.send(b"")
    near.send(b"")
    run = Running(engine, far, target_spec(True))
    time.sleep(0.05)
    near.send(b"")
    near.send(b"x")
    near.settimeout(LIMIT_S)
    near.recv(1)
    near.send(b"")
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.PEER, 1)


@PROTOCOLS
def test_an_idle_target_ends_after_its_time(engine, connect, datagram):
    near, far = connect(datagram)
    run = Running(engine, far, target_spec(datagram, duration_ns=150 * MS,
                                           idle_end_ns=20 * MS))
    time.sleep(0.3)
    assert not run.over         # without a first request there is no time to be over
    near.settimeout(LIMIT_S)
    for _ in range(5):
        near.send(b"x")
        near.recv(1)
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.IDLE, 5)
    assert tally.elapsed_ns >= 150 * MS


# ---- interim results ----

def read_interims(descriptor: int) -> list[Interim]:
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while True:
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                break
            data += piece
    except BlockingIOError:
        pass
    assert len(data) % INTERIM_RECORD.size == 0
    return [Interim(*values) for values in INTERIM_RECORD.iter_unpack(data)]


@PROTOCOLS
@pytest.mark.parametrize("burst", [0, 4])
def test_interims_add_up_to_the_run(pair, connect, stop_pipe, datagram, burst):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(datagram))
    os.set_blocking(stop_pipe[1], False)
    spec = sender_spec(datagram, duration_ns=320 * MS, interim_ns=50 * MS, burst=burst)
    tally = Running(pair[0], near, spec, -1, stop_pipe[1]).tally()
    end(near, datagram)
    answering.tally()
    points = read_interims(stop_pipe[0])
    assert tally.interims_dropped == 0
    assert len(points) >= 2
    assert sum(point.interval_transactions for point in points) == tally.transactions
    assert sum(point.interval_ns for point in points) == tally.elapsed_ns
    assert points[-1].elapsed_ns == tally.elapsed_ns
    assert points[-1].transactions == tally.transactions
    assert max(point.max_ns for point in points) == tally.latency_ns.max_ns
    running = 0
    for point in points:
        running += point.interval_transactions
        assert point.transactions == running
        assert point.p50_ns <= point.p99_ns <= point.max_ns
        assert (point.p50_ns > 0) == (point.interval_transactions > 0)
    for point in points[:-1]:
        assert point.interval_ns >= 1
    check_accounts(tally, spec)


def test_the_only_interim_equals_the_histogram(pair, connect, stop_pipe):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec())
    os.set_blocking(stop_pipe[1], False)
    spec = sender_spec(transactions=777, interim_ns=60_000 * MS)
    tally = Running(pair[0], near, spec, -1, stop_pipe[1]).tally()
    end(near, False)
    answering.tally()
    (point,) = read_interims(stop_pipe[0])
    latency = tally.latency_ns
    assert (point.p50_ns, point.p99_ns, point.max_ns) == (
        latency.percentile(50), latency.percentile(99), latency.max_ns)
    assert (point.interval_transactions, point.transactions) == (777, 777)


def test_a_silent_interval_is_reported_too(engine, connect, stop_pipe):
    near, _far = connect(False)
    os.set_blocking(stop_pipe[1], False)
    spec = sender_spec(duration_ns=400 * MS, interim_ns=100 * MS)
    tally = Running(engine, near, spec, -1, stop_pipe[1]).tally()
    points = read_interims(stop_pipe[0])
    assert len(points) >= 2
    assert {(p.transactions, p.p50_ns, p.p99_ns, p.max_ns) for p in points} == {(0, 0, 0, 0)}
    assert sum(point.interval_ns for point in points) == tally.elapsed_ns


def test_a_full_report_pipe_drops_and_counts(pair, connect, stop_pipe):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec())
    os.set_blocking(stop_pipe[1], False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(stop_pipe[1], bytes(4096))
    spec = sender_spec(duration_ns=300 * MS, interim_ns=60 * MS)
    tally = Running(pair[0], near, spec, -1, stop_pipe[1]).tally()
    end(near, False)
    answering.tally()
    assert tally.ended is Ended.TIME
    assert tally.interims_dropped >= 2
    check_accounts(tally, spec)


def test_a_closed_report_pipe_does_not_end_the_run(pair, connect):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec())
    read, write = os.pipe()
    os.close(read)
    os.set_blocking(write, False)
    spec = sender_spec(duration_ns=150 * MS, interim_ns=20 * MS)
    tally = Running(pair[0], near, spec, -1, write).tally()
    os.close(write)
    end(near, False)
    answering.tally()
    assert tally.ended is Ended.TIME
    assert tally.interims_dropped > 0


# ---- signals ----

class Interrupted(Exception):
    """Like KeyboardInterrupt, but it does not end the test session when it comes late."""


def interrupt(number: int, frame: Any) -> None:
    raise Interrupted


@contextlib.contextmanager
def signals(handler: Callable[[int, Any], Any], after_s: float, every_s: float = 0,
            ) -> Iterator[None]:
    """SIGUSR1 for the main thread, once or again and again (pytest-timeout has SIGALRM)."""
    over = threading.Event()

    def send() -> None:
        wait_s = after_s
        while not over.wait(wait_s):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            if not every_s:
                break
            wait_s = every_s

    old = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, old)


@PROTOCOLS
@pytest.mark.parametrize("burst", [0, 5])
def test_signals_interrupt_and_the_loop_goes_on(pair, connect, datagram, burst):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(datagram))
    spec = sender_spec(datagram, duration_ns=300 * MS, burst=burst)
    seen: list[int] = []
    with signals(lambda number, frame: seen.append(number), 0.002, 0.002):
        tally = pair[0].run(near, spec)     # on the main thread, where the handler runs
    end(near, datagram)
    answered = answering.tally()
    assert tally.ended is Ended.TIME
    assert len(seen) > 5
    assert tally.elapsed_ns >= spec.duration_ns
    assert answered.transactions == tally.requests_sent
    check_accounts(tally, spec)


def test_signals_interrupt_large_transfers(pair, connect):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec(request_bytes=5 << 20,
                                                  response_bytes=5 << 20))
    spec = sender_spec(request_bytes=5 << 20, response_bytes=5 << 20, transactions=20, burst=3)
    with signals(lambda number, frame: None, 0.001, 0.001):
        tally = pair[0].run(near, spec)
    end(near, False)
    assert answering.tally().transactions == 20
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 20)
    check_accounts(tally, spec)


@PROTOCOLS
@pytest.mark.parametrize("fast", [False, True])
def test_an_exception_in_a_handler_gets_out(pair, connect, datagram, fast):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(datagram)) if fast else None
    with pytest.raises(Interrupted), signals(interrupt, 0.12):
        pair[0].run(near, sender_spec(datagram))
    assert not any(near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
    if answering is not None:
        end(near, datagram)
        assert answering.tally().ended is Ended.PEER


@pytest.mark.c_engine
def test_a_signal_between_system_calls_is_seen_at_a_tick(connect):
    """The C loop comes back at ticks on the main thread, so no interrupt is missed."""
    near, far = connect(True)
    engine = load_engine("hot")
    answering = Running(engine, far, target_spec(True))
    for _ in range(20):
        with pytest.raises(Interrupted), signals(interrupt, 0.003):
            engine.run(near, sender_spec(True, duration_ns=5000 * MS))
        # The response of the last request, so that the next run starts clean.
        if select.select([near], [], [], 0.05)[0]:
            near.recv(10)
    end(near, True)
    answering.tally()


@pytest.mark.c_engine
def test_a_loop_on_its_own_thread_takes_no_signal(connect):
    """Its table of descriptors lacks Python's wake-up descriptor: the signal would be lost."""
    near, far = connect(False)
    engine = load_engine("hot")
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    seen: list[int] = []
    old_handler = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    old_wake = signal.set_wakeup_fd(wake_write)
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        run = Running(engine, near, sender_spec(own_thread=True, transactions=2))
        far.settimeout(LIMIT_S)
        answer(far)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.05)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        answer(far)
        assert run.tally().ended is Ended.COUNT
        assert seen == [signal.SIGUSR1]
        assert select.select([wake_read], [], [], 0)[0] == [wake_read]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        signal.set_wakeup_fd(old_wake)
        signal.signal(signal.SIGUSR1, old_handler)
        os.close(wake_read)
        os.close(wake_write)


@PROTOCOLS
def test_a_loop_on_its_own_thread_leaves_the_socket_open(pair, connect, datagram):
    """And keeps nothing open that others close meanwhile."""
    near, far = connect(datagram)
    spare_read, spare_write = os.pipe()
    answering = Running(pair[1], far, target_spec(datagram, own_thread=True))
    spec = sender_spec(datagram, own_thread=True, transactions=500)
    first = Running(pair[0], near, spec)
    assert first.tally().transactions == 500
    waiting = Running(pair[0], near, sender_spec(datagram, own_thread=True, transactions=1))
    assert waiting.tally().transactions == 1
    os.close(spare_write)
    assert os.read(spare_read, 1) == b""
    os.close(spare_read)
    end(near, datagram)
    assert answering.tally().transactions == 501


# ---- both engines are one ----

def test_numbers_in_c_are_those_in_python():
    text = Path(base.__file__).with_name("rr_loop.h").read_text()
    numbers = {name: int(value) for name, value in
               re.findall(r"^#define RR_(\w+) (?:INT64_C\()?(\d+)\)?$", text, re.MULTILINE)}
    assert numbers == {
        "TICK_NS": base.TICK_NS,
        "SLOW_ROUND_TRIP_NS": base.SLOW_ROUND_TRIP_NS,
        "TARGET_POLL": base.TARGET_POLL,
        "MAX_SILENCES": LoopSpec.MAX_SILENCES,
        "MAX_STRAYS": pure.MAX_STRAYS,
        "CHUNK_BYTES": pure.CHUNK_BYTES,
        "SUB_BUCKET_BITS": histogram.SUB_BUCKET_BITS,
        "HIGHEST_NS": histogram.HIGHEST_NS,
        "COUNTS": histogram.COUNTS_LENGTH,
    }
    values = {name: int(value) for name, value in
              re.findall(r"^    RR_(\w+) = (\d+),?$", text, re.MULTILINE)}
    assert {item.name: values.pop(item.name) for item in Ended} == {
        item.name: item.value for item in Ended}
    assert {item.name: values.pop(item.name) for item in Role} == {
        item.name: item.value for item in Role}
    assert values == {"DONE": 0, "INTERRUPTED": 1}


def test_structs_in_c_have_the_fields_python_packs():
    text = Path(base.__file__).with_name("rr_loop.h").read_text()
    structs = {name: re.findall(r"^    int64_t (\w+);$", body, re.MULTILINE)
               for name, body in re.findall(r"^struct (\w+) \{$(.*?)^\};$", text,
                                            re.MULTILINE | re.DOTALL)}
    assert hot.SPEC.size == 8 * len(structs["rr_spec"])
    assert hot.TALLY.size == 8 * len(structs["rr_tally"])
    tally = [*Tally.__dataclass_fields__]
    tally[1] = "saved_errno"
    assert structs["rr_tally"] == [*tally[:-1], "min_ns", "max_ns", "sum_ns", "clamped"]


@pytest.mark.c_engine
def test_the_shared_object_is_the_same_engine(connect):
    engine = hot.HotEngine(load_shared())
    assert (engine.name, engine.loaded_as) == ("hot", "ctypes")
    spec = sender_spec(transactions=2000, burst=3)
    sent, answered = run_both((engine, engine), connect(False), spec)
    assert (sent.transactions, answered.transactions) == (2000, 2000)
    check_accounts(sent, spec)


@pytest.mark.c_engine
def test_the_loop_runs_without_the_gil(connect):
    """Two loops that answer each other in one process need each other to go on."""
    engine = load_engine("hot")
    spec = sender_spec(transactions=1000)
    sent, _ = run_both((engine, engine), connect(False), spec)
    assert sent.transactions == 1000


@pytest.mark.c_engine
def test_many_loops_at_once_keep_their_accounts_apart(connect):
    engine = load_engine("hot")
    specs = [sender_spec(transactions=200 + number, burst=number) for number in range(8)]
    runs = []
    for spec in specs:
        near, far = connect(False)
        runs.append((Running(engine, far, target_spec(transactions=spec.transactions)),
                     Running(engine, near, spec)))
    for spec, (answering, sending) in zip(specs, runs):
        tally = sending.tally()
        assert tally.transactions == answering.tally().transactions == spec.transactions
        check_accounts(tally, spec)
