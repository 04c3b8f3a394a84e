"""Signals and threads."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from typing import Any

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
    signals,
    target_spec,
)

from xenrr.engine.base import Ended
from xenrr.engine.load import load_engine


class Interrupted(Exception):
    """Like KeyboardInterrupt, but it does not end the test session when it comes late."""


def interrupt(number: int, frame: Any) -> None:
    raise Interrupted


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
    assert seen     # how many depends on the machine
    assert tally.elapsed_ns >= spec.duration_ns
    assert answered.transactions == tally.requests_sent
    check_accounts(tally, spec)


def test_signals_interrupt_large_transfers(pair, connect):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec(request_bytes=5 << 20,
                                                  response_bytes=5 << 20))
    spec = sender_spec(request_bytes=5 << 20, response_bytes=5 << 20, transactions=8, burst=3)
    with signals(lambda number, frame: None, 0.001, 0.001):
        tally = pair[0].run(near, spec)
    end(near, False)
    assert answering.tally().transactions == 8
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 8)
    check_accounts(tally, spec)


@PROTOCOLS
@pytest.mark.parametrize("fast", [False, True])
def test_an_exception_in_a_handler_gets_out(pair, connect, datagram, fast):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(datagram)) if fast else None
    if fast:
        # A UDP target that has heard nothing takes no empty datagram for an end, and on a
        # busy machine the signal may come before the first request.
        near.send(b"x")
        assert near.recv(1)
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
    spec = sender_spec(datagram, own_thread=True, transactions=100)
    first = Running(pair[0], near, spec)
    assert first.tally().transactions == 100
    waiting = Running(pair[0], near, sender_spec(datagram, own_thread=True, transactions=1))
    assert waiting.tally().transactions == 1
    os.close(spare_write)
    assert os.read(spare_read, 1) == b""
    os.close(spare_read)
    end(near, datagram)
    assert answering.tally().transactions == 101
