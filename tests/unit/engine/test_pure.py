"""What only the Python engine is made of, and systems that lack what it would like."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import tempfile

import pytest
from engines import (
    MS,
    Running,
    connect_target,
    read_to_end,
    receiving,
    sender_spec,
    sending,
    target_spec,
    udp_pair,
)

from xenrr.engine import pure_common, pure_connect, pure_stream
from xenrr.engine.base import Ended, Pace
from xenrr.engine.pure import PureEngine
from xenrr.engine.pure_common import Brake, Incoming, Outgoing, Samples, pour, ring
from xenrr.engine.pure_connect import ConnectTarget
from xenrr.engine.pure_rr import RoundTripSender


def address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


@pytest.mark.parametrize("size", [1, 100, 4096, 70_001])
@pytest.mark.parametrize("alignment", [0, 1, 8, 64, 100, 4096, 1 << 20])
@pytest.mark.parametrize("offset", [0, 1, 5000])
def test_buffers_lie_where_they_should(size, alignment, offset):
    views = ring(size, 3, alignment, offset)
    assert [len(view) for view in views] == [size] * 3
    for view in views:
        assert (address(view) - offset) % max(alignment, 1) == 0
    for number, view in enumerate(views):
        view[:] = bytes([number + 1]) * size
    for number, view in enumerate(views):
        assert view.tobytes() == bytes([number + 1]) * size


@pytest.mark.parametrize("start", [0, 1, 12, 13, 70_000])
@pytest.mark.parametrize("fill", [b"a", b"0123456789abc", bytes(range(256)) * 400])
def test_pour_repeats_the_fill(fill, start):
    view = memoryview(bytearray(200_000))
    pour(view, fill, start)
    place = start % len(fill)
    assert view.tobytes() == (fill * (200_000 // len(fill) + 2))[place:place + 200_000]


def test_messages_and_views_go_round():
    out = Outgoing(4, 3, 8, 0, b"0123456789")
    assert [bytes(data) for data in out.messages(4, 5)] == [
        b"4567", b"8901", b"0123", b"4567", b"8901"]
    assert bytes(out.piece(5, 3)) == b"901"
    incoming = Incoming(4, 3, 8, 0)
    assert [address(view) for view in incoming.views(2, 3)] == [
        address(incoming.view(number)) for number in (2, 0, 1)]


def test_a_brake_does_not_drift():
    brake = Brake(Pace(100, 2))
    brake.start(1000)
    assert (brake.left, brake.wakes) == (2, 1100)
    brake.left = 0
    brake.renew(1130)       # it slept too long
    assert (brake.left, brake.wakes) == (2, 1200)
    brake.renew(1450)       # the burst took more than two intervals
    assert brake.wakes == 1500
    brake.renew(1500)
    assert brake.wakes == 1600
    assert Brake(Pace()).left > 1 << 62


def test_no_memory_is_an_error_of_the_system(monkeypatch):
    def no_ring(*arguments: int) -> list[memoryview]:
        raise MemoryError

    monkeypatch.setattr(pure_common, "ring", no_ring)
    near, far = udp_pair()
    with near, far, pytest.raises(OSError) as caught:
        PureEngine().run(near, sender_spec(True))
    assert caught.value.errno == errno.ENOMEM


def test_samples_are_counted_between_two_transactions(connect, monkeypatch):
    monkeypatch.setattr(pure_common, "FOLD_SAMPLES", 10)
    near, far = connect(False)
    answering = Running(PureEngine(), far, target_spec())
    sender = RoundTripSender(near, sender_spec(duration_ns=130 * MS), -1, -1)
    flying = []

    def fold(samples: Samples) -> None:
        flying.append(sender.in_flight)
        real_fold(samples)

    real_fold = Samples.fold
    monkeypatch.setattr(Samples, "fold", fold)
    tally = sender.run()
    near.shutdown(socket.SHUT_WR)
    assert answering.tally().transactions >= tally.transactions
    assert tally.latency_ns.total == tally.transactions
    # The last one is that of the end.
    assert flying and set(flying[:-1]) <= {0}


def test_without_sendfile(connect, monkeypatch):
    monkeypatch.delattr(os, "sendfile")
    near, far = connect(False)
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 1000)
        file.flush()
        tally = PureEngine().run(near, sending(
            file_fd=file.fileno(), file_bytes=10_000, block_bytes=3000, limit_bytes=25_000))
        near.shutdown(socket.SHUT_WR)
        data = read_to_end(far)
        assert tally.ended is Ended.COUNT
        assert data == (b"0123456789" * 3000)[:tally.bytes_sent]
        assert tally.latency_ns.total == tally.send_calls

        file.truncate(0)
        near, far = connect(False)
        tally = PureEngine().run(near, sending(file_fd=file.fileno(), file_bytes=10_000))
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.EIO)


@pytest.mark.parametrize("datagram", [False, True])
def test_without_a_way_to_discard(connect, monkeypatch, datagram):
    monkeypatch.setattr(pure_stream, "TRUNCATE", 0)
    near, far = connect(datagram)
    run = Running(PureEngine(), far, receiving(datagram, block_bytes=100, discard=True))
    near.send(bytes(100))
    near.send(bytes(30))
    if datagram:
        near.send(b"")
    else:
        near.shutdown(socket.SHUT_WR)
    tally = run.tally()
    assert (tally.ended, tally.bytes_received) == (Ended.PEER, 130)


def test_timeouts_that_a_listener_does_not_pass_on(listener):
    target = ConnectTarget(listener, connect_target(transactions=1), -1)
    target.inherited = False
    with socket.create_connection(listener.getsockname()) as idle, \
            socket.create_connection(listener.getsockname()) as near:
        near.send(b"x")
        tally = target.run()
        target.restore()
        assert read_to_end(near) == b"\0"
        assert read_to_end(idle) == b""
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 1)


def test_without_a_way_to_take_signals_back(connect, monkeypatch):
    monkeypatch.delattr(signal, "sigtimedwait")
    near, far = connect(False)
    tally = PureEngine().run(near, sending(plain_write=True, limit_bytes=1, block_bytes=1))
    assert (tally.ended, far.recv(10)) == (Ended.COUNT, b"n")


@pytest.mark.parametrize(("text", "packed"), [
    ("127.0.0.1", b"\x7f\0\0\1"),
    ("::ffff:127.0.0.1", b"\x7f\0\0\1"),
    ("::1", bytes(15) + b"\1"),
    ("0:0:0:0:0:0:0:1", bytes(15) + b"\1"),
    ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\1eth0"),
])
def test_addresses_are_compared_as_numbers(text, packed):
    assert pure_connect._packed(text) == packed
