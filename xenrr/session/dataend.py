"""The sender's end of a data connection: made, connected, described, ended.

What differs between the shapes of tests is here; ``sender`` knows only the order of things,
which is the same for all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import time
from collections.abc import Callable
from types import TracebackType

from xenrr.engine.base import (
    AnySpec,
    ConnectSpec,
    Ended,
    LoopSpec,
    Role,
    SocketOption,
    StreamSpec,
    Tally,
)
from xenrr.engine.tcp_facts import mss_of, tcp_info_of
from xenrr.errors import RemoteProtocolError, SpecError, TimestampsUnavailable
from xenrr.frozen import replace
from xenrr.lean import Union, socket
from xenrr.results.record import RECEIVE, ROUND_TRIPS, SECOND_NS, SEND, SocketFacts, TestSpec
from xenrr.session.dataoptions import apply_options, sender_options
from xenrr.session.requests import Agreement, SenderEnd, shape_of
from xenrr.session.shapes import MAX_RING_BYTES, End, Rings, Shape, pace_of
from xenrr.session.sockets import (
    ANY_ADDRESS,
    address_text,
    buffer_sizes,
    congestion_of,
    family_of,
    look_up,
    nodelay_of,
    wire_family,
)

__all__ = ["LOOK_S", "Address", "DataEnd", "Finish", "resolve"]

# How long the target may take to close the data connection after we have.
DATA_CLOSE_LIMIT_S = 2.0
# How long it may take to swallow what one-way data is still on its way: a full buffer of
# megabytes on a slow line. netperf has no limit here.
DRAIN_LIMIT_S = 120.0
# How often somebody who waits looks whether the test was stopped.
LOOK_S = 0.1
# A counted test reports this often when nobody asked for interim results.
PROGRESS_NS = SECOND_NS
# More of a fill file than this is not read.
MAX_FILL_BYTES = 1 << 24

# On every socket of a test with many connections, as netperf has it: a port is free again
# while the connection before is still in TIME_WAIT.
REUSE_ADDRESS = SocketOption(socket.SOL_SOCKET, socket.SO_REUSEADDR, struct.pack("=i", 1))

Address = Union["tuple[str, int]", "tuple[str, int, int, int]"]


class DataEnd:
    """One test's data socket at the sender; a context manager.

    In a test with many connections the engine makes the sockets, and the one here is only
    there to be asked what the system makes of the options.

    Attributes:
        spec: The test.
        shape: What the sender does in it.
        sock: The data socket.
        sockets: It, and those of further flows.
    """

    def __init__(self, spec: TestSpec, control_family: int) -> None:
        self.spec = spec
        self.shape = shape_of(spec)
        self._file_fd = -1
        self._address: Address | None = None
        family = family_of(spec.data_family) or control_family
        kind = socket.SOCK_DGRAM if spec.is_datagram else socket.SOCK_STREAM
        self.sock = socket.socket(family, kind)
        self.sockets = [self.sock]
        try:
            if spec.decompose:
                _prepare_stamps(self.sock)
            self._applied = apply_options(self.sock, sender_options(spec))
            self._bind(family, kind)
            self._buffers = buffer_sizes(self.sock)
            self._end = self._sizes()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> DataEnd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the sockets and the file."""
        for sock in self.sockets:
            sock.close()
        if self._file_fd >= 0:
            os.close(self._file_fd)
            self._file_fd = -1

    @property
    def send_bytes(self) -> int:
        """Bytes of each send call."""
        return self._end.send_bytes

    def for_request(self, control_host: str) -> SenderEnd:
        """What a request says of this end.

        Args:
            control_host: Local address of the control connection: where datagrams are to be
                sent that the target sends first.
        """
        port, address = self.sock.getsockname()[1], ""
        if self.spec.data_local_host is not None:
            address = self.sock.getsockname()[0]
        elif self.spec.is_datagram and self.shape is Shape.RECEIVES:
            address = control_host
        rounds = self.shape is Shape.ROUNDS
        return SenderEnd(
            family=wire_family(self.sock.family), port=port, address=address,
            send_width=self._end.buffers.send_width if self._end.send_bytes or rounds else 0,
            receive_width=(self._end.buffers.receive_width
                           if self._end.receive_bytes or rounds else 0),
            send_bytes=self._end.send_bytes)

    def take_over(self, agreed: Agreement) -> None:
        """Expect on each connection as much as the target says it will send.

        Raises:
            RemoteProtocolError: That would need more memory than a test may take.
        """
        if (self.shape is Shape.CONNECTIONS and self.spec.direction == RECEIVE
                and agreed.send_bytes > 0):
            if agreed.send_bytes > MAX_RING_BYTES:
                raise RemoteProtocolError(f"the peer wants to send {agreed.send_bytes} bytes "
                                          "on every connection")
            self._end = replace(self._end, receive_bytes=agreed.send_bytes,
                                told_receive_bytes=agreed.send_bytes)

    def connect(self, address: Address, limit_s: float) -> None:
        """Connect to the target's data port, unless the engine does that.

        Raises:
            OSError: It cannot be connected to.
            SpecError: It would be the sender itself.
        """
        self._address = address
        if self.shape is Shape.CONNECTIONS:
            return
        try:
            self.sock.settimeout(limit_s)
            self.sock.connect(address)
        except OSError as exc:
            raise OSError(_number_of(exc), f"the data connection to {address_text(address)} "
                                           f"failed: {exc.strerror or exc}") from exc
        if self.sock.getsockname()[:2] == address[:2]:
            raise SpecError("the data connection would lead from the sender to itself: "
                            "give the sender another local data port than the target's")
        self.sock.settimeout(None)

    def connect_more(self, flows: int, limit_s: float) -> None:
        """Connect the sockets of further flows to where the first one has been connected.

        Args:
            flows: How many.
            limit_s: How long each connection may take, in s.

        Raises:
            OSError: One of them cannot be connected.
        """
        address, first = self._address, self.sock
        assert address is not None
        local_host = self.spec.data_local_host
        try:
            for _ in range(flows):
                sock = socket.socket(first.family, first.type)
                self.sockets.append(sock)
                for call in self._applied.calls:
                    sock.setsockopt(*call)
                if local_host:
                    sock.bind((first.getsockname()[0], 0))
                sock.settimeout(limit_s)
                sock.connect(address)
                sock.settimeout(None)
        except OSError as exc:
            raise OSError(_number_of(exc), f"data connection {len(self.sockets)} to "
                                           f"{address_text(address)} failed: "
                                           f"{exc.strerror or exc}") from exc

    @property
    def addresses(self) -> tuple[str, str]:
        """Far and near end of the data connection, as texts."""
        assert self._address is not None
        return address_text(self._address), address_text(self.sock.getsockname())

    @property
    def engine_socket(self) -> socket.socket | None:
        """What the engine is given."""
        return None if self.shape is Shape.CONNECTIONS else self.sock

    def engine_spec(self) -> AnySpec:
        """The data phase for an engine.

        Raises:
            SpecError: A file that was asked for cannot be read.
        """
        spec = self.spec
        duration_ns = int((spec.duration_s or 0) * SECOND_NS)
        # A counted test has no deadline: its interim results show whether it still moves.
        interim_ns = 0 if spec.duration_s is not None else PROGRESS_NS
        if spec.interim_s > 0:
            interim_ns = int(spec.interim_s * SECOND_NS)
        end = self._end.with_fill(_fill(spec, self._end))
        pace = pace_of(spec.local.pace_us, spec.local.pace_burst)
        if self.shape is Shape.ROUNDS:
            return LoopSpec(
                role=Role.SENDER, datagram=spec.is_datagram, request_bytes=spec.request_bytes,
                response_bytes=spec.response_bytes, duration_ns=duration_ns,
                transactions=spec.transactions or 0, burst=spec.burst, interim_ns=interim_ns,
                loss_timeout_ns=(int(spec.loss_timeout_s * SECOND_NS)
                                 if spec.is_datagram else 0),
                buffers=end.buffers, pace=pace, plain_write=spec.plain_write, spin=spec.spin,
                decompose=spec.decompose)
        if self.shape is Shape.CONNECTIONS:
            assert self._address is not None
            source = spec.data_local_host
            return ConnectSpec(
                role=Role.SENDER, request_bytes=end.send_bytes,
                response_bytes=end.receive_bytes, duration_ns=duration_ns,
                transactions=spec.transactions or 0, interim_ns=interim_ns,
                buffers=end.buffers, pace=pace, destination=self._address,
                source=self.sock.getsockname()[0] if source is not None else "",
                ports=spec.connect_ports, options=(REUSE_ADDRESS, *self._applied.calls),
                close_first=spec.no_control, retry_connect=spec.retry_connect)
        sends = self.shape is Shape.SENDS
        # A TCP receiver reads to the end of file: the target sends whole blocks, and
        # leaving at the count would reset it.
        limit_bytes = (spec.limit_bytes or 0) if sends or spec.is_datagram else 0
        if sends and spec.test == "TCP_SENDFILE":
            self._file_fd = _open_file(spec, end)
        return StreamSpec(
            sends=sends, datagram=spec.is_datagram,
            block_bytes=end.send_bytes if sends else end.receive_bytes,
            duration_ns=duration_ns, limit_bytes=limit_bytes, interim_ns=interim_ns,
            buffers=end.buffers, pace=pace, plain_write=spec.plain_write,
            discard=spec.copy_avoidance and not sends, file_fd=self._file_fd,
            file_bytes=self._file_bytes(end))

    def _file_bytes(self, end: End) -> int:
        """How much of the file is sent, again and again; 0 without one.

        Source: netperf 2.7 src/netlib.c, alloc_sendfile_buf_ring(): the file is its ring, as
        many blocks from the beginning as there would be buffers.
        """
        if self._file_fd < 0:
            return 0
        return min(os.fstat(self._file_fd).st_size, end.buffers.send_width * end.send_bytes)

    def tcp_info(self) -> dict[str, int]:
        """TCP_INFO of the data connection as it is now; empty without a single one."""
        return {} if self.shape is Shape.CONNECTIONS else dict(tcp_info_of(self.sock))

    def facts(self, tally: Tally) -> tuple[SocketFacts, dict[str, int]]:
        """How the socket was set up and what TCP says of it; before ``finish``.

        Args:
            tally: What the loop did, and saw of connections that it made itself.
        """
        sock, end = self.sock, self._end
        final = buffer_sizes(sock)
        connected = self.shape is not Shape.CONNECTIONS
        info = self.tcp_info()
        return SocketFacts(
            send_buffer=self._buffers[0], receive_buffer=self._buffers[1],
            send_buffer_end=final[0], receive_buffer_end=final[1], nodelay=nodelay_of(sock),
            mss=mss_of(sock) if connected else tally.mss,
            send_bytes=end.send_bytes or -1, receive_bytes=end.told_receive_bytes or -1,
            send_width=end.buffers.send_width if end.send_bytes else -1,
            receive_width=end.buffers.receive_width if end.receive_bytes else -1,
            cork=self.spec.cork and "cork" not in self._applied.refused
            and not self.spec.is_datagram,
            priority=self._applied.priority, tos=self._applied.tos, spin=self.spec.spin,
            busy_poll_us=self._applied.busy_poll,
            congestion=congestion_of(sock),
            retransmissions=(info.get("tcpi_total_retrans", -1) if connected
                             else tally.retransmissions)), info

    def finish(self, tally: Tally, *, classic: bool, stopped: Callable[[], bool]) -> Finish:
        """End the data connection as netperf does.

        Args:
            tally: What the loop did.
            classic: Whether the target takes an empty datagram for an error, as it does in
                the classic dialect.
            stopped: Whether somebody wants this to end now.
        """
        if self.shape is Shape.CONNECTIONS:
            return Finish(tally.elapsed_ns)
        if self.spec.is_datagram:
            # Three, since the first may be lost. One that is refused tells of an earlier
            # one that a target which has ended did not take.
            for _ in range(0 if classic else 3):
                with contextlib.suppress(OSError):
                    self.sock.send(b"")
            return Finish(tally.elapsed_ns)
        try:
            if self.shape is Shape.RECEIVES:
                self._leave_sender(tally, stopped)
                return Finish(tally.elapsed_ns)
            self.sock.shutdown(socket.SHUT_WR)
            if self.shape is Shape.SENDS:
                return self._wait_for_the_last(tally, stopped)
            received = tally.leftover_bytes + self._drain(DATA_CLOSE_LIMIT_S, stopped)[0]
            return Finish(tally.elapsed_ns, drained=received // self.spec.response_bytes)
        except OSError as exc:  # the target was quicker; what was measured stands
            # A target that counts closes at the asked number of bytes, and what a last
            # whole block brings beyond it makes that a reset.
            counted = not classic and self.spec.limit_bytes is not None
            if self.shape is Shape.SENDS and counted and exc.errno == errno.ECONNRESET:
                return Finish(_until_now_ns(tally))
            broken = self.shape is Shape.SENDS and exc.errno != errno.ENOTCONN
            return Finish(tally.elapsed_ns, error=(
                f"the target broke the data connection before it had everything: "
                f"{exc.strerror or exc}" if broken and not tally.errno else ""))

    def _wait_for_the_last(self, tally: Tally, stopped: Callable[[], bool]) -> Finish:
        _, ended = self._drain(DRAIN_LIMIT_S, stopped)
        elapsed_ns = _until_now_ns(tally)
        if ended:
            return Finish(elapsed_ns)
        return Finish(elapsed_ns, error="" if stopped() else (
            f"the target did not take all data within {DRAIN_LIMIT_S:g} s"))

    def _leave_sender(self, tally: Tally, stopped: Callable[[], bool]) -> None:
        """Read to the end of file of a target that may not have stopped yet.

        It runs for whole seconds, and would take a closed connection for an error.
        """
        # Without a control connection it is a service that never stops.
        timed = tally.ended in (Ended.TIME, Ended.COUNT) and not self.spec.no_control
        if timed and not stopped():
            duration_s = self.spec.duration_s or 0.0
            self._drain(-duration_s % 1.0 + DATA_CLOSE_LIMIT_S, stopped)
        self.sock.shutdown(socket.SHUT_WR)

    def _drain(self, limit_s: float, stopped: Callable[[], bool]) -> tuple[int, bool]:
        """Read to the end of file; how many bytes came, and whether it did.

        A test that was stopped is given ``DATA_CLOSE_LIMIT_S`` from then on.
        """
        received, end_s = 0, time.monotonic() + limit_s
        seen = False
        while (left_s := end_s - time.monotonic()) > 0:
            if stopped() and not seen:
                seen, end_s = True, min(end_s, time.monotonic() + DATA_CLOSE_LIMIT_S)
                continue
            self.sock.settimeout(min(left_s, LOOK_S))
            try:
                data = self.sock.recv(1 << 16)
            except socket.timeout:
                continue
            if not data:
                return received, True
            received += len(data)
        return received, False

    def _bind(self, family: int, kind: int) -> None:
        spec = self.spec
        connections = self.shape is Shape.CONNECTIONS
        port = 0 if connections else spec.local_data_port
        if spec.data_local_host or port:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(resolve(spec.data_local_host or ANY_ADDRESS[family], port, family,
                                   kind))
        elif spec.is_datagram and self.shape is Shape.RECEIVES:
            self.sock.bind((ANY_ADDRESS[family], 0))  # the target has to be told where

    def _sizes(self) -> End:
        spec, local = self.spec, self.spec.local
        sizes = (local.send_bytes, local.receive_bytes)
        if spec.direction == ROUND_TRIPS:
            sizes = (spec.request_bytes, spec.response_bytes)
        elif self.shape is Shape.CONNECTIONS:
            sizes = ((sizes[0] or -1) if spec.direction == SEND else 0,
                     (sizes[1] or -1) if spec.direction == RECEIVE else 0)
        return End.chosen(
            self.shape,
            Rings(local.send_width, local.receive_width, local.send_alignment,
                  local.receive_alignment, local.send_offset, local.receive_offset),
            datagram=spec.is_datagram, sizes=sizes, socket_buffers=self._buffers)


def _prepare_stamps(sock: socket.socket) -> None:
    from xenrr.engine.stamps import prepare_stamps  # rarely asked for

    try:
        prepare_stamps(sock)
    except OSError as exc:
        raise TimestampsUnavailable(
            "decompose needs Linux: this system takes no time stamps of the packets of a "
            "socket (SO_TIMESTAMPING)") from exc


def _number_of(error: OSError) -> int:
    """Its errno; Python's own timeouts have none."""
    return error.errno or errno.ETIMEDOUT


def _until_now_ns(tally: Tally) -> int:
    """Length of a data phase that ends now, in ns."""
    if not tally.started_ns:
        return tally.elapsed_ns
    return max(tally.elapsed_ns, time.monotonic_ns() - tally.started_ns)


class Finish:
    """How a data connection ended.

    Attributes:
        elapsed_ns: Length of the data phase as netperf counts it.
        drained: Responses that still came in while a TCP connection closed.
        error: What went wrong, else empty.
    """

    def __init__(self, elapsed_ns: int, drained: int = 0, error: str = "") -> None:
        self.elapsed_ns = elapsed_ns
        self.drained = drained
        self.error = error


def resolve(host: str, port: int, family: int, kind: int) -> tuple[str, int]:
    """A socket address of a data connection.

    Raises:
        SpecError: The name does not resolve.
    """
    try:
        found = look_up(host, port, family, kind)
    except socket.gaierror as exc:
        raise SpecError(f"the data address {host!r} does not resolve: {exc.strerror}") from exc
    address: tuple[str, int] = found[0][4]
    return address


def _fill(spec: TestSpec, end: End) -> bytes:
    """What the send buffers begin with: the fill file's first bytes."""
    if not spec.local.fill_file or not end.send_bytes or spec.test == "TCP_SENDFILE":
        return b""
    wanted = min(end.buffers.send_width * end.send_bytes, MAX_FILL_BYTES)
    try:
        with open(spec.local.fill_file, "rb") as file:
            return file.read(wanted)
    except OSError as exc:
        raise SpecError(f"the fill file {spec.local.fill_file!r} cannot be read: "
                        f"{exc.strerror}") from exc


def _open_file(spec: TestSpec, end: End) -> int:
    """A file for sendfile(): the one that was asked for, or one of random bytes.

    netperf wants the file to hold a whole ring of blocks; here a short one is sent again
    from its beginning. It has to hold something, though.
    """
    name = spec.local.fill_file
    if name:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            raise SpecError(f"the file {name!r} cannot be read: {exc.strerror}") from exc
        if os.fstat(descriptor).st_size < 1:
            os.close(descriptor)
            raise SpecError(f"there is nothing to send in the file {name!r}")
        return descriptor
    import tempfile  # rarely needed, and it imports many others

    with tempfile.TemporaryFile() as file:
        for _ in range(end.buffers.send_width):
            for begin in range(0, end.send_bytes, 1 << 20):
                file.write(os.urandom(min(1 << 20, end.send_bytes - begin)))
        file.flush()
        return os.dup(file.fileno())
