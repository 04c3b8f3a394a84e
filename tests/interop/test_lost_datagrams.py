"""UDP_RR over a path that loses datagrams: the test goes on, and each loss is counted.

netperf waits for ever for the response to a request that was lost.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from peers import LOOPBACK, Server, clean_environment, running_netserver, running_xenrr_server

from xenrr.checks.doubts import doubts_of
from xenrr.results.record import Run

LIMIT_S = 60.0
MESSAGE_BYTES = 656
OMNI_RESPONSE = 98
# Two header words, then int 11 of the response (docs/wire.md).
DATA_PORT_OFFSET = 8 + 4 * 11


@dataclass
class Path:
    """A way to a server on which datagrams get lost.

    Attributes:
        port: Of its control connection.
        dropped: Requests and responses that did not arrive.
    """

    port: int
    dropped: int = 0


@contextlib.contextmanager
def lossy_path(server: Server, every_request: int, every_response: int) -> Iterator[Path]:
    """Stand between a sender and a server, and drop datagrams at regular intervals.

    The control connection is passed on, but for the data port, which becomes that of a relay.

    Args:
        server: Where it leads to.
        every_request: 50 drops every 50th request, 0 none.
        every_response: The same for responses.
    """
    stop = threading.Event()
    with socket.create_server((LOOPBACK, 0)) as listener, \
            socket.create_connection((server.host, server.port)) as far, \
            socket.socket(type=socket.SOCK_DGRAM) as near_data, \
            socket.socket(type=socket.SOCK_DGRAM) as far_data:
        near_data.bind((LOOPBACK, 0))
        far_data.bind((LOOPBACK, 0))
        path = Path(listener.getsockname()[1])
        senders: list[tuple[str, int]] = []
        targets: list[tuple[str, int]] = []

        def requests() -> None:
            for number, (datagram, sender) in enumerate(datagrams(near_data, stop), 1):
                senders[:] = [sender]
                if every_request and number % every_request == 0:
                    path.dropped += bool(datagram)
                else:
                    far_data.sendto(datagram, targets[-1])

        def responses() -> None:
            for number, (datagram, _) in enumerate(datagrams(far_data, stop), 1):
                if every_response and number % every_response == 0:
                    path.dropped += 1
                else:
                    near_data.sendto(datagram, senders[-1])

        def control() -> None:
            listener.settimeout(LIMIT_S)
            near, _ = listener.accept()
            with near:
                upwards = threading.Thread(target=pass_on, args=(near, far, bytes))
                upwards.start()
                pass_on(far, near, answers)
                upwards.join()

        def answers(message: bytes) -> bytes:
            if struct.unpack_from(">I", message)[0] != OMNI_RESPONSE:
                return message
            changed = bytearray(message)
            targets.append((LOOPBACK, struct.unpack_from(">I", message, DATA_PORT_OFFSET)[0]))
            struct.pack_into(">I", changed, DATA_PORT_OFFSET, near_data.getsockname()[1])
            return bytes(changed)

        threads = [threading.Thread(target=run) for run in (requests, responses, control)]
        for thread in threads:
            thread.start()
        try:
            yield path
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def datagrams(sock: socket.socket, stop: threading.Event) -> Iterator[tuple[bytes, tuple]]:
    """What arrives, until ``stop`` is set."""
    sock.settimeout(0.1)
    while not stop.is_set():
        with contextlib.suppress(OSError):
            yield sock.recvfrom(65536)


def pass_on(source: socket.socket, sink: socket.socket,
            change: Callable[[bytes], bytes]) -> None:
    """Copy control messages; whole ones are changed on the way."""
    source.settimeout(LIMIT_S)
    with contextlib.suppress(OSError):
        while chunk := source.recv(MESSAGE_BYTES):
            sink.sendall(change(chunk) if len(chunk) == MESSAGE_BYTES else chunk)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(params=[
    "xenrr", pytest.param("netserver", marks=pytest.mark.peer("netserver"))])
def server(request) -> Iterator[Server]:
    start = running_xenrr_server if request.param == "xenrr" else running_netserver
    with start() as running:
        yield running


def udp_rr(path: Path, *options: str, specific: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "xenrr.client", "-H", LOOPBACK, "-p", str(path.port), "-t",
         "UDP_RR", *options, "--", "-e", "1", *specific],
        capture_output=True, text=True, timeout=LIMIT_S, env=clean_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


# A target that was asked for 300 transactions ends after 300 responses, whether they arrived
# or not: a counted test that loses responses cannot be finished.
LOSSES = [(100, 0, "-300"), (100, 0, "3"), (0, 100, "3"), (150, 130, "3")]


@pytest.mark.parametrize("engine", [
    "pure", pytest.param("hot", marks=pytest.mark.c_engine)])
@pytest.mark.parametrize(("every_request", "every_response", "length"), LOSSES)
def test_goes_on_and_counts(server, every_request, every_response, length, engine):
    with lossy_path(server, every_request, every_response) as path:
        run = Run.from_plain(json.loads(
            udp_rr(path, "-l", length, "--engine", engine, "--json")))
    assert path.dropped >= 2
    # The datagram that was on its way when the time was over is in flight, not lost. A busy
    # machine may be later than the limit, so that more count as lost than were dropped.
    assert run.lost >= path.dropped - 1
    assert run.requests_sent == run.transactions + run.in_flight + run.lost
    assert run.latency_ns.total == run.transactions
    assert "loss" in [doubt.code for doubt in doubts_of(run)]
    if length == "-300":
        assert (run.ended, run.transactions) == ("count", 300)
    else:
        assert run.ended == "time"


@pytest.mark.parametrize("engine", [
    "pure", pytest.param("hot", marks=pytest.mark.c_engine)])
def test_with_room_for_numbers(request, server, engine):
    """One that is lost among others that are not: only numbers tell which one it was."""
    with lossy_path(server, 0, 40) as path:
        run = Run.from_plain(json.loads(
            udp_rr(path, "-l", "2", "--engine", engine, "--json",
                   specific=("-r", "64", "-b", "4", "-e", "0.2"))))
    assert path.dropped >= 2
    assert run.ended == "time"
    assert run.requests_sent == run.transactions + run.in_flight + run.lost
    assert run.latency_ns.total == run.transactions
    assert run.late == 0 or run.lost > 0
    if request.node.callspec.params["server"] == "xenrr":
        # Each of them, and of the five in flight at the end some may be among them.
        assert path.dropped <= run.lost + run.in_flight


def test_a_selector_tells_the_losses(server):
    with lossy_path(server, 100, 0) as path:
        output = udp_rr(path, "-l", "-300", "-P", "0",
                        specific=("-k", "LOST_TRANSACTIONS,THROUGHPUT"))
    values = dict(line.split("=") for line in output.splitlines())
    assert int(values["LOST_TRANSACTIONS"]) >= path.dropped - 1 >= 1
    assert float(values["THROUGHPUT"]) > 0
