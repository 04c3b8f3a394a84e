from __future__ import annotations

import socket
import threading
import time

import pytest

from xenrr.errors import RemoteProtocolError
from xenrr.session import control as control_module
from xenrr.session.control import open_control
from xenrr.wire.control import ErrorResponse
from xenrr.wire.dialect import CLASSIC_SERVER
from xenrr.wire.message import LONG_BYTES, SHORT_BYTES, encode_answer


def opened(port, **known):
    return open_control("127.0.0.1", port, **{
        "family": 4, "local_host": None, "local_port": 0, "passphrase": None, "timeout_s": 5.0,
        "response_limit_s": 5.0, **known})


class SlowOldServer:
    """A netperf 2.4 server that answers a first message when its whole time is over."""

    def __init__(self, connections, answers_after_bytes):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heard = []
        self._plan = (connections, answers_after_bytes)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._thread.join(10)
        self.listener.close()

    def _serve(self):
        connections, answers_after = self._plan
        self.listener.settimeout(10)
        for _ in range(connections):
            sock, _ = self.listener.accept()
            with sock:
                sock.settimeout(10)
                wanted = answers_after.pop(0)
                heard = b""
                while len(heard) < wanted:
                    heard += sock.recv(4096)
                if wanted == SHORT_BYTES:
                    time.sleep(0.1)  # longer than the first silence of these tests
                self.heard.append(len(heard))
                sock.sendall(encode_answer(ErrorResponse(998), CLASSIC_SERVER))
                while sock.recv(4096):
                    pass


@pytest.fixture(autouse=True)
def short_silence(monkeypatch):
    monkeypatch.setattr(control_module, "PROBE_SILENCE_S", 0.02)


def test_a_slow_peer_with_short_messages_is_asked_once_more():
    with SlowOldServer(2, [LONG_BYTES, SHORT_BYTES]) as server:
        control = opened(server.port)
        assert control.dialect is CLASSIC_SERVER
        control.close()
    assert server.heard == [LONG_BYTES, SHORT_BYTES]


def test_but_not_a_third_time(monkeypatch):
    monkeypatch.setattr(control_module, "LATE_SILENCE_S", 0.03)
    with SlowOldServer(2, [LONG_BYTES, LONG_BYTES]) as server:
        with pytest.raises(RemoteProtocolError, match="256-byte messages"):
            opened(server.port)
    assert server.heard == [LONG_BYTES, LONG_BYTES]


def test_a_peer_that_knows_no_passphrase_is_not_asked_again():
    with SlowOldServer(1, [2 * LONG_BYTES]) as server:
        with pytest.raises(RemoteProtocolError, match="no passphrase"):
            opened(server.port, passphrase="abc")
