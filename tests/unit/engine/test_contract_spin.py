"""Round trips that poll before they block: everything is counted as without."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from engines import (
    LIMIT_S,
    MS,
    PROTOCOLS,
    Running,
    check_accounts,
    end,
    sender_spec,
    signals,
    target_spec,
)

from xenrr.engine.base import Buffers, Ended, Pace

ENDS = pytest.mark.parametrize("spins", [(True, True), (True, False), (False, True)],
                               ids=["both", "sender", "target"])


def run_spinning(pair, sockets, spec, spins=(True, True)):
    near, far = sockets
    answering = Running(pair[1], far, target_spec(
        spec.datagram, request_bytes=spec.request_bytes, response_bytes=spec.response_bytes,
        buffers=spec.buffers, spin=spins[1]))
    sent = Running(pair[0], near, replace(spec, spin=spins[0])).tally()
    end(near, spec.datagram)
    near.settimeout(0.01)
    while not answering.over:   # it may still have to say what nobody waits for
        with contextlib.suppress(OSError):
            near.recv(1 << 20)
    near.settimeout(None)
    return sent, answering.tally()


@PROTOCOLS
@ENDS
@pytest.mark.parametrize("burst", [0, 1, 16])
def test_a_timed_run_has_all_accounted(pair, connect, datagram, burst, spins):
    spec = sender_spec(datagram, duration_ns=100 * MS, burst=burst)
    sent, answered = run_spinning(pair, connect(datagram), spec, spins)
    assert sent.ended is Ended.TIME
    assert sent.elapsed_ns >= spec.duration_ns
    assert 0 <= sent.in_flight <= 1 + burst
    assert sent.transactions > 0
    assert answered.transactions == sent.requests_sent
    assert answered.bytes_received == sent.bytes_sent
    check_accounts(sent, spec)
    # A poll that brings nothing is no call that counts.
    for tally in (sent, answered):
        if datagram:
            assert tally.recv_calls == tally.bytes_received
        assert tally.recv_calls <= tally.bytes_received


@PROTOCOLS
@pytest.mark.parametrize("sizes", [(1, 1), (1, 1400), (8192, 8192), (60000, 1)])
@pytest.mark.parametrize("burst", [0, 5])
def test_exactly_as_many_transactions_as_asked(pair, connect, datagram, sizes, burst):
    if datagram and burst and sizes[0] > 8192:
        burst = 1   # no socket buffer holds more, and nothing would make up for a loss
    spec = sender_spec(datagram, request_bytes=sizes[0], response_bytes=sizes[1],
                       transactions=20, burst=burst)
    sent, answered = run_spinning(pair, connect(datagram), spec)
    assert sent.ended is Ended.COUNT
    assert (sent.transactions, sent.requests_sent, sent.in_flight) == (20, 20, 0)
    assert sent.bytes_sent == answered.bytes_received == 20 * sizes[0]
    assert sent.bytes_received == answered.bytes_sent == 20 * sizes[1]
    assert (answered.ended, answered.transactions) == (Ended.PEER, 20)
    check_accounts(sent, spec)


def test_messages_in_pieces(pair, connect):
    spec = sender_spec(request_bytes=(3 << 20) + 1, response_bytes=(2 << 20) + 3,
                       transactions=4, burst=2)
    sent, answered = run_spinning(pair, connect(False), spec)
    assert (sent.ended, sent.transactions, answered.transactions) == (Ended.COUNT, 4, 4)
    check_accounts(sent, spec)


@PROTOCOLS
def test_rings_and_a_brake(pair, connect, datagram):
    spec = sender_spec(datagram, transactions=9, pace=Pace(5 * MS, 2),
                       buffers=Buffers(send_width=3, receive_width=2))
    sent, answered = run_spinning(pair, connect(datagram), spec)
    assert (sent.ended, sent.transactions, answered.transactions) == (Ended.COUNT, 9, 9)
    check_accounts(sent, spec)


@PROTOCOLS
def test_both_ends_on_one_processor(pair, connect, datagram):
    # Long enough for both to learn that polls are of no use there, and to try them again.
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(here)})    # what is started from here inherits it
    try:
        spec = sender_spec(datagram, transactions=4000)
        sent, answered = run_spinning(pair, connect(datagram), spec)
    finally:
        os.sched_setaffinity(0, here)
    assert (sent.ended, sent.transactions, answered.transactions) == (Ended.COUNT, 4000, 4000)
    check_accounts(sent, spec)


@PROTOCOLS
@pytest.mark.parametrize("make_spec", [sender_spec, target_spec], ids=["sender", "target"])
def test_a_silent_peer_costs_no_processor(engine, connect, datagram, make_spec):
    near, far = connect(datagram)
    run = Running(engine, near, make_spec(datagram, spin=True))
    state = Path(f"/proc/self/task/{run._thread.native_id}/stat")
    if not state.exists():
        pytest.skip("this system does not tell what a thread does")
    asleep, give_up = 0, time.monotonic() + LIMIT_S
    # One that polls for ever is running, or at the most waits for a moment now and then.
    while asleep < 20 and time.monotonic() < give_up:
        asleep = asleep + 1 if state.read_text().rpartition(")")[2].split()[0] == "S" else 0
        time.sleep(0.005)
    assert asleep == 20
    near.shutdown(socket.SHUT_RD)
    run.tally()
    far.close()


@PROTOCOLS
@pytest.mark.parametrize("make_spec", [sender_spec, target_spec], ids=["sender", "target"])
def test_it_stops_when_it_is_told_to(engine, connect, stop_pipe, datagram, make_spec):
    near, _far = connect(datagram)
    run = Running(engine, near, make_spec(datagram, spin=True), stop_fd=stop_pipe[0])
    os.write(stop_pipe[1], b"x")
    near.shutdown(socket.SHUT_RD)
    assert run.tally().ended is Ended.STOPPED


@PROTOCOLS
def test_a_busy_pair_stops_too(pair, connect, stop_pipe, datagram):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(datagram, spin=True), stop_fd=stop_pipe[0])
    spec = sender_spec(datagram, duration_ns=0, spin=True)
    run = Running(pair[0], near, spec, stop_fd=stop_pipe[0])
    time.sleep(0.05)
    os.write(stop_pipe[1], b"x")
    for sock in (near, far):
        sock.shutdown(socket.SHUT_RD)
    tally = run.tally()
    assert tally.ended is Ended.STOPPED
    check_accounts(tally, spec)
    assert answering.tally().ended is Ended.STOPPED


def test_signal_handlers_run_meanwhile(engine, connect):
    near, far = connect(False)
    answering = Running(engine, far, target_spec(spin=True))
    seen = []
    spec = sender_spec(duration_ns=300 * MS, spin=True)
    with signals(lambda *_: seen.append(1), 0.05, 0.02):
        sent = engine.run(near, spec)
    assert sent.ended is Ended.TIME
    assert seen
    check_accounts(sent, spec)
    end(near, False)
    answering.tally()


def test_a_reset_ends_it(engine, connect):
    near, far = connect(False)
    run = Running(engine, near, sender_spec(spin=True))
    far.recv(1)
    far.close()
    tally = run.tally()
    assert tally.ended in (Ended.PEER, Ended.ERROR)
    assert (tally.requests_sent, tally.in_flight) == (1, 1)
