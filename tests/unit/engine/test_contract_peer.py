"""What a loop of round trips says when the other end goes away."""

from __future__ import annotations

import errno
import signal
import socket
import struct

import pytest
from engines import (
    LIMIT_S,
    Running,
    answer,
    check_accounts,
    sender_spec,
    target_spec,
    udp_socket,
)

from xenrr.engine.base import Ended, LoopSpec, Role


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
