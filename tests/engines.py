"""What the tests of the engine contract share."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from xenrr.engine.base import (
    INTERIM_RECORD,
    AnySpec,
    ConnectSpec,
    Ended,
    Engine,
    Interim,
    LoopSpec,
    Role,
    StreamSpec,
    Tally,
)
from xenrr.engine.flows import (
    DROP,
    JOIN_RECORD,
    LEAVE_RECORD,
    Flow,
    FlowsEngine,
    FlowsSpec,
    FlowsTally,
    Join,
    Leave,
)
from xenrr.engine.load import load_engine
from xenrr.errors import EngineUnavailable
from xenrr.stats.histogram import PackedHistogram

PAIRS = ["pure-pure", *(pytest.param(pair, marks=pytest.mark.c_engine)
                        for pair in ("pure-hot", "hot-pure", "hot-hot"))]
# No test waits longer than this for anything; a busy machine may need a good part of it.
LIMIT_S = 60.0
MS = 1_000_000
PROTOCOLS = pytest.mark.parametrize("datagram", [False, True], ids=["tcp", "udp"])


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    # Nagle's algorithm would add a delayed acknowledgement to every burst.
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def udp_pair() -> tuple[socket.socket, socket.socket]:
    near, far = udp_socket(), udp_socket()
    near.connect(far.getsockname())
    far.connect(near.getsockname())
    return near, far


class Working:
    """Something that an engine does on a thread."""

    def __init__(self, what: Callable[..., Any], *values: Any) -> None:
        self._outcome: Any = None

        def work() -> None:
            try:
                self._outcome = what(*values)
            except BaseException as exc:
                self._outcome = exc

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def outcome(self) -> Any:
        self._thread.join(LIMIT_S)
        assert self.over, "the loop does not end"
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


class Running(Working):
    """An engine at work on a thread."""

    def __init__(self, engine: Engine, sock: socket.socket | None, spec: AnySpec,
                 stop_fd: int = -1, report_fd: int = -1) -> None:
        super().__init__(engine.run, sock, spec, stop_fd, report_fd)

    def tally(self) -> Tally:
        return self.outcome()


class RunningFlows(Working):
    """A sender of many flows on a thread."""

    def __init__(self, engine: FlowsEngine, socks: Sequence[socket.socket], spec: FlowsSpec,
                 stop_fd: int = -1, report_fd: int = -1) -> None:
        super().__init__(engine.run_flows, socks, spec, stop_fd, report_fd)

    def tally(self) -> FlowsTally:
        return self.outcome()


class RunningPool(Working):
    """A pool on a thread, and the pipes to it."""

    def __init__(self, engine: FlowsEngine, poller: str) -> None:
        join_read, self.join_fd = os.pipe()
        self._leave_fd, leave_write = os.pipe()
        os.set_blocking(join_read, False)
        self._pipes = [join_read, leave_write, self._leave_fd]
        self._added = 0
        super().__init__(engine.serve_flows, join_read, leave_write, poller)

    def add(self, sock: socket.socket, datagram: bool = False, request_bytes: int = 1,
            response_bytes: int = 1, **values: Any) -> int:
        """Let a connection join; its id."""
        self._added += 1
        os.write(self.join_fd, Join(self._added, sock.fileno(), datagram, request_bytes,
                                    response_bytes, **values).pack())
        return self._added

    def drop(self, number: int) -> None:
        os.write(self.join_fd, JOIN_RECORD.pack(DROP, number, *[0] * 6, b"", 0))

    def leaves(self, count: int = 1) -> list[Leave]:
        """The next ones that left."""
        found = []
        for _ in range(count):
            assert select.select([self._leave_fd], [], [], LIMIT_S)[0], "nobody leaves"
            found.append(Leave.unpack(os.read(self._leave_fd, LEAVE_RECORD.size)))
        return found

    @property
    def silent(self) -> bool:
        return not select.select([self._leave_fd], [], [], 0)[0]

    def close(self) -> str:
        """End the pipe; the poller that ran."""
        if self.join_fd >= 0:
            os.close(self.join_fd)
            self.join_fd = -1
        return self.outcome()

    def __enter__(self) -> RunningPool:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.close()
        finally:
            for descriptor in self._pipes:
                os.close(descriptor)


def pollers_of(engine: str) -> list[Any]:
    """Parameters ``engine-poller`` for each poller that an engine has here."""
    marks = [] if engine == "pure" else [pytest.mark.c_engine]
    try:
        there = load_engine(engine).pollers()
    except EngineUnavailable:
        there = ["auto"]    # it is skipped or fails, as XENRR_REQUIRE says
    return [pytest.param(f"{engine}-{poller}", marks=marks) for poller in there]


def sender_spec(datagram: bool = False, **values: Any) -> LoopSpec:
    return LoopSpec(role=Role.SENDER, datagram=datagram, **values)


def target_spec(datagram: bool = False, **values: Any) -> LoopSpec:
    return LoopSpec(role=Role.TARGET, datagram=datagram, **values)


def connect_sender(listener: socket.socket, **values: Any) -> ConnectSpec:
    """What a sender of connections does that connects to a listener."""
    return ConnectSpec(role=Role.SENDER, destination=listener.getsockname(), **values)


def connect_target(**values: Any) -> ConnectSpec:
    return ConnectSpec(role=Role.TARGET, **values)


def sending(datagram: bool = False, **values: Any) -> StreamSpec:
    return StreamSpec(sends=True, datagram=datagram, **values)


def receiving(datagram: bool = False, **values: Any) -> StreamSpec:
    return StreamSpec(sends=False, datagram=datagram, **values)


def reset(sock: socket.socket) -> None:
    """Close with a reset instead of an end of file."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_to_end(sock: socket.socket) -> bytes:
    sock.settimeout(LIMIT_S)
    pieces = []
    while piece := sock.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def end(sock: socket.socket, datagram: bool) -> None:
    """What the session does after the sender's loop."""
    if datagram:
        sock.send(b"")
    else:
        sock.shutdown(socket.SHUT_WR)


