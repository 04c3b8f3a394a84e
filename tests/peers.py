"""Starting and stopping the programs that tests measure against.

Every program gets a port of its own and is ended by its process id, never by name.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
# What must not be skipped for want of it.
REQUIRED = set(filter(None, os.environ.get("XENRR_REQUIRE", "").split(",")))


def lacking(kind: str, reason: str) -> None:
    """Skip for want of a peer or a right, or fail where XENRR_REQUIRE asks for it."""
    if kind in REQUIRED:
        pytest.fail(f"{reason}, and XENRR_REQUIRE={os.environ['XENRR_REQUIRE']} asks for it")
    pytest.skip(reason)


@dataclass(frozen=True)
class Server:
    """A server that accepts control connections."""

    host: str
    port: int
    process: subprocess.Popen[str]
    output: IO[str]
    errors: IO[str]

    def wait(self, limit_s: float) -> tuple[str, str]:
        """Wait for its end; what it wrote to stdout and to stderr."""
        self.process.wait(limit_s)
        for stream in (self.output, self.errors):
            stream.seek(0)
        return self.output.read(), self.errors.read()


def find_program(name: str) -> str | None:
    """Path of a real netperf or netserver, ``None`` where there is none."""
    if name == "dask":  # a package, and not on PATH where it is one of an environment
        found = importlib.util.find_spec("distributed")
        return found.origin if found is not None else None
    return shutil.which(name)


def free_port(host: str = LOOPBACK) -> int:
    """A port that nothing listens on right now.

    It lies below the range that clients get theirs from, and is a random one: tests that
    run side by side, in this process and in others, must not meet.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((host, port))
            return port


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Whether something listens on the port; a client must not connect to itself."""
    with socket.socket() as probe:
        # From another address, so that it cannot be given the far end's own port and meet
        # itself.
        probe.bind(("127.0.0.2", 0))
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def wait_until_accepting(server: Server) -> None:
    """Wait for a server to listen.

    Raises:
        RuntimeError: It ended, or the time is over; with what it printed.
    """
    give_up = time.monotonic() + START_LIMIT_S
    while not accepts(server.port):
        if server.process.poll() is not None or time.monotonic() > give_up:
            server.process.kill()
            output, errors = server.wait(STOP_LIMIT_S)
            raise RuntimeError(
                f"{server.process.args!r} does not listen on port {server.port} "
                f"(exit code {server.process.returncode}): {output}{errors}")
        time.sleep(0.02)


def clean_environment(**changes: str) -> dict[str, str]:
    """This environment, with the source tree first on Python's path."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **changes}


@contextlib.contextmanager
def running_server(command: Sequence[str], port: int, stderr: IO[bytes] | None = None
                   ) -> Iterator[Server]:
    """Run a server for a while; killed at the end if it still runs.

    It writes to files: in a pipe, its lines about some 600 tests would have no more room, and
    it would wait for a reader instead of serving.

    Args:
        command: The server.
        port: Where it listens.
        stderr: Where its errors go, ``None`` for a file.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output, \
            tempfile.TemporaryFile("w+", encoding="utf-8") as errors, \
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                             stderr=stderr or errors, text=True,
                             env=clean_environment()) as process:
        server = Server(LOOPBACK, port, process, output, errors)
        try:
            wait_until_accepting(server)
            yield server
        finally:
            process.kill()


def running_netserver(*options: str) -> contextlib.AbstractContextManager[Server]:
    """Real netserver in the foreground on a free port."""
    port = free_port()
    program = find_program("netserver")
    assert program is not None
    return running_server([program, "-D", "-N", "-p", str(port), *options], port)


@contextlib.contextmanager
def running_xenrr_server(*options: str, python: str = sys.executable) -> Iterator[Server]:
    """Our server in the foreground on a free port; has to end cleanly on SIGTERM."""
    port = free_port()
    command = [python, "-m", "xenrr.server", "-D", "-v", "1", "-p", str(port), *options]
    with running_server(command, port) as server:
        yield server
        stop_cleanly(server)


def stop_cleanly(server: Server) -> None:
    """End a server with SIGTERM: exit code 0, no complaint, nothing left listening."""
    server.process.send_signal(signal.SIGTERM)
    _, errors = server.wait(STOP_LIMIT_S)
    assert "Traceback" not in errors, errors
    assert server.process.returncode == 0, errors
    assert not accepts(server.port)


def read_all(master: int) -> str:
    """Everything a terminal is sent until its other end is closed."""
    pieces = []
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s:
        if select.select([master], [], [], 1)[0]:
            try:
                pieces.append(os.read(master, 65536))
            except OSError:  # Linux: the other end has been closed
                break
    return b"".join(pieces).decode("utf-8")
