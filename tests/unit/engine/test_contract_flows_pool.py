"""A pool that connections join and leave: the contract of ``xenrr.engine.flows``."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from engines import (
    LIMIT_S,
    PROTOCOLS,
    Running,
    RunningPool,
    check_accounts,
    end,
    pollers_of,
    reset,
    sender_spec,
    target_spec,
    udp_socket,
)

from xenrr.engine.base import MAX_PIECE_BYTES, Ended
from xenrr.engine.flows import ADD, JOIN_RECORD, Join
from xenrr.engine.load import load_engine


@pytest.fixture(params=pollers_of("pure") + pollers_of("hot"))
def pool(request) -> Iterator[RunningPool]:
    """A pool of each engine with each of its pollers."""
    name, poller = request.param.split("-")
    with RunningPool(load_engine(name), poller) as running:
        yield running
        assert running.close() == poller


def ask(sock: socket.socket, request_bytes: int = 1, response_bytes: int = 1) -> None:
    """One transaction by hand."""
    sock.settimeout(LIMIT_S)
    sock.send(b"x" * request_bytes)
    got = 0
    while got < response_bytes:
        part = len(sock.recv(response_bytes - got))
        assert part
        got += part


@PROTOCOLS
def test_connections_come_and_go(pool, connect, datagram):
    first, second = connect(datagram), connect(datagram)
    one = pool.add(first[1], datagram)
    for _ in range(3):
        ask(first[0])
    two = pool.add(second[1], datagram, 20, 30)
    ask(second[0], 20, 30)
    ask(first[0])
    assert pool.silent
    end(first[0], datagram)
    left, = pool.leaves()
    assert (left.id, left.ended, left.errno, left.transactions) == (one, Ended.PEER, 0, 4)
    assert (left.bytes_received, left.bytes_sent) == (4, 4)
    assert left.recv_calls >= 4 <= left.send_calls
    assert left.started_ns > 0 < left.elapsed_ns
    ask(second[0], 20, 30)
    end(second[0], datagram)
    left, = pool.leaves()
    assert (left.id, left.ended, left.transactions) == (two, Ended.PEER, 2)
    assert (left.bytes_received, left.bytes_sent) == (40, 60)


@PROTOCOLS
def test_a_member_leaves_at_its_count(pool, connect, datagram):
    near, far = connect(datagram)
    pool.add(far, datagram, transactions=2)
    ask(near)
    ask(near)
    left, = pool.leaves()
    assert (left.ended, left.transactions) == (Ended.COUNT, 2)


def test_a_reset_is_an_error_of_one(pool, connect):
    first, second = connect(False), connect(False)
    one = pool.add(first[1])
    pool.add(second[1])
    ask(first[0])
    reset(first[0])
    left, = pool.leaves()
    assert (left.id, left.ended, left.transactions) == (one, Ended.ERROR, 1)
    assert left.errno
    ask(second[0])


def test_a_drop_between_two_transactions(pool, connect):
    near, far = connect(False)
    number = pool.add(far)
    ask(near)
    pool.drop(number)
    left, = pool.leaves()
    assert (left.ended, left.transactions, left.have_bytes) == (Ended.STOPPED, 1, 0)
    near.send(b"x")
    far.settimeout(LIMIT_S)
    assert far.recv(1) == b"x"      # the pool lets go of it
    assert os.get_blocking(far.fileno()) is False   # as settimeout made it, not the pool


def test_a_drop_while_a_request_is_half_read(pool, connect):
    near, far = connect(False)
    number = pool.add(far, request_bytes=10)
    ask(near, 10)
    near.send(b"x" * 4)
    time.sleep(0.05)
    pool.drop(number)
    left, = pool.leaves()
    assert (left.ended, left.transactions, left.have_bytes) == (Ended.STOPPED, 1, 4)
    assert left.bytes_received == 14
    # It comes back with what it has, and the rest makes it whole.
    number = pool.add(far, request_bytes=10, have_bytes=left.have_bytes)
    near.send(b"x" * 6)
    near.settimeout(LIMIT_S)
    assert len(near.recv(1)) == 1
    end(near, False)
    left, = pool.leaves()
    assert (left.id, left.ended, left.transactions) == (number, Ended.PEER, 1)
    assert left.bytes_received == 6


def test_a_drop_while_a_response_does_not_fit(pool, connect):
    near, far = connect(False)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    number = pool.add(far, response_bytes=MAX_PIECE_BYTES)
    for _ in range(20):
        near.send(b"x")
    time.sleep(0.1)     # the buffers fill up
    pool.drop(number)
    left, = pool.leaves()
    assert left.ended is Ended.STOPPED
    assert left.transactions < 20
    assert left.bytes_sent >= left.transactions * MAX_PIECE_BYTES


def test_a_response_that_does_not_fit_goes_out_in_parts(pool, connect):
    near, far = connect(False)
    other = connect(False)
    pool.add(far, response_bytes=MAX_PIECE_BYTES)
    pool.add(other[1])
    for _ in range(8):
        near.send(b"x")
    time.sleep(0.05)
    ask(other[0])       # nobody waits for the one that reads nothing
    near.settimeout(LIMIT_S)
    got = 0
    while got < 8 * MAX_PIECE_BYTES:
        got += len(near.recv(1 << 20))
    end(near, False)
    left, = pool.leaves()
    assert (left.transactions, left.bytes_sent) == (8, 8 * MAX_PIECE_BYTES)


def test_who_takes_no_responses_is_not_read_from_any_more(pool, connect):
    near, far = connect(False)
    other = connect(False)
    pool.add(far, False, 1000, 1000)
    pool.add(other[1])
    near.setblocking(False)
    sent, most, last_s = 0, 64 << 20, time.monotonic()
    while sent < most and time.monotonic() - last_s < 0.2:
        try:
            sent += near.send(bytes(min(100_000, most - sent)))
            last_s = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    assert sent < most
    ask(other[0])
    # All of it is answered as soon as it is read.
    near.settimeout(LIMIT_S)
    got, whole = 0, sent - sent % 1000
    while got < whole:
        part = len(near.recv(1 << 20))
        assert part
        got += part
    ask(near, 1000 - sent % 1000, 1000)
    near.close()
    left, = pool.leaves()
    assert (left.ended, left.transactions) == (Ended.PEER, got // 1000 + 1)


def test_at_the_end_of_the_pipe_all_are_dropped(pool, connect):
    pairs = [connect(False) for _ in range(3)]
    numbers = {pool.add(far) for _, far in pairs}
    for near, _ in pairs:
        ask(near)
    pool.close()
    leaves = pool.leaves(3)
    assert {left.id for left in leaves} == numbers
    assert {(left.ended, left.transactions) for left in leaves} == {(Ended.STOPPED, 1)}
    for near, far in pairs:
        near.send(b"x")
        assert far.recv(1) == b"x"


def test_a_pool_that_nobody_joins_ends(pool):
    pool.close()
    assert pool.silent


# ---- moving ----

@pytest.mark.parametrize("name", ["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
def test_a_session_moves_in_and_loses_nothing(pool, connect, name):
    """From a loop of its own into the pool, out of it and in again, under load."""
    near, far = connect(False)
    spec = sender_spec(request_bytes=100, response_bytes=50, burst=3)
    stop_loop, stop_sender = os.pipe(), os.pipe()
    try:
        alone = Running(load_engine(name), far, target_spec(
            request_bytes=100, response_bytes=50), stop_loop[0])
        sending = Running(load_engine(name), near, spec, stop_sender[0])
        time.sleep(0.05)
        os.write(stop_loop[1], b"x")
        tally = alone.tally()
        assert tally.ended is Ended.STOPPED
        answered, have = tally.transactions, tally.leftover_bytes
        assert tally.bytes_received == 100 * answered + have
        assert tally.bytes_sent == 50 * answered
        for _ in range(3):
            number = pool.add(far, False, 100, 50, have_bytes=have)
            time.sleep(0.03)
            pool.drop(number)
            left, = pool.leaves()
            assert left.ended is Ended.STOPPED
            answered, have = answered + left.transactions, left.have_bytes
        pool.add(far, False, 100, 50, have_bytes=have)
        os.write(stop_sender[1], b"x")
        sent = sending.tally()
    finally:
        for descriptor in stop_loop + stop_sender:
            os.close(descriptor)
    end(near, False)
    left, = pool.leaves()
    assert (left.ended, left.have_bytes) == (Ended.PEER, 0)
    assert answered + left.transactions == sent.requests_sent
    assert sent.ended is Ended.STOPPED
    check_accounts(sent, spec)


# ---- UDP ----

def test_strangers_in_the_queue_are_dropped(pool):
    with udp_socket() as near, udp_socket() as far, udp_socket() as stranger:
        near.connect(far.getsockname())
        stranger.sendto(b"s", far.getsockname())
        near.send(b"x")
        stranger.sendto(b"", far.getsockname())
        near.send(b"x")
        far.connect(near.getsockname())
        pool.add(far, True)
        near.settimeout(LIMIT_S)
        assert near.recv(10) and near.recv(10)
        near.send(b"")
        left, = pool.leaves()
    assert (left.ended, left.transactions, left.malformed) == (Ended.PEER, 2, 0)
    assert left.bytes_received == 2


def test_datagrams_of_the_wrong_size_are_not_answered(pool, connect):
    near, far = connect(True)
    pool.add(far, True, 10, 5)
    for message in (b"x", b"x" * 9, b"x" * 11, b"x" * 2000):
        near.send(message)
    ask(near, 10, 5)
    near.send(b"")
    left, = pool.leaves()
    assert (left.transactions, left.malformed) == (1, 4)


def test_stray_end_markers_before_the_first_request_are_ignored(pool, connect):
    near, far = connect(True)
    near.send(b"")
    pool.add(far, True)
    near.send(b"")
    ask(near)
    near.send(b"")
    left, = pool.leaves()
    assert (left.ended, left.transactions) == (Ended.PEER, 1)


def test_one_socket_serves_all_flows_of_a_host(pool):
    with udp_socket() as far, udp_socket() as one, udp_socket() as two, udp_socket() as other:
        other.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))
            stranger.settimeout(0.05)
            pool.add(far, True, peer=socket.inet_aton("127.0.0.1"))
            for sock in (one, two):
                sock.connect(far.getsockname())
            stranger.sendto(b"s", far.getsockname())
            for _ in range(3):
                ask(one)
                ask(two)
            with pytest.raises(OSError):
                stranger.recv(10)
            one.send(b"")
            left, = pool.leaves()
    assert (left.ended, left.transactions, left.bytes_received) == (Ended.PEER, 6, 6)


def test_a_closed_udp_port_ends_a_member(pool, connect):
    near, far = connect(True)
    pool.add(far, True)
    near.send(b"x")
    near.close()
    with udp_socket():
        left, = pool.leaves() if not pool.silent else (None,)
    assert left is None or (left.ended, left.errno) == (Ended.PEER, 0)


# ---- records that make no sense ----

def test_hostile_records_cost_nobody_else_anything(pool, connect):
    near, far = connect(False)
    pool.add(far)
    ask(near)
    spare, spare_far = connect(False)
    fd = spare_far.fileno()
    joins = [
        Join(100, 1 << 40, False, 1, 1), Join(101, -1, False, 1, 1),
        Join(102, 999, False, 1, 1), Join(103, fd, True, 1, 1),
        Join(104, fd, False, 0, 1), Join(105, fd, False, 1, 0),
        Join(106, fd, False, MAX_PIECE_BYTES + 1, 1), Join(107, fd, False, 1, 1 << 62),
        Join(108, fd, False, 10, 1, have_bytes=10), Join(109, fd, False, 10, 1, have_bytes=-1),
        Join(110, fd, False, 1, 1, transactions=-1), Join(111, far.fileno(), False, 1, 1),
        Join(1, fd, False, 1, 1), Join(112, fd, False, 1, 1, peer=b"1234")]
    for join in joins:
        os.write(pool.join_fd, join.pack())
        left, = pool.leaves()
        assert (left.id, left.ended, left.transactions) == (join.id, Ended.ERROR, 0), join
        assert left.errno, join
    for action in (0, 3, -1, 1 << 62):
        os.write(pool.join_fd, JOIN_RECORD.pack(action, 1, fd, 0, 1, 1, 0, 0, b"", 0))
    os.write(pool.join_fd, JOIN_RECORD.pack(ADD, 113, fd, 0, 1, 1, 0, 0, b"", 1 << 60))
    left, = pool.leaves()
    assert (left.id, left.ended) == (113, Ended.ERROR)
    pool.drop(4711)
    ask(near)           # still there
    assert pool.silent
    os.write(pool.join_fd, Join(114, fd, False, 1, 1).pack())
    ask(spare)          # and the one that was refused is as it was


def test_a_record_in_two_parts(pool, connect):
    near, far = connect(False)
    record = Join(7, far.fileno(), False, 1, 1).pack()
    os.write(pool.join_fd, record[:11])
    time.sleep(0.02)
    os.write(pool.join_fd, record[11:])
    ask(near)


def test_a_pipe_that_ends_in_a_record(pool, connect):
    near, far = connect(False)
    pool.add(far)
    ask(near)
    os.write(pool.join_fd, struct.pack("=q", ADD))
    pool.close()
    assert pool.leaves()[0].ended is Ended.STOPPED
