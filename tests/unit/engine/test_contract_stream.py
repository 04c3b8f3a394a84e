"""Data that flows one way over TCP, from memory and from files."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
import tempfile
import time
from typing import Any

import pytest
from engines import (
    MS,
    Running,
    read_interims,
    read_to_end,
    receiving,
    reset,
    sending,
    signals,
)

from xenrr.engine.base import Ended, StreamSpec, Tally
from xenrr.errors import LocalProtocolError


def check_accounts(tally: Tally, spec: StreamSpec) -> None:
    calls = tally.send_calls if spec.sends else tally.recv_calls
    assert tally.latency_ns.total == calls
    assert (tally.recv_calls if spec.sends else tally.send_calls) == 0
    assert (tally.bytes_received if spec.sends else tally.bytes_sent) == 0
    assert (tally.bytes_sent if spec.sends else tally.bytes_received) <= (
        calls * spec.block_bytes)
    assert (tally.transactions, tally.requests_sent, tally.in_flight) == (0, 0, 0)
    assert (tally.lost, tally.late, tally.malformed, tally.strangers) == (0, 0, 0, 0)
    if calls > 1:
        assert tally.latency_ns.max_ns > 0
        assert tally.elapsed_ns > 0


def run_both(pair, sockets, spec: StreamSpec, **receiver: Any) -> tuple[Tally, Tally]:
    """A sender to its end, then the end of file, and what the receiver says."""
    near, far = sockets
    answering = Running(pair[1], far, receiving(**receiver))
    sent = Running(pair[0], near, spec).tally()
    near.shutdown(socket.SHUT_WR)
    received = answering.tally()
    check_accounts(sent, spec)
    check_accounts(received, receiving(**receiver))
    return sent, received


BLOCKS = [1, 3, 1400, 16384, 65536, (1 << 20) + 7, 3 << 20]


@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_as_many_bytes_as_asked_in_whole_blocks(pair, connect, block_bytes):
    sent, received = run_both(
        pair, connect(False),
        sending(block_bytes=block_bytes, limit_bytes=5 * block_bytes - block_bytes // 2),
        block_bytes=block_bytes)
    assert sent.ended is Ended.COUNT
    assert received.ended is Ended.PEER
    assert sent.bytes_sent == received.bytes_received == 5 * block_bytes
    assert sent.send_calls >= 5
    assert received.recv_calls >= 1
    assert received.started_ns >= sent.started_ns > 0


@pytest.mark.parametrize(("there", "here"), [(1, 8192), (8192, 1), (100_000, 333)])
def test_blocks_of_different_sizes(pair, connect, there, here):
    sent, received = run_both(pair, connect(False),
                              sending(block_bytes=there, limit_bytes=20_000),
                              block_bytes=here)
    assert sent.bytes_sent == received.bytes_received == -(-20_000 // there) * there


@pytest.mark.parametrize("block_bytes", [100, 16384, 1 << 20])
def test_a_timed_run_ends_in_time(pair, connect, block_bytes):
    spec = sending(block_bytes=block_bytes, duration_ns=200 * MS)
    sent, received = run_both(pair, connect(False), spec, block_bytes=16384)
    assert (sent.ended, received.ended) == (Ended.TIME, Ended.PEER)
    assert sent.elapsed_ns >= spec.duration_ns
    assert sent.bytes_sent == received.bytes_received > 0


def test_a_receiver_ends_at_its_time(pair, connect, stop_pipe):
    near, far = connect(False)
    going = Running(pair[0], near, sending(), stop_pipe[0])
    spec = receiving(duration_ns=150 * MS)
    received = Running(pair[1], far, spec).tally()
    assert received.ended is Ended.TIME
    assert received.bytes_received > 0
    check_accounts(received, spec)
    os.write(stop_pipe[1], b"x")
    assert going.tally().ended is Ended.STOPPED


def test_a_receiver_that_hears_nothing_ends_at_its_time(engine, connect):
    _near, far = connect(False)
    tally = Running(engine, far, receiving(duration_ns=120 * MS)).tally()
    assert tally == Tally(ended=Ended.TIME)


def test_a_receiver_ends_at_its_count(engine, connect):
    near, far = connect(False)
    run = Running(engine, far, receiving(block_bytes=1000, limit_bytes=2500))
    near.send(bytes(1000))
    time.sleep(0.05)
    assert not run.over
    near.send(bytes(2000))
    tally = run.tally()
    assert tally.ended is Ended.COUNT
    assert 2500 <= tally.bytes_received <= 3000


def test_a_stream_is_netperf(engine, connect):
    near, far = connect(False)
    run = Running(engine, near, sending(block_bytes=100, limit_bytes=100))
    assert run.tally().ended is Ended.COUNT
    near.shutdown(socket.SHUT_WR)
    assert read_to_end(far) == (b"netperf" * 15)[:100]


# ---- the other end goes away ----

def test_a_receiver_without_data_sees_the_end(engine, connect):
    near, far = connect(False)
    near.shutdown(socket.SHUT_WR)
    assert Running(engine, far, receiving()).tally() == Tally(ended=Ended.PEER)


@pytest.mark.parametrize("go", [reset, socket.socket.close])
def test_a_sender_whose_receiver_goes(engine, connect, go):
    near, far = connect(False)
    spec = sending()
    run = Running(engine, near, spec)
    far.recv(1)
    go(far)
    tally = run.tally()
    assert (tally.ended, tally.errno) == (Ended.PEER, 0)
    assert tally.bytes_sent > 0
    check_accounts(tally, spec)


def test_a_receiver_whose_sender_resets(engine, connect):
    near, far = connect(False)
    run = Running(engine, far, receiving())
    near.send(b"x" * 10)
    time.sleep(0.05)
    reset(near)
    tally = run.tally()
    assert (tally.ended, tally.errno, tally.bytes_received) == (Ended.PEER, 0, 10)


@pytest.mark.parametrize("values", [{}, {"plain_write": True}, {"file": True}],
                         ids=["send", "write", "sendfile"])
def test_a_broken_pipe_raises_no_signal(engine, connect, tmp_path, values):
    path = tmp_path / "file"
    path.write_bytes(bytes(5000))
    old = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with path.open("rb") as file:
            near, _far = connect(False)
            near.shutdown(socket.SHUT_WR)
            spec = (sending(file_fd=file.fileno(), file_bytes=5000) if "file" in values
                    else sending(**values))
            tally = Running(engine, near, spec).tally()
            assert signal.SIGPIPE not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGPIPE, old)
    assert (tally.ended, tally.errno, tally.bytes_sent) == (Ended.PEER, 0, 0)


def test_a_socket_that_is_not_connected_is_an_error(engine):
    with socket.socket() as sock:
        tally = Running(engine, sock, receiving()).tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.ENOTCONN)


def test_a_socket_with_a_python_timeout_is_refused(engine, connect):
    near, _ = connect(False)
    near.settimeout(1)
    with pytest.raises(LocalProtocolError, match="blocking"):
        engine.run(near, sending())
    with pytest.raises(LocalProtocolError):
        engine.run(None, sending())


# ---- stopping ----

@pytest.mark.parametrize("sends", [True, False])
def test_stop_before_the_start(engine, connect, stop_pipe, sends):
    near, _ = connect(False)
    os.write(stop_pipe[1], b"x")
    tally = Running(engine, near, StreamSpec(sends=sends), stop_pipe[0]).tally()
    assert tally == Tally(ended=Ended.STOPPED)


def test_stop_a_sender_at_work(pair, connect, stop_pipe):
    near, far = connect(False)
    answering = Running(pair[1], far, receiving())
    going = Running(pair[0], near, sending(), stop_pipe[0])
    time.sleep(0.1)
    os.write(stop_pipe[1], b"x")
    sent = going.tally()
    near.shutdown(socket.SHUT_WR)
    assert sent.ended is Ended.STOPPED
    assert sent.bytes_sent == answering.tally().bytes_received > 0


def test_stop_a_receiver_at_work(pair, connect, stop_pipe):
    near, far = connect(False)
    answering = Running(pair[1], far, receiving(), stop_pipe[0])
    going = Running(pair[0], near, sending())
    time.sleep(0.1)
    os.write(stop_pipe[1], b"x")
    received = answering.tally()
    far.close()
    assert received.ended is Ended.STOPPED
    assert going.tally().ended is Ended.PEER
    check_accounts(received, receiving())


@pytest.mark.parametrize("values", [{}, {"plain_write": True}, {"block_bytes": 8 << 20}])
def test_stop_a_sender_that_nobody_reads(engine, connect, stop_pipe, values):
    near, _far = connect(False)
    spec = sending(**values)
    run = Running(engine, near, spec, stop_pipe[0])
    time.sleep(0.15)
    assert not run.over
    os.write(stop_pipe[1], b"x")
    tally = run.tally()
    assert tally.ended is Ended.STOPPED
    assert tally.bytes_sent > 0
    check_accounts(tally, spec)


def test_the_deadline_ends_a_blocked_send(engine, connect):
    near, far = connect(False)
    spec = sending(block_bytes=32 << 20, duration_ns=150 * MS)
    tally = Running(engine, near, spec).tally()
    near.shutdown(socket.SHUT_WR)
    assert tally.ended is Ended.TIME
    assert len(read_to_end(far)) == tally.bytes_sent > 0
    check_accounts(tally, spec)


def test_a_silent_receiver_is_released_from_outside(engine, connect, stop_pipe):
    near, far = connect(False)
    run = Running(engine, far, receiving(), stop_pipe[0])
    near.send(b"x")
    time.sleep(0.05)
    os.write(stop_pipe[1], b"x")
    far.shutdown(socket.SHUT_RD)
    tally = run.tally()
    assert (tally.ended, tally.bytes_received) == (Ended.STOPPED, 1)


def test_timeouts_of_the_socket_come_back(pair, connect):
    near, far = connect(False)
    value = struct.pack("@ll", 7, 250_000)
    options = (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)
    for sock in (near, far):
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, value)
    before = [near.getsockopt(socket.SOL_SOCKET, option, 16) for option in options]
    run_both(pair, (near, far), sending(limit_bytes=1000))
    for sock in (near, far):
        assert [sock.getsockopt(socket.SOL_SOCKET, option, 16)
                for option in options] == before


# ---- interim results ----

@pytest.mark.parametrize("sends", [True, False])
def test_interims_add_up_to_the_run(pair, connect, stop_pipe, sends):
    near, far = connect(False)
    os.set_blocking(stop_pipe[1], False)
    reports = [(-1, stop_pipe[1]), (-1, -1)]
    every = {"interim_ns": 50 * MS}
    answering = Running(pair[1], far, receiving(**({} if sends else every)), *reports[sends])
    sent = Running(pair[0], near, sending(duration_ns=320 * MS, **(every if sends else {})),
                   *reports[not sends]).tally()
    near.shutdown(socket.SHUT_WR)
    received = answering.tally()
    tally = sent if sends else received
    points = read_interims(stop_pipe[0])
    assert len(points) >= 2
    assert sum(point.interval_bytes for point in points) == sent.bytes_sent
    assert sum(point.interval_ns for point in points) == tally.elapsed_ns
    assert points[-1].elapsed_ns == tally.elapsed_ns
    assert max(point.max_ns for point in points) == tally.latency_ns.max_ns
    assert {point.transactions for point in points} == {0}
    for point in points:
        assert point.p50_ns <= point.p99_ns <= point.max_ns


# ---- write, discard, sendfile ----

def test_plain_write_is_the_same(pair, connect):
    sent, received = run_both(pair, connect(False), sending(
        plain_write=True, block_bytes=70_000, limit_bytes=700_000))
    assert sent.bytes_sent == received.bytes_received == 700_000


def test_discarded_data_counts(pair, connect):
    sent, received = run_both(pair, connect(False),
                              sending(block_bytes=50_000, limit_bytes=5_000_000),
                              block_bytes=30_000, discard=True)
    assert sent.bytes_sent == received.bytes_received == 5_000_000


def file_of(size: int) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    file.write((b"0123456789abcdefghijklmnopqrstuvwxyz\n" * (size // 37 + 1))[:size])
    file.seek(0)
    return file


@pytest.mark.parametrize(("file_bytes", "block_bytes", "limit_bytes"), [
    (50_000, 16384, 100_000),       # the last block of a round is shorter
    (65536, 16384, 300_000),        # rounds of whole blocks
    (10_000, 16384, 95_000),        # shorter than a block
    (1, 16384, 5),
    (3 << 20, 1 << 20, 7 << 20),
])
def test_a_file_is_sent_again_and_again(engine, connect, file_bytes, block_bytes,
                                        limit_bytes):
    near, far = connect(False)
    with file_of(file_bytes) as file:
        content = file.read()
        file.seek(3)        # its place does not matter, and does not move
        spec = sending(file_fd=file.fileno(), file_bytes=file_bytes,
                       block_bytes=block_bytes, limit_bytes=limit_bytes)
        run = Running(engine, near, spec)
        seen = b""
        far.settimeout(0.02)
        while not run.over or len(seen) < run.tally().bytes_sent:
            with contextlib.suppress(socket.timeout):
                seen += far.recv(1 << 20)
        tally = run.tally()
        assert file.tell() == 3
    assert tally.ended is Ended.COUNT
    assert limit_bytes <= tally.bytes_sent < limit_bytes + block_bytes
    assert len(seen) == tally.bytes_sent
    assert seen == (content * (len(seen) // file_bytes + 1))[:len(seen)]
    check_accounts(tally, spec)


def test_a_file_for_a_time(pair, connect):
    with file_of(200_000) as file:
        sent, received = run_both(pair, connect(False), sending(
            file_fd=file.fileno(), file_bytes=200_000, duration_ns=150 * MS))
    assert sent.ended is Ended.TIME
    assert sent.bytes_sent == received.bytes_received > 0


def test_a_file_that_nobody_reads_can_be_stopped(engine, connect, stop_pipe):
    near, _far = connect(False)
    with file_of(200_000) as file:
        run = Running(engine, near, sending(file_fd=file.fileno(), file_bytes=200_000),
                      stop_pipe[0])
        time.sleep(0.15)
        assert not run.over
        os.write(stop_pipe[1], b"x")
        assert run.tally().ended is Ended.STOPPED


def test_a_file_that_became_shorter(pair, connect):
    """Than the spec says: it begins anew where it ends; an empty one is an error."""
    with file_of(1000) as file:
        sent, received = run_both(pair, connect(False), sending(
            file_fd=file.fileno(), file_bytes=1 << 20, limit_bytes=10_000))
        assert sent.ended is Ended.COUNT
        assert sent.bytes_sent == received.bytes_received == 10_000
        file.truncate(0)
        sent, _ = run_both(pair, connect(False), sending(
            file_fd=file.fileno(), file_bytes=1 << 20, limit_bytes=10_000))
    assert (sent.ended, sent.errno, sent.bytes_sent) == (Ended.ERROR, errno.EIO, 0)


def test_a_descriptor_that_is_no_file_is_an_error(engine, connect):
    near, _far = connect(False)
    read, write = os.pipe()
    os.close(write)
    try:
        tally = Running(engine, near, sending(file_fd=read, file_bytes=100)).tally()
    finally:
        os.close(read)
    assert tally.ended is Ended.ERROR
    assert tally.errno in (errno.EINVAL, errno.ESPIPE)


# ---- threads ----

def test_loops_on_their_own_threads(pair, connect):
    sent, received = run_both(pair, connect(False),
                              sending(limit_bytes=1 << 20, own_thread=True), own_thread=True)
    assert sent.bytes_sent == received.bytes_received == 1 << 20


def test_a_file_on_its_own_thread(engine, connect):
    """The file is another descriptor that such a thread has to keep."""
    near, far = connect(False)
    with file_of(30_000) as file:
        run = Running(engine, near, sending(
            file_fd=file.fileno(), file_bytes=30_000, limit_bytes=30_000, own_thread=True))
        assert run.tally().bytes_sent == 30_000
    near.shutdown(socket.SHUT_WR)
    assert len(read_to_end(far)) == 30_000


def test_signals_interrupt_and_the_loop_goes_on(pair, connect):
    near, far = connect(False)
    answering = Running(pair[1], far, receiving())
    seen: list[int] = []
    with signals(lambda number, frame: seen.append(number), 0.002, 0.002):
        sent = pair[0].run(near, sending(block_bytes=1 << 20, duration_ns=250 * MS))
    near.shutdown(socket.SHUT_WR)
    assert seen
    assert sent.ended is Ended.TIME
    assert sent.bytes_sent == answering.tally().bytes_received
    check_accounts(sent, sending(block_bytes=1 << 20))
