"""One request/response test as the target plays it: set up, answer, count, report.

As in every netserver the data socket is bound before the response goes out, a wanted port
that cannot be had becomes another one, and an end of data closes the data connection at
once, since the sender's clock runs until it sees that.

Data is taken only from the address that the control connection comes from, unless the
policy says otherwise: no stranger in the numbers, and no reflector for forged datagrams.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable
from dataclasses import dataclass

from xenrr.engine.base import Ended, Engine, LoopSpec, Role, Tally
from xenrr.results.record import SECOND_NS
from xenrr.session.datapath import RELEASE_AFTER_S, LoopThread
from xenrr.session.requests import (
    BOTH_WAYS,
    DATAGRAM,
    PAD_TIME_S,
    STREAM,
    TCP,
    UDP,
)
from xenrr.session.sockets import ANY_ADDRESS, apply_options, buffer_sizes
from xenrr.units import MAX_DATAGRAM_BYTES, MAX_MESSAGE_BYTES
from xenrr.wire.classic import RRRequest, RRResponse, RRResults
from xenrr.wire.message import UNKNOWN_REQUEST_ERRNO, Kind
from xenrr.wire.omni import OmniFlags, OmniRequest, OmniResponse, OmniResults

__all__ = ["Refused", "TestAnswer", "TestWanted", "wanted_of"]

# A sender may sleep before it begins (netperf -s); it is waited for this long.
FIRST_DATA_LIMIT_S = 300.0
# A classic sender keeps its connection open and just stops; its clock started with ours.
CLASSIC_PAD_S = 0.5
# After stray end markers a UDP sender that had anything to say has said it by then.
STRAY_END_LIMIT_S = 1.0
# How long a counted TCP test waits for the sender to close first, so that no reset
# overtakes the last response.
LINGER_LIMIT_S = 2.0


class Refused(Exception):
    """A request that this target does not serve; carries the errno to answer with."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.errno = number


@dataclass(frozen=True)
class TestWanted:
    """A test request of either dialect, reduced to what the data phase needs.

    ``duration_s`` and ``transactions``: one of them is 0; both are 0 in a test that runs
    until the sender ends it.
    """

    __test__ = False

    name: str
    classic: bool
    datagram: bool
    family: int
    request_bytes: int
    response_bytes: int
    duration_s: int
    transactions: int
    send_buffer: int
    receive_buffer: int
    nodelay: bool
    port: int
    address: str


def wanted_of(request: OmniRequest | RRRequest, family: int, local: str) -> TestWanted:
    """What a request asks for.

    Args:
        request: Of either dialect.
        family: 4 or 6, of the control connection; used where the request leaves it open.
        local: This end's address of the control connection: senders take their data to
            where they found us, and a datagram is answered from where it went to.

    Raises:
        Refused: Another kind of test, or sizes that no test can have.
    """
    if isinstance(request, OmniRequest):
        wanted = _omni_wanted(request, family, local)
    else:
        if request.kind not in (Kind.DO_TCP_RR, Kind.DO_UDP_RR):
            raise Refused(UNKNOWN_REQUEST_ERRNO, "only request/response tests are served")
        datagram = request.kind == Kind.DO_UDP_RR
        wanted = TestWanted(
            name="UDP_RR" if datagram else "TCP_RR", classic=True, datagram=datagram,
            family=request.ipfamily or family, request_bytes=request.request_size,
            response_bytes=request.response_size, duration_s=max(request.test_length, 0),
            transactions=max(-request.test_length, 0), send_buffer=request.send_buf_size,
            receive_buffer=request.recv_buf_size, nodelay=bool(request.no_delay),
            port=request.port, address=local)
    if wanted.family not in (4, 6):
        raise Refused(errno.EAFNOSUPPORT, f"address family {wanted.family}")
    limit = MAX_DATAGRAM_BYTES if wanted.datagram else MAX_MESSAGE_BYTES
    for size in (wanted.request_bytes, wanted.response_bytes):
        if size < 1:
            raise Refused(errno.EINVAL, f"a size of {size} bytes")
        if size > limit:
            raise Refused(errno.EMSGSIZE, f"a size of {size} bytes, the limit is {limit}")
    if not 0 <= wanted.port <= 65535:
        raise Refused(errno.EINVAL, f"data port {wanted.port}")
    return wanted


