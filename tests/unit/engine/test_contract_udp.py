"""UDP round trips: losses, strangers, wrong sizes."""

from __future__ import annotations

import socket
import time

import pytest
from engines import (
    LIMIT_S,
    MS,
    PROTOCOLS,
    Running,
    answer,
    check_accounts,
    sender_spec,
    target_spec,
    udp_socket,
)

from xenrr.engine.base import Ended, LoopSpec


@pytest.mark.parametrize("spin", [False, True])
def test_a_lost_window_is_sent_anew(engine, connect, spin):
    near, far = connect(True)
    spec = sender_spec(True, transactions=6, burst=2, loss_timeout_ns=60 * MS, spin=spin)
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
    spec = sender_spec(True, transactions=3000, loss_timeout_ns=150 * MS)
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
