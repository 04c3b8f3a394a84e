"""A pool of connections that are answered by one thread, in Python: the specification of
``FlowsEngine.serve_flows``.

A member is answered in turns: one request of a connection, some of a socket that serves
many. Its response goes out before anything else is read from it, so all that a pool ever
owes is one response of each member, and that only while its socket takes no more.

What comes through the pipe is checked as if a stranger had sent it: a record that makes no
sense costs nobody else their connection.
"""

from __future__ import annotations

import errno
import os
import socket as socket_module
from socket import AF_INET, AF_INET6, MSG_DONTWAIT, socket
from time import monotonic_ns

from xenrr.engine.base import HEAD_BYTES, MAGIC, MAX_PIECE_BYTES, Ended
from xenrr.engine.flows import ADD, DROP, JOIN_RECORD, LEAVE_RECORD
from xenrr.engine.pure_common import MAX_STRAYS, NO_SIGNAL, TARGET_TEXT, how_it_failed
from xenrr.engine.pure_pollers import READABLE, WRITABLE, Poller
from xenrr.units import MAX_DATAGRAM_BYTES

__all__ = ["Pool"]

SEND_FLAGS = MSG_DONTWAIT | NO_SIGNAL
# Requests that a socket of many senders' flows may have answered in one turn.
SHARED_TURN = 16
# Records taken from the pipe in one turn.
JOINS_TURN = 512


class _Left(Exception):
    """A member leaves the pool.

    Args:
        ended: Why.
        error: Error number of a failed system call.
    """

    def __init__(self, ended: Ended, error: int = 0) -> None:
        super().__init__(ended.name)
        self.ended = ended
        self.error = error


