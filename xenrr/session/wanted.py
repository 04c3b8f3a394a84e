"""A test request of either dialect, reduced to what the target's data phase needs.

Everything a peer can ask for is bounded here: sizes, rings, durations, ports, addresses. A
request outside the bounds is refused with an errno, as netserver refuses what its system
does not do.
"""

from __future__ import annotations

import errno

from xenrr.engine.base import Pace
from xenrr.frozen import dataclass
from xenrr.results.record import MAX_DURATION_S
from xenrr.session.dataoptions import DataOptions
from xenrr.session.requests import (
    DATAGRAM,
    STREAM,
    TAKES,
    TCP,
    TRANSMITS,
    UDP,
    AnyRequest,
)
from xenrr.session.shapes import MAX_RING_BYTES, Rings, Shape, pace_of
from xenrr.units import MAX_CPU, MAX_DATAGRAM_BYTES, MAX_MESSAGE_BYTES
from xenrr.wire.classic import RRRequest
from xenrr.wire.message import UNKNOWN_REQUEST_ERRNO, Kind
from xenrr.wire.omni import OmniFlags, OmniRequest
from xenrr.wire.streams import StreamRequest, UdpStreamRequest

__all__ = ["MAX_TARGET_BLOCK_BYTES", "Refused", "TestWanted", "wanted_of"]

# One send or receive call of a one-way test: half of what all buffers of an end may take.
MAX_TARGET_BLOCK_BYTES = MAX_RING_BYTES // 2

NO_RINGS, NO_PACE = Rings(), Pace()
RR_NAMES = {Kind.DO_TCP_RR: "TCP_RR", Kind.DO_UDP_RR: "UDP_RR", Kind.DO_TCP_CRR: "TCP_CRR",
            Kind.DO_TCP_CC: "TCP_CC"}


