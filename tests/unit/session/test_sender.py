"""The sender against peers that misbehave in every place where a peer can."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from ends import FakeTarget

import xenrr
from xenrr.errors import ConnectionLost, PeerRefused, RemoteProtocolError, SpecError
from xenrr.results.record import EndSpec, TestSpec
from xenrr.session import control as control_module
from xenrr.session import phase as phase_module
from xenrr.session.sender import open_sender
from xenrr.wire.control import ErrorResponse
from xenrr.wire.omni import OmniResponse
from xenrr.wire.target import TargetConnection


def offer_data_port(fake: FakeTarget, codec: TargetConnection) -> socket.socket:
    fake.answer_probe(codec)
    request = fake.request(codec)
    kind = socket.SOCK_DGRAM if request.protocol == 17 else socket.SOCK_STREAM
    data = socket.socket(socket.AF_INET, kind)
    data.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        data.listen(1)
    fake.sock.sendall(codec.send(OmniResponse(data_port=data.getsockname()[1])))
    return data


def test_refused() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            open_sender("127.0.0.1", probe.getsockname()[1])


def test_name_not_found() -> None:
    with pytest.raises(socket.gaierror):
        open_sender("no-such-host.invalid")


@pytest.mark.parametrize("banner", [b"HTTP/1.0 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n",
                                    b"\xff" * 2000])
def test_a_peer_that_is_no_netserver(banner) -> None:
    def script(fake):
        fake.sock.sendall(banner)
        fake.sock.shutdown(socket.SHUT_WR)
        while fake.sock.recv(4096):
            pass

    with FakeTarget(script) as fake, \
            pytest.raises((RemoteProtocolError, ConnectionLost)) as got:
        open_sender("127.0.0.1", fake.port, response_limit_s=5)
    assert str(got.value)


def test_closed_at_once() -> None:
    with FakeTarget(lambda fake: None) as fake, pytest.raises(ConnectionLost):
        open_sender("127.0.0.1", fake.port)


def test_silent_peer_has_a_limit() -> None:
    def script(fake):
        while fake.sock.recv(4096):
            pass

    with FakeTarget(script) as fake, pytest.raises(ConnectionLost, match=r"within 0\.5 s"):
        open_sender("127.0.0.1", fake.port, response_limit_s=0.5)


@pytest.mark.parametrize("answer", ["nothing", "error 998", "error 22"])
def test_peer_dies_or_refuses_before_the_response(answer) -> None:
    def script(fake):
        codec = TargetConnection()
        fake.answer_probe(codec)
        while answer != "nothing" and fake.request(codec) is not None:
            fake.sock.sendall(codec.send(ErrorResponse(int(answer.split()[1]))))
        fake.request(codec)

    expected = ConnectionLost if answer == "nothing" else PeerRefused
    with FakeTarget(script) as fake, open_sender("127.0.0.1", fake.port) as sender:
        with pytest.raises(expected) as got:
            sender.run(TestSpec("TCP_RR", transactions=5))
        if answer != "nothing":
            assert got.value.errno == int(answer.split()[1])


@pytest.mark.parametrize("engine", ["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
@pytest.mark.parametrize("answered", [0, 7])
def test_peer_dies_in_the_data_phase(engine, answered) -> None:
    def script(fake):
        with offer_data_port(fake, TargetConnection()) as listener:
            data, _ = listener.accept()
            with data:
                for _ in range(answered):
                    data.sendall(data.recv(1))
                data.recv(1)

    with FakeTarget(script) as fake, open_sender(
            "127.0.0.1", fake.port, engine=engine) as sender:
        spec = TestSpec("TCP_RR", duration_s=20)
        if not answered:
            with pytest.raises(ConnectionLost, match="no response"):
                sender.run(spec)
            return
        run = sender.run(spec)
    assert run.transactions == run.latency_ns.total == answered
    assert run.ended in ("peer", "error")
    assert run.error


@pytest.mark.parametrize("engine", ["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
def test_control_connection_dies_while_data_is_silent(engine) -> None:
    def script(fake):
        with offer_data_port(fake, TargetConnection()) as listener:
            data, _ = listener.accept()
            data.sendall(data.recv(1))
            data.recv(1)
            fake.sock.close()
            time.sleep(1.5)
            data.close()

    with FakeTarget(script) as fake, open_sender(
            "127.0.0.1", fake.port, engine=engine) as sender:
        run = sender.run(TestSpec("TCP_RR", transactions=100))
    assert run.transactions == 1
    assert "control connection" in run.error
    assert run.ended == "peer"


def test_peer_dies_before_the_results() -> None:
    def script(fake):
        codec = TargetConnection()
        with offer_data_port(fake, codec) as listener:
            data, _ = listener.accept()
            with data:
                while byte := data.recv(1):
                    data.sendall(byte)

    with FakeTarget(script) as fake, open_sender("127.0.0.1", fake.port) as sender:
        run = sender.run(TestSpec("TCP_RR", duration_s=0.3))
    assert run.transactions > 0
    assert "results" in run.error
    assert run.target_tally.transactions == -1


@pytest.mark.parametrize("engine", ["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_silent_target_ends_on_time(engine, test) -> None:
    """Nothing ever comes back: the test ends when its time is over and says so."""
    def script(fake):
        with offer_data_port(fake, TargetConnection()) as data:
            if test == "TCP_RR":
                accepted, _ = data.accept()
                with accepted:
                    time.sleep(1.0)
            else:
                time.sleep(1.0)

    with FakeTarget(script) as fake, open_sender(
            "127.0.0.1", fake.port, engine=engine) as sender:
        run = sender.run(TestSpec(test, duration_s=0.5, loss_timeout_s=0.1))
    assert run.transactions == 0
    assert run.requests_sent == run.in_flight + run.lost
    assert run.error


def test_stalled_counted_test_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(phase_module, "STALL_LIMIT_S", 0.5)
    held = threading.Event()

    def script(fake):
        with offer_data_port(fake, TargetConnection()) as listener:
            data, _ = listener.accept()
            with data:
                data.sendall(data.recv(1))
                held.wait(10)

    with FakeTarget(script) as fake, open_sender("127.0.0.1", fake.port) as sender:
        run = sender.run(TestSpec("TCP_RR", transactions=100))
        held.set()
    assert run.transactions == 1
    assert "no response for" in run.error
    assert run.ended == "lost"


def test_data_port_that_nobody_listens_on() -> None:
    def script(fake):
        codec = TargetConnection()
        fake.answer_probe(codec)
        fake.request(codec)
        with socket.socket() as bound:  # but not listening
            bound.bind(("127.0.0.1", 0))
            fake.sock.sendall(codec.send(OmniResponse(data_port=bound.getsockname()[1])))
            fake.sock.recv(1)

    with FakeTarget(script) as fake, open_sender("127.0.0.1", fake.port) as sender:
        with pytest.raises(OSError, match="data connection"):
            sender.run(TestSpec("TCP_RR", transactions=5))


def test_data_host_that_does_not_resolve() -> None:
    def script(fake):
        codec = TargetConnection()
        fake.answer_probe(codec)
        fake.request(codec)

    with FakeTarget(script) as fake, open_sender("127.0.0.1", fake.port) as sender:
        with pytest.raises(SpecError, match="resolve"):
            sender.run(TestSpec("TCP_RR", data_host="no-such-host.invalid"))


def test_goodbye_does_not_wait_for_a_peer_that_never_closes(monkeypatch) -> None:
    monkeypatch.setattr(control_module, "CLOSE_LIMIT_S", 0.2)
    held = threading.Event()

    def script(fake):
        fake.answer_probe(TargetConnection())
        held.wait(10)

    with FakeTarget(script) as fake:
        open_sender("127.0.0.1", fake.port).close()
        held.set()


@pytest.mark.parametrize("field", [
    {"request_bytes": 0}, {"response_bytes": -1}, {"request_bytes": 2**31}, {"duration_s": 0},
    {"duration_s": float("nan")}, {"transactions": 0}, {"duration_s": 1, "transactions": 1},
    {"burst": -1}, {"burst": 10**9}, {"remote_data_port": 65536}, {"test": "TCP_RX"},
    {"test": "UDP_RR", "request_bytes": 65508}, {"data_family": 5}, {"wait_s": -1},
    {"local": EndSpec(send_buffer=-2)},
])
def test_nonsense_is_refused_before_anything_is_sent(field) -> None:
    with pytest.raises(SpecError) as got:
        xenrr.TestSpec(**field)
    assert str(got.value)
