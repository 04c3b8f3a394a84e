"""Every test of netperf between two xenrr: the ends agree, whatever the engine.

Measured times are not looked at: what was sent has arrived, or is accounted for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
from dataclasses import replace

import pytest
from accounting import NAMES, check

import xenrr
from xenrr.errors import ConnectionLost, SpecError
from xenrr.results.record import EndSpec, InterimPoint, Run, TestSpec
from xenrr.session.dataend import DataEnd
from xenrr.session.sender import Sender, open_sender
from xenrr.session.target import TargetPolicy, TargetServer, open_listeners
from xenrr.wire.dialect import CLASSIC_SERVER, NETPERF_2_7

ENGINES = ["pure", pytest.param("hot", marks=pytest.mark.c_engine)]
SHORT_S = 0.2
# For a machine so busy that it does not get round to anything in that time.
LONG_S = 5.0


class Target:
    """A target on an event loop of its own, in a thread."""

    def __init__(self, **policy) -> None:
        self.lines: list[str] = []
        self._policy = TargetPolicy(**{"host": "127.0.0.1", "port": 0, **policy})
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with TargetServer(self._policy, open_listeners(self._policy),
                                self.lines.append) as server:
            self.port = server.port
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Target:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture
def target(engine):
    with Target(engine=engine) as running:
        yield running


@pytest.fixture
def sender(target, engine):
    with open_sender("127.0.0.1", target.port, engine=engine) as connected:
        yield connected


@pytest.fixture(params=["OMNI", "classic"])
def dialect(request, sender):
    """The target's dialect as the sender takes it: a netserver of 2.7 answers both."""
    if request.param == "classic":
        codec = sender._control._codec
        codec._dialect = NETPERF_2_7.__class__(**{**vars(NETPERF_2_7), "omni": False})
    return request.param


def something(run: Run) -> bool:
    """Whether anything came about in a test."""
    if run.spec.is_one_way:
        return bool(run.bytes_sent or run.bytes_received)
    return run.transactions > 0


def timed(sender: Sender, spec: TestSpec) -> Run:
    """A timed test in which something came about, with its accounts checked."""
    run = sender.run(replace(spec, duration_s=SHORT_S))
    if not something(run):
        assert run.requests_sent == run.in_flight + run.lost
        run = sender.run(replace(spec, duration_s=LONG_S))
    check(run)
    return run


def counted(test: str, **more) -> TestSpec:
    """A short test that ends by itself, however long the machine takes."""
    shape = TestSpec(test)
    if shape.is_one_way:
        return TestSpec(test, limit_bytes=1 << 20, **more)
    return TestSpec(test, transactions=20, **more)


@pytest.mark.parametrize("test", NAMES)
def test_timed(sender, dialect, test):
    run = timed(sender, TestSpec(test))
    assert run.ended == "time"
    assert run.elapsed_ns > 0


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR", "TCP_CRR", "TCP_CC"])
def test_counted(sender, dialect, test, monkeypatch):
    # No netserver can do this one, so a sender does not ask; our target has to know it.
    monkeypatch.setattr("xenrr.session.sender.has_classic_form", lambda spec: True)
    run = sender.run(TestSpec(test, transactions=50))
    check(run)
    assert run.ended == "count"
    assert run.transactions == run.target_tally.transactions == 50


@pytest.mark.parametrize("test", ["TCP_STREAM", "TCP_MAERTS", "TCP_SENDFILE"])
def test_bytes(sender, test):
    size = EndSpec(send_bytes=10_000)
    run = sender.run(TestSpec(test, limit_bytes=95_000, local=size, remote=size))
    check(run)
    assert run.ended == "count"
    assert run.bytes_sent + run.bytes_received == 100_000
    assert max(run.send_calls, run.target_tally.send_calls) == 10


@pytest.mark.parametrize(("protocol", "direction", "connecting"), [
    ("tcp", "rr", False), ("tcp", "send", False), ("tcp", "receive", False),
    ("tcp", "none", True), ("tcp", "rr", True), ("tcp", "send", True), ("tcp", "receive", True),
    ("udp", "rr", False), ("udp", "send", False), ("udp", "receive", False)])
