from __future__ import annotations

import socket
import struct
import time

import pytest

from xenrr.engine.base import Ended, Tally
from xenrr.results.record import TestSpec
from xenrr.session.dataend import DataEnd

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def finish(spec, tally, *, classic=False):
    """How a stream ends whose target has closed with data unread."""
    with socket.create_server(("127.0.0.1", 0)) as listener, DataEnd(
            spec, socket.AF_INET) as end:
        end.connect(listener.getsockname(), 5)
        far, _ = listener.accept()
        end.sock.sendall(b"data")
        far.recv(1)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        # The sender's end of file has to be out before the reset comes in.
        original, end.sock = end.sock, ResetBehindShutdown(end.sock, far)
        try:
            return end.finish(tally, classic=classic, stopped=lambda: False)
        finally:
            end.sock = original


class ResetBehindShutdown:
    """A socket whose peer resets the connection when it was half-closed."""

    def __init__(self, sock, far):
        self._sock = sock
        self._far = far

    def shutdown(self, how):
        self._sock.shutdown(how)
        self._far.close()

    def __getattr__(self, name):
        return getattr(self._sock, name)


def sent(**known):
    return Tally(ended=Ended.COUNT, elapsed_ns=1, started_ns=time.monotonic_ns(), **known)


def test_a_target_that_counts_may_leave_the_rest_of_the_last_block():
    ended = finish(TestSpec("TCP_STREAM", limit_bytes=3), sent())
    assert ended.error == ""
    assert ended.elapsed_ns > 1


@pytest.mark.parametrize(("spec", "classic"), [
    (TestSpec("TCP_STREAM", duration_s=1), False),
    (TestSpec("TCP_STREAM", limit_bytes=3), True)])
def test_others_read_everything(spec, classic):
    ended = finish(spec, sent(), classic=classic)
    assert "before it had everything" in ended.error
