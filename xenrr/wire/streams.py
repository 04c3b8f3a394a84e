"""Classic one-way tests: TCP_STREAM, TCP_SENDFILE, TCP_MAERTS and UDP_STREAM.

TCP_SENDFILE travels as TCP_STREAM. TCP_MAERTS has the same layouts as TCP_STREAM with the
roles of sender and receiver exchanged, so the two share their classes and the kind tells
them apart. Fields, units and defaults: netperf src/nettest_bsd.h and .c; recorded in
tests/vectors.
"""

from __future__ import annotations

import struct

from xenrr.frozen import dataclass
from xenrr.lean import Any
from xenrr.wire.dialect import Dialect
from xenrr.wire.layout import DOUBLE, FLOAT, INT, PORT, UINT, UINT_REVERSED, Layout
from xenrr.wire.message import SHORT_BYTES, Kind

__all__ = ["StreamRequest", "StreamResponse", "StreamResults", "UdpStreamRequest",
           "UdpStreamResponse", "UdpStreamResults"]

_REQUEST = Layout(
    ("send_buf_size", INT, 0),
    ("recv_buf_size", INT, 1),
    ("block_size", INT, 2),
    ("alignment", INT, 3),
    ("offset", INT, 4),
    ("no_delay", INT, 5),
    ("measure_cpu", INT, 6),
    ("cpu_rate", FLOAT, 7),
    ("test_length", INT, 8),
    ("so_rcvavoid", INT, 9),
    ("so_sndavoid", INT, 10),
    ("dirty_count", INT, 11),
    ("clean_count", INT, 12),
    ("port", INT, 13),
    ("ipfamily", INT, 14),
)

_RESPONSE = Layout(
    ("recv_buf_size", INT, 0),
    ("block_size", INT, 1),
    ("no_delay", INT, 2),
    ("measure_cpu", INT, 3),
    ("test_length", INT, 4),
    ("send_buf_size", INT, 5),
    ("data_port_number", PORT, 6),
    ("cpu_rate", FLOAT, 7),
    ("so_rcvavoid", INT, 8),
    ("so_sndavoid", INT, 9),
)

_RESULTS = Layout(
    ("bytes_moved", DOUBLE, 0),
    ("calls", UINT, 2),
    ("elapsed_time", FLOAT, 3),
    ("cpu_util", FLOAT, 4),
    ("serv_dem", FLOAT, 5),
    ("cpu_method", INT, 6),
    ("num_cpus", INT, 7),
)

_UDP_FIRST = (("recv_buf_size", INT, 0), ("message_size", INT, 1))
_UDP_CONNECTED = (("recv_connected", INT, 2),)


def _udp_rest(word: int) -> tuple[tuple[str, Any, int], ...]:
    """What follows, from this word on."""
    names = (("alignment", INT), ("offset", INT), ("checksum_off", INT), ("measure_cpu", INT),
             ("cpu_rate", FLOAT), ("test_length", INT), ("so_rcvavoid", INT),
             ("so_sndavoid", INT), ("port", INT), ("ipfamily", INT))
    return tuple((name, wire, word + i) for i, (name, wire) in enumerate(names))


class _UdpStreamLayout(Layout):
    """13 words since 2.4.3; the 12 of 2.4.0 to 2.4.2 lack ``recv_connected``.

    The message says by its field ``old_form`` which one it has. Nothing on the wire does,
    but the last word of both is the address family, and the word behind it is 0.
    """

    def __init__(self) -> None:
        super().__init__(*_UDP_FIRST, *_UDP_CONNECTED, *_udp_rest(3))
        self._old = Layout(*_UDP_FIRST, *_udp_rest(2))

    def encode(self, message: object, payload_bytes: int) -> bytes:
        if getattr(message, "old_form", False):
            return self._old.encode(message, payload_bytes)
        return super().encode(message, payload_bytes)

    def decode(self, payload: bytes) -> dict[str, Any]:
        if _is_old_udp_stream(payload):
            return {**self._old.decode(payload), "old_form": True}
        return super().decode(payload)


def _is_old_udp_stream(payload: bytes) -> bool:
    """Whether an address family stands in int 11 and none in int 12."""
    old, new = struct.unpack_from(">2I", payload, 4 * 11)
    return old in (4, 6) and new not in (4, 6)


_UDP_REQUEST = _UdpStreamLayout()

_UDP_RESPONSE = Layout(
    ("recv_buf_size", INT, 0),
    ("send_buf_size", INT, 1),
    ("measure_cpu", INT, 2),
    ("test_length", INT, 3),
    ("data_port_number", PORT, 4),
    ("cpu_rate", FLOAT, 5),
    ("so_rcvavoid", INT, 6),
    ("so_sndavoid", INT, 7),
)


def _udp_results(byte_count: Any) -> Layout:
    return Layout(
        ("messages_received", UINT, 0),
        ("bytes_received", byte_count, 1),
        ("elapsed_time", FLOAT, 2),
        ("cpu_util", FLOAT, 3),
        ("cpu_method", INT, 4),
        ("num_cpus", INT, 5),
    )