class Refused(Exception):
    """A request that this target does not serve; carries the errno to answer with."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.errno = number


@dataclass(frozen=True)
class TestWanted:
    """A test as the target does it.

    Attributes:
        name: For a person.
        classic: Whether it was asked in the classic dialect.
        shape: What the target does.
        datagram, family: UDP or TCP; 4 or 6.
        receive_bytes, send_bytes: Of each request and response; one way, of each call, 0
            or less for as large as the socket buffer. Elsewhere 0 is nothing at all.
        duration_s, count: One of them is 0; both are 0 in a test that runs until the sender
            ends it. ``count`` is transactions, or bytes one way.
        options, rings, pace: What else is asked of this end.
        port, address: Where data is wanted; 0 for any port.
        other_address: ``address`` is not the one that the control connection came to.
        data_host, data_port: Where datagrams go that the target sends first.
        measure_cpu: Whether to measure CPU utilisation.
        cpu: CPU to run on, -1 for any.
        discard: Drop what arrives, uncopied.
        short_ends: A shorter datagram than ``receive_bytes`` ends the test.
        ignored: What was asked for and is not done, for the log; empty for nothing.
    """

    __test__ = False

    name: str
    classic: bool
    shape: Shape
    datagram: bool
    family: int
    receive_bytes: int
    send_bytes: int
    duration_s: int
    count: int
    options: DataOptions
    port: int
    address: str
    other_address: bool = False
    rings: Rings = NO_RINGS
    pace: Pace = NO_PACE
    data_host: str = ""
    data_port: int = 0
    measure_cpu: bool = False
    cpu: int = -1
    discard: bool = False
    short_ends: bool = False
    ignored: str = ""


def wanted_of(request: AnyRequest, family: int, local: str) -> TestWanted:
    """What a request asks for.

    Args:
        request: Of either dialect.
        family: 4 or 6, of the control connection; used where the request leaves it open.
        local: This end's address of the control connection: senders take their data to
            where they found us, and a datagram is answered from where it went to.

    Raises:
        Refused: Another kind of test, or something that no test can have.
    """
    if isinstance(request, OmniRequest):
        wanted = _of_omni(request, family, local)
    elif isinstance(request, RRRequest):
        wanted = _of_rr(request, family, local)
    elif isinstance(request, StreamRequest):
        wanted = _of_stream(request, family, local)
    else:
        wanted = _of_udp_stream(request, family, local)
    _check(wanted)
    return wanted


def _of_rr(request: RRRequest, family: int, local: str) -> TestWanted:
    datagram = request.kind == Kind.DO_UDP_RR
    connects = request.kind in (Kind.DO_TCP_CRR, Kind.DO_TCP_CC)
    carries = request.kind != Kind.DO_TCP_CC
    return TestWanted(
        name=RR_NAMES[request.kind], classic=True,
        shape=Shape.CONNECTIONS if connects else Shape.ROUNDS, datagram=datagram,
        family=request.ipfamily or family,
        receive_bytes=_positive(request.request_size) if carries else 0,
        send_bytes=_positive(request.response_size) if carries else 0,
        duration_s=max(request.test_length, 0), count=max(-request.test_length, 0),
        options=_options(request.send_buf_size, request.recv_buf_size,
                         nodelay=bool(request.no_delay) and not datagram,
                         listens=not datagram),
        rings=Rings(1, 1, request.send_alignment, request.recv_alignment,
                    request.send_offset, request.recv_offset),
        port=request.port, address=local, measure_cpu=bool(request.measure_cpu),
        cpu=request.cpu)


def _of_stream(request: StreamRequest, family: int, local: str) -> TestWanted:
    sends = request.kind == Kind.DO_TCP_MAERTS
    return TestWanted(
        name="TCP_MAERTS" if sends else "TCP_STREAM", classic=True,
        shape=Shape.SENDS if sends else Shape.RECEIVES, datagram=False,
        family=request.ipfamily or family, receive_bytes=0 if sends else request.block_size,
        send_bytes=request.block_size if sends else 0,
        # What ends a TCP_STREAM is the sender: its length may be seconds or bytes.
        duration_s=max(request.test_length, 0) if sends else 0, count=0,
        options=_options(request.send_buf_size, request.recv_buf_size,
                         nodelay=bool(request.no_delay), listens=True),
        rings=Rings(0, 0, request.alignment, request.alignment, request.offset,
                    request.offset),
        port=request.port, address=local, measure_cpu=bool(request.measure_cpu),
        cpu=request.cpu, discard=bool(request.so_rcvavoid) and not sends)


def _of_udp_stream(request: UdpStreamRequest, family: int, local: str) -> TestWanted:
    return TestWanted(
        name="UDP_STREAM", classic=True, shape=Shape.RECEIVES, datagram=True,
        family=request.ipfamily or family, receive_bytes=_positive(request.message_size),
        send_bytes=0, duration_s=max(request.test_length, 0),
        count=max(-request.test_length, 0),
        options=_options(-1, request.recv_buf_size, nodelay=False, listens=False),
        rings=Rings(0, 0, 8, request.alignment, 0, request.offset),
        port=request.port, address=local, measure_cpu=bool(request.measure_cpu),
        cpu=request.cpu, short_ends=True)


def _of_omni(request: OmniRequest, family: int, local: str) -> TestWanted:
    # netperf sends 0 for a protocol that it does not know, and the system chooses.
    served = {(TCP, STREAM): "TCP", (UDP, DATAGRAM): "UDP",
              (0, STREAM): "TCP", (0, DATAGRAM): "UDP"}
    protocol = served.get((request.protocol, request.socket_type))
    if protocol is None:
        raise Refused(errno.EPROTONOSUPPORT, f"protocol {request.protocol} with socket type "
                                             f"{request.socket_type}")
    datagram = protocol == "UDP"
    shape, word, received, sent = _omni_shape(request, datagram)
    flags = request.flags
    return TestWanted(
        name=f"{protocol}_{word}", classic=False, shape=shape, datagram=datagram,
        family=request.ipfamily or family, receive_bytes=received, send_bytes=sent,
        duration_s=max(request.test_length, 0), count=max(-request.test_length, 0),
        options=_options(
            request.send_buf_size, request.recv_buf_size,
            nodelay=bool(flags & OmniFlags.NODELAY) and not datagram, listens=not datagram,
            keepalive=bool(flags & OmniFlags.KEEPALIVE),
            dontroute=not flags & OmniFlags.ROUTING_ALLOWED,
            fast_open=bool(flags & OmniFlags.FAST_OPEN),
            defer_accept=bool(flags & OmniFlags.DEFER_ACCEPT),
            dont_fragment=bool(flags & OmniFlags.DONT_FRAGMENT),
            priority=request.socket_prio, tos=request.socket_tos,
            congestion=request.cong_control),
        rings=Rings(request.send_width, request.recv_width, request.send_alignment,
                    request.recv_alignment, request.send_offset, request.recv_offset),
        pace=pace_of(request.interval_usecs, request.interval_burst), port=request.data_port,
        address=request.netserver_ip or local,
        other_address=request.netserver_ip not in ("", local), data_host=request.netperf_ip,
        data_port=request.netperf_port,
        measure_cpu=bool(flags & OmniFlags.MEASURE_CPU), cpu=request.cpu,
        discard=bool(request.so_rcvavoid) and shape is Shape.RECEIVES,
        # Whoever serves files by name to any stranger serves /etc/shadow one day.
        ignored=(f"the fill file {request.fill_file!r} that it names is not read"
                 if request.fill_file else ""))


def _omni_shape(request: OmniRequest, datagram: bool) -> tuple[Shape, str, int, int]:
    """Shape, its name, and the sizes to receive and to send."""
    direction = request.direction & (TRANSMITS | TAKES)
    if request.flags & OmniFlags.CONNECTION_TEST:
        if datagram:
            raise Refused(UNKNOWN_REQUEST_ERRNO, "UDP has no connections to make")
        received = sent = 0
        if direction == TRANSMITS | TAKES:
            received, sent = _positive(request.request_size), _positive(request.response_size)
            return Shape.CONNECTIONS, "CRR", received, sent
        # One way, a connection for every block: not one of netperf's named tests. A netperf
        # does not say how much it will send.
        if direction == TAKES:
            received = max(request.request_size, request.receive_size)
        elif direction == TRANSMITS:
            sent = max(request.response_size, request.send_size)
        return Shape.CONNECTIONS, "CC", received, sent
    if direction == TRANSMITS | TAKES:
        return (Shape.ROUNDS, "RR", _positive(request.request_size),
                _positive(request.response_size))
    if direction == TAKES:
        received = request.receive_size
        return Shape.RECEIVES, "STREAM", (min(received, MAX_TARGET_BLOCK_BYTES) if datagram
                                          else received), 0
    if direction == TRANSMITS:
        return Shape.SENDS, "MAERTS", 0, request.send_size
    raise Refused(UNKNOWN_REQUEST_ERRNO, "a test that carries nothing and connects once")


def _options(send_buffer: int, receive_buffer: int, **rest: object) -> DataOptions:
    # 2.4.0 to 2.4.3 send 0 for "default", and taking that literally shrinks the buffers to
    # the kernel's minimum (fact sheet, trap 2).
    return DataOptions(send_buffer=send_buffer if send_buffer > 0 else -1,
                       receive_buffer=receive_buffer if receive_buffer > 0 else -1,
                       **rest)  # type: ignore[arg-type]


def _positive(size: int) -> int:
    if size < 1:
        raise Refused(errno.EINVAL, f"a size of {size} bytes")
    return size


def _check(wanted: TestWanted) -> None:
    if wanted.family not in (4, 6):
        raise Refused(errno.EAFNOSUPPORT, f"address family {wanted.family}")
    limit = MAX_TARGET_BLOCK_BYTES if wanted.shape.one_way else MAX_MESSAGE_BYTES
    # Into more than a datagram it may be received, but in the classic dialect the size is
    # that of the sender's datagrams.
    if wanted.datagram and (wanted.classic or wanted.shape is not Shape.RECEIVES):
        limit = MAX_DATAGRAM_BYTES
    for size in (wanted.receive_bytes, wanted.send_bytes):
        if size > limit:
            raise Refused(errno.EMSGSIZE, f"a size of {size} bytes, the limit is {limit}")
    for port in (wanted.port, wanted.data_port):
        if not 0 <= port <= 65535:
            raise Refused(errno.EINVAL, f"data port {port}")
    if wanted.duration_s > MAX_DURATION_S:
        raise Refused(errno.EINVAL, f"a test of {wanted.duration_s} s")
    if wanted.cpu > MAX_CPU:
        raise Refused(errno.EINVAL, f"CPU {wanted.cpu}")
    if wanted.datagram and wanted.shape is Shape.SENDS and not wanted.data_port:
        raise Refused(errno.EDESTADDRREQ, "datagrams to nowhere")
