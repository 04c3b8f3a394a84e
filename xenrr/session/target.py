"""The target: netserver's twin. Any number of senders at once, each on its own dialect.

One asyncio task serves one control connection, strictly one test at a time, as netperf
senders expect. Everything a stranger can use up is bounded: sessions, buffered bytes, the
time until a message is whole, the time until the next one begins, the data phase.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable

from xenrr import __version__
from xenrr.engine.base import Ended, Engine, Tally
from xenrr.engine.load import load_engine
from xenrr.errors import XenrrError
from xenrr.frozen import dataclass
from xenrr.results.hostfacts import load_average
from xenrr.session.answer import TestAnswer
from xenrr.session.dataoptions import BUSY_POLL_REFUSED, may_busy_poll
from xenrr.session.details import HOST, USAGE, host_pages, usage_pages
from xenrr.session.eventloop import run
from xenrr.session.pool import Pools, Promise
from xenrr.session.replies import CPU_RATE
from xenrr.session.requests import AnyRequest
from xenrr.session.shapes import Shape
from xenrr.session.sockets import (
    ANY_ADDRESS,
    address_text,
    family_of,
    look_up,
    raise_descriptor_limit,
    wire_family,
)
from xenrr.session.wanted import Refused, TestWanted, wanted_of
from xenrr.wire.classic import RRRequest
from xenrr.wire.control import (
    CpuCalibrateRequest,
    CpuCalibrateResponse,
    DebugRequest,
    DebugResponse,
    DetailsRequest,
    DetailsResponse,
    ErrorResponse,
    FlowsRequest,
    FlowsResponse,
    PassphraseRequest,
    SysinfoRequest,
    SysinfoResponse,
)
from xenrr.wire.message import UNKNOWN_REQUEST_ERRNO, Answer
from xenrr.wire.omni import OmniRequest
from xenrr.wire.streams import StreamRequest, UdpStreamRequest
from xenrr.wire.target import NEED_DATA, PEER_CLOSED, TargetConnection

__all__ = ["TargetPolicy", "TargetServer", "open_listeners", "serve_one",
           "serve_until_stopped"]

DEFAULT_PORT = 12865
# Exactly 256 bytes and then this much silence: the client uses short messages.
SHORT_SILENCE_S = 0.25
# A message that has begun is whole within this time; netserver gives its passphrase as long.
# A campaign's senders connect all at once; the kernel has a limit of its own (somaxconn).
BACKLOG = 4096
MESSAGE_LIMIT_S = 20.0
# A session that asks for nothing for this long makes room for another.
IDLE_LIMIT_S = 600.0
# Replies are a few hundred bytes: a peer that does not take one is gone.
REPLY_LIMIT_S = 20.0
# Finds a sender whose machine vanished, within about two minutes.
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

# What a session takes at the most: its control connection, two data sockets, the pipes of a
# loop on a thread of its own, and some to spare.
SESSION_DESCRIPTORS = 8

Log = Callable[[str], None]
TESTS = (OmniRequest, RRRequest, StreamRequest, UdpStreamRequest)


@dataclass(frozen=True)
class TargetPolicy:
    """What a target does and for whom.

    Attributes:
        host: Address to listen on, ``None`` for all.
        port: Control port, 0 for any free one.
        family: 4, 6, or 0 for both.
        passphrase: Senders have to know it; ``None`` for everybody.
        engine: ``hot``, ``pure`` or ``auto``.
        max_sessions: Control connections served at once; more are turned away.
        one_at_a_time: Serve one control connection and only then accept the next.
        any_data_peer: Take data from other addresses than the control connection's, and
            send datagrams there.
        cpus: Number of CPUs to report, ``None`` for what the system has.
        debug: Log every request as well.
        spin: Poll for requests of round trips for a moment before blocking; the senders are
            not asked.
        busy_poll_us: SO_BUSY_POLL of data sockets in µs, -1 for the system's.
        poller: How a pool waits for many connections: one of ``units.POLLERS``.
        alone: So many sessions of round trips have a thread each before all go to pools; -1
            for as many as there are processors.
        max_flows: Bound of the data connections that tests of many flows have together.
    """

    host: str | None = None
    port: int = DEFAULT_PORT
    family: int = 0
    passphrase: str | None = None
    engine: str = "auto"
    max_sessions: int = 1024
    one_at_a_time: bool = False
    any_data_peer: bool = False
    cpus: int | None = None
    debug: bool = False
    spin: bool = False
    busy_poll_us: int = -1
    poller: str = "auto"
    alone: int = -1
    max_flows: int = 4096


def open_listeners(policy: TargetPolicy) -> list[socket.socket]:
    """Bind the control port on every address of the policy.

    Returns:
        Listening sockets, at least one. With no host named and no family, one for each
        family that this machine has.

    Raises:
        OSError: Not one of them could be bound; the reason of the last try.
    """
    listeners: list[socket.socket] = []
    failure: OSError | None = None
    port = policy.port
    for family, host in _addresses(policy):
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # A socket per family: no IPv4 address ever looks like an IPv6 one here.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError as exc:
            failure = exc
            if sock is not None:
                sock.close()
            continue
        port = port or sock.getsockname()[1]
        listeners.append(sock)
    # A port that is taken in one family is taken: half a server would surprise.
    if failure is not None and (not listeners or failure.errno == errno.EADDRINUSE):
        for sock in listeners:
            sock.close()
        raise failure
    return listeners


class TargetServer:
    """Serves control connections on listening sockets; an async context manager.

    Args:
        policy: What to do and for whom.
        listeners: From ``open_listeners``; owned and closed by the server.
        log: Takes one line per finished test or refused peer.

    Raises:
        EngineUnavailable: The engine or the poller of the policy does not work here.
    """

    def __init__(
        self, policy: TargetPolicy, listeners: list[socket.socket], log: Log | None = None
    ) -> None:
        self.policy = policy
        self._listeners = listeners
        self._log = log or _no_log
        self._engine = load_engine(policy.engine)
        self._pools = Pools(self._engine, policy.poller, policy.alone, policy.max_flows,
                            self._log)
        self._sessions: set[asyncio.Task[None]] = set()
        self._acceptors: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """The control port."""
        port: int = self._listeners[0].getsockname()[1]
        return port

    @property
    def engine_name(self) -> str:
        """``hot`` or ``pure``."""
        return self._engine.name

    async def __aenter__(self) -> TargetServer:
        self._acceptors = [asyncio.ensure_future(self._accept(listener))
                           for listener in self._listeners]
        return self

    async def __aexit__(self, *error: object) -> None:
        tasks = [*self._acceptors, *self._sessions]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pools.close()
        for sock in self._listeners:
            sock.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as exc:  # out of descriptors, or the peer was gone already
                self._log(f"a connection could not be accepted: {exc}")
                await asyncio.sleep(0.1)
                continue
            if len(self._sessions) >= self.policy.max_sessions:
                self._log(f"{address_text(address)}: turned away, "
                          f"{self.policy.max_sessions} sessions are under way")
                sock.close()
                continue
            task = asyncio.ensure_future(self._serve(sock, address))
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)
            if self.policy.one_at_a_time:
                await asyncio.wait({task})

    async def serve_connection(self, sock: socket.socket) -> None:
        """Serve one control connection that somebody else has accepted, to its end."""
        try:
            await self._serve(sock, sock.getpeername())
        finally:
            self._pools.close()

    async def _serve(self, sock: socket.socket, address: tuple[object, ...]) -> None:
        session = _Session(self.policy, self._engine, self._pools, self._log, sock, address)
        try:
            await session.serve()
        except (XenrrError, MemoryError, asyncio.TimeoutError) as exc:
            self._log(f"{session.name}: {str(exc) or 'given up: ' + type(exc).__name__}")
        except OSError as exc:  # reset, or gone before the answer: the next one is served
            self._log(f"{session.name}: {exc.strerror or exc}")
        finally:
            session.close()


class _Session:
    """One control connection from its first byte to its last."""

    def __init__(
        self, policy: TargetPolicy, engine: Engine, pools: Pools, log: Log,
        sock: socket.socket, address: tuple[object, ...],
    ) -> None:
        self._policy = policy
        self._engine = engine
        self._pools = pools
        # Promised to the sender for its next test.
        self._promise: Promise | None = None
        self._log = log
        self._sock = sock
        self._peer = str(address[0])
        self._family = wire_family(sock.family)
        self._codec = TargetConnection()
        self._reading: asyncio.Task[bytes] | None = None
        self._load = load_average()
        self._details: dict[int, list[str]] = {USAGE: []}
        self.name = address_text(address)
        _prepare_control(sock)

    async def serve(self) -> None:
        """Answer requests until the peer closes."""
        if self._policy.passphrase is not None and not await self._passphrase_is_right():
            self._log(f"{self.name}: wrong or no passphrase, closed")
            return
        while True:
            # Flows that are set aside for this sender are so many fewer for others.
            request = await self._next_request(
                MESSAGE_LIMIT_S if self._promise else IDLE_LIMIT_S)
            if request is PEER_CLOSED:
                return
            if self._policy.debug:
                self._log(f"{self.name}: {request}")
            if isinstance(request, TESTS):
                await self._test(request)
            elif isinstance(request, SysinfoRequest):
                # Five fields behind a delimiter, as 2.5.0 and 2.6.0 take them apart.
                await self._reply(SysinfoResponse(
                    f",xenrr,{__version__},Deprecated,Deprecated"))
            elif isinstance(request, DebugRequest):
                await self._reply(DebugResponse())
            elif isinstance(request, CpuCalibrateRequest):
                await self._reply(CpuCalibrateResponse(
                    CPU_RATE, self._policy.cpus or os.cpu_count() or 1))
            elif isinstance(request, DetailsRequest):
                await self._tell(request)
            elif isinstance(request, FlowsRequest):
                self._free_flows()
                room, self._promise = self._pools.promise(request.flows)
                await self._reply(FlowsResponse(room))
            elif not isinstance(request, PassphraseRequest):
                await self._reply(ErrorResponse(UNKNOWN_REQUEST_ERRNO))

    def close(self) -> None:
        """Free what the session holds."""
        if self._reading is not None:
            self._reading.cancel()
        self._free_flows()
        self._sock.close()

    def _free_flows(self) -> None:
        if self._promise is not None:
            self._promise.end()
        self._promise = None

    async def _passphrase_is_right(self) -> bool:
        import hmac

        request = await self._next_request(MESSAGE_LIMIT_S)
        assert self._policy.passphrase is not None
        return isinstance(request, PassphraseRequest) and hmac.compare_digest(
            request.phrase, self._policy.passphrase.encode())

    async def _test(self, request: AnyRequest) -> None:
        try:
            await self._measured(request)
        finally:
            self._free_flows()

    async def _measured(self, request: AnyRequest) -> None:
        try:
            wanted = wanted_of(request, self._family, self._sock.getsockname()[0])
            answer = TestAnswer(wanted, request, self._engine, self._pools,
                                None if self._policy.any_data_peer else self._peer,
                                self._peer, self._policy.cpus, spin=self._policy.spin,
                                busy_poll_us=self._policy.busy_poll_us,
                                promise=self._promise)
        except Refused as exc:
            self._log(f"{self.name}: refused with error {exc.errno}: {exc}")
            await self._reply(ErrorResponse(exc.errno))
            return
        if wanted.ignored:
            self._log(f"{self.name}: {wanted.ignored}")
        if answer.busy_poll_refused:
            self._log(f"{self.name}: {BUSY_POLL_REFUSED}")
        with answer:
            await self._reply(answer.response())
            tally = await answer.run(self._control_end())
            self._log(self._line(wanted, tally, answer))
            self._details[USAGE] = usage_pages(answer.usage)
            await self._reply(answer.results(tally))
            await answer.linger()

    async def _tell(self, request: DetailsRequest) -> None:
        if request.topic == HOST and HOST not in self._details:
            # The kernel answers within microseconds, or within a limit; not on the loop.
            self._details[HOST] = await asyncio.get_running_loop().run_in_executor(
                None, host_pages, self._peer, str(self._sock.getsockname()[0]), self._load,
                _polling(self._policy))
        pages = self._details.get(request.topic, [])
        if request.page >= len(pages):
            await self._reply(ErrorResponse(errno.ENODATA))
        else:
            await self._reply(DetailsResponse(len(pages), pages[request.page]))

    def _line(self, wanted: TestWanted, tally: Tally, answer: TestAnswer) -> str:
        elapsed_s = answer.elapsed_s(tally)
        line = f"{self.name}: {wanted.name} {_amount(wanted, tally, elapsed_s)}, "
        how = ", spinning" if answer.spins else ""
        how += f", {answer.where}" if answer.where else ""
        line += f"{self._engine.name} engine{how}, {self._codec.dialect.peer}"
        if answer.flows > 1:
            line += f", {answer.flows} flows"
        if tally.ended is Ended.ERROR:
            line += f", ended by an error: {os.strerror(tally.errno)}"
        if tally.malformed:
            line += f", {tally.malformed} datagrams of a wrong size"
        if answer.strangers:
            line += f", {answer.strangers} strangers turned away"
        return line

    async def _next_request(self, limit_s: float) -> object:
        """The next request, or ``PEER_CLOSED``.

        Raises:
            asyncio.TimeoutError: None came within the limit, or it did not become whole.
            RemoteProtocolError: What came is none.
        """
        begun = False
        while True:
            request = self._codec.next_event()
            if request is not NEED_DATA:
                return request
            undecided = self._codec.undecided
            if undecided:
                wait_s = SHORT_SILENCE_S
            else:
                wait_s = MESSAGE_LIMIT_S if begun else limit_s
            reading = self._read()
            await asyncio.wait({reading}, timeout=wait_s)
            if reading.done():
                begun = True
                self._take(reading)
            elif undecided:
                self._codec.assume_short()
            else:
                raise asyncio.TimeoutError(f"no whole request within {wait_s:g} s")

    def _read(self) -> asyncio.Task[bytes]:
        # One read is always the same task: waiting for it elsewhere, as a data phase does
        # to see the peer leave, never loses bytes to a cancellation.
        if self._reading is None:
            loop = asyncio.get_running_loop()
            self._reading = asyncio.ensure_future(loop.sock_recv(self._sock, 4096))
        return self._reading

    def _take(self, reading: asyncio.Task[bytes]) -> None:
        self._reading = None
        data = reading.result()
        if data:
            self._codec.receive_data(data)
        else:
            self._codec.receive_eof()

    def _control_end(self) -> asyncio.Future[None]:
        """Done once the peer has left, or spoken out of turn, in a data phase."""
        gone = asyncio.get_running_loop().create_future()

        def look(reading: asyncio.Task[bytes]) -> None:
            if not gone.done() and not reading.cancelled():
                gone.set_result(None)

        self._read().add_done_callback(look)
        return gone

    async def _reply(self, message: Answer) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.sock_sendall(self._sock, self._codec.send(message)),
                               REPLY_LIMIT_S)


def _amount(wanted: TestWanted, tally: Tally, elapsed_s: float) -> str:
    if not wanted.shape.one_way:
        rate = tally.transactions / elapsed_s if elapsed_s else 0.0
        return f"{tally.transactions} transactions in {elapsed_s:.2f} s, {rate:.2f}/s"
    sends = wanted.shape is Shape.SENDS
    count = tally.bytes_sent if sends else tally.bytes_received
    rate = count * 8 / elapsed_s / 1e6 if elapsed_s else 0.0
    word = "sent" if sends else "received"
    return f"{count} bytes {word} in {elapsed_s:.2f} s, {rate:.2f} Mbit/s"


def serve_until_stopped(
    policy: TargetPolicy, listeners: list[socket.socket], log: Log | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; blocks, and leaves nothing listening.

    Args:
        policy: What to do and for whom.
        listeners: From ``open_listeners``.
        log: Takes one line per finished test or refused peer.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        # A netserver has a process for each session, and so no such limit.
        raise_descriptor_limit(policy.max_sessions * SESSION_DESCRIPTORS)
        async with TargetServer(policy, listeners, log):
            await stop.wait()

    run(main())


def serve_one(policy: TargetPolicy, sock: socket.socket, log: Log | None = None) -> None:
    """Serve one accepted control connection to its end; blocks, as under inetd.

    Args:
        policy: What to do.
        sock: The control connection; closed at the end.
        log: Takes one line per finished test.
    """

    async def main() -> None:
        await TargetServer(policy, [], log).serve_connection(sock)

    run(main())


def _polling(policy: TargetPolicy) -> dict[str, str]:
    """How a target waits that was told to, for its facts."""
    facts = {"spin": "yes"} if policy.spin else {}
    if policy.busy_poll_us >= 0:
        granted = may_busy_poll(policy.busy_poll_us)
        facts["busy_poll_us"] = str(policy.busy_poll_us) if granted else "refused"
    return facts


def _addresses(policy: TargetPolicy) -> list[tuple[int, str]]:
    families: list[int] = [socket.AF_INET6, socket.AF_INET]
    if policy.family:
        families = [family_of(policy.family)]
    if policy.host is None:
        return [(family, ANY_ADDRESS[family]) for family in families]
    found = look_up(policy.host, None, family_of(policy.family), socket.SOCK_STREAM)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _prepare_control(sock: socket.socket) -> None:
    sock.setblocking(False)
    with contextlib.suppress(OSError):  # gone already: the first read says so
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _no_log(line: str) -> None:
    del line
