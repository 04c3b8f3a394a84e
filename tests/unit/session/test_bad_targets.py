"""The sender's one-way and connecting tests against targets that misbehave."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time

import pytest
from ends import ENGINES, FakeTarget, accepted, listener_for

from xenrr.errors import ConnectionLost, PeerRefused, RemoteProtocolError
from xenrr.results.record import EndSpec, TestSpec
from xenrr.session import dataend
from xenrr.session.sender import open_sender
from xenrr.wire.control import ErrorResponse
from xenrr.wire.omni import OmniResponse, OmniResults
from xenrr.wire.streams import StreamResponse, StreamResults
from xenrr.wire.target import TargetConnection

RESULTS = OmniResults(bytes_received=5, bytes_sent=6, elapsed_time=0.5)


def target(data_phase, kind=socket.SOCK_STREAM, results=RESULTS, **response):
    """A script: offers a data port, does its data phase, sends its results."""
    def script(fake: FakeTarget) -> None:
        codec = TargetConnection()
        fake.answer_probe(codec)
        fake.request(codec)
        with listener_for(kind) as data:
            fake.sock.sendall(codec.send(OmniResponse(
                data_port=data.getsockname()[1], **response)))
            with contextlib.suppress(OSError):
                data_phase(data)
        if results is not None:
            fake.sock.sendall(codec.send(results))
            fake.request(codec)

    return FakeTarget(script)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


@pytest.fixture(params=ENGINES)
def run_of(request):
    """Runs a test against a fake target."""
    def run(fake: FakeTarget, spec: TestSpec):
        with open_sender("127.0.0.1", fake.port, engine=request.param,
                         response_limit_s=5) as sender:
            return sender.run(spec)

    return run


def test_a_stream_that_is_reset(run_of):
    def phase(listener):
        sock = accepted(listener)
        sock.recv(10)
        reset(sock)

    with target(phase) as fake:
        run = run_of(fake, TestSpec("TCP_STREAM", duration_s=20))
    assert run.ended == "peer"
    assert "ended the data connection" in run.error
    assert run.bytes_sent > 0


def test_a_stream_that_nobody_finishes_reading(run_of, monkeypatch):
    monkeypatch.setattr(dataend, "DRAIN_LIMIT_S", 0.5)
    given_up = threading.Event()

    def phase(listener):
        with accepted(listener):
            given_up.wait(30)

    with target(phase) as fake:
        run = run_of(fake, TestSpec("TCP_STREAM", duration_s=0.3))
        given_up.set()
    assert "did not take all data" in run.error


def test_a_target_that_sends_too_little_and_dies(run_of):
    def phase(listener):
        with accepted(listener) as sock:
            sock.sendall(b"x" * 1000)
            time.sleep(0.3)

    with target(phase, results=None) as fake:
        run = run_of(fake, TestSpec("TCP_MAERTS", duration_s=20))
    assert run.bytes_received == 1000
    assert run.error


def test_a_target_that_sends_nothing(run_of):
    def phase(listener):
        with accepted(listener) as sock:
            sock.recv(1)

    with target(phase) as fake:
        run = run_of(fake, TestSpec("TCP_MAERTS", duration_s=0.3))
    assert run.bytes_received == 0
    assert run.ended == "time"


def test_a_target_that_goes_on_sending_is_left(run_of, monkeypatch):
    monkeypatch.setattr(dataend, "DATA_CLOSE_LIMIT_S", 0.3)

    def phase(listener):
        with accepted(listener) as sock:
            while True:
                sock.sendall(b"x" * 10000)

    with target(phase) as fake:
        run = run_of(fake, TestSpec("TCP_MAERTS", duration_s=0.3))
    assert run.bytes_received > 0
    assert run.ended == "time"


def test_a_target_that_refuses_after_the_data(run_of):
    def phase(listener):
        with accepted(listener) as sock:
            while sock.recv(65536):
                pass

    with target(phase, results=ErrorResponse(104)) as fake:
        run = run_of(fake, TestSpec("TCP_STREAM", duration_s=0.3))
    assert "no results" in run.error and "104" in run.error


@pytest.mark.parametrize("said", [b"", b"x"])
def test_connections_without_a_whole_response(run_of, said):
    def phase(listener):
        listener.settimeout(1)
        while True:
            with accepted(listener) as sock:
                sock.sendall(said)

    with target(phase) as fake, pytest.raises(ConnectionLost):
        run_of(fake, TestSpec("TCP_CRR", transactions=5, response_bytes=10))


def test_connections_that_nobody_takes_any_more(run_of):
    def phase(listener):
        for _ in range(3):
            accepted(listener).close()

    with target(phase) as fake:
        run = run_of(fake, TestSpec("OMNI", connecting=True, direction="none",
                                    transactions=50))
    assert 0 < run.transactions < 50
    assert run.error


def test_a_promise_of_too_much(run_of):
    with target(lambda listener: None, send_size=2**31 - 1) as fake, \
            pytest.raises(RemoteProtocolError, match="every connection"):
        run_of(fake, TestSpec("OMNI", connecting=True, direction="receive", duration_s=1))


def test_datagrams_that_nobody_takes(run_of):
    with target(lambda data: data.close(), socket.SOCK_DGRAM) as fake:
        run = run_of(fake, TestSpec("UDP_STREAM", duration_s=0.3,
                                    local=EndSpec(send_bytes=100)))
    assert run.failed_sends > 0
    assert run.ended == "time"


def test_datagrams_that_never_come(run_of):
    with target(lambda data: data.recv(1), socket.SOCK_DGRAM) as fake:
        run = run_of(fake, TestSpec("OMNI", protocol="udp", direction="receive",
                                    duration_s=0.3))
    assert run.bytes_received == 0
    assert run.ended == "time"


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, 1e300])
def test_a_count_that_is_no_count(run_of, number):
    def script(fake: FakeTarget) -> None:
        codec = TargetConnection()
        fake.answer_probe(codec)
        fake.request(codec)
        with listener_for() as listener:
            fake.sock.sendall(codec.send(StreamResponse(
                data_port_number=listener.getsockname()[1])))
            with accepted(listener) as sock:
                while sock.recv(65536):
                    pass
        fake.sock.sendall(codec.send(StreamResults(bytes_moved=number)))
        fake.request(codec)

    with FakeTarget(script) as fake:
        run = run_of(fake, TestSpec("TCP_SENDFILE", duration_s=0.2))
    assert run.target_tally.bytes_received == -1


def test_a_calibration_that_is_refused():
    def script(fake: FakeTarget) -> None:
        codec = TargetConnection()
        fake.answer_probe(codec)
        fake.request(codec)
        fake.sock.sendall(codec.send(ErrorResponse(998)))

    with FakeTarget(script) as fake, open_sender("127.0.0.1", fake.port) as sender, \
            pytest.raises(PeerRefused):
        sender.calibrate()
