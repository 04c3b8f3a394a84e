"""A TCP connection for every transaction, in Python.

Calls block, with a send and a receive timeout on every socket to get them back to the
clock (SO_SNDTIMEO holds for connect() too). A loop that never blocked would need poll()
before each of three waits, and more system calls than the two timeouts cost.
"""

from __future__ import annotations

import errno
import os
import select
import socket as socket_module
import time
from socket import (
    AF_INET,
    AF_INET6,
    SHUT_WR,
    SO_ERROR,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from time import monotonic_ns

from xenrr.engine.base import TICK_NS, ConnectSpec, Ended
from xenrr.engine.pure_common import (
    FOLD_SAMPLES,
    NEVER,
    NO_SIGNAL,
    TARGET_TEXT,
    TEXT,
    Incoming,
    Outgoing,
    Over,
    Phase,
    SocketTimeout,
    Timed,
)
from xenrr.engine.tcp_facts import mss_of, tcp_info_of
from xenrr.stats.histogram import Histogram

__all__ = ["ConnectSender", "ConnectTarget"]

# bind() finds a port taken, or connect() the pair of addresses still in TIME_WAIT.
TAKEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
# accept() says this of a connection that ended before it was taken, or of its network.
NOT_ACCEPTED = tuple(getattr(errno, name) for name in (
    "ECONNABORTED", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET",
    "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH", "EPERM", "ECONNRESET", "ETIMEDOUT")
    if hasattr(errno, name))
# Between two tries to connect to a port that nobody listens at.
RETRY_PAUSE_NS = 1_000_000
# Connections that begin so shortly before the deadline may be the last one.
JUST_BEFORE_NS = 1_000_000


def _buffers(spec: ConnectSpec, in_bytes: int, out_bytes: int,
             text: bytes) -> tuple[Incoming, Outgoing]:
    buffers = spec.buffers
    # An end of file needs a byte of room to be seen in.
    return (Incoming(max(in_bytes, 1), buffers.receive_width, buffers.receive_alignment,
                     buffers.receive_offset),
            Outgoing(out_bytes, buffers.send_width, buffers.send_alignment,
                     buffers.send_offset, buffers.fill or text))


class ConnectSender(Timed):
    """Connects, asks, reads the response to its end, closes, and again."""

    def __init__(self, spec: ConnectSpec, stop_fd: int, report_fd: int) -> None:
        super().__init__(spec, stop_fd, report_fd)
        assert spec.destination is not None
        self.spec = spec
        self.destination = spec.destination
        self.family = AF_INET6 if ":" in spec.destination[0] else AF_INET
        self.incoming, self.outgoing = _buffers(
            spec, spec.response_bytes, spec.request_bytes, TEXT)
        with socket(self.family, SOCK_STREAM) as sample:
            self.pack_timeout = SocketTimeout(sample).packed
        self.timeout = self.pack_timeout(TICK_NS)
        self.low, self.high = max(spec.ports[0], 1), spec.ports[1]
        self.port = spec.first_port
        if self.high and not self.low <= self.port <= self.high:
            chance = int.from_bytes(os.urandom(4), "little")
            self.port = self.low + (0 if self.port else chance % (self.high - self.low + 1))
        self.ports_taken = 0    # in a row
        self.have = 0           # bytes of the current response

    def start(self) -> Ended | None:
        self.set_clock()
        self.begin()
        return None

    def set_timeouts(self, step_ns: int) -> None:
        self.timeout = self.pack_timeout(step_ns)

    def step(self) -> Ended | None:
        if self.brake.left <= 0:
            return self.pause()
        start = self.now if self.now_fresh else monotonic_ns()
        if start >= self.due:
            self.now = start
            ended = self.tick()
            if ended is not None:
                return ended
        self.now_fresh = False
        self.requests_sent += 1
        self.in_flight = 1
        self.have = 0
        sock = self.connected()
        last = (self.transactions + 1 == self.spec.transactions
                or start + JUST_BEFORE_NS > self.deadline)
        try:
            self.converse(sock)
            if last or self.mss < 0:
                self.look_at(sock)
        except BaseException:
            self.look_at(sock)
            raise
        finally:
            sock.close()
        self.now = now = monotonic_ns()
        if now > self.deadline:
            return Ended.TIME
        self.samples.raw.append(now - start)
        if len(self.samples.raw) >= FOLD_SAMPLES:
            self.samples.fold()
        self.in_flight = 0
        self.transactions += 1
        self.brake.left -= 1
        self.now_fresh = True
        if self.transactions == self.spec.transactions:
            return Ended.COUNT
        return self.tick() if now >= self.due else None

    def look_at(self, sock: socket) -> None:
        """Note what TCP says of a connection that is about to be closed."""
        self.mss = mss_of(sock)
        self.retransmissions = tcp_info_of(sock).get("tcpi_total_retrans", -1)

    def resumed(self) -> None:
        self.now_fresh = True

    def waited(self) -> None:
        """A call came back without having done all it should."""
        ended = self.look_at_clock()
        if ended is not None:
            raise Over(ended)

    def connected(self) -> socket:
        """A socket, bound where it has to be, and connected."""
        while True:
            sock = socket(self.family, SOCK_STREAM)
            try:
                setsockopt = sock.setsockopt
                for level, name, value in self.spec.options:
                    setsockopt(level, name, value)
                setsockopt(SOL_SOCKET, SO_SNDTIMEO, self.timeout)
                setsockopt(SOL_SOCKET, SO_RCVTIMEO, self.timeout)
                if self.high or self.spec.source:
                    self.bind(sock)
                try:
                    sock.connect(self.destination)
                except BlockingIOError:
                    self.await_connection(sock)
                self.ports_taken = 0
                return sock
            except OSError as exc:
                sock.close()
                if exc.errno in TAKEN and self.high:
                    self.pass_over_port(exc)
                elif not (self.spec.retry_connect
                          and isinstance(exc, ConnectionRefusedError)):
                    raise
                else:
                    time.sleep(RETRY_PAUSE_NS / 1e9)
            except BaseException:
                sock.close()
                raise
            self.waited()

    def bind(self, sock: socket) -> None:
        if not self.high:
            sock.bind((self.spec.source, 0))
            return
        while True:
            port = self.port
            self.port = port + 1 if port < self.high else self.low
            try:
                sock.bind((self.spec.source, port))
                return
            except OSError as exc:
                if exc.errno not in TAKEN:
                    raise
                self.pass_over_port(exc)
            self.waited()

    def pass_over_port(self, exc: OSError) -> None:
        self.ports_taken += 1
        if self.ports_taken > self.high - self.low:
            raise OSError(errno.EADDRNOTAVAIL, "all local ports are taken") from exc

    def await_connection(self, sock: socket) -> None:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        while True:
            self.waited()
            # Until something is due, which is a tick away at the most.
            left_ns = min(self.due, self.now + TICK_NS) - self.now
            if poll.poll(-(-left_ns // 1_000_000)):
                break
        error = sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    def converse(self, sock: socket) -> None:
        """Send the request, read the response and on to the end of file."""
        number = self.requests_sent - 1
        size = self.spec.request_bytes
        left = size
        while left:
            data = self.outgoing.first if left == size and self.outgoing.width == 1 and not (
                self.outgoing.in_pieces) else self.outgoing.piece(number, left)
            try:
                put = sock.send(data, NO_SIGNAL)
            except BlockingIOError:
                self.waited()
                continue
            self.send_calls += 1
            self.bytes_sent += put
            left -= put
            if left:
                self.waited()
        wanted = self.spec.response_bytes
        if not wanted and self.spec.close_first:
            sock.shutdown(SHUT_WR)
        view = self.incoming.view(number)
        recv_into = sock.recv_into
        while True:
            try:
                got = recv_into(view)
            except BlockingIOError:
                self.waited()
                continue
            if not got:
                break
            self.recv_calls += 1
            self.bytes_received += got
            before = self.have
            self.have += got
            if self.have != wanted:
                # In parts, or more than was asked for: it may go on like this for long.
                self.waited()
            if self.spec.close_first and before < wanted <= self.have:
                sock.shutdown(SHUT_WR)
        if self.have < wanted:
            raise Over(self.gone())

    def finish(self) -> Histogram:
        if self.in_flight:
            self.leftover_bytes = self.have
        return super().finish()


class ConnectTarget(Phase):
    """Accepts, answers, closes.

    It reads the clock once per connection, to see a stop while it is never idle.
    """

    keeps_time = False

    def __init__(self, listener: socket, spec: ConnectSpec, stop_fd: int) -> None:
        super().__init__(spec, stop_fd)
        self.listener = listener
        self.spec = spec
        self.incoming, self.outgoing = _buffers(
            spec, spec.request_bytes, spec.response_bytes, TARGET_TEXT)
        self.timeouts = [SocketTimeout(listener, SO_RCVTIMEO),
                         SocketTimeout(listener, SO_SNDTIMEO)]
        self.timeout = self.timeouts[0].packed(TICK_NS)
        self.inherited: bool | None = None
        self.peer = _packed(spec.peer) if spec.peer else b""
        self.peer_text = spec.peer or None
        self.next_look = NEVER
        self.accepted_ns = 0

    def start(self) -> Ended | None:
        # Linux gives the timeouts of a listener to what it accepts.
        for timeout in self.timeouts:
            timeout.set(TICK_NS)
        self.next_look = monotonic_ns() + TICK_NS
        return None

    def step(self) -> Ended | None:
        if self.brake.left <= 0:
            return self.pause()
        try:
            conn, address = self.listener.accept()
        except BlockingIOError:
            return Ended.STOPPED if self.stop_asked() else None
        except OSError as exc:
            if exc.errno == errno.EINVAL:   # shut down from outside
                return Ended.STOPPED if self.stop_asked() else Ended.PEER
            if exc.errno in NOT_ACCEPTED:
                return Ended.STOPPED if self.stop_asked() else None
            raise
        with conn:
            self.accepted_ns = now = monotonic_ns()
            if now >= self.next_look:
                self.next_look = now + TICK_NS
                if self.stop_asked():
                    return Ended.STOPPED
            if self.peer and address[0] != self.peer_text and not self.is_peer(address[0]):
                self.strangers += 1
                return None
            if not self.started_ns:
                self.started_ns = now
                self.brake.start(now)
            if not self.serve(conn):
                return None
        self.transactions += 1
        self.brake.left -= 1
        return Ended.COUNT if self.transactions == self.spec.transactions else None

    def is_peer(self, host: str) -> bool:
        if _packed(host) != self.peer:
            return False
        self.peer_text = host   # as the system writes it
        return True

    def serve(self, conn: socket) -> bool:
        """Play one transaction; whether it was a whole one."""
        try:
            self.limit_waits(conn)
            if not (self.take_request(conn) and self.give_response(conn)):
                return False
            return not self.spec.close_first or self.take_end(conn)
        except OSError:     # it broke; the next one may not
            return False

    def limit_waits(self, conn: socket) -> None:
        if self.inherited is None:
            self.inherited = all(
                conn.getsockopt(SOL_SOCKET, option, len(self.timeout)) == self.listener
                .getsockopt(SOL_SOCKET, option, len(self.timeout))
                for option in (SO_RCVTIMEO, SO_SNDTIMEO))
        if not self.inherited:
            conn.setsockopt(SOL_SOCKET, SO_RCVTIMEO, self.timeout)
            conn.setsockopt(SOL_SOCKET, SO_SNDTIMEO, self.timeout)

    def patient(self, since: int) -> bool:
        """Whether a connection that said nothing since then may go on saying nothing."""
        if self.stop_asked():
            raise Over(Ended.STOPPED)
        return monotonic_ns() - since < ConnectSpec.IDLE_CONNECTION_NS

    def take_request(self, conn: socket) -> bool:
        view = self.incoming.view(self.transactions)
        left = self.spec.request_bytes
        since = self.accepted_ns
        while left:
            try:
                got = conn.recv_into(view, min(left, len(view)))
            except BlockingIOError:
                if not self.patient(since):
                    return False
                continue
            if not got:
                return False
            self.recv_calls += 1
            self.bytes_received += got
            left -= got
            if left:
                since = self.progress()
        return True

    def give_response(self, conn: socket) -> bool:
        left = self.spec.response_bytes
        since = self.accepted_ns
        while left:
            try:
                put = conn.send(self.outgoing.piece(self.transactions, left), NO_SIGNAL)
            except BlockingIOError:
                if not self.patient(since):
                    return False
                continue
            self.send_calls += 1
            self.bytes_sent += put
            left -= put
            if left:
                since = self.progress()
        return True

    def take_end(self, conn: socket) -> bool:
        """Read to the end of file; what comes before it is of no interest."""
        since = monotonic_ns()
        while True:
            try:
                if not conn.recv_into(self.incoming.first):
                    return True
            except BlockingIOError:
                pass
            if not self.patient(since):
                return False

    def progress(self) -> int:
        """Part of a large message has moved: look at the stop descriptor now and then."""
        now = monotonic_ns()
        if now >= self.next_look:
            self.next_look = now + TICK_NS
            if self.stop_asked():
                raise Over(Ended.STOPPED)
        return now


def _packed(host: str) -> bytes:
    """A numeric address in bytes; IPv4 inside IPv6 as the IPv4 it is."""
    host, _, scope = host.partition("%")
    if ":" not in host:
        return socket_module.inet_pton(AF_INET, host)
    packed = socket_module.inet_pton(AF_INET6, host)
    if packed[:12] == bytes(10) + b"\xff\xff":
        return packed[12:]
    return packed + scope.encode()
