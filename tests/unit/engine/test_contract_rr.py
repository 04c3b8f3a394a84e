"""Round trips: the contract of ``xenrr.engine.base``, kept by both engines and every pair."""

from __future__ import annotations

import socket
import tracemalloc

import pytest
from engines import (
    LIMIT_S,
    MS,
    PROTOCOLS,
    Running,
    check_accounts,
    run_both,
    sender_spec,
    target_spec,
)

from xenrr.engine.base import Ended
from xenrr.engine.load import load_engine

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
    assert sent.transactions > 0
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
