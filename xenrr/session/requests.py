"""Between what a person asks (``TestSpec``) and what goes over the wire, in both dialects.

Pure functions: a test in, messages out; messages in, facts out.
"""

from __future__ import annotations

import math
import struct

from xenrr.cpu.usage import METHODS, CpuUsage
from xenrr.frozen import dataclass
from xenrr.lean import Union
from xenrr.results.record import (
    NOTHING,
    RECEIVE,
    ROUND_TRIPS,
    SEND,
    SocketFacts,
    TargetTally,
    TestSpec,
)
from xenrr.session.shapes import Shape
from xenrr.wire.classic import RRRequest, RRResponse, RRResults
from xenrr.wire.message import Kind
from xenrr.wire.omni import OmniFlags, OmniRequest, OmniResponse, OmniResults
from xenrr.wire.streams import (
    StreamRequest,
    StreamResponse,
    StreamResults,
    UdpStreamRequest,
    UdpStreamResponse,
    UdpStreamResults,
)

__all__ = [
    "PAD_TIME_S",
    "Agreement",
    "AnyRequest",
    "AnyResponse",
    "AnyResults",
    "Report",
    "agreement",
    "always_classic",
    "classic_request",
    "has_classic_form",
    "omni_request",
    "report",
    "shape_of",
]

# Every netserver runs this much longer than a timed test before it gives up on its own
# (PAD_TIME, netperf src/netlib.h, 2.4.0 to HEAD).
PAD_TIME_S = 4

TCP, UDP = 6, 17           # IANA protocol numbers, sent as they are
STREAM, DATAGRAM = 1, 2    # netperf's own socket types
# Direction as the server sees it.
TRANSMITS, TAKES = 2, 4
DIRECTION_OF = {ROUND_TRIPS: TRANSMITS | TAKES, SEND: TAKES, RECEIVE: TRANSMITS, NOTHING: 0}
# The longest name of a file that travels, and of a congestion control.
MAX_FILL_FILE, MAX_CONGESTION = 31, 15

AnyRequest = Union[OmniRequest, RRRequest, StreamRequest, UdpStreamRequest]
AnyResponse = Union[OmniResponse, RRResponse, StreamResponse, UdpStreamResponse]
AnyResults = Union[OmniResults, RRResults, StreamResults, UdpStreamResults]

NOTHING_TOLD = TargetTally()

# Tests for which every netperf sends a classic request, whatever the peer knows.
ALWAYS_CLASSIC = ("TCP_CC", "TCP_SENDFILE")


@dataclass(frozen=True)
class Agreement:
    """What the target said to a request."""

    data_port: int
    sockets: SocketFacts
    measures_cpu: bool
    send_bytes: int = -1


@dataclass(frozen=True)
class Report:
    """What the target says it did."""

    tally: TargetTally = NOTHING_TOLD
    cpu: CpuUsage | None = None
    send_buffer_end: int = -1
    receive_buffer_end: int = -1
    congestion: str = ""
    retransmissions: int = -1


@dataclass(frozen=True)
class SenderEnd:
    """What a request says of the sender's data socket.

    ``send_width`` and ``receive_width`` are 0 where it does not send or receive; ``address``
    is empty for any.
    """

    family: int
    port: int
    address: str
    send_width: int
    receive_width: int
    send_bytes: int


def shape_of(spec: TestSpec) -> Shape:
    """The data phase as the sender does it."""
    if spec.connecting:
        return Shape.CONNECTIONS
    return {ROUND_TRIPS: Shape.ROUNDS, SEND: Shape.SENDS,
            RECEIVE: Shape.RECEIVES}[spec.direction]


def always_classic(spec: TestSpec) -> bool:
    """Whether every netperf asks for this test in the classic dialect."""
    return spec.test in ALWAYS_CLASSIC


def has_classic_form(spec: TestSpec) -> bool:
    """Whether a peer that knows no OMNI can be asked for this test."""
    if spec.limit_bytes is not None and (spec.is_datagram or spec.direction == RECEIVE):
        return False
    if spec.connecting and spec.direction == ROUND_TRIPS and spec.transactions is not None:
        # Every netserver answers before it has read the request then, and its close resets
        # the connection: seen with 2.4.0 to 2.7.0.
        return False
    if spec.is_datagram:
        return spec.direction in (ROUND_TRIPS, SEND)
    return not spec.connecting or spec.direction in (ROUND_TRIPS, NOTHING)


def test_length(spec: TestSpec) -> int:
    """netperf's word for the length: whole seconds, or minus transactions or bytes.

    A fraction of a second is rounded up, so that the target does not stop first.
    """
    count = spec.transactions or spec.limit_bytes
    if count is not None:
        return -count
    assert spec.duration_s is not None  # TestSpec has one of the three
    return math.ceil(spec.duration_s)