def run_both(engines: tuple[Engine, Engine], sockets: tuple[socket.socket, socket.socket],
             spec: LoopSpec) -> tuple[Tally, Tally]:
    near, far = sockets
    answering = Running(engines[1], far, LoopSpec(
        role=Role.TARGET, datagram=spec.datagram, request_bytes=spec.request_bytes,
        response_bytes=spec.response_bytes))
    sent = Running(engines[0], near, spec).tally()
    if not spec.datagram:
        near.settimeout(0.01)
        end(near, False)
        while not answering.over:  # it may still have to say what nobody waits for
            with contextlib.suppress(socket.timeout):
                near.recv(1 << 20)
        near.settimeout(None)
    else:
        end(near, True)
    return sent, answering.tally()


def check_accounts(tally: Tally, spec: LoopSpec) -> None:
    assert tally.requests_sent == tally.transactions + tally.in_flight + tally.lost
    assert tally.latency_ns.total == tally.transactions
    if tally.transactions:
        assert 0 < tally.latency_ns.min_ns <= tally.latency_ns.max_ns
        assert tally.latency_ns.sum_ns >= tally.transactions * tally.latency_ns.min_ns
        assert tally.latency_ns.percentile(100) == tally.latency_ns.max_ns
    whole = tally.transactions * spec.response_bytes + tally.leftover_bytes
    if not spec.datagram:
        assert tally.bytes_received == whole
    assert tally.bytes_sent <= tally.requests_sent * spec.request_bytes


def check_flows(tally: FlowsTally, spec: FlowsSpec) -> None:
    """What always holds of many flows."""
    total, rounds = tally.total, spec.rounds
    for flow in tally.flows:
        assert flow.requests_sent == flow.transactions + flow.in_flight + flow.lost
        assert flow.latency_ns.total == flow.transactions
        assert 0 <= flow.in_flight <= rounds.burst + 1
        assert flow.bytes_sent <= flow.requests_sent * rounds.request_bytes
        if not rounds.datagram:
            assert (flow.bytes_received
                    == flow.transactions * rounds.response_bytes + flow.leftover_bytes)
        if rounds.transactions:
            assert flow.transactions <= rounds.transactions
    for name in set(vars(Flow(Ended.TIME))) & set(vars(total)) - {"ended", "errno",
                                                                   "latency_ns"}:
        assert getattr(total, name) == sum(getattr(flow, name) for flow in tally.flows), name
    # Step by step, since two hundred whole histograms take a second.
    merged: dict[int, int] = {}
    for flow in tally.flows:
        for index, count in PackedHistogram.PAIR.iter_unpack(flow.latency_ns.steps):
            merged[index] = merged.get(index, 0) + count
    assert dict(total.latency_ns.buckets()) == merged
    some = [flow.latency_ns for flow in tally.flows if flow.transactions]
    assert total.latency_ns.sum_ns == sum(each.sum_ns for each in some)
    assert total.latency_ns.min_ns == min((each.min_ns for each in some), default=0)
    assert total.latency_ns.max_ns == max((each.max_ns for each in some), default=0)
    check_accounts(total, rounds)


def answer(sock: socket.socket, message: bytes = b"r") -> bytes:
    """Play a target by hand: take one request, send one response."""
    request = sock.recv(1 << 16)
    sock.send(message)
    return request


def read_interims(descriptor: int) -> list[Interim]:
    os.set_blocking(descriptor, False)
    data = b""
    try:
        while True:
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                break
            data += piece
    except BlockingIOError:
        pass
    assert len(data) % INTERIM_RECORD.size == 0
    return [Interim(*values) for values in INTERIM_RECORD.iter_unpack(data)]


@contextlib.contextmanager
def signals(handler: Callable[[int, Any], Any], after_s: float, every_s: float = 0,
            ) -> Iterator[None]:
    """SIGUSR1 for the main thread, once or again and again (pytest-timeout has SIGALRM)."""
    over = threading.Event()

    def send() -> None:
        wait_s = after_s
        while not over.wait(wait_s):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            if not every_s:
                break
            wait_s = every_s

    old = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=send, daemon=True)
    try:
        thread.start()  # a handler may raise before this comes back
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, old)