def _omni_wanted(request: OmniRequest, family: int, local: str) -> TestWanted:
    served = {(TCP, STREAM): "TCP_RR", (UDP, DATAGRAM): "UDP_RR"}
    name = served.get((request.protocol, request.socket_type))
    if name is None:
        raise Refused(errno.EPROTONOSUPPORT, f"protocol {request.protocol} with socket type "
                                             f"{request.socket_type}")
    if request.direction != BOTH_WAYS or request.flags & OmniFlags.CONNECTION_TEST:
        raise Refused(UNKNOWN_REQUEST_ERRNO, "only request/response tests are served")
    return TestWanted(
        name=name, classic=False, datagram=name == "UDP_RR",
        family=request.ipfamily or family, request_bytes=request.request_size,
        response_bytes=request.response_size, duration_s=max(request.test_length, 0),
        transactions=max(-request.test_length, 0), send_buffer=request.send_buf_size,
        receive_buffer=request.recv_buf_size,
        nodelay=bool(request.flags & OmniFlags.NODELAY), port=request.data_port,
        address=request.netserver_ip or local)


class TestAnswer:
    """The data side of one test; a context manager that owns the data sockets.

    Args:
        wanted: The test.
        request: The request it came from, for the fields that are echoed.
        engine: What runs it.
        peer: Address that data may come from, ``None`` for any.
    """

    __test__ = False

    def __init__(
        self, wanted: TestWanted, request: OmniRequest | RRRequest, engine: Engine,
        peer: str | None,
    ) -> None:
        self._wanted = wanted
        self._request = request
        self._engine = engine
        self._peer = peer
        self._data: socket.socket | None = None
        self.strangers = 0
        self._offered = self._open()
        self._buffers = self._end_buffers = buffer_sizes(self._offered)
        self._congestion = ""

    def __enter__(self) -> TestAnswer:
        return self

    def __exit__(self, *error: object) -> None:
        self._offered.close()
        if self._data is not None:
            self._data.close()

    def response(self) -> OmniResponse | RRResponse:
        """What the sender is told before it connects."""
        wanted, request = self._wanted, self._request
        send_buffer, receive_buffer = self._buffers
        port = self._offered.getsockname()[1]
        if isinstance(request, RRRequest):
            return RRResponse(
                kind=Kind(request.kind + 1), recv_buf_size=receive_buffer,
                no_delay=int(wanted.nodelay), test_length=request.test_length,
                send_buf_size=send_buffer, data_port_number=port)
        return OmniResponse(
            recv_buf_size=receive_buffer, receive_size=wanted.request_bytes, recv_width=1,
            send_buf_size=send_buffer, send_size=wanted.response_bytes, send_width=1,
            flags=OmniFlags.NODELAY if wanted.nodelay else OmniFlags(0), data_port=port)

    async def run(self, gone: asyncio.Future[None]) -> Tally:
        """Wait for the sender's data and answer it to the end.

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
        assert self._data is not None
        tally = await self._answer(self._data, gone)
        self._end_data(tally)
        return tally

    def elapsed_s(self, tally: Tally) -> float:
        """Length of the data phase in s, without the time that we waited past its end."""
        elapsed_s = tally.elapsed_ns / SECOND_NS
        duration_s = self._wanted.duration_s
        return min(elapsed_s, float(duration_s)) if duration_s else elapsed_s

    def results(self, tally: Tally) -> OmniResults | RRResults:
        """What the sender is told after the data phase."""
        elapsed_s = self.elapsed_s(tally)
        if isinstance(self._request, RRRequest):
            return RRResults(
                kind=Kind(self._request.kind + 2),
                bytes_received=(tally.bytes_received + tally.bytes_sent) & 0xFFFFFFFF,
                trans_received=tally.transactions & 0xFFFFFFFF, elapsed_time=elapsed_s)
        send_end, receive_end = self._end_buffers
        # One bit, two meanings: routing, and "tell me the congestion control" (trap 14).
        told = self._congestion if self._request.flags & OmniFlags.ROUTING_ALLOWED else ""
        return OmniResults(
            bytes_received=tally.bytes_received, recv_calls=tally.recv_calls & 0xFFFFFFFF,
            recv_buf_size=receive_end, bytes_sent=tally.bytes_sent,
            send_calls=tally.send_calls & 0xFFFFFFFF, send_buf_size=send_end,
            trans_received=tally.transactions & 0xFFFFFFFF, elapsed_time=elapsed_s,
            cong_control=told)

    async def linger(self) -> None:
        """Let a sender of a counted TCP test close first; at most ``LINGER_LIMIT_S``."""
        data = self._data
        if data is None or self._wanted.datagram or not self._wanted.transactions:
            return
        loop = asyncio.get_running_loop()
        data.setblocking(False)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            async def drain() -> None:
                while await loop.sock_recv(data, 65536):
                    pass
            await asyncio.wait_for(drain(), LINGER_LIMIT_S)

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
            apply_options(sock, send_buffer=wanted.send_buffer,
                          receive_buffer=wanted.receive_buffer, nodelay=wanted.nodelay)
            _bind_somewhere(sock, wanted.address or ANY_ADDRESS[family], wanted.port)
            if not wanted.datagram:
                sock.listen(5)
            sock.setblocking(False)
        except OSError as exc:
            sock.close()
            raise Refused(exc.errno or errno.EADDRNOTAVAIL, f"no data socket: {exc}") from exc
        return sock

    async def _data_connection(self) -> None:
        loop = asyncio.get_running_loop()
        if self._wanted.datagram:
            await self._adopt_datagrams()
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
        apply_options(sock, send_buffer=-1, receive_buffer=-1, nodelay=self._wanted.nodelay)

    async def _adopt_datagrams(self) -> None:
        """Connect the socket to the first sender from the right address.

        Its first request stays queued for the engine. A connected socket is what makes the
        answers quick, and what keeps everybody else out from then on.
        """
        sock = self._offered
        loop = asyncio.get_running_loop()
        ended = False
        while self._data is None:
            readable = loop.create_future()
            loop.add_reader(sock, _set_done, readable)
            try:
                await asyncio.wait_for(readable, STRAY_END_LIMIT_S if ended else None)
            finally:
                loop.remove_reader(sock)
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
            else:
                sock.connect(address)
                self._data = sock

    async def _answer(self, data: socket.socket, gone: asyncio.Future[None]) -> Tally:
        wanted = self._wanted
        data.setblocking(True)
        work = LoopThread(self._engine, data, LoopSpec(
            role=Role.TARGET, datagram=wanted.datagram, request_bytes=wanted.request_bytes,
            response_bytes=wanted.response_bytes, transactions=wanted.transactions))
        loop = asyncio.get_running_loop()
        over = loop.create_future()

        def watch() -> None:
            work.read_interims()
            if work.over:
                loop.remove_reader(work.report_fd)
                _set_done(over)

        work.start()
        loop.add_reader(work.report_fd, watch)
        limit_s = None
        if wanted.duration_s:
            limit_s = wanted.duration_s + (CLASSIC_PAD_S if wanted.classic else PAD_TIME_S)
        try:
            await asyncio.wait({over, gone}, timeout=limit_s,
                               return_when=asyncio.FIRST_COMPLETED)
            for whole in (False, True):
                if over.done():
                    break
                work.stop()
                await asyncio.wait({over}, timeout=RELEASE_AFTER_S)
                work.release(whole=whole)
                await asyncio.wait({over}, timeout=RELEASE_AFTER_S)
            await over
        except asyncio.CancelledError:
            work.stop()
            work.release(whole=True)
            raise
        finally:
            loop.remove_reader(work.report_fd)
            tally = work.result()
        return tally

    def _end_data(self, tally: Tally) -> None:
        data = self._data
        assert data is not None
        self._end_buffers = buffer_sizes(data)
        self._congestion = _congestion_control(data)
        with contextlib.suppress(OSError):  # the sender may be gone: nothing to tell it
            if not self._wanted.datagram:
                data.shutdown(socket.SHUT_WR)
                if not self._wanted.transactions:
                    data.close()
            elif not self._wanted.classic and tally.ended is not Ended.PEER:
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


def _congestion_control(sock: socket.socket) -> str:
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is None or sock.type != socket.SOCK_STREAM:
        return ""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option, 16).split(b"\0")[0].decode("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
