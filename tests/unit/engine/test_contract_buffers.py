"""Buffers, pace and write(): what every kind of data phase can be asked for."""

from __future__ import annotations

import os
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
    connect_sender,
    connect_target,
    end,
    read_to_end,
    receiving,
    run_both,
    sender_spec,
    sending,
    target_spec,
)

from xenrr.engine.base import Buffers, Ended, LoopSpec, Pace
from xenrr.errors import LocalProtocolError

FILL = b"0123456789abc"
LAYOUTS = [Buffers(), Buffers(send_width=3, receive_width=2),
           Buffers(send_alignment=4096, receive_alignment=64),
           Buffers(send_alignment=16, send_offset=5, receive_alignment=512,
                   receive_offset=3, send_width=4, receive_width=5),
           Buffers(send_alignment=0, receive_alignment=1, send_offset=1, receive_offset=7),
           Buffers(send_alignment=100, receive_alignment=1 << 20, send_width=2)]


def filled(length: int, start: int = 0, fill: bytes = FILL) -> bytes:
    start %= len(fill)
    return (fill * ((start + length) // len(fill) + 1))[start:start + length]


@PROTOCOLS
@pytest.mark.parametrize("buffers", LAYOUTS)
@pytest.mark.parametrize("burst", [0, 5])
def test_round_trips_in_any_layout(pair, connect, datagram, buffers, burst):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(
        datagram, request_bytes=300, response_bytes=200, buffers=buffers))
    spec = sender_spec(datagram, request_bytes=300, response_bytes=200, transactions=50,
                       burst=burst, buffers=buffers)
    sent = Running(pair[0], near, spec).tally()
    end(near, datagram)
    assert (sent.ended, sent.transactions) == (Ended.COUNT, 50)
    assert answering.tally().transactions == 50
    check_accounts(sent, spec)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("fill", [b"", b"x", FILL, bytes(range(256)) * 300])
def test_the_fill_runs_on_through_the_ring(engine, connect, width, fill):
    """Message n lies in buffer n of the ring, which goes on where buffer n - 1 ended."""
    near, far = connect(False)
    buffers = Buffers(send_width=width, send_alignment=64, send_offset=2, fill=fill)
    text = fill or b"netperf"
    run = Running(engine, near, sender_spec(request_bytes=50, transactions=8,
                                            buffers=buffers))
    for number in range(8):
        assert answer(far) == filled(50, 50 * (number % width), text)
    assert run.tally().ended is Ended.COUNT

    near, far = connect(False)
    run = Running(engine, far, target_spec(response_bytes=50, transactions=8,
                                           buffers=buffers))
    text = fill or b"\0"
    for number in range(8):
        near.send(b"x")
        assert near.recv(50, socket.MSG_WAITALL) == filled(50, 50 * (number % width), text)
    assert run.tally().ended is Ended.COUNT


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(("block_bytes", "alignment"), [
    (50, 4096), (300_000, 4096), (300_000, 8), (5000, 64), (4096, 100)])
def test_the_fill_runs_on_through_a_stream(engine, connect, width, block_bytes, alignment):
    near, far = connect(False)
    run = Running(engine, near, sending(
        block_bytes=block_bytes, limit_bytes=9 * block_bytes,
        buffers=Buffers(send_width=width, fill=FILL, send_alignment=alignment, send_offset=1)))
    far.settimeout(LIMIT_S)
    seen = b""
    while len(seen) < 9 * block_bytes:
        seen += far.recv(1 << 20)
    assert run.tally().ended is Ended.COUNT
    assert seen == b"".join(filled(block_bytes, block_bytes * (number % width))
                            for number in range(9))


@pytest.mark.parametrize("width", [1, 3])
def test_the_fill_of_connections(pair, listener, width):
    buffers = Buffers(send_width=width, fill=FILL)
    run = Running(pair[0], None, connect_sender(listener, request_bytes=50, response_bytes=0,
                                                transactions=7, buffers=buffers))
    for number in range(7):
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(LIMIT_S)
            assert conn.recv(50, socket.MSG_WAITALL) == filled(50, 50 * (number % width))
    assert run.tally().ended is Ended.COUNT

    run = Running(pair[1], listener, connect_target(request_bytes=0, response_bytes=50,
                                                    transactions=7, buffers=buffers))
    for number in range(7):
        with socket.create_connection(listener.getsockname()) as near:
            assert read_to_end(near) == filled(50, 50 * (number % width))
    assert run.tally().ended is Ended.COUNT


@pytest.mark.parametrize("width", [1, 5])
def test_the_fill_of_large_messages_runs_on_from_piece_to_piece(engine, connect, width):
    size = (2 << 20) + 77
    near, far = connect(False)
    run = Running(engine, near, sender_spec(
        request_bytes=size, transactions=2, buffers=Buffers(send_width=width, fill=FILL)))
    far.settimeout(LIMIT_S)
    for _ in range(2):
        seen = b""
        while len(seen) < size:
            seen += far.recv(1 << 20)
        assert seen == filled(size)
        far.send(b"r")
    assert run.tally().ended is Ended.COUNT


@pytest.mark.parametrize("buffers", LAYOUTS)
def test_streams_in_any_layout(pair, connect, buffers):
    near, far = connect(False)
    answering = Running(pair[1], far, receiving(block_bytes=5000, buffers=buffers))
    sent = Running(pair[0], near, sending(block_bytes=7000, limit_bytes=700_000,
                                          buffers=buffers)).tally()
    near.shutdown(socket.SHUT_WR)
    assert sent.bytes_sent == answering.tally().bytes_received == 700_000


@pytest.mark.parametrize("buffers", LAYOUTS)
def test_connections_in_any_layout(pair, listener, buffers):
    answering = Running(pair[1], listener, connect_target(
        request_bytes=300, response_bytes=200, transactions=12, buffers=buffers))
    sent = Running(pair[0], None, connect_sender(
        listener, request_bytes=300, response_bytes=200, transactions=12,
        buffers=buffers)).tally()
    assert (sent.transactions, answering.tally().transactions) == (12, 12)


def test_a_ring_over_udp_is_cut_off_nowhere(engine, connect):
    near, far = connect(True)
    run = Running(engine, far, target_spec(
        True, request_bytes=100, transactions=5,
        buffers=Buffers(receive_width=2, receive_alignment=4096, receive_offset=9)))
    for size in (100, 101, 99, 100, 100, 100, 100):
        near.send(bytes(size))
    tally = run.tally()
    assert (tally.transactions, tally.malformed, tally.bytes_received) == (5, 2, 500)


def test_rings_have_a_limit():
    wide = Buffers(send_width=1 << 16)
    for make in (lambda: sender_spec(request_bytes=1 << 20, buffers=wide),
                 lambda: target_spec(response_bytes=1 << 30, buffers=wide),
                 lambda: connect_target(response_bytes=1 << 20, buffers=wide),
                 lambda: sending(block_bytes=1 << 20, buffers=wide)):
        with pytest.raises(LocalProtocolError, match="buffers"):
            make()
    assert sender_spec(request_bytes=1024, buffers=wide).buffers is wide


# ---- pace ----

@PROTOCOLS
@pytest.mark.parametrize("pace", [Pace(20 * MS, 1), Pace(50 * MS, 4), Pace(1, 1)])
@pytest.mark.parametrize("burst", [0, 2])
def test_round_trips_at_a_pace(pair, connect, datagram, pace, burst):
    spec = sender_spec(datagram, transactions=10, pace=pace, burst=burst)
    sent, answered = run_both(pair, connect(datagram), spec)
    assert (sent.ended, sent.transactions, answered.transactions) == (Ended.COUNT, 10, 10)
    # All but the last burst are followed by the rest of their interval.
    assert sent.elapsed_ns >= (-(-10 // pace.burst) - 1) * pace.interval_ns
    check_accounts(sent, spec)


def test_a_target_at_a_pace(pair, connect):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec(pace=Pace(25 * MS, 2)))
    sent = Running(pair[0], near, sender_spec(transactions=9)).tally()
    end(near, False)
    assert answering.tally().transactions == 9
    assert sent.elapsed_ns >= 3 * 25 * MS


@PROTOCOLS
def test_a_stream_at_a_pace(pair, connect, datagram):
    near, far = connect(datagram)
    answering = Running(pair[1], far, receiving(datagram, block_bytes=100))
    spec = sending(datagram, block_bytes=100, limit_bytes=1000, pace=Pace(25 * MS, 3))
    sent = Running(pair[0], near, spec).tally()
    end(near, datagram)
    assert (sent.ended, sent.send_calls) == (Ended.COUNT, 10)
    assert sent.elapsed_ns >= 3 * 25 * MS
    assert answering.tally().bytes_received == 1000


def test_connections_at_a_pace(pair, listener):
    answering = Running(pair[1], listener, connect_target(transactions=5))
    sent = Running(pair[0], None, connect_sender(listener, transactions=5,
                                                 pace=Pace(30 * MS, 2))).tally()
    assert (sent.ended, sent.transactions) == (Ended.COUNT, 5)
    assert sent.elapsed_ns >= 2 * 30 * MS
    assert answering.tally().transactions == 5


LONG = Pace(60_000 * MS, 1)


@pytest.mark.parametrize("kind", ["round trips", "connections", "stream"])
@pytest.mark.parametrize("by", ["stop", "time"])
def test_a_sleeping_loop_ends(pair, connect, listener, stop_pipe, kind, by):
    duration_ns = 200 * MS if by == "time" else 0
    near, far = connect(False)
    if kind == "round trips":
        Running(pair[1], far, target_spec())
        spec = sender_spec(pace=LONG, duration_ns=duration_ns)
        run = Running(pair[0], near, spec, stop_pipe[0])
    elif kind == "connections":
        Running(pair[1], listener, connect_target(transactions=1))
        run = Running(pair[0], None, connect_sender(
            listener, pace=LONG, duration_ns=duration_ns), stop_pipe[0])
    else:
        Running(pair[1], far, receiving())
        run = Running(pair[0], near, sending(pace=LONG, duration_ns=duration_ns),
                      stop_pipe[0])
    if by == "stop":
        time.sleep(0.1)
        assert not run.over
        os.write(stop_pipe[1], b"x")
    tally = run.tally()
    near.shutdown(socket.SHUT_WR)
    assert tally.ended is (Ended.STOPPED if by == "stop" else Ended.TIME)
    assert tally.latency_ns.total == 1
    assert tally.in_flight == 0


def test_a_sleeping_target_can_be_stopped(pair, connect, stop_pipe):
    near, far = connect(False)
    answering = Running(pair[1], far, target_spec(pace=LONG), stop_pipe[0])
    run = Running(pair[0], near, sender_spec())
    time.sleep(0.1)
    assert not answering.over
    os.write(stop_pipe[1], b"x")
    tally = answering.tally()
    assert (tally.ended, tally.transactions) == (Ended.STOPPED, 1)
    far.shutdown(socket.SHUT_RDWR)
    assert run.tally().transactions == 1


def test_a_pause_is_no_loss(engine, connect):
    """Responses that came while a UDP sender slept are there when it wakes."""
    near, far = connect(True)
    spec = sender_spec(True, transactions=4, burst=1, pace=Pace(150 * MS, 1),
                       loss_timeout_ns=60 * MS)
    run = Running(engine, near, spec)
    far.settimeout(LIMIT_S)
    for _ in range(4):
        answer(far)
    tally = run.tally()
    assert (tally.ended, tally.transactions, tally.lost) == (Ended.COUNT, 4, 0)
    check_accounts(tally, spec)


# ---- write() ----

@PROTOCOLS
@pytest.mark.parametrize("size", [1, 1400, 60_000])
@pytest.mark.parametrize("burst", [0, 4])
def test_round_trips_with_write(pair, connect, datagram, size, burst):
    near, far = connect(datagram)
    answering = Running(pair[1], far, target_spec(
        datagram, request_bytes=size, response_bytes=size, plain_write=True))
    spec = sender_spec(datagram, request_bytes=size, response_bytes=size, transactions=30,
                       burst=burst if size < 10_000 or not datagram else 0, plain_write=True)
    sent = Running(pair[0], near, spec).tally()
    end(near, datagram)
    assert (sent.ended, sent.transactions) == (Ended.COUNT, 30)
    assert answering.tally().transactions == 30
    check_accounts(sent, spec)


def test_write_sees_its_deadline(engine, connect):
    near, _far = connect(False)
    spec = sender_spec(request_bytes=1 << 30, duration_ns=120 * MS, plain_write=True)
    tally = Running(engine, near, spec).tally()
    assert (tally.ended, tally.in_flight) == (Ended.TIME, 1)
    check_accounts(tally, spec)


def test_write_and_a_burst_that_no_buffer_holds(pair, connect):
    size = 3 << 20
    near, far = connect(False)
    answering = Running(pair[1], far, LoopSpec(
        role=target_spec().role, datagram=False, request_bytes=size, response_bytes=size,
        plain_write=True))
    spec = sender_spec(request_bytes=size, response_bytes=size, transactions=4, burst=2,
                       plain_write=True)
    sent = Running(pair[0], near, spec).tally()
    end(near, False)
    assert (sent.ended, sent.transactions) == (Ended.COUNT, 4)
    assert answering.tally().transactions == 4
