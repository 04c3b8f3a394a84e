"""What the target says: the response to a request, and the results of its test.

Pure functions, like ``requests`` at the other end.
"""

from __future__ import annotations

from xenrr.cpu.usage import METHODS, CpuUsage
from xenrr.engine.base import Tally
from xenrr.frozen import dataclass
from xenrr.session.dataoptions import Applied
from xenrr.session.requests import AnyRequest, AnyResponse, AnyResults
from xenrr.session.shapes import End, Shape
from xenrr.session.wanted import TestWanted
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

__all__ = ["Offer", "Outcome", "response_to", "results_of"]

WORD = 0xFFFFFFFF
# What /proc/stat gives a rate for: netserver's calibration of a Linux host.
CPU_RATE = 100.0


@dataclass(frozen=True)
class Offer:
    """A data socket that waits for the sender.

    Attributes:
        port: Where.
        buffers: SO_SNDBUF and SO_RCVBUF.
        applied: What became of the options.
        end: Sizes of calls and rings.
        measures_cpu: Whether CPU utilisation will be measured.
    """

    port: int
    buffers: tuple[int, int]
    applied: Applied
    end: End
    measures_cpu: bool


@dataclass(frozen=True)
class Outcome:
    """What a data phase came to.

    Attributes:
        tally: The engine's.
        elapsed_s: Its length, without the time that was waited past its end.
        buffers: SO_SNDBUF and SO_RCVBUF at the end.
        congestion, retransmissions: Of the data connection; empty and -1 where unknown.
        cpu: CPU utilisation, ``None`` when it was not measured.
    """

    tally: Tally
    elapsed_s: float
    buffers: tuple[int, int]
    congestion: str = ""
    retransmissions: int = -1
    cpu: CpuUsage | None = None


def response_to(request: AnyRequest, wanted: TestWanted, offer: Offer) -> AnyResponse:
    """What the sender is told before it connects."""
    send_buffer, receive_buffer = offer.buffers
    rate = CPU_RATE if offer.measures_cpu else 0.0
    measures = int(offer.measures_cpu)
    if isinstance(request, RRRequest):
        return RRResponse(
            kind=Kind(request.kind + 1), recv_buf_size=receive_buffer,
            no_delay=int(wanted.options.nodelay), measure_cpu=measures, cpu_rate=rate,
            test_length=request.test_length, send_buf_size=send_buffer,
            data_port_number=offer.port)
    if isinstance(request, StreamRequest):
        return StreamResponse(
            kind=Kind(request.kind + 1), recv_buf_size=receive_buffer,
            block_size=offer.end.send_bytes or offer.end.receive_bytes,
            no_delay=int(wanted.options.nodelay), measure_cpu=measures, cpu_rate=rate,
            test_length=request.test_length, send_buf_size=send_buffer,
            data_port_number=offer.port)
    if isinstance(request, UdpStreamRequest):
        return UdpStreamResponse(
            recv_buf_size=receive_buffer, send_buf_size=send_buffer, measure_cpu=measures,
            cpu_rate=rate, test_length=request.test_length, data_port_number=offer.port)
    return _omni_response(request, wanted, offer, rate)


def _omni_response(
    request: OmniRequest, wanted: TestWanted, offer: Offer, rate: float
) -> OmniResponse:
    end, buffers = offer.end, offer.end.buffers
    flags = OmniFlags(0)
    if wanted.options.nodelay:
        flags |= OmniFlags.NODELAY
    if offer.measures_cpu:
        flags |= OmniFlags.MEASURE_CPU
    # A direction that is not used is echoed, as netserver does it.
    sends, receives = end.send_bytes > 0, end.receive_bytes > 0
    return OmniResponse(
        recv_buf_size=offer.buffers[1], send_buf_size=offer.buffers[0],
        receive_size=end.told_receive_bytes if receives else request.receive_size,
        recv_width=buffers.receive_width if receives else _signed(request.recv_width),
        send_size=end.send_bytes if sends else request.send_size,
        send_width=buffers.send_width if sends else _signed(request.send_width),
        flags=flags, cpu_rate=rate, so_rcvavoid=request.so_rcvavoid,
        so_sndavoid=request.so_sndavoid, data_port=offer.port,
        interval_burst=wanted.pace.burst, interval_usecs=wanted.pace.interval_ns // 1000,
        socket_prio=offer.applied.priority, socket_tos=offer.applied.tos)


def results_of(request: AnyRequest, wanted: TestWanted, outcome: Outcome) -> AnyResults:
    """What the sender is told after the data phase."""
    tally, elapsed_s, cpu = outcome.tally, outcome.elapsed_s, outcome.cpu
    known: dict[str, object] = {}
    if cpu is not None:
        known = {"cpu_util": cpu.percent, "num_cpus": cpu.cpus,
                 "cpu_method": max(METHODS.find(cpu.method), 0)}
    if isinstance(request, RRRequest):
        return RRResults(
            kind=Kind(request.kind + 2),
            bytes_received=(tally.bytes_received + tally.bytes_sent) & WORD,
            recv_calls=tally.recv_calls & WORD, trans_received=tally.transactions & WORD,
            elapsed_time=elapsed_s, **known)  # type: ignore[arg-type]
    if isinstance(request, StreamRequest):
        sends = wanted.shape is Shape.SENDS
        return StreamResults(
            kind=Kind(request.kind + 2),
            bytes_moved=float(tally.bytes_sent if sends else tally.bytes_received),
            calls=(tally.send_calls if sends else tally.recv_calls) & WORD,
            elapsed_time=elapsed_s, **known)  # type: ignore[arg-type]
    if isinstance(request, UdpStreamRequest):
        size = max(wanted.receive_bytes, 1)
        return UdpStreamResults(
            messages_received=tally.bytes_received // size & WORD,
            bytes_received=tally.bytes_received & WORD, elapsed_time=elapsed_s,
            **known)  # type: ignore[arg-type]
    if cpu is not None:
        known.update(
            cpu_percent_user=cpu.user, cpu_percent_system=cpu.system,
            cpu_percent_iowait=cpu.iowait, cpu_percent_irq=cpu.irq,
            cpu_percent_swintr=cpu.softirq, peak_cpu_id=cpu.peak_cpu,
            peak_cpu_util=cpu.peak_percent, steal=cpu.steal)
    # One bit, two meanings: routing, and "tell me the congestion control" (trap 14).
    told = outcome.congestion if request.flags & OmniFlags.ROUTING_ALLOWED else ""
    return OmniResults(
        bytes_received=tally.bytes_received, recv_calls=tally.recv_calls & WORD,
        recv_buf_size=outcome.buffers[1], bytes_sent=tally.bytes_sent,
        send_calls=tally.send_calls & WORD, send_buf_size=outcome.buffers[0],
        failed_sends=tally.failed_sends & WORD, trans_received=tally.transactions & WORD,
        elapsed_time=elapsed_s, transport_retrans=outcome.retransmissions, cong_control=told,
        **known)  # type: ignore[arg-type]


def _signed(word: int) -> int:
    return word - (1 << 32) if word > 0x7FFFFFFF else word
