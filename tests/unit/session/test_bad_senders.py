"""The target's one-way and connecting tests against senders that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from ends import ENGINES, RawSender, run, serving

from xenrr.session import answer as answer_module
from xenrr.wire.omni import OmniFlags, OmniRequest, OmniResponse, OmniResults
from xenrr.wire.streams import UdpStreamRequest, UdpStreamResults

ONE_WAY = {"request_size": -1, "response_size": -1}
UDP = {"protocol": 17, "socket_type": 2}
STREAM = OmniRequest(direction=4, test_length=1, **ONE_WAY)
MAERTS = OmniRequest(direction=2, test_length=1, **ONE_WAY)
CRR = OmniRequest(flags=OmniFlags.CONNECTION_TEST | OmniFlags.ROUTING_ALLOWED, test_length=1)


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


def conversation(request, data_phase, **policy):
    """Ask for a test, do its data phase in a thread, and wait for the results."""
    async def body():
        async with serving(**policy) as server, RawSender(server.port) as sender:
            await sender.identify()
            response = await sender.ask(request)
            assert not response.errno, response
            port = getattr(response, "data_port", 0) or response.data_port_number
            await asyncio.get_running_loop().run_in_executor(None, data_phase, port)
            return await sender.event(), server.lines

    return run(body())


def connected(port: int, source="127.0.0.1") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 10, (source, 0))
    sock.settimeout(10)
    return sock


def test_a_stream_that_is_reset(engine):
    def phase(port):
        sock = connected(port)
        sock.sendall(b"x" * 1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    results, _ = conversation(STREAM, phase, engine=engine)
    assert isinstance(results, OmniResults)
    assert results.bytes_received <= 1000


def test_a_stream_that_never_ends(engine, monkeypatch):
    monkeypatch.setattr(answer_module, "ONE_WAY_PAD_S", 0.2)
    held = []

    def phase(port):
        held.append(connected(port))
        held[0].sendall(b"x" * 1000)

    results, _ = conversation(STREAM, phase, engine=engine)
    held[0].close()
    assert results.bytes_received == 1000


def test_somebody_who_does_not_read(engine):
    """The target's own deadline ends its sending, however full the buffers are."""
    held = []
    results, _ = conversation(MAERTS, lambda port: held.append(connected(port)), engine=engine)
    held[0].close()
    assert results.bytes_sent > 0


def test_a_sender_that_leaves_while_the_target_sends(engine):
    results, _ = conversation(
        OmniRequest(direction=2, test_length=60, **ONE_WAY),
        lambda port: connected(port).close(), engine=engine)
    assert isinstance(results, OmniResults)


@pytest.mark.parametrize("request_", [
    STREAM, MAERTS, CRR, OmniRequest(direction=4, test_length=60, **ONE_WAY, **UDP),
    OmniRequest(flags=CRR.flags, test_length=-10)])
def test_a_control_connection_that_ends_first(engine, request_):
    async def body():
        async with serving(engine=engine) as server:
            async with RawSender(server.port) as sender:
                await sender.identify()
                response = await sender.ask(request_)
                kind = socket.SOCK_DGRAM if request_.protocol == 17 else socket.SOCK_STREAM
                data = socket.socket(socket.AF_INET, kind)
                data.connect(("127.0.0.1", response.data_port))
                data.send(b"x")
            with contextlib.suppress(asyncio.TimeoutError):
                for _ in range(100):
                    await asyncio.sleep(0.05)
                    if server.lines and not server._sessions:
                        break
            data.close()
            return len(server._sessions)

    assert run(body()) == 0


def test_strangers_among_connections(engine):
    def phase(port):
        for source in ("127.0.0.9", "127.0.0.1", "127.0.0.9", "127.0.0.1"):
            with connected(port, source) as sock, contextlib.suppress(OSError):
                sock.sendall(b"x")
                sock.recv(1)

    request = OmniRequest(flags=CRR.flags, test_length=-2)
    results, lines = conversation(request, phase, engine=engine)
    assert results.trans_received == 2
    # The last one may come after the end.
    assert "strangers turned away" in lines[0]


def test_connections_that_say_nothing(engine):
    def phase(port):
        connected(port).close()
        with connected(port) as sock:
            sock.sendall(b"x")
            assert sock.recv(1)

    results, _ = conversation(OmniRequest(flags=CRR.flags, test_length=-1), phase,
                              engine=engine)
    assert results.trans_received == 1


def test_datagrams_are_not_sent_to_those_who_did_not_ask(engine):
    request = OmniRequest(direction=2, test_length=1, netperf_ip="127.0.0.9", netperf_port=9,
                          **ONE_WAY, **UDP)

    async def body():
        async with serving(engine=engine) as server, RawSender(server.port) as sender:
            await sender.identify()
            refused = await sender.ask(request)
            return refused, await sender.ask(CRR), server.lines

    refused, fine, lines = run(body())
    assert refused.errno == 13
    assert isinstance(fine, OmniResponse)
    assert "127.0.0.9" in lines[0]


def test_datagrams_that_have_no_end(engine, monkeypatch):
    """Only an empty one ends this test; all of them were lost."""
    monkeypatch.setattr(answer_module, "SILENT_END_S", 1)

    def phase(port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(3):
                sock.sendto(b"x" * 100, ("127.0.0.1", port))

    results, _ = conversation(OmniRequest(direction=4, test_length=0, **ONE_WAY, **UDP), phase,
                              engine=engine)
    assert results.bytes_received == 300


def test_a_short_datagram_ends_the_classic_test(engine):
    def phase(port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for size in (100, 100, 99):
                sock.sendto(b"x" * size, ("127.0.0.1", port))

    results, _ = conversation(UdpStreamRequest(message_size=100, test_length=30), phase,
                              engine=engine)
    assert isinstance(results, UdpStreamResults)
    assert results.messages_received == 2


def test_a_timed_test_ends_soon_after_its_time_though_nobody_ends_it(engine):
    def phase(port):
        with connected(port) as sock:
            sock.sendall(b"x")
            sock.recv(1)

    results, _ = conversation(CRR, phase, engine=engine)
    assert results.trans_received == 1
    assert results.elapsed_time <= 1.0


def test_no_memory_for_a_test_is_no_end_of_the_server(engine, monkeypatch):
    async def body():
        async with serving(engine=engine) as server:
            async with RawSender(server.port) as sender:
                await sender.identify()
                response = await sender.ask(STREAM)
                monkeypatch.setattr(type(server._engine), "run", _no_memory)
                connected(response.data_port).close()
                with contextlib.suppress(ConnectionError):
                    await sender.event()
            monkeypatch.undo()
            async with RawSender(server.port) as sender:
                await sender.identify()
                return await sender.ask(STREAM), server.lines

    fine, lines = run(body())
    assert isinstance(fine, OmniResponse)
    assert "MemoryError" in lines[0]


def _no_memory(*args):
    raise MemoryError