def omni_request(spec: TestSpec, end: SenderEnd, target_address: str | None) -> OmniRequest:
    """The OMNI form of a test.

    Args:
        spec: The test.
        end: The sender's data socket.
        target_address: Address the target is to bind, ``None`` for any.
    """
    remote = spec.remote
    request_bytes = response_bytes = -1
    if spec.direction == ROUND_TRIPS:
        request_bytes, response_bytes = spec.request_bytes, spec.response_bytes
    elif spec.connecting and spec.direction == SEND:
        request_bytes = end.send_bytes  # the target has to know when it has everything
    return OmniRequest(
        send_buf_size=remote.send_buffer, recv_buf_size=remote.receive_buffer,
        send_size=remote.send_bytes, receive_size=remote.receive_bytes,
        send_alignment=remote.send_alignment, send_offset=remote.send_offset,
        recv_alignment=remote.receive_alignment, recv_offset=remote.receive_offset,
        # As netperf has it: the sender's own widths, unless the target's were asked for.
        send_width=remote.send_width or end.send_width,
        recv_width=remote.receive_width or end.receive_width,
        request_size=request_bytes, response_size=response_bytes, flags=_flags(spec),
        test_length=test_length(spec), so_rcvavoid=int(spec.copy_avoidance),
        data_port=spec.remote_data_port, ipfamily=end.family,
        socket_type=DATAGRAM if spec.is_datagram else STREAM,
        protocol=UDP if spec.is_datagram else TCP, direction=DIRECTION_OF[spec.direction],
        netperf_port=end.port, netperf_ip=end.address, netserver_ip=target_address or "",
        interval_burst=remote.pace_burst, interval_usecs=remote.pace_us,
        socket_prio=remote.priority, socket_tos=remote.tos,
        cong_control=remote.congestion[:MAX_CONGESTION],
        fill_file=remote.fill_file[:MAX_FILL_FILE], cpu=remote.cpu)


def _flags(spec: TestSpec) -> OmniFlags:
    routing = spec.routing
    if routing is None:
        routing = not (spec.is_datagram and spec.is_one_way)
    wishes = (
        (OmniFlags.ROUTING_ALLOWED, routing),
        (OmniFlags.NODELAY, spec.nodelay and not spec.is_datagram),
        (OmniFlags.CONNECTION_TEST, spec.connecting),
        (OmniFlags.MEASURE_CPU, spec.remote.measure_cpu),
        (OmniFlags.KEEPALIVE, spec.keepalive),
        (OmniFlags.FAST_OPEN, spec.fast_open),
        (OmniFlags.PKTINFO, spec.packet_info),
        (OmniFlags.DEFER_ACCEPT, spec.defer_accept),
        (OmniFlags.DONT_FRAGMENT, spec.dont_fragment),
    )
    flags = OmniFlags(0)
    for flag, wish in wishes:
        if wish:
            flags |= flag
    return flags


def classic_request(spec: TestSpec, end: SenderEnd, *, oldest: bool = False) -> AnyRequest:
    """The classic form of a test.

    Args:
        spec: The test; ``has_classic_form`` says yes to it.
        end: The sender's data socket.
        oldest: The target is 2.4.3 or older, which of them is not known.
    """
    remote, family = spec.remote, end.family
    shape = shape_of(spec)
    if spec.is_datagram and shape is Shape.SENDS:
        return _udp_stream_request(spec, end, oldest)
    if shape.one_way:
        sends = shape is Shape.SENDS
        size = remote.receive_bytes if sends else remote.send_bytes
        return StreamRequest(
            kind=Kind.DO_TCP_STREAM if sends else Kind.DO_TCP_MAERTS,
            send_buf_size=remote.send_buffer, recv_buf_size=remote.receive_buffer,
            block_size=max(size, 0),
            alignment=remote.receive_alignment if sends else remote.send_alignment,
            offset=remote.receive_offset if sends else remote.send_offset,
            no_delay=int(spec.nodelay), measure_cpu=int(remote.measure_cpu),
            test_length=abs(test_length(spec)), so_rcvavoid=int(spec.copy_avoidance),
            port=spec.remote_data_port, ipfamily=family, cpu=remote.cpu)
    kind = Kind.DO_UDP_RR if spec.is_datagram else Kind.DO_TCP_RR
    if spec.connecting:
        kind = Kind.DO_TCP_CRR if spec.direction == ROUND_TRIPS else Kind.DO_TCP_CC
    return RRRequest(
        kind=kind, recv_buf_size=remote.receive_buffer, send_buf_size=remote.send_buffer,
        recv_alignment=remote.receive_alignment, recv_offset=remote.receive_offset,
        send_alignment=remote.send_alignment, send_offset=remote.send_offset,
        request_size=spec.request_bytes, response_size=spec.response_bytes,
        no_delay=int(spec.nodelay), measure_cpu=int(remote.measure_cpu),
        test_length=test_length(spec), so_rcvavoid=int(spec.copy_avoidance),
        port=spec.remote_data_port, ipfamily=family, cpu=remote.cpu)


