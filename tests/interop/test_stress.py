"""Many flows and many sessions for long, under signals, and with ends that die.

``XENRR_STRESS=1`` makes it the long form: a thousand flows for a minute, ten thousand
sessions. Each engine meets itself, and the programs are what a user starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from peers import LOOPBACK, Server, clean_environment, free_port, running_server, stop_cleanly

from xenrr.results.record import Run, TestSpec
from xenrr.session.sender import open_sender

LONG = bool(os.environ.get("XENRR_STRESS"))
FLOWS = 1000
FLOWS_S = 60.0 if LONG else 1.0
SESSIONS = 10_000 if LONG else 200
SENDERS = 8
# The allocator keeps some of what it was given back; a leak would be more with each session.
KEPT_KB = 8 * 1024
CLOSE_LIMIT_S = 20.0
LIMIT_S = 60.0
STORM_S = 20.0 if LONG else 0.7
STORM_PAUSE_S = 0.001
# A server for which a signal is something to look at, not the end.
PROGRAM = ("import runpy, signal, sys\n"
           "signal.signal(signal.SIGUSR1, lambda number, frame: None)\n"
           "runpy.run_module('xenrr.server', run_name='__main__')\n")
LINUX = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(),
                           reason="needs Linux's /proc")
ENGINES = pytest.mark.parametrize(
    "engine", ["pure", pytest.param("hot", marks=pytest.mark.c_engine)])


@contextlib.contextmanager
def serving(engine: str, poller: str = "auto") -> Iterator[Server]:
    """Our server, without a line for each test: nobody reads them while it runs."""
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, "-D", "-p", str(port), "--engine", engine,
               "--poller", poller]
    with running_server(command, port) as server:
        yield server
        stop_cleanly(server)


def client(server: Server, engine: str, poller: str, seconds: float,
           test: str = "TCP_RR") -> subprocess.Popen[str]:
    """A sender of a thousand flows."""
    return subprocess.Popen(
        [sys.executable, "-m", "xenrr.client", "-H", LOOPBACK, "-p", str(server.port),
         "-t", test, "-l", str(seconds), "--flows", str(FLOWS), "--engine", engine,
         "--poller", poller, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment())


def open_files(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def memory_kb(server: Server) -> int:
    """What is the server's alone and its share of the rest (PSS)."""
    text = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split()[0])


def wait_for_files(server: Server, most: int) -> None:
    """Wait until a server has closed its ends, which takes it a moment."""
    give_up_s = time.monotonic() + CLOSE_LIMIT_S
    while open_files(server) > most and time.monotonic() < give_up_s:
        time.sleep(0.05)
    assert open_files(server) <= most


def wait_for_data(server: Server) -> None:
    """Wait until all flows of a test are there."""
    give_up_s = time.monotonic() + LIMIT_S
    while open_files(server) < FLOWS and time.monotonic() < give_up_s:
        time.sleep(0.02)
    time.sleep(0.5)


def check_sums(run: Run) -> None:
    assert run.requests_sent == run.transactions + run.in_flight + run.lost
    assert sum(flow.transactions for flow in run.flows) == run.transactions
    assert run.latency_ns.total == run.transactions
    for flow in run.flows:
        assert flow.requests_sent == flow.transactions + flow.in_flight + flow.lost


@pytest.mark.parametrize(("engine", "poller"), [
    ("pure", "epoll"), pytest.param("hot", "auto", marks=pytest.mark.c_engine),
    pytest.param("hot", "epoll", marks=pytest.mark.c_engine)])
def test_a_thousand_flows(engine, poller):
    with serving(engine, poller) as server:
        process = client(server, engine, poller, FLOWS_S)
        output, errors = process.communicate(timeout=FLOWS_S + LIMIT_S)
    assert (process.returncode, errors) == (0, "")
    run = Run.from_plain(json.loads(output))
    check_sums(run)
    assert (run.ended, run.error, len(run.flows)) == ("time", "", FLOWS)
    assert {flow.ended for flow in run.flows} == {"time"}
    assert run.target_tally.transactions == run.transactions + run.drained


