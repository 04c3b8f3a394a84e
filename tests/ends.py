"""Both ends of a control connection in the hands of a test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest

from xenrr.session.target import TargetPolicy, TargetServer, open_listeners
from xenrr.wire.control import SysinfoResponse
from xenrr.wire.sender import NEED_DATA, SenderConnection
from xenrr.wire.target import TargetConnection

ENGINES = ["pure", pytest.param("hot", marks=pytest.mark.c_engine)]


class FakeTarget:
    """A target that follows a script for one control connection, then hangs up."""

    def __init__(self, script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.settimeout(10)
            self.sock, _ = self._listener.accept()
            with self.sock:
                self.sock.settimeout(10)
                self._script(self)

    def request(self, codec: TargetConnection):
        while (event := codec.next_event()) is NEED_DATA:
            data = self.sock.recv(4096)
            if not data:
                return None
            codec.receive_data(data)
        return event

    def answer_probe(self, codec: TargetConnection) -> None:
        self.request(codec)
        self.sock.sendall(codec.send(SysinfoResponse(",xenrr,0,Deprecated,Deprecated")))


def listener_for(kind=socket.SOCK_STREAM) -> socket.socket:
    """A data socket of a fake target."""
    data = socket.socket(socket.AF_INET, kind)
    data.bind(("127.0.0.1", 0))
    data.settimeout(10)
    if kind == socket.SOCK_STREAM:
        data.listen(5)
    return data


def accepted(listener: socket.socket) -> socket.socket:
    sock = listener.accept()[0]
    sock.settimeout(10)
    return sock


@contextlib.asynccontextmanager
async def serving(**policy):
    lines: list[str] = []
    wanted = TargetPolicy(host="127.0.0.1", port=0, **policy)
    async with TargetServer(wanted, open_listeners(wanted), lines.append) as server:
        server.lines = lines
        yield server


class RawSender:
    """A control connection driven message by message."""

    def __init__(self, port: int, passphrase: bytes | None = None) -> None:
        self._port = port
        self.codec = SenderConnection(passphrase)

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *error) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def event(self):
        while (event := self.codec.next_event()) is NEED_DATA:
            data = await asyncio.wait_for(self.reader.read(4096), 10)
            if data:
                self.codec.receive_data(data)
            else:
                self.codec.receive_eof()
        return event

    async def identify(self):
        self.writer.write(self.codec.start() + self.codec.probe_silent())
        return await self.event()

    async def ask(self, request):
        self.writer.write(self.codec.send(request))
        return await self.event()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))
