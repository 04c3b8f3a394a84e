"""Stopping and deadlines of round trips."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time

import pytest
from engines import (
    LIMIT_S,
    MS,
    PROTOCOLS,
    Running,
    answer,
    check_accounts,
    end,
    sender_spec,
    target_spec,
)

from xenrr.engine.base import INTERIM_RECORD, Buffers, Ended, Interim, Role, Tally
from xenrr.errors import LocalProtocolError


@pytest.fixture
def report_pipe():
    pipe = os.pipe()
    os.set_blocking(pipe[1], False)
    yield pipe
    for descriptor in pipe:
        os.close(descriptor)


def await_transactions(report_fd: int) -> None:
    """Wait until a running sender tells that it has done something."""
    done = 0
    while not done:
        assert select.select([report_fd], [], [], LIMIT_S)[0], "no interim result"
        done = Interim(*INTERIM_RECORD.unpack(os.read(report_fd, INTERIM_RECORD.size))
                       ).transactions


def await_data(sock: socket.socket) -> None:
    assert select.select([sock], [], [], LIMIT_S)[0], "nothing arrived"


@PROTOCOLS
@pytest.mark.parametrize("side", ["sender", "target"])
def test_stop_while_running(pair, connect, stop_pipe, report_pipe, datagram, side):
    near, far = connect(datagram)
    stop = {side: stop_pipe[0]}
    answering = Running(pair[1], far, target_spec(datagram), stop.get("target", -1))
    spec = sender_spec(datagram, interim_ns=20 * MS)
    sending = Running(pair[0], near, spec, stop.get("sender", -1), report_pipe[1])
    await_transactions(report_pipe[0])
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
    near, far = connect(datagram)
    run = Running(engine, near, sender_spec(datagram), stop_pipe[0])
    await_data(far)
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


@pytest.mark.parametrize("width", [1, 3])
def test_a_stopped_target_owes_nothing(pair, connect, stop_pipe, report_pipe, width):
    near, far = connect(False)
    sender_stop = os.pipe()
    spec = sender_spec(request_bytes=1000, response_bytes=10, burst=20, interim_ns=20 * MS)
    try:
        answering = Running(pair[1], far, target_spec(
            request_bytes=1000, response_bytes=10,
            buffers=Buffers(receive_width=width)), stop_pipe[0])
        sending = Running(pair[0], near, spec, sender_stop[0], report_pipe[1])
        await_transactions(report_pipe[0])
        os.write(stop_pipe[1], b"x")
        tally = answering.tally()
        os.write(sender_stop[1], b"x")
        near.shutdown(socket.SHUT_RDWR)
        sending.tally()
    finally:
        for descriptor in sender_stop:
            os.close(descriptor)
    assert tally.ended is Ended.STOPPED
    assert tally.bytes_received == 1000 * tally.transactions + tally.leftover_bytes
    assert tally.bytes_sent == 10 * tally.transactions
    assert 0 <= tally.leftover_bytes < 1000


def test_stop_while_a_send_is_blocked(engine, connect, stop_pipe):
    near, far = connect(False)
    run = Running(engine, near, sender_spec(request_bytes=1 << 30), stop_pipe[0])
    await_data(far)
    time.sleep(0.1)     # the buffers fill up
    os.write(stop_pipe[1], b"x")
    tally = run.tally()
    assert (tally.ended, tally.requests_sent, tally.in_flight) == (Ended.STOPPED, 1, 1)
    assert 0 < tally.bytes_sent < 1 << 30


@pytest.mark.parametrize("stops", [False, True], ids=["reads on", "stops"])
def test_a_later_message_that_finds_no_room(engine, connect, stop_pipe, stops):
    """Not the first, as that one is sent before things go fast; from either end."""
    size = 1 << 20
    for role in Role:
        near, far = connect(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        if role is Role.SENDER:
            spec = sender_spec(request_bytes=size, transactions=2)
        else:
            spec = target_spec(response_bytes=size, transactions=2)
        run = Running(engine, near, spec, stop_pipe[0])
        for turn in range(2):
            if role is Role.TARGET:
                far.send(b"x")
            if turn:
                await_data(far)
                time.sleep(0.1)     # the buffers fill up
                if stops:
                    break
            assert len(far.recv(size, socket.MSG_WAITALL)) == size
            if role is Role.SENDER:
                far.send(b"r")
        if stops:
            os.write(stop_pipe[1], b"x")
        tally = run.tally()
        if stops:
            os.read(stop_pipe[0], 1)
        assert (tally.ended, tally.transactions) == (
            (Ended.STOPPED, 1) if stops else (Ended.COUNT, 2))
        assert tally.bytes_sent < 2 * size if stops else tally.bytes_sent == 2 * size


def test_stop_while_the_target_cannot_send(engine, connect, stop_pipe):
    near, far = connect(False)
    run = Running(engine, far, target_spec(response_bytes=1 << 30), stop_pipe[0])
    near.send(b"x")
    await_data(near)
    time.sleep(0.1)     # the buffers fill up
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
    spec = sender_spec(duration_ns=1000 * MS)
    run = Running(engine, near, spec)
    ends = time.monotonic() + 0.15
    far.settimeout(LIMIT_S)
    answered = 0
    while time.monotonic() < ends:
        answered += len(answer(far))
    far.recv(1)
    time.sleep(1.1)
    if not run.over:
        far.send(b"r")
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, answered, 1)
    assert tally.leftover_bytes in (0, 1)
    check_accounts(tally, spec)


def test_a_response_cut_off_by_the_end_is_left_over(engine, connect):
    near, far = connect(False)
    spec = sender_spec(response_bytes=100, duration_ns=150 * MS)
    far.send(b"r" * 100)
    far.send(b"r" * 40)
    tally = Running(engine, near, spec).tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, 1, 1)
    assert tally.leftover_bytes == 40
    check_accounts(tally, spec)


@PROTOCOLS
def test_timeouts_of_the_socket_come_back(pair, connect, datagram):
    near, far = connect(datagram)
    value = struct.pack("@ll", 7, 250_000)
    timeouts = [(sock, option) for sock in (near, far)
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)]
    for sock, option in timeouts:
        sock.setsockopt(socket.SOL_SOCKET, option, value)
    before = near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    answering = Running(pair[1], far, target_spec(datagram, transactions=5,
                                                  idle_end_ns=60_000 * MS))
    spec = sender_spec(datagram, transactions=5, loss_timeout_ns=10_000 * MS)
    assert Running(pair[0], near, spec).tally().ended is Ended.COUNT
    assert answering.tally().ended is Ended.COUNT
    for sock, option in timeouts:
        assert sock.getsockopt(socket.SOL_SOCKET, option, 16) == before


def test_a_socket_with_a_python_timeout_is_refused(engine, connect):
    near, _ = connect(False)
    near.settimeout(1)
    with pytest.raises(LocalProtocolError, match="blocking"):
        engine.run(near, sender_spec())
