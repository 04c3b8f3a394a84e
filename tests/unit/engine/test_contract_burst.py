"""Datagrams that come several at a time: each one counts as if it had come alone."""

from __future__ import annotations

import contextlib
import os
import time

import pytest
from engines import LIMIT_S, Running, check_accounts, sender_spec, target_spec

from xenrr.engine.base import TARGET_POLL, Ended
from xenrr.engine.load import load_engine

WINDOW = 16


@pytest.fixture(params=["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
def engine(request):
    return load_engine(request.param)


def test_a_target_answers_all_that_is_there(engine, connect):
    near, far = connect(True)
    near.settimeout(LIMIT_S)
    answering = Running(engine, far, target_spec(True, request_bytes=2, response_bytes=3))
    turns = 2 * TARGET_POLL // WINDOW
    for _ in range(turns):
        for _ in range(WINDOW):
            near.send(b"qq")
        assert {near.recv(10) for _ in range(WINDOW)} == {bytes(3)}
    for message in (b"qq", b"qq", b"long", b"q", b"qq", b""):
        near.send(message)
    assert [near.recv(10) for _ in range(3)] == [bytes(3)] * 3
    tally = answering.tally()
    assert (tally.ended, tally.malformed) == (Ended.PEER, 2)
    assert tally.transactions == turns * WINDOW + 3
    assert tally.bytes_received == 2 * tally.transactions
    assert tally.bytes_sent == 3 * tally.transactions


def test_a_sender_takes_all_that_is_there(engine, connect):
    near, far = connect(True)
    far.settimeout(LIMIT_S)
    spec = sender_spec(True, burst=WINDOW - 1, transactions=10 * WINDOW, response_bytes=2)
    sending = Running(engine, near, spec)
    for _ in range(10):
        for _ in range(WINDOW):
            assert len(far.recv(10)) == 1
        far.send(b"r")      # too short
        for _ in range(WINDOW):
            far.send(b"rr")
    tally = sending.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 10 * WINDOW)
    assert (tally.malformed, tally.late, tally.lost) == (10, 0, 0)
    check_accounts(tally, spec)


def test_the_end_in_the_middle_of_a_batch(engine, connect):
    near, far = connect(True)
    far.settimeout(LIMIT_S)
    spec = sender_spec(True, burst=WINDOW - 1)
    sending = Running(engine, near, spec)
    for _ in range(WINDOW):
        far.recv(10)
    for message in (b"r", b"r", b"", b"r"):
        far.send(message)
    tally = sending.tally()
    assert (tally.ended, tally.transactions) == (Ended.PEER, 2)
    check_accounts(tally, spec)


def test_a_target_can_be_stopped_in_a_flood_of_what_it_does_not_answer(
        engine, connect, stop_pipe):
    near, far = connect(True)
    near.setblocking(False)
    answering = Running(engine, far, target_spec(True), stop_pipe[0])
    near.send(b"q")
    sent = 0
    give_up = time.monotonic() + LIMIT_S
    while not answering.over and time.monotonic() < give_up:
        with contextlib.suppress(BlockingIOError):
            near.send(b"long")
            sent += 1
        if sent == 100 * TARGET_POLL:
            os.write(stop_pipe[1], b"x")
    tally = answering.tally()
    assert (tally.ended, tally.transactions) == (Ended.STOPPED, 1)