def _udp_stream_request(spec: TestSpec, end: SenderEnd, oldest: bool) -> UdpStreamRequest:
    length = abs(test_length(spec))
    if not oldest:
        return UdpStreamRequest(
            recv_buf_size=spec.remote.receive_buffer, message_size=end.send_bytes,
            alignment=spec.remote.receive_alignment, offset=spec.remote.receive_offset,
            measure_cpu=int(spec.remote.measure_cpu), test_length=length,
            port=spec.remote_data_port, ipfamily=end.family, cpu=spec.remote.cpu)
    # 2.4.3 put a word into the middle, and nothing tells it from 2.4.0 to 2.4.2. This one
    # means the same in both forms: the length stands in both places, as the bits of a
    # float that is not read, and the words next to it do no harm in either meaning. No port
    # and no CPU utilisation can be asked for this way.
    bits: float = struct.unpack("=f", struct.pack("=I", length))[0]
    return UdpStreamRequest(
        recv_buf_size=spec.remote.receive_buffer, message_size=end.send_bytes,
        recv_connected=8, alignment=8, offset=0, cpu_rate=bits, test_length=length,
        port=0, ipfamily=end.family, cpu=spec.remote.cpu)


def agreement(response: AnyResponse, spec: TestSpec) -> Agreement:
    """What a target's response settles."""
    facts = SocketFacts(send_buffer=response.send_buf_size,
                        receive_buffer=response.recv_buf_size)
    values = vars(facts).copy()
    if isinstance(response, OmniResponse):
        values.update(
            nodelay=bool(response.flags & OmniFlags.NODELAY), send_bytes=response.send_size,
            receive_bytes=response.receive_size, send_width=response.send_width,
            receive_width=response.recv_width, priority=response.socket_prio,
            tos=response.socket_tos)
        return Agreement(response.data_port, SocketFacts(**values),
                         bool(response.flags & OmniFlags.MEASURE_CPU), response.send_size)
    measures = bool(response.measure_cpu) and spec.remote.measure_cpu
    if isinstance(response, UdpStreamResponse):
        return Agreement(response.data_port_number, facts, measures)
    values["nodelay"] = bool(response.no_delay)
    if isinstance(response, StreamResponse):
        sends = shape_of(spec) is Shape.SENDS
        values["receive_bytes" if sends else "send_bytes"] = response.block_size
    else:
        values.update(receive_bytes=spec.request_bytes, send_bytes=spec.response_bytes)
    return Agreement(response.data_port_number, SocketFacts(**values), measures)


def report(results: AnyResults, spec: TestSpec, *, measured: bool, sent_bytes: int) -> Report:
    """What a target's results say.

    Args:
        results: The message.
        spec: The test.
        measured: Whether the target had said that it would measure its CPU.
        sent_bytes: Size of the sender's datagrams, which a classic target counts only.
    """
    cpu = _usage(results) if measured else None
    if isinstance(results, OmniResults):
        return Report(
            TargetTally(
                transactions=results.trans_received, bytes_received=results.bytes_received,
                bytes_sent=results.bytes_sent, recv_calls=results.recv_calls,
                send_calls=results.send_calls, elapsed_s=results.elapsed_time),
            cpu, results.send_buf_size, results.recv_buf_size, results.cong_control,
            results.transport_retrans)
    if isinstance(results, UdpStreamResults):
        return Report(TargetTally(
            bytes_received=results.messages_received * sent_bytes,
            recv_calls=results.messages_received, elapsed_s=results.elapsed_time), cpu)
    if isinstance(results, StreamResults):
        # A double from the network need not be a number at all.
        sensible = 0 <= results.bytes_moved < 2**63
        moved, calls = int(results.bytes_moved) if sensible else -1, results.calls
        if shape_of(spec) is Shape.SENDS:
            return Report(TargetTally(bytes_received=moved, recv_calls=calls,
                                      elapsed_s=results.elapsed_time), cpu)
        return Report(TargetTally(bytes_sent=moved, send_calls=calls,
                                  elapsed_s=results.elapsed_time), cpu)
    return Report(TargetTally(transactions=results.trans_received,
                              bytes_received=results.bytes_received,
                              elapsed_s=results.elapsed_time), cpu)


def _usage(results: AnyResults) -> CpuUsage:
    number = results.cpu_method
    method = METHODS[number] if 0 <= number < len(METHODS) else "U"
    values = {"percent": results.cpu_util, "cpus": results.num_cpus, "method": method}
    if isinstance(results, OmniResults):
        values.update(
            user=results.cpu_percent_user, system=results.cpu_percent_system,
            iowait=results.cpu_percent_iowait, irq=results.cpu_percent_irq,
            softirq=results.cpu_percent_swintr, steal=results.steal,
            peak_percent=results.peak_cpu_util, peak_cpu=results.peak_cpu_id)
    return CpuUsage(**values)  # type: ignore[arg-type]
