"""Many flows and the open loop through the programs, with netserver and with xenrr."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ends import run as run_loop
from ends import serving
from peers import LOOPBACK, Server, clean_environment, running_netserver, running_xenrr_server

from xenrr.checks.doubts import doubts_of
from xenrr.results.record import Run, TestSpec
from xenrr.session.sender import open_sender

LIMIT_S = 60
NETSERVER = pytest.param("netserver", marks=pytest.mark.peer("netserver"))


@pytest.fixture(params=["xenrr", NETSERVER])
def server(request):
    start = running_xenrr_server if request.param == "xenrr" else running_netserver
    with start() as running:
        yield running


def client(server: Server, test: str, *options: str, length: str = "0.3"):
    words = [sys.executable, "-m", "xenrr.client", "-H", LOOPBACK, "-p", str(server.port),
             "-t", test, "-l", length, *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S,
                          env=clean_environment())


def measured(server: Server, test: str, *options: str, length: str = "0.3") -> Run:
    done = client(server, test, "--json", *options, length=length)
    assert done.returncode == 0, done.stderr
    run = Run.from_plain(json.loads(done.stdout))
    # A busy machine may miss a rate; then it says so.
    assert done.stderr.count("\n") == done.stderr.count("were asked for") == run.missed_rate
    return run


def check_ends_agree(run: Run) -> None:
    late = run.in_flight if run.spec.is_datagram else run.drained
    assert run.target_tally.transactions == run.transactions + late
    assert run.requests_sent == run.transactions + run.in_flight + run.lost
    for flow in run.flows:
        assert flow.transactions > 0
        assert flow.requests_sent == flow.transactions + flow.in_flight + flow.lost
    if run.flows:
        assert sum(flow.transactions for flow in run.flows) == run.transactions


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_twelve_flows(server, test):
    run = measured(server, test, "--flows", "12")
    assert len(run.flows) == 12
    assert len({flow.local_address for flow in run.flows}) == 12
    check_ends_agree(run)


@pytest.mark.parametrize(("test", "options"), [
    ("TCP_RR", ["--rate", "500"]),
    ("UDP_RR", ["--rate", "100/flow", "--flows", "5", "--arrivals", "poisson", "--seed", "3"])])
def test_a_rate(server, test, options):
    run = measured(server, test, *options)
    assert run.spec.asked_rate_tps == 500
    check_ends_agree(run)
    for name in ("service_ns", "slip_ns"):
        assert run.distributions[name].total >= run.transactions


def test_a_hundred_flows_to_a_xenrr():
    with running_xenrr_server() as server:
        run = measured(server, "TCP_RR", "--flows", "100", length="-20")
    assert (run.transactions, run.target_tally.transactions) == (2000, 2000)


@pytest.mark.peer("netserver")
def test_a_flow_whose_server_dies_is_reported_and_the_others_go_on():
    with running_netserver() as server:
        found = threading.Event()

        def kill_one() -> None:
            for _ in range(100):
                children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}"
                                "/children").read_text().split()
                if len(children) >= 4:
                    os.kill(int(children[2]), signal.SIGKILL)
                    found.set()
                    return
                time.sleep(0.02)

        with open_sender(LOOPBACK, server.port) as sender:
            thread = threading.Thread(target=kill_one)
            run = sender.run(TestSpec(duration_s=0.8, flows=4), on_start=thread.start)
            thread.join()
    assert found.is_set()
    assert (run.ended, run.error) == ("time", "")
    dead, *others = sorted((flow.ended, flow.errno) for flow in run.flows)
    # A request that it had not read resets the connection, otherwise it ends.
    assert dead in (("peer", 0), ("error", errno.ECONNRESET))
    assert others == [("time", 0)] * 3
    assert "flows" in {doubt.code for doubt in doubts_of(run)}


@pytest.mark.peer("netserver")
def test_flows_that_cannot_be_set_up_are_reported_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr("xenrr.session.sender.SIBLING_LIMIT_S", 0.3)
    with running_netserver("-f") as server, open_sender(LOOPBACK, server.port) as sender:
        run = sender.run(TestSpec(duration_s=0.2, flows=4))
    assert (run.ended, run.error) == ("time", "")
    assert [flow.ended for flow in run.flows] == ["time", "error", "error", "error"]
    assert all(flow.errno and not flow.requests_sent for flow in run.flows[1:])
    told = next(str(doubt) for doubt in doubts_of(run) if doubt.code == "flows")
    assert "3 of 4 flows ended before the others, 3 of them without having begun" in told


@pytest.mark.peer("netperf")
@pytest.mark.parametrize("length", ["1", "-300"])
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_a_netperf_is_served_from_a_pool(netperf_command, test, length):
    async def body():
        async with serving(alone=0) as server:
            process = await asyncio.create_subprocess_exec(
                netperf_command, "-H", LOOPBACK, "-p", str(server.port), "-t", test,
                "-l", length, "--", "-b", "2", "-k",
                "REMOTE_BYTES_RECVD,LOCAL_BYTES_SENT,LOCAL_BYTES_RECVD",
                stdout=asyncio.subprocess.PIPE)
            output, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
            return process.returncode, output.decode(), server.lines

    code, output, lines = run_loop(body())
    assert code == 0, output
    values = {name: int(value) for name, _, value in
              (line.partition("=") for line in output.splitlines() if "=" in line)}
    received = values["REMOTE_BYTES_RECVD"]
    assert values["LOCAL_BYTES_RECVD"] <= received <= values["LOCAL_BYTES_SENT"] + 3
    said = re.search(r" (\d+) transactions in .*, a pool of", lines[0])
    assert said, lines
    # A netperf that has what it wants may be gone before its last requests are answered.
    transactions = int(said[1])
    assert values["LOCAL_BYTES_RECVD"] <= transactions
    assert received - 3 <= transactions <= received


def test_the_table_is_that_of_one_flow(server):
    done = client(server, "TCP_RR", "--flows", "3", "-P", "0", "-v", "0", length="0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) > 0


def test_run_shows_flows_and_both_distributions():
    with running_xenrr_server() as server:
        done = subprocess.run(
            [sys.executable, "-m", "xenrr", "run", LOOPBACK, "-p", str(server.port),
             "-l", "0.3", "--flows", "4", "--rate", "400"],
            capture_output=True, text=True, timeout=LIMIT_S, env=clean_environment())
    assert done.returncode == 0, done.stderr
    for words in ("4 flows by", "each ", "median ", "Jain ", "asked 400/s", "left late by",
                  "was meant to leave", "it really left"):
        assert words in done.stdout