@pytest.mark.parametrize("block", [-1, 1000])
def test_omni(sender, protocol, direction, connecting, block):
    size = EndSpec(send_bytes=block, receive_bytes=block)
    run = timed(sender, TestSpec("OMNI", protocol=protocol, direction=direction,
                                 connecting=connecting, local=size, remote=size))
    if connecting and direction in ("send", "receive"):
        moved = run.bytes_sent if direction == "send" else run.bytes_received
        assert moved >= abs(block) * run.transactions


def test_all_of_them_in_one_session_and_again_on_the_same_port(sender, target):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = [*NAMES, "TCP_RR", "TCP_STREAM", "UDP_RR", "TCP_CC"]
    for test in names:
        run = sender.run(counted(test, remote_data_port=port))
        check(run)
        assert run.target_address == f"127.0.0.1:{port}"
    assert len(target.lines) == len(names)


@pytest.mark.parametrize("test", NAMES)
def test_ipv6(engine, test):
    with Target(engine=engine, host="::1") as target:
        with open_sender("::1", target.port, engine=engine) as sender:
            run = sender.run(counted(test))
    check(run)
    assert run.target_address.startswith("[::1]:")


@pytest.mark.parametrize("test", NAMES)
def test_stopped_early_gives_what_was_measured(sender, test):
    def look(point: InterimPoint) -> None:
        if point.transactions or point.bytes:
            sender.stop()

    run = sender.run(TestSpec(test, duration_s=60, interim_s=0.1), on_interim=look)
    assert run.ended == "stopped"
    assert something(run)
    assert run.error == ""


@pytest.mark.parametrize("test", NAMES)
def test_interim_results(sender, test):
    run = sender.run(TestSpec(test, duration_s=0.5, interim_s=0.1))
    assert run.interims
    if run.spec.is_one_way:
        assert 0 < sum(point.bytes for point in run.interims) <= (
            run.bytes_sent + run.bytes_received)
    else:
        assert sum(point.transactions for point in run.interims) <= run.transactions


@pytest.mark.parametrize("test", NAMES)
def test_cpu_utilisation_of_both_ends(sender, dialect, test):
    measured = EndSpec(measure_cpu=True)
    run = timed(sender, TestSpec(test, local=measured, remote=measured))
    for usage in (run.local_cpu, run.remote_cpu):
        assert usage is not None
        assert 0 <= usage.percent <= 100
        assert usage.cpus >= 1
        assert usage.method == "S"


def test_cpu_utilisation_of_another_target_is_measured_only_where_asked(sender, dialect):
    run = sender.run(TestSpec("TCP_RR", transactions=5))
    assert run.local_cpu is not None
    assert (run.remote_cpu is not None) == (sender.dialect.results_layout == "X")
    run = sender.run(TestSpec("TCP_RR", transactions=5, remote=EndSpec(measure_cpu=True)))
    assert run.remote_cpu is not None


def test_steal_time_travels_between_two_xenrr(sender):
    run = sender.run(TestSpec("TCP_RR", transactions=10, remote=EndSpec(measure_cpu=True)))
    assert 0 <= run.remote_cpu.steal <= 100


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no binding here")
def test_both_ends_run_on_the_cpu_asked_for_and_the_rest_of_the_process_does_not(sender):
    before = os.sched_getaffinity(0)
    cpu = max(before)
    run = sender.run(TestSpec("TCP_RR", transactions=10, local=EndSpec(cpu=cpu),
                              remote=EndSpec(cpu=cpu)))
    check(run)
    assert os.sched_getaffinity(0) == before


def test_a_cpu_that_is_not_there_is_passed_over(sender):
    check(sender.run(TestSpec("TCP_RR", transactions=10, local=EndSpec(cpu=60000),
                              remote=EndSpec(cpu=60000))))


def test_what_is_known_of_the_sockets(sender):
    ends = EndSpec(send_buffer=50000, receive_buffer=40000, priority=4, tos=0x10,
                   send_bytes=1000, receive_bytes=500)
    run = sender.run(TestSpec("TCP_STREAM", duration_s=0.2, nodelay=True, cork=True,
                              local=ends, remote=ends))
    check(run)
    for facts in (run.local, run.remote):
        assert (facts.send_buffer, facts.receive_buffer) == (100000, 80000)
        assert (facts.send_buffer_end, facts.receive_buffer_end) == (100000, 80000)
        assert (facts.nodelay, facts.priority, facts.tos) == (True, 4, 0x10)
        assert facts.congestion
        assert facts.retransmissions >= 0
    assert run.local.cork and not run.remote.cork
    assert run.local.mss > 0
    assert (run.local.send_bytes, run.local.send_width) == (1000, 101)
    assert (run.remote.receive_bytes, run.remote.receive_width) == (500, 161)
    assert run.tcp_info["tcpi_total_retrans"] == run.local.retransmissions
    assert run.tcp_info["tcpi_snd_cwnd"] > 0


