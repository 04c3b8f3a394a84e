"""Data that flows one way over UDP. Loopback drops too, so nothing here counts on delivery."""

from __future__ import annotations

import errno
import os
import socket
import time

import pytest
from engines import LIMIT_S, MS, Running, read_interims, receiving, sending, udp_socket

from xenrr.engine.base import Ended, Tally


def check_accounts(sent: Tally, received: Tally, block_bytes: int) -> None:
    assert sent.latency_ns.total == sent.send_calls
    assert sent.bytes_sent == sent.send_calls * block_bytes
    assert received.latency_ns.total == received.recv_calls
    assert received.recv_calls <= sent.send_calls
    assert received.bytes_received == received.recv_calls * block_bytes
    for tally in (sent, received):
        assert (tally.transactions, tally.malformed, tally.strangers) == (0, 0, 0)


@pytest.mark.parametrize("block_bytes", [1, 1400, 65507])
def test_a_timed_run_and_its_end(pair, connect, block_bytes):
    near, far = connect(True)
    answering = Running(pair[1], far, receiving(True, block_bytes=block_bytes))
    spec = sending(True, block_bytes=block_bytes, duration_ns=150 * MS)
    sent = Running(pair[0], near, spec).tally()
    end(near, answering)
    received = answering.tally()
    assert (sent.ended, received.ended) == (Ended.TIME, Ended.PEER)
    assert sent.elapsed_ns >= spec.duration_ns
    assert received.recv_calls > 0
    check_accounts(sent, received, block_bytes)


def end(sock: socket.socket, answering: Running) -> None:
    """Empty datagrams until one arrives: the first may find the buffer full."""
    ends = time.monotonic() + LIMIT_S
    while not answering.over and time.monotonic() < ends:
        try:
            sock.send(b"")
        except ConnectionRefusedError:
            break
        time.sleep(0.01)


def test_as_many_bytes_as_asked(pair, connect):
    near, far = connect(True)
    answering = Running(pair[1], far, receiving(True, block_bytes=100))
    sent = Running(pair[0], near, sending(True, block_bytes=100, limit_bytes=2950)).tally()
    end(near, answering)
    received = answering.tally()
    assert (sent.ended, sent.send_calls, sent.bytes_sent) == (Ended.COUNT, 30, 3000)
    check_accounts(sent, received, 100)


def test_a_receiver_ends_at_its_count(engine, connect):
    near, far = connect(True)
    run = Running(engine, far, receiving(True, block_bytes=100, limit_bytes=250))
    for _ in range(3):
        near.send(bytes(100))
    tally = run.tally()
    assert (tally.ended, tally.recv_calls, tally.bytes_received) == (Ended.COUNT, 3, 300)


@pytest.mark.parametrize("first", [True, False])
def test_a_receiver_ends_at_its_time(engine, connect, first):
    near, far = connect(True)
    if first:
        near.send(b"x" * 10)
    tally = Running(engine, far, receiving(True, block_bytes=10,
                                           duration_ns=120 * MS)).tally()
    assert (tally.ended, tally.recv_calls) == (Ended.TIME, int(first))


@pytest.mark.parametrize("discard", [False, True])
def test_datagrams_of_any_size_are_data(engine, connect, discard):
    """One that is too long counts for what was asked of it."""
    near, far = connect(True)
    run = Running(engine, far, receiving(True, block_bytes=100, discard=discard))
    time.sleep(0.05)    # the first ones are received in another way
    for size in (100, 1, 99, 101, 5000, 100):
        near.send(bytes(size))
    near.send(b"")
    tally = run.tally()
    assert (tally.ended, tally.recv_calls) == (Ended.PEER, 6)
    assert tally.bytes_received == 100 + 1 + 99 + 100 + 100 + 100
    assert tally.latency_ns.total == 6


def test_a_short_datagram_ends_where_it_was_agreed(engine, connect):
    near, far = connect(True)
    run = Running(engine, far, receiving(True, block_bytes=100, short_ends=True))
    for size in (100, 101, 100, 99, 100):
        near.send(bytes(size))
    tally = run.tally()
    assert (tally.ended, tally.recv_calls, tally.bytes_received) == (Ended.PEER, 3, 300)


def test_stray_end_markers_before_the_first_data_are_ignored(engine, connect):
    near, far = connect(True)
    near.send(b"")
    run = Running(engine, far, receiving(True, block_bytes=10))
    time.sleep(0.05)
    near.send(b"")
    near.send(b"x" * 10)
    near.send(b"")
    tally = run.tally()
    assert (tally.ended, tally.recv_calls, tally.bytes_received) == (Ended.PEER, 1, 10)


