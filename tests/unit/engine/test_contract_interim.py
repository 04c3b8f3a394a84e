"""Interim results of round trips."""

from __future__ import annotations

import os

import pytest
from engines import (
    MS,
    PROTOCOLS,
    Running,
    check_accounts,
    end,
    read_interims,
    sender_spec,
    target_spec,
)

from xenrr.engine.base import Ended


@PROTOCOLS
@pytest.mark.parametrize("burst", [0, 4])
def test_interims_add_up_to_the_run(pair, connect, stop_pipe, datagram, burst):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(datagram))
    os.set_blocking(stop_pipe[1], False)
    spec = sender_spec(datagram, duration_ns=320 * MS, interim_ns=50 * MS, burst=burst)
    tally = Running(pair[0], near, spec, -1, stop_pipe[1]).tally()
    end(near, datagram)
    answering.tally()
    points = read_interims(stop_pipe[0])
    assert tally.interims_dropped == 0
    assert len(points) >= 2
    assert sum(point.interval_transactions for point in points) == tally.transactions
    assert sum(point.interval_ns for point in points) == tally.elapsed_ns
    assert points[-1].elapsed_ns == tally.elapsed_ns
    assert points[-1].transactions == tally.transactions
    assert max(point.max_ns for point in points) == tally.latency_ns.max_ns
    running = 0
    for point in points:
        running += point.interval_transactions
        assert point.transactions == running
        assert point.p50_ns <= point.p99_ns <= point.max_ns
        assert (point.p50_ns > 0) == (point.interval_transactions > 0)
    for point in points[:-1]:
        assert point.interval_ns >= 1
    check_accounts(tally, spec)


def test_the_only_interim_equals_the_histogram(pair, connect, stop_pipe):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec())
    os.set_blocking(stop_pipe[1], False)
    spec = sender_spec(transactions=777, interim_ns=60_000 * MS)
    tally = Running(pair[0], near, spec, -1, stop_pipe[1]).tally()
    end(near, False)
    answering.tally()
    (point,) = read_interims(stop_pipe[0])
    latency = tally.latency_ns
    assert (point.p50_ns, point.p99_ns, point.max_ns) == (
        latency.percentile(50), latency.percentile(99), latency.max_ns)
    assert (point.interval_transactions, point.transactions) == (777, 777)


def test_a_silent_interval_is_reported_too(engine, connect, stop_pipe):
    near, _far = connect(False)
    os.set_blocking(stop_pipe[1], False)
    spec = sender_spec(duration_ns=400 * MS, interim_ns=100 * MS)
    tally = Running(engine, near, spec, -1, stop_pipe[1]).tally()
    points = read_interims(stop_pipe[0])
    assert len(points) >= 2
    assert {(p.transactions, p.p50_ns, p.p99_ns, p.max_ns) for p in points} == {(0, 0, 0, 0)}
    assert sum(point.interval_ns for point in points) == tally.elapsed_ns


def test_a_full_report_pipe_drops_and_counts(pair, connect, stop_pipe):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec())
    os.set_blocking(stop_pipe[1], False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(stop_pipe[1], bytes(4096))
    spec = sender_spec(duration_ns=300 * MS, interim_ns=60 * MS)
    tally = Running(pair[0], near, spec, -1, stop_pipe[1]).tally()
    end(near, False)
    answering.tally()
    assert tally.ended is Ended.TIME
    assert tally.interims_dropped >= 1
    check_accounts(tally, spec)


def test_a_closed_report_pipe_does_not_end_the_run(pair, connect):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec())
    read, write = os.pipe()
    os.close(read)
    os.set_blocking(write, False)
    spec = sender_spec(duration_ns=150 * MS, interim_ns=20 * MS)
    tally = Running(pair[0], near, spec, -1, write).tally()
    os.close(write)
    end(near, False)
    answering.tally()
    assert tally.ended is Ended.TIME
    assert tally.interims_dropped > 0
