"""``python -m xenrr.server`` as a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from peers import (
    LOOPBACK,
    accepts,
    clean_environment,
    free_port,
    running_server,
    running_xenrr_server,
    stop_cleanly,
)

from xenrr.results.record import TestSpec
from xenrr.server import main
from xenrr.session.sender import open_sender

LIMIT_S = 60


def test_main_takes_arguments(capsys):
    assert main(["-V"]) == 0
    assert capsys.readouterr().out == "Netperf version 2.7.0\n"


@pytest.mark.parametrize("engine", ["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
def test_each_test_is_a_line_on_stderr(engine):
    with running_xenrr_server("--engine", engine, "-L", LOOPBACK) as server:
        with open_sender(server.host, server.port) as sender:
            sender.run(TestSpec("TCP_RR", transactions=10))
        server.process.send_signal(signal.SIGTERM)
        out, err = server.wait(LIMIT_S)
        assert server.process.returncode == 0
        assert out.startswith(f"Starting netserver with host '{LOOPBACK}' port '{server.port}'")
        line, = (line for line in err.splitlines() if "TCP_RR" in line)
        assert "10 transactions" in line and engine in line


@contextlib.contextmanager
def talking_server(stderr):
    """One that tells of each test, to wherever that leads."""
    port = free_port()
    command = [sys.executable, "-m", "xenrr.server", "-D", "-v", "1", "-L", LOOPBACK, "-p",
               str(port), "--engine", "pure"]
    with running_server(command, port, stderr) as server:
        with open_sender(LOOPBACK, port) as sender:
            yield sender
        stop_cleanly(server)


def test_nobody_reads_the_lines():
    """A pipe holds those of some 600 tests; the ones after them are served as well."""
    read, write = os.pipe()
    with open(read, "rb") as reader:
        with open(write, "wb") as writer:
            os.set_blocking(write, False)
            with contextlib.suppress(BlockingIOError):
                while os.write(write, b"." * 4096):
                    pass
            os.set_blocking(write, True)
            with talking_server(writer) as sender:
                for _ in range(3):
                    sender.run(TestSpec("TCP_RR", transactions=1))
                os.read(read, 1 << 20)
                sender.run(TestSpec("TCP_RR", transactions=7))
        lines = reader.read().decode().lstrip(".").splitlines()
    assert lines[0] == "(3 lines before this one had no room)"
    assert "7 transactions" in lines[1]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_lines_that_cannot_be_written_do_not_end_a_test():
    with open("/dev/full", "wb") as full, talking_server(full) as sender:
        for _ in range(2):
            assert sender.run(TestSpec("TCP_RR", transactions=3)).transactions == 3


def test_a_soft_limit_of_descriptors_does_not_limit_the_senders():
    """A shell's 1024 would do for 200 sessions or so; here it is 48, for 60 of them."""
    port = free_port()
    command = (f"ulimit -Sn 48; exec {sys.executable} -m xenrr.server -D -L {LOOPBACK} "
               f"-p {port}")
    with running_server(["sh", "-c", command], port), contextlib.ExitStack() as stack:
        senders = [stack.enter_context(open_sender(LOOPBACK, port)) for _ in range(60)]
        for sender in (senders[0], senders[-1]):
            run = sender.run(TestSpec("TCP_RR", transactions=10))
            assert run.target_tally.transactions == 10


def test_what_cannot_be_an_address_is_said(capsys):
    assert main(["-D", "-L", "ä..b", "-p", str(free_port())]) == 1
    assert capsys.readouterr().err.endswith("netserver: Name or service not known\n")


def test_a_client_finds_the_passphrase_right_or_wrong():
    with running_xenrr_server("-Z", "word") as server:
        for phrase, code in (("word", 0), ("other", 1), (None, 1)):
            given = ["-Z", phrase] if phrase else []
            done = subprocess.run(
                [sys.executable, "-m", "xenrr.client", "-H", LOOPBACK, "-p", str(server.port),
                 "-t", "TCP_RR", "-l", "-5", *given], capture_output=True, text=True,
                env=clean_environment(), timeout=LIMIT_S, check=False)
            assert done.returncode == code, done.stderr
            assert ("recv_response: " in done.stderr) == bool(code)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_into_the_background():
    port = free_port()
    begun = subprocess.run(
        [sys.executable, "-m", "xenrr.server", "-L", LOOPBACK, "-p", str(port)],
        capture_output=True, text=True, env=clean_environment(), timeout=LIMIT_S, check=False)
    # Both pipes were closed, or run() would not have come back: the child holds neither.
    pid = listener_pid(port)
    try:
        assert (begun.returncode, begun.stderr) == (0, "")
        assert begun.stdout.startswith("Starting netserver with host")
        assert accepts(port)
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {os.devnull}
    finally:
        os.kill(pid, signal.SIGTERM)
    end_s = time.monotonic() + LIMIT_S
    while accepts(port) and time.monotonic() < end_s:
        time.sleep(0.02)
    assert not accepts(port)


def listener_pid(port):
    """The process that was started with this port, found by its command line."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"xenrr.server" in words and str(port).encode() in words:
                return int(entry.name)
    raise AssertionError("the server has left no process behind")


