"""The C loop on its own thread: a timer interrupts its waits, not timeouts of the socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

import pytest
from engines import (
    LIMIT_S,
    MS,
    PROTOCOLS,
    Running,
    answer,
    check_accounts,
    connect_sender,
    connect_target,
    sender_spec,
    target_spec,
)

from xenrr.engine.base import Ended, LoopSpec, Role
from xenrr.engine.load import load_engine

pytestmark = pytest.mark.c_engine
BELL = signal.SIGRTMAX - 1


@pytest.fixture(scope="module")
def hot():
    return load_engine("hot")


@pytest.fixture(params=["bell", "timeouts"])
def bell(request):
    """Whether the loop may use the signal; another's handler keeps it from that."""
    if request.param == "bell":
        return True
    old = signal.getsignal(BELL)
    signal.signal(BELL, lambda number, frame: None)
    request.addfinalizer(lambda: signal.signal(BELL, old or signal.SIG_DFL))
    return False


@PROTOCOLS
def test_a_sender_that_hears_nothing_ends_in_time(hot, connect, bell, datagram):
    near, far = connect(datagram)
    spec = sender_spec(datagram, own_thread=True, duration_ns=120 * MS)
    run = Running(hot, near, spec)
    far.settimeout(LIMIT_S)
    answer(far)
    far.recv(1)
    if bell:
        assert not any(near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, 1, 1)
    check_accounts(tally, spec)


def test_lost_datagrams_are_sent_again(hot, connect, bell):
    near, far = connect(True)
    spec = sender_spec(True, own_thread=True, transactions=200, loss_timeout_ns=20 * MS)
    run = Running(hot, near, spec)
    far.settimeout(LIMIT_S)
    far.recv(1)
    for _ in range(200):
        answer(far)
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 200)
    assert tally.lost >= 1
    check_accounts(tally, spec)


def test_a_loss_timeout_of_nothing_rings_no_faster_than_can_be_heard(hot, connect, bell):
    near, _far = connect(True)
    spec = sender_spec(True, own_thread=True, loss_timeout_ns=1)
    tally = Running(hot, near, spec).tally()
    assert (tally.ended, tally.lost) == (Ended.LOST, LoopSpec.MAX_SILENCES)


def test_a_target_sees_that_it_is_quiet(hot, connect, bell):
    near, far = connect(True)
    run = Running(hot, far, target_spec(True, own_thread=True, duration_ns=10 * MS,
                                        idle_end_ns=60 * MS))
    near.settimeout(LIMIT_S)
    near.send(b"x")
    near.recv(1)
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.IDLE, 1)


@pytest.mark.parametrize("role", list(Role))
def test_silent_connections_hold_nothing_up(hot, listener, stop_pipe, bell, role):
    if role is Role.SENDER:
        spec = connect_sender(listener, own_thread=True, duration_ns=120 * MS)
        run = Running(hot, None, spec)
        accepted, _ = listener.accept()
        tally = run.tally()
        assert (tally.ended, tally.transactions, tally.in_flight) == (Ended.TIME, 0, 1)
        accepted.close()
        return
    run = Running(hot, listener, connect_target(own_thread=True), stop_pipe[0])
    with socket.create_connection(listener.getsockname()) as silent:
        silent.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        os.write(stop_pipe[1], b"x")
        assert run.tally().ended is Ended.STOPPED


def test_nobody_else_can_ring(hot, connect):
    """The handler stays; the signal, sent by anybody, does nothing."""
    near, _far = connect(False)
    spec = sender_spec(False, own_thread=True, duration_ns=20 * MS)
    assert Running(hot, near, spec).tally().ended is Ended.TIME
    with contextlib.suppress(ProcessLookupError):
        os.kill(os.getpid(), BELL)
    assert Running(hot, near, spec).tally().ended is Ended.TIME
