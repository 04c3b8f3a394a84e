"""A connection for every transaction: the contract of ``ConnectSpec``."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import struct
import sys
import threading
import time
from typing import Any

import pytest
from engines import (
    LIMIT_S,
    MS,
    Running,
    connect_sender,
    connect_target,
    read_interims,
    read_to_end,
    reset,
)

from xenrr.engine.base import ConnectSpec, Ended, SocketOption, Tally
from xenrr.errors import LocalProtocolError

SIZES = [(0, 0), (1, 1), (0, 7), (7, 0), (128, 8192), (200_000, 300_000),
         ((1 << 20) + 3, (2 << 20) + 5)]


def check_accounts(tally: Tally, spec: ConnectSpec) -> None:
    assert tally.requests_sent == tally.transactions + tally.in_flight
    assert tally.in_flight in (0, 1)
    assert tally.latency_ns.total == tally.transactions
    whole = tally.transactions * spec.response_bytes
    assert tally.bytes_received == whole + tally.leftover_bytes
    assert tally.bytes_sent <= tally.requests_sent * spec.request_bytes


def run_both(pair, listener, stop_pipe, spec: ConnectSpec, **target: Any,
             ) -> tuple[Tally, Tally]:
    """A sender to its end, and the target that it meets until that is stopped."""
    answering = Running(pair[1], listener, connect_target(
        request_bytes=spec.request_bytes, response_bytes=spec.response_bytes,
        close_first=spec.close_first, **target), stop_pipe[0])
    sent = Running(pair[0], None, spec).tally()
    time.sleep(0.02)    # what the sender did not wait for may still be in the queue
    os.write(stop_pipe[1], b"x")
    release(listener)
    return sent, answering.tally()


def release(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RD)


# ---- accounts and ends ----

@pytest.mark.parametrize("close_first", [False, True])
@pytest.mark.parametrize(("request_bytes", "response_bytes"), SIZES)
def test_exactly_as_many_connections_as_asked(
        pair, listener, request_bytes, response_bytes, close_first):
    answering = Running(pair[1], listener, connect_target(
        request_bytes=request_bytes, response_bytes=response_bytes, close_first=close_first,
        transactions=9))
    spec = connect_sender(listener, request_bytes=request_bytes, transactions=9,
                          response_bytes=response_bytes, close_first=close_first)
    sent = Running(pair[0], None, spec).tally()
    answered = answering.tally()
    for tally in (sent, answered):
        assert (tally.ended, tally.errno, tally.transactions) == (Ended.COUNT, 0, 9)
        assert tally.elapsed_ns > 0
        assert (tally.strangers, tally.malformed, tally.leftover_bytes) == (0, 0, 0)
    assert sent.bytes_sent == answered.bytes_received == 9 * request_bytes
    assert sent.bytes_received == answered.bytes_sent == 9 * response_bytes
    assert (sent.send_calls >= 9) == (answered.recv_calls >= 9) == (request_bytes > 0)
    assert (sent.recv_calls >= 9) == (answered.send_calls >= 9) == (response_bytes > 0)
    assert sent.in_flight == 0
    assert 0 < sent.latency_ns.min_ns <= sent.latency_ns.max_ns
    assert sent.latency_ns.sum_ns <= sent.elapsed_ns
    assert answered.latency_ns.total == 0
    assert answered.started_ns >= sent.started_ns > 0
    check_accounts(sent, spec)


@pytest.mark.parametrize("sizes", [(0, 0), (1, 1), (3, 100_000)])
def test_a_timed_run_ends_in_time_with_all_accounted(pair, listener, stop_pipe, sizes):
    spec = connect_sender(listener, request_bytes=sizes[0], response_bytes=sizes[1],
                          duration_ns=250 * MS)
    sent, answered = run_both(pair, listener, stop_pipe, spec)
    assert sent.ended is Ended.TIME
    assert sent.elapsed_ns >= spec.duration_ns
    assert sent.transactions > 0
    assert answered.ended is Ended.STOPPED
    assert sent.transactions <= answered.transactions <= sent.requests_sent
    check_accounts(sent, spec)


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TCP_INFO is Linux's")


@LINUX
@pytest.mark.parametrize("ending", [{"transactions": 1}, {"transactions": 7},
                                    {"duration_ns": 100 * MS}])
def test_what_tcp_says_of_the_last_connection(pair, listener, stop_pipe, ending):
    with socket.create_connection(listener.getsockname()) as sample, listener.accept()[0]:
        mss = sample.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    sent, answered = run_both(pair, listener, stop_pipe, connect_sender(listener, **ending))
    assert sent.retransmissions == 0
    # It can be less by the options of a header, or as the peer's window has it.
    assert 0.9 * mss < sent.mss <= 1.1 * mss
    assert (answered.mss, answered.retransmissions) == (-1, -1)


@LINUX
def test_what_tcp_says_of_a_connection_that_is_cut_off(engine, listener):
    """Nobody answers: the only connection is still open at the deadline."""
    tally = Running(engine, None, connect_sender(listener, duration_ns=100 * MS)).tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, 0, 1)
    assert tally.mss > 0
    assert tally.retransmissions == 0


def test_tcp_says_nothing_of_what_is_not_connected(engine):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        tally = Running(engine, None, connect_sender(closed)).tally()
    assert tally.errno == errno.ECONNREFUSED
    assert (tally.mss, tally.retransmissions) == (-1, -1)


def test_over_ipv6(pair, stop_pipe):
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with listener:
        spec = connect_sender(listener, transactions=5, source="::1")
        sent, answered = run_both(pair, listener, stop_pipe, spec, peer="::1")
    assert (sent.ended, sent.transactions, answered.transactions) == (Ended.COUNT, 5, 5)


def test_a_sender_makes_its_sockets_itself(engine, listener):
    with pytest.raises(LocalProtocolError):
        engine.run(listener, connect_sender(listener, transactions=1))
    with pytest.raises(LocalProtocolError):
        engine.run(None, connect_target())


def test_messages_are_netperf_and_zeros(pair, listener):
    size = (2 << 20) + 3
    run = Running(pair[0], None, connect_sender(listener, request_bytes=size,
                                                response_bytes=1, transactions=1))
    conn, _ = listener.accept()
    with conn:
        conn.settimeout(LIMIT_S)
        seen = b""
        while len(seen) < size:
            seen += conn.recv(1 << 20)
        conn.send(b"r")
    assert run.tally().ended is Ended.COUNT
    assert seen == (b"netperf" * (size // 7 + 1))[:size]

    run = Running(pair[1], listener, connect_target(response_bytes=100, transactions=1))
    with socket.create_connection(listener.getsockname()) as near:
        near.send(b"x")
        assert read_to_end(near) == bytes(100)
    assert run.tally().ended is Ended.COUNT


def test_interims_add_up_to_the_run(pair, listener, stop_pipe):
    reports = os.pipe()
    os.set_blocking(reports[1], False)
    spec = connect_sender(listener, request_bytes=3, response_bytes=5, duration_ns=320 * MS,
                          interim_ns=50 * MS)
    answering = Running(pair[1], listener, connect_target(request_bytes=3, response_bytes=5),
                        stop_pipe[0])
    tally = Running(pair[0], None, spec, -1, reports[1]).tally()
    os.write(stop_pipe[1], b"x")
    release(listener)
    answering.tally()
    points = read_interims(reports[0])
    for descriptor in reports:
        os.close(descriptor)
    assert len(points) >= 2
    assert points[-1].transactions == tally.transactions
    assert sum(point.interval_transactions for point in points) == tally.transactions
    assert sum(point.interval_ns for point in points) == tally.elapsed_ns
    assert sum(point.interval_bytes for point in points) == (
        tally.bytes_sent + tally.bytes_received)
    assert max(point.max_ns for point in points) == tally.latency_ns.max_ns
    for point in points:
        assert point.p50_ns <= point.p99_ns <= point.max_ns


# ---- what the other end sees ----

def test_without_close_first_the_target_closes_first(pair, listener):
    """The sender must not: it waits for the end of file with its own half open."""
    run = Running(pair[0], None, connect_sender(listener, transactions=1))
    conn, _ = listener.accept()
    with conn:
        conn.settimeout(LIMIT_S)
        assert conn.recv(10) == b"n"
        conn.send(b"r")
        conn.settimeout(0.1)
        with pytest.raises(socket.timeout):
            conn.recv(10)
        assert not run.over
    assert run.tally().transactions == 1

    run = Running(pair[1], listener, connect_target(transactions=1))
    with socket.create_connection(listener.getsockname()) as near:
        near.send(b"x")
        assert read_to_end(near) == b"\0"
    assert run.tally().transactions == 1


@pytest.mark.parametrize("sizes", [(1, 1), (0, 0)])
def test_with_close_first_the_sender_does(pair, listener, sizes):
    run = Running(pair[0], None, connect_sender(
        listener, request_bytes=sizes[0], response_bytes=sizes[1], transactions=1,
        close_first=True))
    conn, _ = listener.accept()
    with conn:
        conn.send(bytes(sizes[1]))
        assert len(read_to_end(conn)) == sizes[0]
        assert not run.over
    assert run.tally().transactions == 1

    run = Running(pair[1], listener, connect_target(
        request_bytes=sizes[0], response_bytes=sizes[1], transactions=1, close_first=True))
    with socket.create_connection(listener.getsockname()) as near:
        near.settimeout(0.1)
        near.send(bytes(sizes[0]))
        if sizes[1]:
            assert near.recv(10) == b"\0"
        with pytest.raises(socket.timeout):
            near.recv(10)
        assert not run.over
        near.shutdown(socket.SHUT_WR)
        assert read_to_end(near) == b""
    assert run.tally().transactions == 1


def test_options_are_set_on_every_socket(engine, listener):
    value = struct.pack("ii", 1, 0)
    spec = connect_sender(listener, transactions=2, options=(
        SocketOption(socket.SOL_SOCKET, socket.SO_LINGER, value),
        SocketOption(socket.IPPROTO_TCP, socket.TCP_NODELAY, struct.pack("i", 1))))
    run = Running(engine, None, spec)
    for _ in range(2):
        conn, _address = listener.accept()
        with conn:
            conn.settimeout(LIMIT_S)
            conn.recv(1)
            conn.send(b"r")
            conn.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionResetError):   # what the lingering asks for
                read_to_end(conn)
    assert run.tally().transactions == 2


def test_an_option_that_cannot_be_set_is_an_error(engine, listener):
    spec = connect_sender(listener, transactions=1, options=(
        SocketOption(socket.SOL_SOCKET, 12345, b"\0" * 4),))
    tally = Running(engine, None, spec).tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.ENOPROTOOPT)
    check_accounts(tally, spec)


# ---- local ports ----

def free_ports(count: int) -> tuple[int, int]:
    """A range in which all ports are free, as far as one can know."""
    for _ in range(100):
        low = random.randrange(15_000, 32_000)  # below what Linux gives away by itself
        held = []
        try:
            for port in range(low, low + count):
                sock = socket.socket()
                held.append(sock)
                sock.bind(("127.0.0.1", port))
            return low, low + count - 1
        except OSError:
            continue
        finally:
            for sock in held:
                sock.close()
    raise AssertionError("no free ports")


def ports_seen(engine, listener, turns: int, **values: Any) -> list[int]:
    """Play a target by hand; local ports of the sender, in order. It ends at its count."""
    run = Running(engine, None, connect_sender(
        listener, request_bytes=0, response_bytes=0, transactions=turns, source="127.0.0.1",
        **values))
    seen = []
    listener.settimeout(LIMIT_S)
    for _ in range(turns):
        conn, address = listener.accept()
        seen.append(address[1])
        conn.close()    # first, so that TIME_WAIT is on this side
    listener.settimeout(None)
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, turns)
    return seen


# The target's own TIME_WAIT of an earlier round must not get into the way of the next.
REUSE = (SocketOption(socket.SOL_SOCKET, socket.SO_REUSEADDR, struct.pack("i", 1)),)


def test_ports_are_taken_in_order(engine, listener):
    low, high = free_ports(6)
    assert ports_seen(engine, listener, 5, ports=(low, high), first_port=low,
                      options=REUSE) == list(range(low, low + 5))


def test_ports_wrap(engine, listener):
    low, high = free_ports(5)
    assert ports_seen(engine, listener, 4, ports=(low, high), first_port=high - 1,
                      options=REUSE) == [high - 1, high, low, low + 1]


def test_a_random_first_port_lies_in_the_range(engine, listener):
    low, high = free_ports(10)
    seen = ports_seen(engine, listener, 3, ports=(low, high), options=REUSE)
    assert all(low <= port <= high for port in seen)


def test_taken_ports_are_passed_over(engine, listener):
    low, high = free_ports(5)
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", low))
        second.bind(("127.0.0.1", low + 2))
        seen = ports_seen(engine, listener, 3, ports=(low, high), first_port=low)
    assert seen == [low + 1, low + 3, low + 4]


def test_a_pair_of_addresses_in_use_is_passed_over(engine, listener):
    """bind() allows it, connect() does not."""
    low, high = free_ports(2)
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", low))
        held.connect(listener.getsockname())
        listener.accept()[0].close()
        assert ports_seen(engine, listener, 1, ports=(low, high), first_port=low,
                          options=REUSE) == [high]


def test_no_port_left_is_an_error(engine, listener):
    low, high = free_ports(3)
    held = [socket.socket() for _ in range(3)]
    try:
        for number, sock in enumerate(held):
            sock.bind(("127.0.0.1", low + number))
        spec = connect_sender(listener, duration_ns=5000 * MS, ports=(low, high),
                              source="127.0.0.1")
        tally = Running(engine, None, spec).tally()
    finally:
        for sock in held:
            sock.close()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.EADDRNOTAVAIL)
    assert (tally.transactions, tally.requests_sent, tally.in_flight) == (0, 1, 1)


def test_ports_run_out_in_the_middle(engine, listener):
    low, _ = free_ports(1)
    run = Running(engine, None, connect_sender(
        listener, request_bytes=0, response_bytes=0, transactions=5, ports=(low, low),
        source="127.0.0.1", options=REUSE))
    listener.settimeout(LIMIT_S)
    conn, _address = listener.accept()
    with conn, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", low))
        other.listen()
        conn.close()
        tally = run.tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.EADDRNOTAVAIL)
    assert (tally.transactions, tally.in_flight) == (1, 1)


def test_a_source_address_is_kept(engine, listener):
    run = Running(engine, None, connect_sender(listener, request_bytes=0, response_bytes=0,
                                               transactions=1, source="127.0.0.3"))
    conn, address = listener.accept()
    conn.close()
    assert run.tally().transactions == 1
    assert address[0] == "127.0.0.3"


def test_a_source_that_is_not_ours_is_an_error(engine, listener):
    spec = connect_sender(listener, transactions=1, source="192.0.2.1")
    tally = Running(engine, None, spec).tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.EADDRNOTAVAIL)


# ---- strangers, idlers, and those who break off ----

def test_strangers_are_closed_and_counted(pair, listener, stop_pipe):
    answering = Running(pair[1], listener, connect_target(peer="127.0.0.1"), stop_pipe[0])
    for _ in range(3):
        with socket.create_connection(listener.getsockname(), LIMIT_S,
                                      ("127.0.0.9", 0)) as stranger:
            with contextlib.suppress(ConnectionResetError):
                assert read_to_end(stranger) == b""
    spec = connect_sender(listener, transactions=4)
    sent = Running(pair[0], None, spec).tally()
    os.write(stop_pipe[1], b"x")
    release(listener)
    answered = answering.tally()
    assert (sent.transactions, answered.transactions) == (4, 4)
    assert answered.strangers == 3
    assert answered.bytes_received == 4


def test_an_ipv4_peer_in_an_ipv6_listener_is_no_stranger(engine, stop_pipe):
    if not socket.has_dualstack_ipv6():
        pytest.skip("no listener for both kinds of addresses here")
    with socket.create_server(("::", 0), family=socket.AF_INET6,
                              dualstack_ipv6=True) as listener:
        run = Running(engine, listener, connect_target(peer="127.0.0.1", transactions=2))
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as near:
                near.send(b"x")
                assert read_to_end(near) == b"\0"
        tally = run.tally()
    assert (tally.ended, tally.strangers, tally.transactions) == (Ended.COUNT, 0, 2)


def test_an_idle_connection_holds_the_target_up_for_a_while_only(pair, listener):
    answering = Running(pair[1], listener, connect_target(transactions=3))
    with socket.create_connection(listener.getsockname()) as idle:
        sent = Running(pair[0], None, connect_sender(listener, transactions=3)).tally()
        with contextlib.suppress(ConnectionResetError):
            assert read_to_end(idle) == b""
    assert sent.transactions == 3
    assert sent.latency_ns.max_ns > ConnectSpec.IDLE_CONNECTION_NS // 2
    assert answering.tally().transactions == 3


@pytest.mark.parametrize("break_off", [socket.socket.close, reset])
def test_a_connection_that_breaks_off_is_no_transaction(engine, listener, break_off):
    run = Running(engine, listener, connect_target(request_bytes=10, response_bytes=3,
                                                   transactions=1))
    for part in (b"", b"x", b"x" * 9):
        near = socket.create_connection(listener.getsockname())
        near.send(part)
        break_off(near)
    with socket.create_connection(listener.getsockname()) as near:
        near.send(b"x" * 10)
        assert read_to_end(near) == b"\0" * 3
    tally = run.tally()
    assert (tally.ended, tally.errno, tally.transactions) == (Ended.COUNT, 0, 1)
    assert tally.bytes_sent == 3
    assert 10 <= tally.bytes_received <= 20


def test_a_sender_that_does_not_read_is_left(engine, listener):
    run = Running(engine, listener, connect_target(response_bytes=1 << 28, transactions=1))
    with socket.create_connection(listener.getsockname()) as near:
        near.send(b"x")
        time.sleep(0.05)
        with socket.create_connection(listener.getsockname()) as other:
            other.send(b"x")
            other.settimeout(LIMIT_S)
            assert other.recv(1) == b"\0"   # its turn has come
            got = 1
            while piece := other.recv(1 << 20):
                got += len(piece)
    tally = run.tally()
    assert got == 1 << 28
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 1)


@pytest.mark.parametrize(("tail", "ended"), [(b"", Ended.PEER), (b"r" * 40, Ended.PEER)])
def test_an_end_of_file_instead_of_the_response(engine, listener, tail, ended):
    spec = connect_sender(listener, response_bytes=100)
    run = Running(engine, None, spec)
    for answer in (b"r" * 100, tail):
        conn, _ = listener.accept()
        conn.recv(1)
        conn.send(answer)
        conn.close()
    tally = run.tally()
    assert (tally.ended, tally.errno) == (ended, 0)
    assert (tally.transactions, tally.in_flight) == (1, 1)
    assert tally.leftover_bytes == len(tail)
    check_accounts(tally, spec)


def test_a_reset_keeps_what_was_measured(engine, listener):
    spec = connect_sender(listener)
    run = Running(engine, None, spec)
    conn, _ = listener.accept()
    conn.recv(1)
    conn.send(b"r")
    conn.close()
    conn, _ = listener.accept()
    conn.recv(1)
    reset(conn)
    tally = run.tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.ECONNRESET)
    assert (tally.transactions, tally.in_flight) == (1, 1)
    check_accounts(tally, spec)


def test_a_target_that_sends_for_ever_does_not_hold_the_deadline_up(engine, listener):
    run = Running(engine, None, connect_sender(listener, duration_ns=200 * MS))
    conn, _ = listener.accept()
    with conn, contextlib.suppress(OSError):
        while not run.over:
            conn.send(bytes(1 << 16))
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, 0, 1)


# ---- nobody listens ----

def closed_port() -> socket.socket:
    """A socket whose address refuses connections while it is open."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def test_a_refused_connection_is_an_error(engine):
    with closed_port() as nobody:
        tally = Running(engine, None, connect_sender(nobody)).tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.ECONNREFUSED)
    assert (tally.transactions, tally.requests_sent, tally.in_flight) == (0, 1, 1)


