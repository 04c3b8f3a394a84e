"""xenrr.client measures against a real netserver."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from accounting import NAMES
from accounting import check as check_any
from peers import Server, clean_environment, free_port, running_netserver

import xenrr
from xenrr.results.record import EndSpec, Run

pytestmark = pytest.mark.peer("netserver")

HOSTS = ("127.0.0.1", "::1")
TCP_SIZES = ((1, 1), (64, 64), (1, 1400), (8192, 8192), (60000, 1))
CASES = [("TCP_RR", *sizes) for sizes in TCP_SIZES] + [("UDP_RR", *s) for s in TCP_SIZES[:4]]
ENGINES = ["pure", pytest.param("hot", marks=pytest.mark.c_engine)]


def command(server: Server, host, test, *options, specific=()):
    return [sys.executable, "-m", "xenrr.client", "-H", host, "-p", str(server.port), "-t",
            test, *options, "--", *specific]


def client(*args, specific=(), limit_s=60):
    return subprocess.run(command(*args, specific=specific), capture_output=True, text=True,
                          timeout=limit_s, env=clean_environment())


def measured(*args, specific=()) -> Run:
    done = client(*args, "--json", specific=specific)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return Run.from_plain(json.loads(done.stdout))


def check(run: Run):
    """The ends agree and nothing is unaccounted for."""
    assert run.requests_sent == run.transactions + run.in_flight + run.lost
    assert run.latency_ns.total == run.transactions
    # What the target answered after our time was over arrived while the test closed.
    late = run.drained if run.spec.test == "TCP_RR" else run.in_flight
    assert run.transactions <= run.target_tally.transactions <= run.transactions + late
    assert run.error == ""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("test", "request_bytes", "response_bytes"), CASES)
def test_timed_and_counted(netserver, engine, host, test, request_bytes, response_bytes):
    sizes = ("-r", f"{request_bytes},{response_bytes}")
    length = "2" if request_bytes == response_bytes == 1 else "1"
    run = measured(netserver, host, test, "-l", length, "--engine", engine, specific=sizes)
    check(run)
    assert run.engine == engine
    # No upper bound: a machine that is busy or stolen from makes any run longer.
    assert run.ended == "time"
    assert run.elapsed_s >= float(length)
    assert run.rate_tps > 50
    run = measured(netserver, host, test, "-l", "-1000", "--engine", engine, specific=sizes)
    check(run)
    assert run.transactions == run.target_tally.transactions == 1000
    assert run.ended == "count"


def measure(server, host, test, engine, **spec) -> Run:
    run = xenrr.measure(host, test, port=server.port, engine=engine, **spec)
    check_any(run)
    assert run.engine == engine
    return run


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("test", NAMES)
def test_every_test(netserver, engine, host, test):
    assert measure(netserver, host, test, engine, duration_s=1).ended == "time"
    count = {"transactions": 100}
    if test in ("TCP_STREAM", "TCP_MAERTS", "TCP_SENDFILE"):
        # Whole blocks: a netserver stops in the middle of the last one.
        size = EndSpec(send_bytes=10_000)
        count = {"limit_bytes": 1_000_000, "local": size, "remote": size}
    if test != "UDP_STREAM":
        assert measure(netserver, host, test, engine, **count).ended == "count"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_round_trips_are_split_whoever_answers(netserver, engine, test):
    run = measured(netserver, "127.0.0.1", test, "-l", "0.5", "--engine", engine,
                   "--decompose")
    check(run)
    assert 0 <= run.undecomposed < run.transactions
    whole_ns = sum(part.sum_ns for part in run.distributions.values())
    assert whole_ns == run.latency_ns.sum_ns if not run.undecomposed else (
        whole_ns < run.latency_ns.sum_ns)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("protocol", "direction", "connecting"), [
    ("tcp", "rr", False), ("tcp", "send", False), ("tcp", "receive", False),
    ("tcp", "none", True), ("tcp", "rr", True), ("udp", "rr", False), ("udp", "send", False),
    ("udp", "receive", False)])
def test_omni(netserver, engine, protocol, direction, connecting):
    size = EndSpec(send_bytes=1000, receive_bytes=1000, measure_cpu=True)
    run = measure(netserver, "127.0.0.1", "OMNI", engine, duration_s=1, protocol=protocol,
                  direction=direction, connecting=connecting, local=size, remote=size)
    assert run.remote_cpu.method == "S"
    assert run.remote_cpu.cpus >= 1


@pytest.mark.parametrize("test", NAMES)
def test_cpu_and_options(netserver, test):
    ends = EndSpec(measure_cpu=True, send_buffer=60000, receive_buffer=60000, priority=4,
                   tos=0x10, cpu=0)
    run = measure(netserver, "127.0.0.1", test, "pure", duration_s=1, local=ends, remote=ends,
                  nodelay=True, keepalive=True)
    assert run.remote_cpu.percent >= 0
    assert run.local.send_buffer == 120000
    if test != "UDP_STREAM":
        assert run.remote.receive_buffer == 120000


@pytest.mark.parametrize("test", ["UDP_RR", "UDP_STREAM"])
def test_a_target_answers_from_where_it_was_asked(netserver, test):
    run = measured(netserver, "127.0.0.2", test, "-l", "1")
    assert run.target_address.startswith("127.0.0.2:")
    assert run.transactions or run.target_tally.bytes_received


def test_a_calibration_and_a_segment_size(netserver):
    from xenrr.session.sender import open_sender

    with open_sender("127.0.0.1", netserver.port) as sender:
        assert sender.calibrate().cpus >= 1
        assert sender.mss(xenrr.TestSpec("TCP_STREAM")) > 500
        check_any(sender.run(xenrr.TestSpec("TCP_RR", transactions=10)))


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_first_burst(netserver, host, test):
    run = measured(netserver, host, test, "-l", "1", specific=("-b", "16"))
    check(run)
    assert run.spec.burst == 16
    assert run.in_flight == 17


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_confidence(netserver, host, test):
    done = client(netserver, host, test, "-l", "1", "-i", "3,3", "-I", "95,10")
    assert done.returncode == 0, done.stderr
    rate = float(done.stdout.splitlines()[-2].split()[5])
    assert rate > 50


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_data_port_given(netserver, test):
    port = free_port("127.0.0.2")
    run = measured(netserver, "127.0.0.2", test, "-l", "1", specific=("-P", f",{port}"))
    check(run)
    assert run.target_address == f"127.0.0.2:{port}"


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_passphrase(test):
    with running_netserver("-Z", "sesame") as server:
        check(measured(server, "127.0.0.1", test, "-l", "1", "-Z", "sesame"))
        for words in (("-Z", "wrong"), ()):
            wrong = client(server, "127.0.0.1", test, "-l", "1", *words)
            assert wrong.returncode == 1
            assert "recv_response" in wrong.stderr
            assert "Traceback" not in wrong.stderr
        check(measured(server, "127.0.0.1", test, "-l", "-10", "-Z", "sesame"))


def test_dialect_is_recognised(netserver):
    assert "2.7" in measured(netserver, "127.0.0.1", "TCP_RR", "-l", "-10").peer


def test_netperfs_table(netserver, netperf_command):
    """The same words in the same places as netperf's own table."""
    ours = client(netserver, "127.0.0.1", "TCP_RR", "-l", "1")
    theirs = subprocess.run(
        [netperf_command, *command(netserver, "127.0.0.1", "TCP_RR", "-l", "1")[3:]],
        capture_output=True, text=True, timeout=60)
    assert ours.returncode == theirs.returncode == 0
    assert ours.stderr == theirs.stderr == ""
    our_lines, their_lines = ours.stdout.splitlines(), theirs.stdout.splitlines()
    assert our_lines[:6] == their_lines[:6]
    for our_line, their_line in zip(our_lines[6:], their_lines[6:]):
        assert len(our_line.split()) == len(their_line.split())
    assert len(our_lines) == len(their_lines)
    # Socket sizes and message sizes are the same numbers.
    assert our_lines[6].split()[:4] == their_lines[6].split()[:4]
    assert our_lines[7].split() == their_lines[7].split()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_interrupted_prints_what_was_measured(netserver, test, number):
    with subprocess.Popen(command(netserver, "127.0.0.1", test, "-l", "30"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=clean_environment()) as process:
        time.sleep(2.0)
        process.send_signal(number)
        output, errors = process.communicate(timeout=15)
    assert process.returncode == 0, errors
    assert errors == ""
    fields = output.splitlines()[6].split()
    assert 0 < float(fields[4]) < 10
    assert float(fields[5]) > 50


def test_netserver_killed_in_the_middle():
    with running_netserver() as server, subprocess.Popen(
            command(server, "127.0.0.1", "TCP_RR", "-l", "30"), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env=clean_environment()) as process:
        time.sleep(2.0)
        # The child that serves us, not the listener: netserver forks for each client.
        children = subprocess.run(["pgrep", "-P", str(server.process.pid)],
                                  capture_output=True, text=True).stdout.split()
        assert len(children) == 1
        subprocess.run(["kill", "-KILL", *children], check=True)
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.strip()
