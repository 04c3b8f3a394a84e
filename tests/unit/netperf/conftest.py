"""A session that needs no network: records with known numbers, handed out by a fake sender."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from xenrr.cpu.usage import CpuUsage
from xenrr.netperf import names, run
from xenrr.netperf.command import client_command
from xenrr.netperf.options import parse_client
from xenrr.netperf.outcome import Outcome
from xenrr.results.record import InterimPoint, Run, SocketFacts, TargetTally, TestSpec
from xenrr.stats.histogram import Histogram

SECOND_NS = 1_000_000_000


def make_run(spec: TestSpec | None = None, transactions: int = 72016,
             **changes: object) -> Run:
    """One second of round trips; everything else is as netperf's defaults come out on Linux."""
    spec = spec or TestSpec()
    latency_ns = Histogram()
    latency_ns.record(13_000, transactions - transactions // 100)
    latency_ns.record(90_000, transactions // 100)
    standard = Run(
        spec=spec, target="127.0.0.1", target_address="127.0.0.1:4000",
        local_address="127.0.0.1:4001", peer="netperf 2.7 or later", engine="pure",
        started_epoch_s=1795417204.404, elapsed_ns=SECOND_NS, transactions=transactions,
        requests_sent=transactions, in_flight=0, lost=0, late=0, malformed=0, drained=0,
        bytes_sent=transactions * spec.request_bytes,
        bytes_received=transactions * spec.response_bytes, send_calls=transactions,
        recv_calls=transactions, ended="time", error="", latency_ns=latency_ns,
        local=SocketFacts(16384, 131072, 4194304, 131072, spec.nodelay, 65483),
        remote=SocketFacts(16384, 131072, 4194304, 131072, spec.nodelay),
        target_tally=TargetTally(transactions, transactions * spec.request_bytes,
                                 transactions * spec.response_bytes, transactions,
                                 transactions, 1.0))
    return replace(standard, **changes)  # type: ignore[arg-type]


# What netperf's sockets are like on Linux.
TCP_SOCKET = SocketFacts(16384, 131072, 4194304, 131072, False, 65483)
UDP_SOCKET = SocketFacts(212992, 212992, 212992, 212992, False, -1)
# One busy second of a machine with two CPUs.
BUSY = CpuUsage(50.0, 1.82, 29.5, 0.0, 0.0, 18.68, 0.25, 2, "S", 98.99, 1)


def make_stream(spec: TestSpec, calls: int = 148117, block: int = 16384,
                **changes: object) -> Run:
    """One second of data one way; all of it arrived, in calls of 64 KB at the receiver."""
    moved, far = calls * block, calls * block // 65536
    latency_ns = Histogram()
    latency_ns.record(6_700, calls)
    sends = spec.direction == "send"
    facts = UDP_SOCKET if spec.is_datagram else TCP_SOCKET
    if spec.is_datagram:
        far = calls
    sender = replace(facts, send_bytes=block, send_width=2)
    receiver = replace(facts, receive_bytes=131072, receive_width=2)
    near = make_run(
        spec, 0, bytes_sent=moved if sends else 0, bytes_received=0 if sends else moved,
        send_calls=calls if sends else 0, recv_calls=0 if sends else far,
        latency_ns=latency_ns,
        local=sender if sends else receiver, remote=receiver if sends else sender,
        target_tally=TargetTally(0, moved if sends else 0, 0 if sends else moved,
                                 far if sends else 0, 0 if sends else calls, 1.0))
    return replace(near, **changes)  # type: ignore[arg-type]


def point(end_s: float, interval_s: float, transactions: int,
          moved: int | None = None) -> InterimPoint:
    return InterimPoint(int(end_s * SECOND_NS), int(interval_s * SECOND_NS), transactions,
                        2 * transactions if moved is None else moved, 13_000, 90_000, 100_000,
                        1795417204.404 + end_s)


class FakeSender:
    """Hands out prepared records, or raises what stands in their place."""

    def __init__(self, *runs: object) -> None:
        self.runs = list(runs) or [None]
        self.specs: list[TestSpec] = []
        self.conditions: list[bool] = []
        self.stopped = self.closed = 0
        self.dialect = SimpleNamespace(omni=True)

    def __enter__(self) -> FakeSender:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed += 1

    def stop(self) -> bool:
        self.stopped += 1
        return True

    def calibrate(self):
        return SimpleNamespace(rate=100.0, cpus=4)

    def mss(self, spec):
        self.specs.append(spec)
        return 1448

    def run(self, spec, *, on_start=None, on_interim=None, conditions=True):
        self.specs.append(spec)
        self.conditions.append(conditions)
        result = self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]
        if isinstance(result, BaseException):
            raise result
        result = make_run(spec) if result is None else replace(result, spec=spec)
        on_start()
        for each in result.interims if spec.interim_s else ():
            on_interim(each)
        return result


class Said:
    """What a program left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def netperf(monkeypatch, capsys):
    """``netperf("-t TCP_RR", ...)``: one command over a ``FakeSender``."""

    def command(line: str, sender: object = None) -> Said:
        def open_session(options, control):
            if isinstance(sender, BaseException):
                raise sender
            return FakeSender() if sender is None else sender

        monkeypatch.setattr(run, "open_session", open_session)
        code = client_command(line.split())
        return Said(code, *capsys.readouterr())

    return command


@pytest.fixture
def outcome():
    """``outcome("-t TCP_RR -f k", ...)``: what is printed about, without a session."""

    def build(line: str = "-t TCP_RR", *runs: Run) -> Outcome:
        options = parse_client(f"-H 127.0.0.1 {line}".split())
        ends = names.DataEnds(options, names.ControlEnds(options))
        spec = options.spec(ends.local_port, ends.remote_port)
        return Outcome(options, ends, runs or (make_run(spec),))

    return build


@pytest.fixture
def made():
    """``made(TestSpec("TCP_STREAM"), ..., verbosity=2)``: the same without a command line.

    Records that are not given are one of ``make_run`` or ``make_stream``; names are those of
    ``ClientOptions``.
    """

    def build(spec: TestSpec, *runs: Run, **typed: object) -> Outcome:
        options = parse_client(["-H", "127.0.0.1"])
        options.test = spec.test
        for name, value in typed.items():
            assert hasattr(options, name), name
            setattr(options, name, value)
        one = make_stream if spec.direction in ("send", "receive") else make_run
        ends = names.DataEnds(options, names.ControlEnds(options))
        return Outcome(options, ends, runs or (one(spec),))

    return build


@pytest.fixture
def records():
    """The builders above, for tests that need other numbers."""
    return SimpleNamespace(run=make_run, stream=make_stream, point=point, busy=BUSY,
                           FakeSender=FakeSender, SECOND_NS=SECOND_NS)
