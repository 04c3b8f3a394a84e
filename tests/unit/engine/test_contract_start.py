"""A sender that begins at a time of the clock: neither before, nor when it is stopped first."""

from __future__ import annotations

import os
import time

import pytest
from engines import (
    MS,
    PROTOCOLS,
    Running,
    check_accounts,
    connect_sender,
    connect_target,
    run_both,
    sender_spec,
)

from xenrr.engine.base import Ended
from xenrr.errors import LocalProtocolError


@PROTOCOLS
@pytest.mark.parametrize("lead_ms", [1, 130])
def test_nothing_happens_before_its_time(pair, connect, datagram, lead_ms):
    at_ns = time.monotonic_ns() + lead_ms * MS
    spec = sender_spec(datagram, duration_ns=50 * MS, start_at_ns=at_ns)
    sent, answered = run_both(pair, connect(datagram), spec)
    assert sent.ended is Ended.TIME
    assert sent.started_ns >= at_ns
    assert sent.elapsed_ns >= spec.duration_ns
    assert answered.transactions == sent.requests_sent > 0
    check_accounts(sent, spec)


def test_a_time_that_is_past_is_no_wait(pair, connect):
    spec = sender_spec(False, transactions=3, start_at_ns=1)
    sent, _ = run_both(pair, connect(False), spec)
    assert (sent.ended, sent.transactions) == (Ended.COUNT, 3)


@PROTOCOLS
def test_a_stop_ends_the_wait(engine, connect, stop_pipe, datagram):
    near, _ = connect(datagram)
    run = Running(engine, near, sender_spec(datagram, start_at_ns=1 << 62), stop_pipe[0])
    os.write(stop_pipe[1], b"x")
    tally = run.tally()
    assert (tally.ended, tally.started_ns, tally.requests_sent) == (Ended.STOPPED, 0, 0)


def test_connections_begin_at_their_time_too(engine, listener):
    at_ns = time.monotonic_ns() + 60 * MS
    target = Running(engine, listener, connect_target(transactions=2))
    sender = Running(engine, None, connect_sender(
        listener, transactions=2, start_at_ns=at_ns))
    tally = sender.tally()
    assert tally.started_ns >= at_ns
    assert (tally.transactions, target.tally().transactions) == (2, 2)


def test_a_time_before_all_time_is_refused():
    with pytest.raises(LocalProtocolError, match="start_at_ns is -1"):
        sender_spec(False, start_at_ns=-1)