# Up to 2.5.0 a little-endian server swaps bytes_received twice (recorded:
# udp-stream-2.4.*.hex).
_UDP_RESULTS_SHORT = _udp_results(UINT_REVERSED)
_UDP_RESULTS_LONG = _udp_results(UINT)


@dataclass(frozen=True)
class StreamRequest:
    """Types 10 (TCP_STREAM, TCP_SENDFILE) and 94 (TCP_MAERTS).

    Sizes are bytes. ``block_size`` is that of the target's calls: each recv of TCP_STREAM,
    each send of TCP_MAERTS; 0 for that of its socket buffer. ``test_length`` is seconds, or
    in a TCP_STREAM that ends by a number of bytes that number: nothing tells which. A buffer
    size of -1 leaves the default in every release; 0 is the minimum from 2.4.4 on, and what
    2.4.0 to 2.4.3 send for the default.
    """

    kind: Kind = Kind.DO_TCP_STREAM
    send_buf_size: int = -1
    recv_buf_size: int = -1
    block_size: int = 0
    alignment: int = 8
    offset: int = 0
    no_delay: int = 0
    measure_cpu: int = 0
    cpu_rate: float = 0.0
    test_length: int = 10
    so_rcvavoid: int = 0
    so_sndavoid: int = 0
    dirty_count: int = 0
    clean_count: int = 0
    port: int = 0
    ipfamily: int = 4
    cpu: int = -1

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _REQUEST


@dataclass(frozen=True)
class StreamResponse:
    """Types 11 and 95: what the target set up, in bytes, and the port to connect to.

    Real servers never set ``test_length``.
    """

    kind: Kind = Kind.TCP_STREAM_RESPONSE
    recv_buf_size: int = 0
    block_size: int = 0
    no_delay: int = 0
    measure_cpu: int = 0
    test_length: int = 0
    send_buf_size: int = 0
    data_port_number: int = 0
    cpu_rate: float = 0.0
    so_rcvavoid: int = 0
    so_sndavoid: int = 0
    errno: int = 0

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _RESPONSE


@dataclass(frozen=True)
class StreamResults:
    """Types 12 and 96: what the target received, or in TCP_MAERTS sent.

    ``bytes_moved`` travels as a double; ``calls`` are the recv or send calls, and
    ``elapsed_time`` is in s. Real servers never set ``serv_dem``, and the CPU fields only
    when they measured.
    """

    kind: Kind = Kind.TCP_STREAM_RESULTS
    bytes_moved: float = 0.0
    calls: int = 0
    elapsed_time: float = 0.0
    cpu_util: float = 0.0
    serv_dem: float = 0.0
    cpu_method: int = 0
    num_cpus: int = 0
    errno: int = 0

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _RESULTS


@dataclass(frozen=True)
class UdpStreamRequest:
    """Type 16; sizes are bytes, ``test_length`` is s.

    ``recv_connected`` asks the target to connect its socket. With ``old_form`` it does not
    travel: that is the request of 2.4.0 to 2.4.2.
    """

    kind: Kind = Kind.DO_UDP_STREAM
    recv_buf_size: int = -1
    message_size: int = 0
    recv_connected: int = 0
    alignment: int = 8
    offset: int = 0
    checksum_off: int = 0
    measure_cpu: int = 0
    cpu_rate: float = 0.0
    test_length: int = 10
    so_rcvavoid: int = 0
    so_sndavoid: int = 0
    port: int = 0
    ipfamily: int = 4
    old_form: bool = False
    cpu: int = -1

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects: the message knows its form."""
        return _UDP_REQUEST


@dataclass(frozen=True)
class UdpStreamResponse:
    """Type 17: what the target set up, in bytes, and the port to send data to."""

    kind: Kind = Kind.UDP_STREAM_RESPONSE
    recv_buf_size: int = 0
    send_buf_size: int = 0
    measure_cpu: int = 0
    test_length: int = 0
    data_port_number: int = 0
    cpu_rate: float = 0.0
    so_rcvavoid: int = 0
    so_sndavoid: int = 0
    errno: int = 0

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _UDP_RESPONSE


@dataclass(frozen=True)
class UdpStreamResults:
    """Type 18: what the target received.

    ``bytes_received`` counts modulo 2**32 and real servers take 1 off it, for the receive
    that ended their test; netperf itself multiplies ``messages_received`` by the size.
    ``cpu_util`` is -1 when it was not measured.
    """

    kind: Kind = Kind.UDP_STREAM_RESULTS
    messages_received: int = 0
    bytes_received: int = 0
    elapsed_time: float = 0.0
    cpu_util: float = -1.0
    cpu_method: int = 0
    num_cpus: int = 0
    errno: int = 0

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Short messages have the byte count the other way round."""
        short = dialect.message_bytes == SHORT_BYTES
        return _UDP_RESULTS_SHORT if short else _UDP_RESULTS_LONG