@pytest.mark.parametrize("direction", ["send", "receive"])
def test_room_for_datagrams_is_told_as_netperf_tells_it(sender, direction):
    run = timed(sender, TestSpec("OMNI", protocol="udp", direction=direction))
    taker = run.local if direction == "receive" else run.remote
    assert (taker.receive_bytes, taker.receive_width) == (taker.receive_buffer, 2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="TCP_INFO is Linux's")
@pytest.mark.parametrize("test", ["TCP_CRR", "TCP_CC"])
def test_what_is_known_of_the_last_of_many_connections(sender, test):
    run = sender.run(TestSpec(test, transactions=10))
    assert run.local.mss > 500
    assert run.local.retransmissions == 0


def test_pacing_at_either_end(sender):
    paced = EndSpec(pace_us=10_000, pace_burst=2)
    for ends in ({"local": paced}, {"remote": paced}):
        run = sender.run(TestSpec("TCP_RR", transactions=60, **ends))
        check(run)
        # 2 every 10 ms; the last of them go in the 30th interval at the earliest.
        assert run.elapsed_ns >= 28 * 10_000_000


def test_fill_and_send_files(sender, tmp_path):
    file = tmp_path / "fill"
    file.write_bytes(b"0123456789" * 10)
    for test in ("TCP_RR", "TCP_STREAM", "TCP_SENDFILE", "UDP_STREAM", "TCP_CRR"):
        check(sender.run(counted(test, local=EndSpec(fill_file=str(file), send_bytes=1000))))


@pytest.mark.parametrize(("size", "sent"), [(10_000, 3000), (1500, 1500)])
def test_a_file_is_a_ring_of_blocks(tmp_path, size, sent):
    file = tmp_path / "data"
    file.write_bytes(bytes(size))
    spec = TestSpec("TCP_SENDFILE", duration_s=1, local=EndSpec(
        fill_file=str(file), send_bytes=1000, send_width=3))
    with DataEnd(spec, socket.AF_INET) as end:
        assert end.engine_spec().file_bytes == sent


@pytest.mark.parametrize("test", ["TCP_STREAM", "TCP_SENDFILE"])
def test_files_that_cannot_be_sent(sender, target, tmp_path, test):
    empty = tmp_path / "empty"
    empty.touch()
    names = [str(tmp_path / "missing")] + ([str(empty)] if test == "TCP_SENDFILE" else [])
    for name in names:
        with pytest.raises(SpecError, match="file"):
            sender.run(TestSpec(test, duration_s=0.1, local=EndSpec(fill_file=name)))
        break  # the target waits for its data connection; the session is over
    with open_sender("127.0.0.1", target.port) as another:
        check(another.run(TestSpec("TCP_RR", transactions=10)))


def test_a_remote_fill_file_is_ignored_and_logged(sender, target):
    check(sender.run(counted("TCP_MAERTS", remote=EndSpec(fill_file="/etc/passwd"))))
    assert any("/etc/passwd" in line and "not read" in line for line in target.lines)


def test_local_ports_of_connections(sender):
    run = sender.run(TestSpec("TCP_CRR", transactions=40, connect_ports=(20000, 29999)))
    check(run)


