"""Round trips agree with those of a packet capture of the same run.

What a capture has of transaction ``k`` is when its request and its response passed through the
loopback interface, ``q[k]`` and ``r[k]``. What xenrr tells begins before the one and ends
after the other, and it begins when the transaction before has ended; so it lasts at least
``r[k] - q[k]`` and at most ``q[k+1] - r[k-1]``. The two sorted lists enclose every percentile.
What is between them is the way of a request from its system call to the interface, and of a
response from there to the woken sender: both together 10 to 20 µs of a mean on loopback, and
what a busy machine adds. It is no constant, so nothing is subtracted.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import LOOPBACK, free_port
from truth.test_latency import enclosed

import xenrr
from xenrr.results.record import Run

pytestmark = [pytest.mark.lab, pytest.mark.peer("tshark")]

LIMIT_S = 60.0
TRANSACTIONS = 2000
# The capture's times have whole µs, and its clock may be slewed beside ours.
RESOLUTION_NS = 1_000
FIELDS = ("frame.time_epoch", "udp.srcport", "udp.length", "tcp.srcport", "tcp.len")
UDP_HEADER_BYTES = 8


@contextlib.contextmanager
def capturing(file: Path, ports: list[int]) -> Iterator[None]:
    """Capture what passes through these ports of the loopback interface."""
    words = ["tshark", "-q", "-i", "lo", "-B", "32", "-w", str(file), "-f",
             " or ".join(f"port {port}" for port in ports)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as process:
        try:
            # The file is made when the interface has been opened.
            give_up_s = time.monotonic() + LIMIT_S
            while not file.exists() or not file.stat().st_size:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < give_up_s
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT_S)


def messages(file: Path, port: int) -> tuple[list[int], list[int]]:
    """Times in ns of the requests to a port and of the responses from it, in order."""
    words = ["tshark", "-r", str(file), "-T", "fields"]
    shown = subprocess.run([*words, "-Y", f"udp.port == {port} or tcp.port == {port}",
                            *(f"-e{name}" for name in FIELDS)],
                           capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout
    requests: list[int] = []
    responses: list[int] = []
    for line in shown.splitlines():
        at, udp_source, udp_bytes, tcp_source, tcp_bytes = line.split("\t")
        data = int(udp_bytes) - UDP_HEADER_BYTES if udp_bytes else int(tcp_bytes)
        if data:  # else it ends a connection, or confirms something
            whole, _, part = at.partition(".")
            ns = int(whole) * 10**9 + int(part.ljust(9, "0"))
            (responses if int(udp_source or tcp_source) == port else requests).append(ns)
    return requests, responses


def measured(server, test: str, port: int) -> Run:
    return xenrr.measure(LOOPBACK, test, port=server.port, transactions=TRANSACTIONS,
                         remote_data_port=port)


def test_round_trips_are_those_of_a_capture(xenrr_server, tmp_path):
    file = tmp_path / "run.pcapng"
    ports = {test: free_port() for test in ("TCP_RR", "UDP_RR")}
    with capturing(file, list(ports.values())):
        runs = {test: measured(xenrr_server, test, port) for test, port in ports.items()}
        time.sleep(0.5)  # what has been captured is fetched a few times a second
    for test, port in ports.items():
        run = runs[test]
        requests, responses = messages(file, port)
        assert len(requests) == len(responses) == run.transactions == TRANSACTIONS
        # The whole of it began before the first request and ended after the last response.
        begin_ns = responses[-1] - run.elapsed_ns
        end_ns = requests[0] + run.elapsed_ns
        least = [after - before - RESOLUTION_NS
                 for before, after in zip(requests, responses)]
        most = [after - before + RESOLUTION_NS for before, after in
                zip([begin_ns, *responses], [*requests[1:], end_ns])]
        enclosed(run.latency_ns, least, most)