def test_strangers_in_the_queue_are_dropped(engine):
    with udp_socket() as near, udp_socket() as far, udp_socket() as stranger:
        near.connect(far.getsockname())
        for data in (b"s", b"", b"s" * 50):
            stranger.sendto(data, far.getsockname())
        near.send(b"x" * 10)
        stranger.sendto(b"", far.getsockname())
        near.send(b"x" * 10)
        far.connect(near.getsockname())
        run = Running(engine, far, receiving(True, block_bytes=10, short_ends=True))
        time.sleep(0.05)
        near.send(b"x" * 10)
        near.send(b"")
        tally = run.tally()
    assert (tally.ended, tally.recv_calls, tally.bytes_received) == (Ended.PEER, 3, 30)


def test_over_ipv6(pair):
    if not socket.has_ipv6:
        pytest.skip("this Python has no IPv6")
    near, far = (socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2))
    with near, far:
        try:
            near.bind(("::1", 0))
            far.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 loopback here")
        near.connect(far.getsockname())
        far.connect(near.getsockname())
        answering = Running(pair[1], far, receiving(True, block_bytes=100))
        sent = Running(pair[0], near, sending(True, block_bytes=100,
                                              limit_bytes=500)).tally()
        end(near, answering)
        check_accounts(sent, answering.tally(), 100)


def test_datagrams_that_nobody_takes_are_failed_sends(engine):
    """Loopback tells a sender at once that the port is closed, at its next call."""
    with udp_socket() as gone:
        address = gone.getsockname()
    with udp_socket() as near:
        near.connect(address)
        tally = Running(engine, near, sending(True, block_bytes=10,
                                              duration_ns=60 * MS)).tally()
    assert (tally.ended, tally.errno) == (Ended.TIME, 0)
    assert tally.failed_sends > 0
    assert tally.bytes_sent == 10 * tally.send_calls
    assert tally.latency_ns.total == tally.send_calls


def test_a_closed_sender_is_the_end(engine):
    """A receiver that sent something itself hears of it; else only time ends the test."""
    with udp_socket() as far:
        with udp_socket() as near:
            far.connect(near.getsockname())
            near.sendto(b"x" * 10, far.getsockname())
        far.send(b"")
        tally = Running(engine, far, receiving(True, block_bytes=10)).tally()
    assert (tally.ended, tally.errno) == (Ended.PEER, 0)


def test_a_socket_that_is_not_connected_is_an_error(engine):
    for spec, number in ((sending(True), errno.EDESTADDRREQ),
                         (receiving(True), errno.ENOTCONN)):
        with udp_socket() as sock:
            tally = Running(engine, sock, spec).tally()
        assert (tally.ended, tally.errno) == (Ended.ERROR, number)
        assert (tally.send_calls, tally.failed_sends) == (0, 0)


@pytest.mark.parametrize("sends", [True, False])
def test_stop(pair, connect, stop_pipe, sends):
    near, far = connect(True)
    stops = {sends: stop_pipe[0]}
    answering = Running(pair[1], far, receiving(True), stops.get(False, -1))
    going = Running(pair[0], near, sending(True, duration_ns=int(LIMIT_S / 2) * 1000 * MS),
                    stops.get(True, -1))
    time.sleep(0.1)
    os.write(stop_pipe[1], b"x")
    if sends:
        assert going.tally().ended is Ended.STOPPED
        end(near, answering)
        assert answering.tally().ended is Ended.PEER
    else:
        assert answering.tally().ended is Ended.STOPPED
        near.close()
        assert going.tally().ended is Ended.ERROR


def test_a_silent_receiver_is_released_from_outside(engine, connect, stop_pipe):
    _near, far = connect(True)
    run = Running(engine, far, receiving(True), stop_pipe[0])
    time.sleep(0.05)
    os.write(stop_pipe[1], b"x")
    far.shutdown(socket.SHUT_RD)
    assert run.tally() == Tally(ended=Ended.STOPPED)


def test_interims_of_a_receiver(engine, connect, stop_pipe):
    near, far = connect(True)
    os.set_blocking(stop_pipe[1], False)
    run = Running(engine, far, receiving(True, block_bytes=10, interim_ns=30 * MS), -1,
                  stop_pipe[1])
    for _ in range(10):
        near.send(b"x" * 10)
        time.sleep(0.01)
    near.send(b"")
    tally = run.tally()
    points = read_interims(stop_pipe[0])
    assert len(points) >= 2
    assert sum(point.interval_bytes for point in points) == tally.bytes_received == 100
    assert sum(point.interval_ns for point in points) == tally.elapsed_ns


def test_plain_write_is_the_same(pair, connect):
    near, far = connect(True)
    answering = Running(pair[1], far, receiving(True, block_bytes=100))
    sent = Running(pair[0], near, sending(True, block_bytes=100, limit_bytes=1000,
                                          plain_write=True)).tally()
    end(near, answering)
    assert sent.send_calls == 10
    check_accounts(sent, answering.tally(), 100)
