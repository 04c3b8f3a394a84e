"""One test as the target plays it: set up, take part, count, report.

As in every netserver the data socket is bound before the response goes out, a wanted port
that cannot be had becomes another one, and an end of data closes the data connection at
once, since the sender's clock runs until it sees that.

Data is taken only from the address that the control connection comes from, and datagrams
are sent only there, unless the policy says otherwise: no stranger in the numbers, and no
reflector for forged datagrams. Where a request names another address of either end, as one
does whose control connection takes a network of its own, the far end of the data cannot be
known; then it may be any, but for datagrams only if no more is sent than was received.

A test of many flows has a connection for each of them, or over UDP one socket for all. They
go to a pool (``pool``), as round trips of single sessions do when there are many of those.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable

from xenrr.cpu.meter import load_meter
from xenrr.cpu.usage import CpuUsage
from xenrr.engine.base import (
    AnySpec,
    ConnectSpec,
    Ended,
    Engine,
    LoopSpec,
    Role,
    StreamSpec,
    Tally,
)
from xenrr.engine.flows import Join
from xenrr.engine.tcp_facts import tcp_info_of
from xenrr.frozen import replace
from xenrr.results.record import SECOND_NS
from xenrr.session.dataoptions import BACKLOG, apply_options, keep_accepted
from xenrr.session.datapath import RELEASE_AFTER_S
from xenrr.session.pool import Alone, Pools, Promise, Work, can_pool
from xenrr.session.replies import Offer, Outcome, response_to, results_of
from xenrr.session.requests import PAD_TIME_S, AnyRequest, AnyResponse, AnyResults
from xenrr.session.shapes import End, Shape
from xenrr.session.sockets import ANY_ADDRESS, buffer_sizes, congestion_of
from xenrr.session.wanted import Refused, TestWanted

__all__ = ["TestAnswer"]

# A sender may sleep before it begins (netperf -s); it is waited for this long.
FIRST_DATA_LIMIT_S = 300.0
# A sender that just stops, or whose empty datagrams were lost, has stopped by then: its
# clock started with ours.
SILENT_PAD_S = 0.5
# A test without a duration that only an empty datagram ends: over after so much silence.
SILENT_END_S = 5
# What is still on its way in a one-way test, and whoever takes it slowly, gets this long.
ONE_WAY_PAD_S = 600.0
# After stray end markers a UDP sender that had anything to say has said it by then.
STRAY_END_LIMIT_S = 1.0
# How long a counted TCP test waits for the sender to close first, so that no reset
# overtakes the last response.
LINGER_LIMIT_S = 2.0
# The connections of many flows follow the response, one upon the other: so long for each.
NEXT_FLOW_LIMIT_S = 30.0
# What a datagram takes of a receive buffer beyond its bytes, and the most that is asked for.
DATAGRAM_OVERHEAD_BYTES = 2048
MAX_FLOWS_BUFFER_BYTES = 1 << 23
MAX_BACKLOG = 4096


class TestAnswer:
    """The data side of one test; a context manager that owns the data sockets.

    Args:
        wanted: The test.
        request: The request it came from, for the fields that are echoed.
        engine: What runs it.
        pools: Where it may run besides.
        peer: Address that data may come from where the request names none, ``None`` for any.
        sender: Address of the control connection's far end.
        cpus: Number of CPUs to report, ``None`` for what the system has.
        spin, busy_poll_us: See ``TargetPolicy``.
        promise: Data connections that the sender was promised, ``None`` for one.

    Attributes:
        usage: CPU utilisation in the data phase, ``None`` where it was not measured.
        strangers: How many were turned away.
        spins: Whether the loop polls before it blocks.
        where: How the loop waited, empty for a blocking one of its own.
        flows: How many data connections it has.

    Raises:
        Refused: The data socket cannot be had, or leads elsewhere.
    """

    __test__ = False

    def __init__(
        self, wanted: TestWanted, request: AnyRequest, engine: Engine, pools: Pools,
        peer: str | None, sender: str, cpus: int | None = None, spin: bool = False,
        busy_poll_us: int = -1, promise: Promise | None = None,
    ) -> None:
        self._wanted = wanted = replace(
            wanted, options=replace(wanted.options, busy_poll=busy_poll_us))
        self._promise = promise
        self.flows = flows = max(promise.flows, 1) if promise else 1
        self.spins = spin and wanted.shape is Shape.ROUNDS and flows == 1
        self.where = ""
        self._request = request
        self._engine = engine
        self._pools = pools
        self._sends_first = wanted.datagram and wanted.shape is Shape.SENDS
        self._destination = wanted.data_host or sender
        magnifies = wanted.datagram and wanted.send_bytes > max(wanted.receive_bytes, 0)
        if (self._sends_first or magnifies) and peer not in (None, self._destination):
            raise Refused(errno.EACCES, f"datagrams to {self._destination}, which did not ask")
        other_path = wanted.other_address or self._destination != sender
        self._peer = None if other_path and not magnifies else peer
        # Of many flows the first one.
        self._data: socket.socket | None = None
        self._others: list[socket.socket] = []
        self._flows_peer = b""
        self._meter = load_meter(cpus) if wanted.measure_cpu else None
        self.usage: CpuUsage | None = None
        self.strangers = 0
        self._congestion = ""
        self._retransmissions = -1
        self._offered = self._open()
        self._buffers = self._end_buffers = buffer_sizes(self._offered)
        self._end = End.chosen(
            wanted.shape, wanted.rings, datagram=wanted.datagram,
            sizes=(wanted.send_bytes, wanted.receive_bytes), socket_buffers=self._buffers)
        if flows > 1 and not self._can_pool():
            self._offered.close()
            raise Refused(errno.EINVAL, f"many flows of {wanted.name} with these options")

    def __enter__(self) -> TestAnswer:
        return self

    def __exit__(self, *error: object) -> None:
        self._offered.close()
        if self._data is not None:
            self._data.close()
        for sock in self._others:
            sock.close()

    def response(self) -> AnyResponse:
        """What the sender is told before it connects."""
        return response_to(self._request, self._wanted, Offer(
            self._offered.getsockname()[1], self._buffers, self._applied, self._end,
            self._meter is not None))

    async def run(self, gone: asyncio.Future[None]) -> Tally:
        """Wait for the sender's data and take part to the end.

        Args:
            gone: Done as soon as the control connection has ended.

        Returns:
            What was done; a sender that never came is an empty tally with ``IDLE``.
        """
        limit_s = self._wanted.duration_s + FIRST_DATA_LIMIT_S
        try:
            await _first_of(self._data_connection(), gone, limit_s)
        except asyncio.TimeoutError:
            return Tally(ended=Ended.IDLE)
        except ConnectionAbortedError:
            return Tally(ended=Ended.STOPPED)
        except OSError as exc:  # nothing can be sent to where the sender wants it
            return Tally(ended=Ended.ERROR, errno=exc.errno or errno.EHOSTUNREACH)
        assert self._data is not None
        if self._promise is not None:
            self._promise.arrived()
        if self._meter is not None:
            self._meter.start()
        tally = await self._take_part(self._data, gone)
        self.strangers += tally.strangers
        self._end_data(tally)
        self._stop_meter()
        return tally

    def elapsed_s(self, tally: Tally) -> float:
        """Length of the data phase in s, without the time that we waited past its end."""
        elapsed_s = tally.elapsed_ns / SECOND_NS
        duration_s = self._wanted.duration_s
        if not duration_s or tally.ended in (Ended.PEER, Ended.COUNT):
            return elapsed_s
        return min(elapsed_s, float(duration_s))

    def results(self, tally: Tally) -> AnyResults:
        """What the sender is told after the data phase."""
        return results_of(self._request, self._wanted, Outcome(
            tally, self.elapsed_s(tally), self._end_buffers, self._congestion,
            self._retransmissions, self.usage))

    @property
    def busy_poll_refused(self) -> bool:
        """Whether the system did not let the data socket have its busy polling."""
        return self._applied.busy_poll < -1

    async def linger(self) -> None:
        """Let a sender of a counted TCP test close first; at most ``LINGER_LIMIT_S``."""
        data = self._data
        if data is None or not self._lingers:
            return
        loop = asyncio.get_running_loop()

        async def drain() -> None:
            for sock in (data, *self._others):
                sock.setblocking(False)
                with contextlib.suppress(OSError):
                    while await loop.sock_recv(sock, 65536):
                        pass

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(drain(), LINGER_LIMIT_S)

    @property
    def _may_never_end(self) -> bool:
        """Whether nothing but empty datagrams, which can be lost, ends this test."""
        wanted = self._wanted
        return wanted.datagram and wanted.shape is Shape.RECEIVES and not wanted.duration_s

    @property
    def _lingers(self) -> bool:
        wanted = self._wanted
        return wanted.shape is Shape.ROUNDS and not wanted.datagram and wanted.count > 0

    def _stop_meter(self) -> None:
        if self._meter is not None and self.usage is None:
            self.usage = self._meter.stop()

    def _open(self) -> socket.socket:
        wanted = self._wanted
        family = socket.AF_INET6 if wanted.family == 6 else socket.AF_INET
        kind = socket.SOCK_DGRAM if wanted.datagram else socket.SOCK_STREAM
        sock = socket.socket(family, kind)
        try:
            if not wanted.datagram:
                # For a port that was in use a moment ago. Not for UDP: there the system
                # gives one free port to several sockets that all say so.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._applied = apply_options(sock, wanted.options)
            if wanted.datagram and self.flows > 1 and wanted.options.receive_buffer < 0:
                _widen(sock, self.flows * (wanted.receive_bytes + DATAGRAM_OVERHEAD_BYTES))
            _bind_somewhere(sock, wanted.address or ANY_ADDRESS[family], wanted.port)
            if not wanted.datagram:
                connections = wanted.shape is Shape.CONNECTIONS
                sock.listen(128 if connections else min(max(BACKLOG, self.flows), MAX_BACKLOG))
            sock.setblocking(False)
        except OSError as exc:
            sock.close()
            raise Refused(exc.errno or errno.EADDRNOTAVAIL, f"no data socket: {exc}") from exc
        return sock

    async def _data_connection(self) -> None:
        loop = asyncio.get_running_loop()
        if self._sends_first:
            self._offered.connect((self._destination, self._wanted.data_port))
            self._data = self._offered
            return
        if self._wanted.datagram:
            await self._adopt_datagrams()
            return
        if self._wanted.shape is Shape.CONNECTIONS:
            # The engine accepts, this one too: but its clock starts with the first.
            await _readable(self._offered)
            self._data = self._offered
            return
        if self.flows > 1:
            await self._accept_all()
            return
        while self._data is None:
            sock, address = await loop.sock_accept(self._offered)
            if self._peer in (None, address[0]):
                self._data = sock
            else:
                self.strangers += 1
                sock.close()
        # Nothing else is taken: the next test asks for the same port again.
        self._offered.close()
        keep_accepted(sock, self._wanted.options)

    async def _accept_all(self) -> None:
        """Accept the connections of all flows, as many at a time as there are.

        Raises:
            asyncio.TimeoutError: Some did not come.
        """
        found: list[socket.socket] = []
        self._others = found  # closed with the others if this is cut short
        while len(found) < self.flows:
            await asyncio.wait_for(_readable(self._offered), NEXT_FLOW_LIMIT_S)
            with contextlib.suppress(BlockingIOError):
                while len(found) < self.flows:
                    sock, address = self._offered.accept()
                    if self._peer in (None, address[0]):
                        found.append(sock)
                    else:
                        self.strangers += 1
                        sock.close()
        self._offered.close()
        for sock in found:
            keep_accepted(sock, self._wanted.options)
        self._data = found.pop(0)

    async def _adopt_datagrams(self) -> None:
        """Connect the socket to the first sender from the right address.

        Its first request stays queued for the engine. A connected socket is what makes the
        answers quick, and what keeps everybody else out from then on. One that serves many
        flows of a sender cannot be connected; there it is the pool that keeps them out.
        """
        sock = self._offered
        ended = False
        while self._data is None:
            await asyncio.wait_for(_readable(sock), STRAY_END_LIMIT_S if ended else None)
            try:
                data, address = sock.recvfrom(1, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            if self._peer not in (None, address[0]):
                self.strangers += 1
                sock.recvfrom(1)
            elif not data:
                ended = True
                sock.recvfrom(1)
            elif self.flows > 1:
                self._flows_peer = socket.inet_pton(sock.family, address[0].partition("%")[0])
                self._data = sock
            else:
                sock.connect(address)
                self._data = sock

    def _engine_spec(self) -> AnySpec:
        wanted, end = self._wanted, self._end
        duration_ns = wanted.duration_s * SECOND_NS
        if wanted.shape is Shape.ROUNDS:
            return LoopSpec(
                role=Role.TARGET, datagram=wanted.datagram, request_bytes=wanted.receive_bytes,
                response_bytes=wanted.send_bytes, transactions=wanted.count,
                buffers=end.buffers, pace=wanted.pace, spin=self.spins)
        if wanted.shape is Shape.CONNECTIONS:
            return ConnectSpec(
                role=Role.TARGET, request_bytes=end.receive_bytes,
                response_bytes=end.send_bytes, transactions=wanted.count,
                buffers=end.buffers, pace=wanted.pace, peer=self._peer or "")
        sends = wanted.shape is Shape.SENDS
        # A TCP sender that counts bytes is read to its end of file, in whole blocks as it
        # sends them; stopping at the count would reset it with data unread.
        limit_bytes = wanted.count if sends or wanted.datagram else 0
        return StreamSpec(
            sends=sends, datagram=wanted.datagram,
            block_bytes=end.send_bytes if sends else end.receive_bytes,
            duration_ns=duration_ns if sends else 0, limit_bytes=limit_bytes,
            interim_ns=SECOND_NS if self._may_never_end else 0,
            buffers=end.buffers, pace=wanted.pace, discard=wanted.discard,
            short_ends=wanted.short_ends)

    def _can_pool(self) -> bool:
        spec = self._engine_spec()
        return isinstance(spec, LoopSpec) and can_pool(spec)

    def _begin(self, data: socket.socket) -> Work:
        spec, cpu = self._engine_spec(), self._wanted.cpu
        data.setblocking(True)
        if self.flows > 1:
            assert isinstance(spec, LoopSpec)
            join = Join(0, 0, spec.datagram, spec.request_bytes, spec.response_bytes,
                        spec.transactions * (self.flows if spec.datagram else 1),
                        peer=self._flows_peer)
            return self._pools.admit([sock.fileno() for sock in (data, *self._others)], join)
        if isinstance(spec, LoopSpec) and cpu < 0 and can_pool(spec):
            return self._pools.begin(data, spec)
        return Alone(self._engine, data, spec, cpu, SILENT_END_S)

    async def _take_part(self, data: socket.socket, gone: asyncio.Future[None]) -> Tally:
        work = self._begin(data)
        over = work.over
        try:
            await self._until_over(over, gone)
            for whole in (False, True):
                if over.done():
                    break
                work.stop()
                await asyncio.wait({over}, timeout=RELEASE_AFTER_S)
                if not over.done():
                    work.release(whole=whole)
                    await asyncio.wait({over}, timeout=RELEASE_AFTER_S)
            # Not awaited itself: cancelled with us it would look like the end of the loop.
            await asyncio.wait({over})
        finally:
            self.where = work.where
            tally = work.result()
        return tally

    async def _until_over(
        self, over: asyncio.Future[None], gone: asyncio.Future[None]
    ) -> None:
        """Wait for the end of the loop, of the control connection, or of patience."""
        duration_s = self._wanted.duration_s
        if not duration_s:
            await asyncio.wait({over, gone}, return_when=asyncio.FIRST_COMPLETED)
            return
        await asyncio.wait({over, gone}, timeout=duration_s,
                           return_when=asyncio.FIRST_COMPLETED)
        # The test is over now, whatever we still wait for.
        self._stop_meter()
        if not over.done() and not gone.done():
            await asyncio.wait({over, gone}, timeout=self._pad_s(),
                               return_when=asyncio.FIRST_COMPLETED)

    def _pad_s(self) -> float:
        """How long past its duration a test may still have something to do."""
        wanted = self._wanted
        if wanted.shape is Shape.CONNECTIONS or (wanted.datagram and wanted.shape.one_way):
            return SILENT_PAD_S
        if wanted.shape.one_way:
            return ONE_WAY_PAD_S
        return SILENT_PAD_S if wanted.classic else PAD_TIME_S

    def _end_data(self, tally: Tally) -> None:
        data, wanted = self._data, self._wanted
        assert data is not None
        self._end_buffers = buffer_sizes(data)
        self._congestion = congestion_of(data)
        if wanted.shape is Shape.CONNECTIONS:
            data.close()
            return
        every = (data, *self._others)
        resent = [tcp_info_of(sock).get("tcpi_total_retrans", -1) for sock in every]
        self._retransmissions = -1 if -1 in resent else sum(resent)
        if wanted.datagram:
            self._end_datagrams(data, tally)
            return
        for sock in every:
            with contextlib.suppress(OSError):  # the sender may be gone: nothing to tell it
                sock.shutdown(socket.SHUT_WR)
            if not self._lingers:
                sock.close()

    def _end_datagrams(self, data: socket.socket, tally: Tally) -> None:
        # A socket of many flows is not connected: their sender looks at its clock.
        if self._wanted.classic or tally.ended is Ended.PEER or self.flows > 1:
            return
        with contextlib.suppress(OSError):
            for _ in range(3):
                data.send(b"")


async def _first_of(
    work: Awaitable[None], gone: asyncio.Future[None], limit_s: float
) -> None:
    """Wait for ``work``, but not past the limit nor past the control connection's end.

    Raises:
        asyncio.TimeoutError: The limit has passed.
        ConnectionAbortedError: The control connection ended first.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, gone}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ConnectionAbortedError
        raise asyncio.TimeoutError
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(sock, _set_done, readable)
    try:
        await readable
    finally:
        loop.remove_reader(sock)


def _bind_somewhere(sock: socket.socket, address: str, port: int) -> None:
    """Bind as asked; failing that any address, then any port, as every netserver does."""
    anywhere = ANY_ADDRESS[sock.family]
    for place in ((address, port), (anywhere, port)):
        try:
            sock.bind(place)
            return
        except OSError:
            continue
    sock.bind((anywhere, 0))


def _widen(sock: socket.socket, wanted_bytes: int) -> None:
    """Make room for a request of every flow, as far as the system allows.

    They all wait in one buffer, and begin all at once: the default of Linux holds 277 of the
    smallest, and of a thousand flows the same ones would lose every time.
    """
    wanted_bytes = min(wanted_bytes, MAX_FLOWS_BUFFER_BYTES)
    # Linux takes twice of what it is told, for its own bookkeeping, which is in our sum.
    if wanted_bytes > buffer_sizes(sock)[1]:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted_bytes // 2)


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