def test_a_local_port_may_be_used_again(sender):
    """Somebody is still bound to it, as a connection in TIME_WAIT is."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        check(sender.run(TestSpec("TCP_CRR", transactions=1, connect_ports=(port, port))))


def test_a_calibration(sender):
    answer = sender.calibrate()
    assert (answer.rate, answer.cpus) == (100.0, os.cpu_count())
    check(sender.run(TestSpec("TCP_RR", transactions=5)))


def test_segment_size(sender):
    assert sender.mss(TestSpec("TCP_STREAM")) > 500
    check(sender.run(TestSpec("TCP_RR", transactions=5)))


def test_old_peers_are_not_asked_for_what_they_cannot_do(sender):
    sender._control._codec._dialect = CLASSIC_SERVER.__class__(
        **{**vars(NETPERF_2_7), "omni": False})
    for spec in (TestSpec("OMNI", protocol="udp", direction="receive"),
                 TestSpec("OMNI", connecting=True, direction="send"),
                 TestSpec("TCP_MAERTS", limit_bytes=5), TestSpec("UDP_STREAM", limit_bytes=5)):
        with pytest.raises(SpecError, match="OMNI"):
            sender.run(spec)


# Without a control connection: any server of the old small services will do.

def serve_small(kind: str, listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve_one_small, args=(kind, sock), daemon=True).start()


def serve_one_small(kind: str, sock: socket.socket) -> None:
    with contextlib.suppress(OSError), sock:
        while True:
            data = b"x" * 1000 if kind == "chargen" else sock.recv(65536)
            if not data:
                return
            if kind != "discard":
                sock.sendall(data)


@pytest.mark.parametrize(("test", "kind"), [
    ("TCP_RR", "echo"), ("TCP_CRR", "echo"), ("TCP_CC", "echo"), ("TCP_STREAM", "discard"),
    ("TCP_SENDFILE", "discard"), ("TCP_MAERTS", "chargen")])
def test_without_a_control_connection(engine, test, kind):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve_small, args=(kind, listener), daemon=True).start()
        with open_sender("127.0.0.1", engine=engine, no_control=True) as lonely:
            # A service that sends never stops: there it is the time that ends the test.
            port = listener.getsockname()[1]
            spec = (counted(test, no_control=True, remote_data_port=port)
                    if kind != "chargen" else
                    TestSpec(test, duration_s=2, no_control=True, remote_data_port=port))
            run = lonely.run(spec)
        listener.shutdown(socket.SHUT_RD)
    assert run.error == ""
    assert something(run)
    assert run.peer == "no control connection"
    assert run.target_tally.bytes_received == -1


def test_udp_without_a_control_connection(engine):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
        echo.bind(("127.0.0.1", 0))

        def answer() -> None:
            while True:
                data, address = echo.recvfrom(100)
                if not data:
                    return
                echo.sendto(data, address)

        thread = threading.Thread(target=answer)
        thread.start()
        run = xenrr.measure("127.0.0.1", "UDP_RR", engine=engine, transactions=20,
                            no_control=True, remote_data_port=echo.getsockname()[1])
        thread.join(10)
    assert run.transactions == 20


def test_control_or_not_has_to_be_said_in_both_places(sender):
    with pytest.raises(SpecError, match="no_control"):
        sender.run(TestSpec("TCP_RR", no_control=True))
    with open_sender("127.0.0.1", 1, no_control=True) as lonely:
        with pytest.raises(SpecError, match="no_control"):
            lonely.run(TestSpec("TCP_RR"))
        with pytest.raises(SpecError, match="no control connection"):
            lonely.calibrate()
        with pytest.raises((ConnectionLost, OSError)):
            lonely.run(TestSpec("TCP_RR", no_control=True, remote_data_port=1))


def test_the_conditions_of_a_run(sender):
    run = sender.run(TestSpec("TCP_RR", duration_s=SHORT_S))
    check(run)
    assert run.host["kernel"].startswith(os.uname().sysname)
    if os.uname().sysname == "Linux":
        assert run.host["interface"] == "lo"
        assert {"load_average", "load_average_after"} <= set(run.host)
        assert set(run.tcp_info_start) == set(run.tcp_info)
        assert len(run.local_cpu.per_cpu) == run.local_cpu.cpus
        assert run.local_cpu.context_switches > 0
        assert run.loop_thread["voluntary_switches"] >= 0
    assert run.throttling.get("throttled", 0) >= 0
    assert run.remote_host["kernel"] == run.host["kernel"]
    assert len(run.remote_cpu.per_cpu) == len(run.local_cpu.per_cpu)


def test_a_test_of_many_connections_has_no_tcp_info(sender):
    run = sender.run(TestSpec("TCP_CRR", transactions=5))
    assert (run.tcp_info, run.tcp_info_start) == ({}, {})
    assert run.host["kernel"]