class _Member:
    """A connection in a pool; fields as in ``Join`` and ``Leave``.

    Args:
        number: Its id.
        fd: A socket; it stays open when this object is gone.
        values: The rest of a ``JOIN_RECORD``.

    Raises:
        OSError: It is no socket, or the record makes no sense (EINVAL).
    """

    def __init__(self, number: int, fd: int, values: tuple[int, ...], peer: bytes) -> None:
        datagram, request_bytes, response_bytes, transactions, have_bytes, peer_bytes = values
        most = MAX_DATAGRAM_BYTES if datagram else MAX_PIECE_BYTES
        if (datagram not in (0, 1) or not 1 <= request_bytes <= most
                or not 1 <= response_bytes <= most or transactions < 0
                or not 0 <= have_bytes < request_bytes or (datagram and have_bytes)
                or peer_bytes not in (0, 4, 16) or (peer_bytes and not datagram)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.id = number
        self.fd = fd
        self.datagram = bool(datagram)
        self.request_bytes = request_bytes
        self.response_bytes = response_bytes
        self.wanted = transactions
        self.have = have_bytes
        self.send_left = 0      # of the response that is owed
        self.to: tuple[object, ...] | None = None   # where that goes, if it has to be said
        # Datagrams with numbers: what the request began with, if it had one.
        self.numbered = self.datagram and min(request_bytes, response_bytes) >= HEAD_BYTES
        self.head = b""
        self.own_response = memoryview(bytearray(response_bytes if self.numbered else 0))
        self.started_ns = 0
        self.transactions = self.bytes_received = self.bytes_sent = 0
        self.recv_calls = self.send_calls = self.malformed = 0
        self.strays = 0
        self.wants_room = False
        self.host = ""          # of the peer of a socket that is not connected
        self.sifting: tuple[object, ...] | None = None
        self.sock = socket(fileno=fd)
        try:
            is_datagram = self.sock.type == socket_module.SOCK_DGRAM
            if is_datagram != self.datagram:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            if peer_bytes:
                self.host = socket_module.inet_ntop(
                    AF_INET if peer_bytes == 4 else AF_INET6, peer[:peer_bytes])
            elif self.datagram:
                # The queue may hold strangers' datagrams.
                self.sifting = self.sock.getpeername()[:2]
        except (OSError, ValueError) as exc:
            self.sock.detach()
            if isinstance(exc, OSError):
                raise
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from exc

    def turn(self, view: memoryview, response: bytes) -> None:
        """Answer, as far as that goes without waiting.

        Raises:
            _Left: It leaves.
        """
        for _ in range(SHARED_TURN if self.host else 1):
            if self.send_left and not self.send(response):
                return
            if not self.receive(view):
                return
        if self.send_left:
            self.send(response)

    def receive(self, view: memoryview) -> bool:
        """Take one message or a part of it; whether there was something."""
        size = self.request_bytes
        address: tuple[object, ...] | None = None
        try:
            if self.host or self.sifting:
                got, address = self.sock.recvfrom_into(view[:size + 1], 0, MSG_DONTWAIT)
            else:
                want = size + 1 if self.datagram else size - self.have
                got = self.sock.recv_into(view, want, MSG_DONTWAIT)
        except BlockingIOError:
            self.sifting = None
            return False
        except OSError as exc:
            raise _Left(*how_it_failed(exc, self.datagram)) from exc
        if address is not None and not self.knows(address):
            return True
        if not got:
            if self.datagram and not self.started_ns and self.strays < MAX_STRAYS:
                self.strays += 1
                return True
            raise _Left(Ended.PEER)
        self.recv_calls += 1
        if self.datagram and got != size:
            self.malformed += 1
            return True
        self.bytes_received += got
        self.have += got
        if self.have == size:
            self.have = 0
            self.send_left = self.response_bytes
            self.to = address if self.host else None
            if self.numbered:
                head = view[:HEAD_BYTES].tobytes()
                self.head = head if head[:len(MAGIC)] == MAGIC else b""
            if not self.started_ns:
                self.started_ns = monotonic_ns()
        return True

    def knows(self, address: tuple[object, ...]) -> bool:
        """Whether a datagram is from where this member's come from."""
        if self.host:
            return str(address[0]).partition("%")[0] == self.host
        return address[:2] == self.sifting

    def send(self, response: bytes) -> bool:
        """Send what is owed; whether all of it went out."""
        piece = memoryview(response)[self.response_bytes - self.send_left:
                                     self.response_bytes]
        if self.numbered:
            piece = self.own_response
            piece[:HEAD_BYTES] = self.head or response[:HEAD_BYTES]
        try:
            if self.to is not None:
                put = self.sock.sendto(piece, SEND_FLAGS, self.to)
            else:
                put = self.sock.send(piece, SEND_FLAGS)
        except BlockingIOError:
            return False
        except OSError as exc:
            if self.to is not None:
                # One of many behind this socket: nobody else has to go with it.
                self.send_left = 0
                return True
            raise _Left(*how_it_failed(exc, self.datagram)) from exc
        self.send_calls += 1
        self.bytes_sent += put
        self.send_left -= put
        if self.send_left:
            return False
        self.transactions += 1
        if self.transactions == self.wanted:
            raise _Left(Ended.COUNT)
        return True

    def leave(self, left: _Left) -> bytes:
        """Give the socket back; what to say about it."""
        self.sock.detach()
        elapsed_ns = monotonic_ns() - self.started_ns if self.started_ns else 0
        return LEAVE_RECORD.pack(
            self.id, left.ended, left.error, self.started_ns, elapsed_ns, self.transactions,
            self.bytes_received, self.bytes_sent, self.recv_calls, self.send_calls,
            self.malformed, self.have)


class Pool:
    """Answers the requests of all members.

    Args:
        join_fd, leave_fd: See ``flows.FlowsEngine.serve_flows``.
        poller: ``epoll`` or ``poll``.
    """

    def __init__(self, join_fd: int, leave_fd: int, poller: str) -> None:
        self.join_fd = join_fd
        self.leave_fd = leave_fd
        self.poller = Poller(poller)
        self.members: dict[int, _Member] = {}   # by descriptor
        self.by_id: dict[int, _Member] = {}
        self.records = b""      # of the pipe, not whole yet
        self.view = memoryview(bytearray(1))
        self.response = TARGET_TEXT

    def run(self) -> None:
        """Answer until the pipe ends."""
        try:
            self.poller.add(self.join_fd)
            over = False
            while not over:
                for fd, _ in self.poller.wait(None):
                    if fd == self.join_fd:
                        over = self.read_joins()
                    elif fd in self.members:
                        self.turn(self.members[fd])
            for member in list(self.members.values()):
                self.drop(member)
        finally:
            for member in self.members.values():
                member.sock.detach()
            self.poller.close()

    def turn(self, member: _Member) -> None:
        try:
            member.turn(self.view, self.response)
        except _Left as left:
            self.take_leave(member, left)
            return
        wants_room = member.send_left > 0
        if wants_room != member.wants_room:
            # It reads nothing while it owes something.
            member.wants_room = wants_room
            self.poller.change(member.fd, WRITABLE if wants_room else READABLE)

    def read_joins(self) -> bool:
        """Do what the pipe says; whether that was all."""
        try:
            data = os.read(self.join_fd, JOIN_RECORD.size * JOINS_TURN)
        except BlockingIOError:
            return False
        self.records += data
        whole = len(self.records) // JOIN_RECORD.size * JOIN_RECORD.size
        for record in JOIN_RECORD.iter_unpack(self.records[:whole]):
            action, number, fd, *values, peer, peer_bytes = record
            if action == ADD:
                self.add(number, fd, (*values, peer_bytes), peer)
            elif action == DROP and number in self.by_id:
                self.drop(self.by_id[number])
        self.records = self.records[whole:]
        return not data

    def add(self, number: int, fd: int, values: tuple[int, ...], peer: bytes) -> None:
        try:
            if number in self.by_id or fd in self.members or fd == self.join_fd:
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
            if not 0 <= fd < 1 << 31:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            member = _Member(number, fd, values, peer)
            try:
                self.poller.add(fd)
            except OSError:
                member.sock.detach()
                raise
        except OSError as exc:
            os.write(self.leave_fd, LEAVE_RECORD.pack(
                number, Ended.ERROR, exc.errno or errno.EIO, *[0] * 9))
            return
        self.members[fd] = self.by_id[number] = member
        # All members receive into the same memory and send from the same.
        if len(self.view) <= member.request_bytes:
            self.view = memoryview(bytearray(member.request_bytes + 1))
        if len(self.response) < member.response_bytes:
            self.response = TARGET_TEXT * member.response_bytes

    def drop(self, member: _Member) -> None:
        """A member has to go, between two transactions if that can be."""
        left = _Left(Ended.STOPPED)
        if member.send_left:
            try:
                member.send(self.response)
            except _Left as other:
                left = other
        self.take_leave(member, left)

    def take_leave(self, member: _Member, left: _Left) -> None:
        self.poller.remove(member.fd)
        del self.members[member.fd]
        del self.by_id[member.id]
        os.write(self.leave_fd, member.leave(left))