def test_a_refused_connection_is_tried_again_until_the_deadline(engine):
    with closed_port() as nobody:
        tally = Running(engine, None, connect_sender(nobody, retry_connect=True,
                                                     duration_ns=120 * MS)).tally()
    assert (tally.ended, tally.errno) == (Ended.TIME, 0)
    assert (tally.transactions, tally.requests_sent, tally.in_flight) == (0, 1, 1)


def test_a_refused_connection_succeeds_once_somebody_listens(engine):
    with closed_port() as sock:
        spec = connect_sender(sock, retry_connect=True, transactions=2)
        run = Running(engine, None, spec)
        time.sleep(0.1)
        assert not run.over
        sock.listen()
        for _ in range(2):
            conn, _address = sock.accept()
            with conn:
                conn.recv(1)
                conn.send(b"r")
        tally = run.tally()
    assert (tally.ended, tally.transactions, tally.requests_sent) == (Ended.COUNT, 2, 2)


def test_the_deadline_ends_a_connect_that_nobody_answers(engine):
    """A listener whose queue is full: Linux drops the request to connect."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        with contextlib.ExitStack() as held:
            for _ in range(3):
                sock = held.enter_context(socket.socket())
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(listener.getsockname())
            tally = Running(engine, None, connect_sender(
                listener, duration_ns=150 * MS)).tally()
    assert (tally.ended, tally.in_flight, tally.transactions) == (Ended.TIME, 1, 0)


# ---- stopping ----

@pytest.mark.parametrize("side", ["sender", "target"])
def test_stop_before_the_start(engine, listener, stop_pipe, side):
    os.write(stop_pipe[1], b"x")
    if side == "sender":
        tally = Running(engine, None, connect_sender(listener), stop_pipe[0]).tally()
    else:
        tally = Running(engine, listener, connect_target(), stop_pipe[0]).tally()
    assert tally == Tally(ended=Ended.STOPPED)


def test_stop_a_sender_at_work(pair, listener, stop_pipe):
    target_stop = os.pipe()
    answering = Running(pair[1], listener, connect_target(), target_stop[0])
    spec = connect_sender(listener)
    sending = Running(pair[0], None, spec, stop_pipe[0])
    time.sleep(0.1)
    os.write(stop_pipe[1], b"x")
    tally = sending.tally()
    os.write(target_stop[1], b"x")
    release(listener)
    answered = answering.tally()
    for descriptor in target_stop:
        os.close(descriptor)
    assert tally.ended is Ended.STOPPED
    assert 0 < tally.transactions <= answered.transactions
    check_accounts(tally, spec)


def test_stop_a_target_at_work(pair, listener, stop_pipe):
    answering = Running(pair[1], listener, connect_target(), stop_pipe[0])
    spec = connect_sender(listener, duration_ns=int(LIMIT_S * 1000) * MS)
    sending = Running(pair[0], None, spec)
    time.sleep(0.1)
    os.write(stop_pipe[1], b"x")
    answered = answering.tally()
    assert answered.ended is Ended.STOPPED
    assert answered.transactions > 0
    listener.close()
    tally = sending.tally()
    assert tally.ended in (Ended.ERROR, Ended.PEER)
    assert tally.transactions > 0
    check_accounts(tally, spec)


@pytest.mark.parametrize("answer", [b"", b"r"], ids=["response", "end of file"])
def test_stop_a_sender_that_waits(engine, listener, stop_pipe, answer):
    spec = connect_sender(listener)
    run = Running(engine, None, spec, stop_pipe[0])
    conn, _ = listener.accept()
    with conn:
        conn.send(answer)
        time.sleep(0.05)
        assert not run.over
        os.write(stop_pipe[1], b"x")
        tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.STOPPED, 0, 1)
    check_accounts(tally, spec)


def test_stop_a_sender_whose_request_does_not_fit(engine, listener, stop_pipe):
    run = Running(engine, None, connect_sender(listener, request_bytes=1 << 30), stop_pipe[0])
    conn, _ = listener.accept()
    with conn:
        time.sleep(0.1)
        os.write(stop_pipe[1], b"x")
        tally = run.tally()
    assert (tally.ended, tally.in_flight) == (Ended.STOPPED, 1)
    assert 0 < tally.bytes_sent < 1 << 30


def test_stop_a_sender_that_tries_again(engine, stop_pipe):
    with closed_port() as nobody:
        run = Running(engine, None, connect_sender(nobody, retry_connect=True), stop_pipe[0])
        time.sleep(0.05)
        os.write(stop_pipe[1], b"x")
        assert run.tally().ended is Ended.STOPPED


@pytest.mark.parametrize("state", ["accept", "request", "response", "end"])
def test_stop_a_target_that_waits(engine, listener, stop_pipe, state):
    spec = connect_target(request_bytes=2, close_first=state == "end",
                          response_bytes=1 << 28 if state == "response" else 1)
    run = Running(engine, listener, spec, stop_pipe[0])
    with contextlib.ExitStack() as held:
        if state != "accept":
            near = held.enter_context(socket.create_connection(listener.getsockname()))
            near.send(b"x" if state == "request" else b"xx")
        time.sleep(0.1)
        assert not run.over
        os.write(stop_pipe[1], b"x")
        release(listener)
        tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.STOPPED, 0)


def test_a_target_is_released_by_shutting_its_listener_down(engine, listener):
    run = Running(engine, listener, connect_target())
    time.sleep(0.05)
    listener.shutdown(socket.SHUT_RD)
    assert run.tally().ended is Ended.PEER


def test_the_deadline_cuts_a_connection_off(engine, listener):
    spec = connect_sender(listener, response_bytes=10, duration_ns=150 * MS)
    run = Running(engine, None, spec)
    conn, _ = listener.accept()
    with conn:
        conn.send(b"r" * 4)
        tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, 0, 1)
    assert tally.leftover_bytes == 4
    check_accounts(tally, spec)


def test_a_listener_keeps_its_timeouts(engine, listener):
    value = struct.pack("@ll", 7, 250_000)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    before = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    run = Running(engine, listener, connect_target(request_bytes=0, response_bytes=0,
                                                   transactions=1))
    socket.create_connection(listener.getsockname()).close()
    assert run.tally().ended is Ended.COUNT
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == before


def test_no_descriptor_is_left_open(pair, listener, stop_pipe):
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        answering = Running(pair[1], listener, connect_target(transactions=20))
        spec = connect_sender(listener, transactions=20)
        assert Running(pair[0], None, spec).tally().transactions == 20
        answering.tally()
    assert len(os.listdir("/dev/fd")) == before


def test_several_senders_at_one_listener(engine, listener, stop_pipe):
    answering = Running(engine, listener, connect_target(transactions=60))
    specs = [connect_sender(listener, transactions=20, own_thread=True) for _ in range(3)]
    runs = [Running(engine, None, spec) for spec in specs]
    assert [run.tally().transactions for run in runs] == [20, 20, 20]
    assert answering.tally().transactions == 60
    assert threading.active_count() < 50
