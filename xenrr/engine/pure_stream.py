"""Data that flows one way, in Python.

Both ends move in sprints, as round trips do: call, clock, ``append``, until a call brings
or takes something else than usual, or something is due. The time from the end of one call
to the end of the next is the sample, so there is one clock read per call.

Calls block, and a timeout on the socket (SO_SNDTIMEO, SO_RCVTIMEO) gets them back to the
clock: a sender that never blocked would send part of a block whenever the buffer is full,
and calls and bytes per call would be those of no other program.
"""

from __future__ import annotations

import errno
import os
from itertools import repeat
from socket import MSG_DONTWAIT, SO_RCVBUF, SO_RCVTIMEO, SO_SNDTIMEO, SOL_SOCKET, socket
from time import monotonic_ns

from xenrr.engine.base import Ended, StreamSpec
from xenrr.engine.pure_common import (
    FOLD_SAMPLES,
    MAX_STRAYS,
    NEVER,
    NO_SIGNAL,
    TEXT,
    TRUNCATE,
    Incoming,
    Outgoing,
    SocketTimeout,
    Timed,
    sender_function,
)

__all__ = ["StreamReceiver", "StreamSender"]

# A datagram that the system does not take for one of these reasons is gone, and no more.
NOT_TAKEN = (errno.ENOBUFS, errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNREFUSED)
# The kernel charges a queued datagram at least this much of the receive buffer.
LEAST_CHARGE_BYTES = 256


class _OneWay(Timed):
    """What both ends have in common: the socket and the call in work."""

    def __init__(self, sock: socket, spec: StreamSpec, stop_fd: int, report_fd: int,
                 timeout_option: int) -> None:
        super().__init__(spec, stop_fd, report_fd)
        self.sock = sock
        self.spec = spec
        self.timeouts = [SocketTimeout(sock, timeout_option)]
        self.call_start = 0     # where the sample of the next call begins
        self.calls = 0          # blocks begun; the next one's buffer

    def resumed(self) -> None:
        self.call_start = self.now

    def called(self, before: int, ended: int) -> int:
        """Calls are in the samples.

        Args:
            before: How many samples there were before them.
            ended: When the last of them did.

        Returns:
            How many calls.
        """
        count = len(self.samples.raw) - before
        self.call_start = ended
        self.calls += count
        self.brake.left -= count
        if len(self.samples.raw) >= FOLD_SAMPLES:
            self.samples.fold()
        return count

    def call_failed(self, exc: OSError) -> Ended | None:
        """A call on the socket did not go through: go on, end, or raise what it said."""
        if isinstance(exc, BlockingIOError):
            return self.look_at_clock()
        if (isinstance(exc, (ConnectionResetError, BrokenPipeError))
                and not self.spec.datagram):
            return self.gone()
        raise exc


