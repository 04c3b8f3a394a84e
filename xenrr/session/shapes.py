"""What a data phase looks like to one end, and the sizes that follow from its sockets.

netperf sends and receives one-way data in blocks as large as the socket buffer, from a ring
of as many blocks as the buffer holds and one more (src/nettest_omni.c, send_omni_inner() and
recv_omni()). Both ends choose in the same way, here.
"""

from __future__ import annotations

from xenrr.engine.base import Buffers, Pace
from xenrr.frozen import dataclass, replace
from xenrr.lean import Enum
from xenrr.units import MAX_ALIGNMENT, MAX_BLOCK_BYTES, MAX_DATAGRAM_BYTES, MAX_WIDTH

__all__ = ["MAX_RING_BYTES", "End", "Rings", "Shape", "pace_of"]

# A size that neither the test nor the system names (netperf's own number).
UNKNOWN_BUFFER_BYTES = 4096
# All buffers of one end: what a stranger can make a target allocate is bounded by it.
MAX_RING_BYTES = 1 << 28
# Rings of larger messages do not fit into any cache anyway (LoopSpec.buffers).
MAX_RING_MESSAGE_BYTES = 1 << 20


class Shape(Enum):
    """A data phase as one end of it does it."""

    ROUNDS = "round trips on one connection"
    CONNECTIONS = "a connection for every transaction"
    SENDS = "sends one way"
    RECEIVES = "receives one way"

    @property
    def one_way(self) -> bool:
        """Whether data flows one way only."""
        return self in (Shape.SENDS, Shape.RECEIVES)


@dataclass(frozen=True)
class Rings:
    """The rings that were asked for; 0 for a width leaves it to netperf's rule."""

    send_width: int = 0
    receive_width: int = 0
    send_alignment: int = 8
    receive_alignment: int = 8
    send_offset: int = 0
    receive_offset: int = 0


@dataclass(frozen=True)
class End:
    """The sizes that one end will use.

    ``send_bytes`` and ``receive_bytes`` are those of each call, 0 where it does not do it.
    ``told_receive_bytes`` is what both ends are told of the latter: netperf receives
    datagrams into as much as the socket buffer holds, though none of them is that large.
    """

    send_bytes: int
    receive_bytes: int
    told_receive_bytes: int
    buffers: Buffers

    @classmethod
    def chosen(
        cls, shape: Shape, asked: Rings, *, datagram: bool, sizes: tuple[int, int],
        socket_buffers: tuple[int, int],
    ) -> End:
        """Choose as netperf does, within bounds.

        Args:
            shape: As this end sees it.
            asked: Rings asked for.
            datagram: Whether this is UDP.
            sizes: Bytes to send and to receive; in a one-way test 0 or less means as large
                as the socket buffer. With connections 0 means nothing, and less a block of
                one-way data: as large as the buffer of whoever sends it, which at the
                receiver is a guess from its own.
            socket_buffers: SO_SNDBUF and SO_RCVBUF.
        """
        limit = MAX_DATAGRAM_BYTES if datagram else MAX_BLOCK_BYTES
        send_bytes, receive_bytes = (
            socket_buffers[0] if shape is Shape.CONNECTIONS and size < 0 else size
            for size in sizes)
        sends = shape is not Shape.RECEIVES and (send_bytes > 0 or shape is Shape.SENDS)
        receives = shape is not Shape.SENDS and (receive_bytes > 0 or shape is Shape.RECEIVES)
        send_width = receive_width = 1
        if sends:
            send_bytes, send_width = _ring(send_bytes, asked.send_width, socket_buffers[0],
                                           limit, shape.one_way)
        if receives:
            receive_bytes, receive_width = _ring(
                receive_bytes, asked.receive_width, socket_buffers[1], MAX_BLOCK_BYTES,
                shape.one_way)
        told_receive_bytes, receive_bytes = receive_bytes, min(receive_bytes, limit)
        sent = _bounded(asked.send_alignment), _bounded(asked.send_offset)
        received = _bounded(asked.receive_alignment), _bounded(asked.receive_offset)
        buffers = Buffers(
            send_width=_within_bounds(send_width, send_bytes, sent, shape) if sends else 1,
            receive_width=_within_bounds(receive_width, receive_bytes, received,
                                         shape) if receives else 1,
            send_alignment=sent[0], send_offset=sent[1], receive_alignment=received[0],
            receive_offset=received[1])
        if not receives:
            told_receive_bytes = receive_bytes = 0
        return cls(send_bytes if sends else 0, receive_bytes, told_receive_bytes, buffers)

    def with_fill(self, fill: bytes) -> End:
        """The same with other contents of its send buffers."""
        return replace(self, buffers=replace(self.buffers, fill=fill))


def pace_of(interval_us: int, burst: int) -> Pace:
    """netperf's pacing words as the engines take them; one of them alone is none."""
    if interval_us <= 0 or burst <= 0:
        return Pace()
    return Pace(interval_us * 1000, burst)


def _ring(
    size: int, width: int, buffer_bytes: int, limit: int, one_way: bool
) -> tuple[int, int]:
    if size <= 0:
        size = buffer_bytes if buffer_bytes > 0 else UNKNOWN_BUFFER_BYTES
    size = min(size, limit)
    if width > 0:
        return size, width
    if not one_way:
        return size, 1
    return size, max(2, max(buffer_bytes, 0) // size + 1)


def _within_bounds(width: int, size: int, placing: tuple[int, int], shape: Shape) -> int:
    if not shape.one_way and size > MAX_RING_MESSAGE_BYTES:
        return 1
    return max(1, min(width, MAX_WIDTH, MAX_RING_BYTES // 2 // (size + sum(placing))))


def _bounded(number: int) -> int:
    return min(max(number, 0), MAX_ALIGNMENT)