@LINUX
@ENGINES
@pytest.mark.parametrize("flows", [1, 5])
def test_sessions_leave_nothing_behind(engine, flows):
    def one(number: int) -> None:
        spec = TestSpec(("TCP_RR", "UDP_RR")[number % 2], transactions=10, flows=flows,
                        loss_timeout_s=LIMIT_S)
        with open_sender(LOOPBACK, server.port, engine=engine, timeout_s=LIMIT_S) as sender:
            run = sender.run(spec)
        assert run.transactions == run.target_tally.transactions == 10 * flows

    with serving(engine) as server, ThreadPoolExecutor(SENDERS) as senders:
        # What all sessions share is made by the first ones.
        list(senders.map(one, range(SESSIONS // 4)))
        time.sleep(0.5)
        files, memory = open_files(server), memory_kb(server)
        list(senders.map(one, range(SESSIONS)))
        wait_for_files(server, files)
        assert memory_kb(server) <= memory + KEPT_KB


@LINUX
@ENGINES
@pytest.mark.parametrize("flows", [1, 40])
def test_a_storm_of_signals(engine, flows):
    """At both ends, a thousand times a second, where handlers run."""
    seen: list[int] = []
    over = threading.Event()

    def storm(pid: int) -> None:
        while not over.wait(STORM_PAUSE_S):
            os.kill(pid, signal.SIGUSR1)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        with serving(engine) as server:
            thread = threading.Thread(target=storm, args=(server.process.pid,))
            thread.start()
            try:
                with open_sender(LOOPBACK, server.port, engine=engine) as sender:
                    run = sender.run(TestSpec(duration_s=STORM_S, flows=flows))
            finally:
                over.set()
                thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen     # how many depends on the machine
    assert (run.ended, run.error) == ("time", "")
    assert run.requests_sent == run.transactions + run.in_flight
    assert run.target_tally.transactions == run.transactions + run.drained


@LINUX
@pytest.mark.parametrize(("engine", "test"), [
    ("pure", "TCP_RR"), pytest.param("hot", "TCP_RR", marks=pytest.mark.c_engine),
    pytest.param("hot", "UDP_RR", marks=pytest.mark.c_engine)])
def test_a_sender_that_is_killed_costs_the_next_one_nothing(engine, test):
    with serving(engine) as server:
        files = open_files(server)
        process = client(server, engine, "auto", LIMIT_S, test)
        if test == "TCP_RR":
            wait_for_data(server)
        else:
            time.sleep(1.5)
        process.kill()
        process.communicate(timeout=LIMIT_S)
        # Beside them there may be the event loop's, and a pool's, which stays for a while.
        wait_for_files(server, files + 16)
        process = client(server, engine, "auto", 0.3, test)
        output, _ = process.communicate(timeout=LIMIT_S)
    run = Run.from_plain(json.loads(output))
    assert (run.ended, run.error, len(run.flows)) == ("time", "", FLOWS)
    check_sums(run)


@LINUX
@ENGINES
def test_a_server_that_is_killed_leaves_what_was_measured(engine):
    port = free_port()
    with running_server([sys.executable, "-c", PROGRAM, "-D", "-p", str(port)], port) as server:
        process = client(server, engine, "auto", LIMIT_S)
        wait_for_data(server)
        server.process.kill()
        output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1 and "Traceback" not in errors
    run = Run.from_plain(json.loads(output))
    assert run.error and run.transactions > 0
    check_sums(run)


@LINUX
@ENGINES
def test_an_interrupt_prints_what_was_measured(engine):
    with serving(engine) as server:
        process = client(server, engine, "auto", LIMIT_S)
        wait_for_data(server)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (0, "")
    run = Run.from_plain(json.loads(output))
    assert (run.ended, run.error) == ("stopped", "")
    assert {flow.ended for flow in run.flows} == {"stopped"}
    check_sums(run)
