"""Programs that drive netperf: their command lines, and what they take from its output.

Each parsing is written from what the program is known to do. The commands are xenrr's, called
``netperf`` and ``netserver``, and found through PATH as these programs find them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import Server, accepts, free_port, running_server

HOST = "127.0.0.2"


@pytest.fixture
def path(shims) -> dict[str, str]:
    """An environment in which the shims are found first."""
    changed = {**os.environ, "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}"}
    changed.pop("PYTHONPATH", None)
    return changed


@pytest.fixture
def server(shims) -> Iterator[Server]:
    port = free_port()
    with running_server([str(shims / "netserver"), "-D", "-p", str(port)], port) as running:
        yield running


def shell(line: str, path: dict[str, str], code: int = 0) -> str:
    """What a line prints on stdout; a word on stderr is a failure, as it is for them."""
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60,
                          env=path)
    assert done.stderr == ""
    assert done.returncode == code, done.stdout
    return done.stdout


def key_values(output: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def test_flent_asks_whether_there_is_a_demo_mode(path):
    with subprocess.Popen(["netperf", "-l", "1", "-D", "-0.2", "--", "-e", "1"], env=path,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as probe:
        time.sleep(0.1)
        probe.kill()
        output, errors = probe.communicate()
    assert "Demo Mode not configured" not in output
    assert "invalid option" not in errors


@pytest.mark.parametrize("length", ["1s", "0m1s"])
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR", "TCP_CRR", "TCP_STREAM", "UDP_STREAM"])
def test_cilium(server, path, test, length):
    selectors = ("MIN_LATENCY,MEAN_LATENCY,MAX_LATENCY,P50_LATENCY,P90_LATENCY,P99_LATENCY,"
                 "TRANSACTION_RATE,THROUGHPUT,THROUGHPUT_UNITS")
    output = shell(f"netperf -H {HOST} -p {server.port} -l {length} -t {test} -- -R 1 "
                   f"-o {selectors}", path)
    lines = [line for line in output.splitlines() if re.match("[0-9]", line)]
    # The titles begin with a word, the values with the minimum.
    assert len(lines) == 1
    fields = lines[0].split(",")
    assert len(fields) == 9
    low, mean, high, p50, p90, p99 = map(float, fields[:6])
    assert 0 <= low <= p50 <= p90 <= p99 <= high
    assert low <= mean <= high
    if not test.endswith("STREAM"):
        assert float(fields[6]) == pytest.approx(float(fields[7]), abs=0.01)
    assert fields[8] == ("10^6bits/s" if test.endswith("STREAM") else "Trans/s")


@pytest.mark.parametrize(("test", "unit"), [
    ("TCP_RR", "Trans/s"), ("TCP_CRR", "Trans/s"), ("UDP_RR", "Trans/s"),
    ("TCP_STREAM", "10^6bits/s"), ("UDP_STREAM", "10^6bits/s")])
def test_k8s_netperf(server, path, test, unit):
    sizes = "-m 1024" if test.endswith("STREAM") else "-r 1024,1024"
    ports = str(free_port(HOST))
    if test.startswith("UDP"):
        # Both ends are on one host here, and a port has one owner.
        ports += f",{free_port(HOST)}"
    output = shell(f"netperf -s 1 -H {HOST} -p {server.port} -l 1 -t {test} -- -k rt_latency,"
                   "p99_latency,throughput,throughput_units,remote_recv_calls,"
                   f"local_send_calls,local_transport_retrans {sizes} -P {ports}", path)
    values = key_values(output)
    assert values["THROUGHPUT_UNITS"] == unit
    assert float(values["THROUGHPUT"]) > 0
    assert float(values["P99_LATENCY"]) >= 0
    assert int(values["LOCAL_SEND_CALLS"]) > 0
    assert int(values["REMOTE_RECV_CALLS"]) > 0
    assert int(values["LOCAL_TRANSPORT_RETRANS"]) >= -1
    assert float(values["RT_LATENCY"]) > 0 or test.endswith("STREAM")


def test_antrea(server, path):
    output = shell(f"netperf -t TCP_RR -H {HOST} -p {server.port} -l 1 -v 2 -- "
                   f"-P {free_port(HOST)}", path)
    round_trip_us = float(output.strip().splitlines()[-1].split()[4])
    assert 0 < round_trip_us < 1e6


def test_traffic_flow_tests_start_a_server_that_stays(shims, path):
    port = free_port()
    shell(f"netserver -L 127.0.0.1 -4 -p {port} -N >/dev/null", path)
    try:
        output = shell(f"netperf -H 127.0.0.1 -p {port} -t TCP_RR -l 1", path)
        numbers = [float(word) for word in output.splitlines()[6].split()]
        assert len(numbers) == 6
    finally:
        ours = [pid for pid in pids_named("netserver")
                if str(port) in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]
        for pid in ours:
            os.kill(pid, signal.SIGTERM)
    assert len(ours) == 1
    give_up_s = time.monotonic() + 10
    while accepts(port) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    assert not accepts(port)


def test_chromeos(server, path):
    output = shell(f"netperf -H {HOST} -p {server.port} -t UDP_RR -l 1", path)
    assert float(output.splitlines()[6].split()[5]) > 50


def test_kubernetes_perf_tests(server, path):
    output = shell(f"netperf -H {HOST} -p {server.port} -l 1", path)
    found = re.search(r"\s+\d+\s+\d+\s+\d+\s+\S+\s+(\S+)\s+", output)
    assert found
    assert float(found[1]) > 0


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR", "TCP_STREAM", "UDP_STREAM", "TCP_MAERTS",
                                  "TCP_CRR", "TCP_CC", "TCP_SENDFILE"])
def test_phoronix(server, path, test):
    output = shell(f"netperf -P 0 -v 0 -H {HOST} -p {server.port} -t {test} -l 1", path)
    assert float(output) > 0


def test_grpc(server, path):
    output = shell(f"netperf -P 0 -t TCP_RR -H {HOST} -p {server.port} -l 1 -- -r 1,1 "
                   "-o P50_LATENCY,P90_LATENCY,P99_LATENCY", path)
    p50, p90, p99 = map(int, output.split(","))
    assert 0 < p50 <= p90 <= p99


@pytest.mark.parametrize("test", ["TCP_STREAM", "TCP_MAERTS"])
@pytest.mark.parametrize("passphrase", ["", "-Z pass"])
def test_betterspeedtest(server, path, tmp_path, test, passphrase):
    """Five at once, their numbers added up; a word on stderr counts as a failure."""
    one = f"netperf -H {HOST} -p {server.port} -t {test} -l 1 -v 0 -P 0 {passphrase}"
    shell(f"for i in 1 2 3 4 5; do {one} >>{tmp_path}/sum & done; wait", path)
    numbers = [float(line) for line in (tmp_path / "sum").read_text().split()]
    assert len(numbers) == 5
    assert sum(numbers) > 0


def pids_named(name: str) -> list[int]:
    """What ``pgrep -x`` finds, also where there is no pgrep."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text() == f"{name}\n":
                found.append(int(comm.parts[2]))
        except OSError:
            continue
    return found


@pytest.mark.peer("pkill", "pgrep")
@pytest.mark.parametrize("number", ["ALRM", "INT"])
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR", "TCP_STREAM", "TCP_MAERTS"])
def test_pkill_ends_a_test_early_with_all_of_its_output(server, path, number, test):
    with subprocess.Popen(
            ["netperf", "-H", HOST, "-p", str(server.port), "-t", test, "-l", "60", "-D",
             "-0.2", "--", "-k", "THROUGHPUT,ELAPSED_TIME"],
            env=path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        for line in iter(client.stdout.readline, ""):
            if line.startswith("NETPERF_ENDING"):
                break
        # Children of this process only: others may be measuring.
        mine = ["-x", "-P", str(os.getpid()), "netperf"]
        assert subprocess.run(["pgrep", *mine], capture_output=True,
                              text=True).stdout.split() == [str(client.pid)]
        subprocess.run(["pkill", f"-{number}", *mine], check=True)
        output, errors = client.communicate(timeout=30)
    assert client.returncode == 0, errors
    assert errors == ""
    values = key_values(output)
    assert float(values["THROUGHPUT"]) > 0
    assert float(values["ELAPSED_TIME"]) < 60