class StreamSender(_OneWay):
    """Sends block after block."""

    def __init__(self, sock: socket, spec: StreamSpec, stop_fd: int, report_fd: int) -> None:
        super().__init__(sock, spec, stop_fd, report_fd, SO_SNDTIMEO)
        self.send = sender_function(sock, spec.plain_write)
        self.block_left = 0     # of a block that went out in part
        self.file_offset = 0
        # Whole blocks, also the last; from a file whatever there is to its end.
        self.enough = NEVER
        size = spec.block_bytes
        if spec.file_fd >= 0:
            self.enough = spec.limit_bytes or NEVER
            return
        if spec.limit_bytes:
            self.enough = -(-spec.limit_bytes // size) * size
        buffers = spec.buffers
        self.outgoing = Outgoing(size, buffers.send_width, buffers.send_alignment,
                                 buffers.send_offset, buffers.fill or TEXT, whole=True)

    def start(self) -> Ended | None:
        self.set_clock()
        self.begin()
        self.call_start = self.now
        return None

    def step(self) -> Ended | None:
        if self.block_left:
            return self.send_rest()
        if self.bytes_sent >= self.enough:
            return Ended.COUNT
        if self.brake.left <= 0:
            return self.pause()
        budget = min(self.brake.left, FOLD_SAMPLES)
        if self.spec.file_fd >= 0:
            return self.sprint_from_file(budget)
        return self.sprint(min(
            budget, (self.enough - self.bytes_sent) // self.spec.block_bytes))

    def sprint(self, budget: int) -> Ended | None:
        size = self.spec.block_bytes
        send = self.send
        clock = monotonic_ns
        due = self.due
        raw = self.samples.raw
        append = raw.append
        before = len(raw)
        start = now = self.call_start
        put = size
        failure: OSError | None = None
        try:
            for block in self.outgoing.messages(self.calls, budget):
                put = send(block, NO_SIGNAL)
                now = clock()
                append(now - start)
                start = now
                if put != size or now >= due:
                    break
        except OSError as exc:
            put, failure = size, exc
        finally:
            done = self.called(before, start)
            self.send_calls += done
            self.bytes_sent += done * size
        if failure is not None:
            return self.not_sent(failure)
        self.now = now
        if put != size:
            self.bytes_sent += put - size
            self.block_left = size - put
        return self.tick() if now >= due and not self.done() else None

    def done(self) -> bool:
        return self.bytes_sent >= self.enough and not self.block_left

    def not_sent(self, failure: OSError) -> Ended | None:
        if not self.spec.datagram or failure.errno not in NOT_TAKEN:
            return self.call_failed(failure)
        self.failed_sends += 1
        self.calls += 1
        self.brake.left -= 1
        ended = self.look_at_clock()
        self.call_start = self.now
        return ended

    def send_rest(self) -> Ended | None:
        """Go on with a block that went out in part."""
        piece = self.outgoing.piece(self.calls - 1, self.block_left)
        try:
            put = self.send(piece, NO_SIGNAL)
        except OSError as exc:
            return self.call_failed(exc)
        self.now = monotonic_ns()
        self.samples.raw.append(self.now - self.call_start)
        self.call_start = self.now
        self.send_calls += 1
        self.bytes_sent += put
        self.block_left -= put
        return self.tick() if self.now >= self.due and not self.done() else None

    def sprint_from_file(self, budget: int) -> Ended | None:
        size = self.spec.block_bytes
        file_bytes = self.spec.file_bytes
        file_fd = self.spec.file_fd
        descriptor = self.sock.fileno()
        send_file = getattr(os, "sendfile", None) or self.copy_from_file
        clock = monotonic_ns
        due = self.due
        raw = self.samples.raw
        append = raw.append
        before = len(raw)
        start = now = self.call_start
        offset = self.file_offset
        count = min(size, file_bytes - offset)
        left = self.enough - self.bytes_sent
        put = count
        failure: OSError | None = None
        try:
            for _ in repeat(None, budget):
                put = send_file(descriptor, file_fd, offset, count)
                if not put:
                    break
                now = clock()
                append(now - start)
                start = now
                left -= put
                offset += put
                if offset >= file_bytes:
                    offset = 0
                count = min(size, file_bytes - offset)
                if now >= due or left <= 0:
                    break
        except OSError as exc:
            failure = exc
        finally:
            self.send_calls += self.called(before, start)
            self.bytes_sent = self.enough - left
            self.file_offset = offset
        if failure is not None:
            return self.call_failed(failure)
        if not put:
            # The file has become shorter.
            if not offset:
                raise OSError(errno.EIO, "the file to send from is empty")
            self.file_offset = 0
            return self.look_at_clock()
        self.now = now
        return self.tick() if now >= due and left > 0 else None

    def copy_from_file(self, descriptor: int, file_fd: int, offset: int, count: int) -> int:
        """What sendfile() does, for systems without it."""
        data = os.pread(file_fd, count, offset)
        return self.sock.send(data, NO_SIGNAL) if data else 0


class StreamReceiver(_OneWay):
    """Receives until the end, whatever comes."""

    def __init__(self, sock: socket, spec: StreamSpec, stop_fd: int, report_fd: int) -> None:
        super().__init__(sock, spec, stop_fd, report_fd, SO_RCVTIMEO)
        size = spec.block_bytes
        buffers = spec.buffers
        self.flags = TRUNCATE if spec.discard else 0
        # A datagram's length is told whatever the buffer holds; one byte of it is copied.
        self.want = 1 if spec.datagram and self.flags else size
        self.incoming = Incoming(self.want, buffers.receive_width, buffers.receive_alignment,
                                 buffers.receive_offset, whole=True)
        self.enough = spec.limit_bytes or NEVER
        self.peer: object = None
        self.sift_left = 0      # UDP: datagrams in the queue that may be strangers'
        self.strays = 0

    def start(self) -> Ended | None:
        self.set_clock()
        self.call_start = self.now
        if self.spec.datagram:
            self.peer = self.sock.getpeername()[:2]
            # What was queued before the socket was connected fits into its buffer. The
            # queue of a busy receiver may never be found empty.
            queue_bytes = self.sock.getsockopt(SOL_SOCKET, SO_RCVBUF)
            self.sift_left = queue_bytes // LEAST_CHARGE_BYTES + MAX_STRAYS
        return None

    def step(self) -> Ended | None:
        if self.brake.left <= 0:
            return self.pause()
        if self.sift_left > 0:
            return self.sift()
        if not self.started_ns:
            return self.receive_one()
        return self.sprint(min(self.brake.left, FOLD_SAMPLES))

    def sprint(self, budget: int) -> Ended | None:
        size = self.spec.block_bytes
        want = self.want
        flags = self.flags
        # A datagram that is too long counts for what was asked of it; one that is too
        # short may be the end.
        most = size if self.spec.datagram and flags else NEVER
        least = size if self.spec.short_ends else 1
        recv_into = self.sock.recv_into
        clock = monotonic_ns
        due = self.due
        raw = self.samples.raw
        append = raw.append
        before = len(raw)
        start = now = self.call_start
        left = self.enough - self.bytes_received
        got = least
        failure: OSError | None = None
        try:
            for view in self.incoming.views(self.calls, budget):
                got = recv_into(view, want, flags)
                if got < least:
                    break
                now = clock()
                append(now - start)
                start = now
                left -= got if got < most else most
                if now >= due or left <= 0:
                    break
        except OSError as exc:
            got, failure = least, exc
        finally:
            self.recv_calls += self.called(before, start)
            self.bytes_received = self.enough - left
        if failure is not None:
            return self.not_received(failure)
        if got < least:
            return self.gone()
        self.now = now
        if left <= 0:
            return Ended.COUNT
        return self.tick() if now >= due else None

    def sift(self) -> Ended | None:
        """Take a datagram that was perhaps queued before the socket was connected."""
        self.sift_left -= 1
        try:
            got, address = self.sock.recvfrom_into(
                self.incoming.view(self.calls), self.want, MSG_DONTWAIT | self.flags)
        except BlockingIOError:
            self.sift_left = 0
            return None
        except OSError as exc:
            return self.not_received(exc)
        if address[:2] != self.peer:
            return self.look_at_clock()
        return self.received(got)

    def receive_one(self) -> Ended | None:
        try:
            got = self.sock.recv_into(self.incoming.view(self.calls), self.want, self.flags)
        except OSError as exc:
            return self.not_received(exc)
        return self.received(got)

    def received(self, got: int) -> Ended | None:
        if not got and self.spec.datagram and not self.started_ns:
            self.strays += 1
            if self.strays <= MAX_STRAYS:
                return self.look_at_clock()
        if not got or (self.spec.short_ends and got < self.spec.block_bytes):
            return self.gone()
        self.now = monotonic_ns()
        if not self.started_ns:
            self.begin()
        before = len(self.samples.raw)
        self.samples.raw.append(self.now - self.call_start)
        self.recv_calls += self.called(before, self.now)
        self.bytes_received += min(got, self.spec.block_bytes)
        if self.bytes_received >= self.enough:
            return Ended.COUNT
        return self.tick() if self.now >= self.due else None

    def not_received(self, failure: OSError) -> Ended | None:
        if self.spec.datagram and isinstance(failure, ConnectionRefusedError):
            # The socket at the other end was closed: the end without a word.
            return self.gone()
        return self.call_failed(failure)
