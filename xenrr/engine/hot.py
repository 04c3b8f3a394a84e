"""The engine in C, however it was loaded.

A library is anything with ``loaded_as`` and ``run``: the extension module ``_hot``, or
``shared.SharedLibrary`` around the same loop without Python's headers. Specs and tallies
cross over as packed 64-bit integers, so there is one place that knows the layouts: here
and ``rr_loop.h``. What has no fixed size (addresses, socket options, the fill) follows the
integers of a spec, or comes back in blocks (histograms beside the main one).
"""

from __future__ import annotations

import struct
import sys
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence

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
from xenrr.errors import LocalProtocolError
from xenrr.frozen import field_names
from xenrr.lean import Protocol, socket
from xenrr.stats.histogram import Histogram, PackedHistogram

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.engine.flows import FlowsSpec, FlowsTally

__all__ = ["LAYOUT", "SPEC", "SPEC_FIELDS", "TALLY", "TALLY_FIELDS", "HotEngine", "HotLibrary",
           "is_current", "pack_address", "pack_spec", "unpack_blocks", "unpack_histogram",
           "unpack_tally"]

# struct rr_spec and struct rr_tally in rr_loop.h.
SPEC_FIELDS = (
    "kind", "fd", "stop_fd", "report_fd", "role", "datagram", "request_bytes",
    "response_bytes", "duration_ns", "transactions", "burst", "interim_ns", "idle_end_ns",
    "loss_timeout_ns", "return_at_ticks", "own_thread", "send_width", "receive_width",
    "send_alignment", "receive_alignment", "send_offset", "receive_offset", "pace_ns",
    "pace_burst", "plain_write", "spin", "decompose", "start_at_ns", "low_port",
    "high_port", "first_port", "close_first", "retry_connect", "sends", "block_bytes",
    "limit_bytes", "discard", "file_fd", "file_bytes", "short_ends", "poller",
    "interval_bits", "poisson", "seed", "destination_bytes", "source_bytes", "peer_bytes",
    "options", "fill_bytes", "flows")
SPEC = struct.Struct(f"={len(SPEC_FIELDS)}q")
TALLY_FIELDS = (*(name for name in field_names(Tally)
                  if name not in ("latency_ns", "distributions")),
                "min_ns", "max_ns", "sum_ns", "clamped")
TALLY = struct.Struct(f"={len(TALLY_FIELDS)}q")
# struct rr_block, enum rr_block_kind; and what a histogram in one begins with: min_ns,
# max_ns, sum_ns, clamped.
BLOCK_FIELDS = ("kind", "bytes", "name")
BLOCK = struct.Struct("=2q32s")
DISTRIBUTION = 1    # the others are of many flows: hot_flows.py
HISTOGRAM_HEAD = struct.Struct("=4q")
# RR_LAYOUT in rr_loop.h: a checksum of all these names, which a test takes.
LAYOUT = 2141568291

# enum rr_kind.
KINDS = {LoopSpec: 0, ConnectSpec: 1, StreamSpec: 2}
# Level, name and length of a socket option, and its value; struct option in rr_common.h.
OPTION = struct.Struct("=3q16s")
# What an address begins with: the family, on the BSDs a byte of length before it.
BSD = sys.platform.startswith(("darwin", "freebsd", "netbsd", "openbsd", "dragonfly"))


class HotLibrary(Protocol):
    """The loop in C."""

    @property
    def loaded_as(self) -> str:
        """``extension`` or ``ctypes``."""

    def run(self, spec: bytes) -> tuple[bytes, bytes, bytes]:
        """Run one data phase without the GIL.

        Args:
            spec: What ``pack_spec`` made.

        Returns:
            A packed ``TALLY``, the counts of the histogram, and blocks of what has no
            fixed size (``unpack_blocks``), all in native order.

        Raises:
            OSError: There is no memory for the state of the loop, or the spec is none
                (EINVAL).
        """

    def pollers(self) -> int:
        """A bit for every one of ``units.POLLERS`` that works here."""


def is_current(module: object) -> bool:
    """Whether an extension module was built from the sources that lie here.

    After an update of the sources an old one stays in place until it is built again. It
    would read each spec and write each tally in its own way.
    """
    told = [getattr(module, name, None) for name in ("spec_bytes", "tally_bytes", "layout")]
    return told == [SPEC.size, TALLY.size, LAYOUT]


class HotEngine:
    """Runs data phases in C.

    Args:
        library: The loaded loop.
    """

    name = "hot"

    def __init__(self, library: HotLibrary) -> None:
        self._library = library

    @property
    def loaded_as(self) -> str:
        """``extension`` or ``ctypes``: how the loop got into this process."""
        return self._library.loaded_as

    def run(
        self, sock: socket.socket | None, spec: AnySpec, stop_fd: int = -1, report_fd: int = -1
    ) -> Tally:
        """Run one data phase; see ``base.Engine``."""
        connects = isinstance(spec, ConnectSpec) and spec.role is Role.SENDER
        if (sock is None) != connects:
            raise LocalProtocolError("an engine needs a socket, unless it makes its own")
        if sock is not None and sock.gettimeout() is not None:
            raise LocalProtocolError("an engine needs a blocking socket without a timeout")
        return unpack_tally(*self._library.run(pack_spec(
            spec, -1 if sock is None else sock.fileno(), stop_fd, report_fd)))

    # Many flows are imported when somebody has them: few tests do.

    def pollers(self) -> Sequence[str]:
        """Those that work here, the fastest first; see ``flows.FlowsEngine``."""
        from xenrr.engine import hot_flows

        return hot_flows.pollers(self._library)

    def run_flows(
        self, socks: Sequence[socket.socket], spec: FlowsSpec, stop_fd: int = -1,
        report_fd: int = -1,
    ) -> FlowsTally:
        """Run a sender of many flows; see ``flows.FlowsEngine``."""
        from xenrr.engine import hot_flows

        return hot_flows.run_flows(self._library, socks, spec, stop_fd, report_fd)

    def serve_flows(self, join_fd: int, leave_fd: int, poller: str = "auto") -> str:
        """Be a pool; see ``flows.FlowsEngine``."""
        from xenrr.engine import hot_flows

        return hot_flows.serve_flows(self._library, join_fd, leave_fd, poller)


def unpack_tally(packed: bytes, counts: bytes, blocks: bytes) -> Tally:
    """What a library's ``run`` gave, as everybody knows it."""
    numbers = TALLY.unpack(packed)
    latency_ns = Histogram(array("Q", counts))
    (latency_ns.min_ns, latency_ns.max_ns, latency_ns.sum_ns,
     latency_ns.clamped) = numbers[-4:]
    distributions = {name: unpack_histogram(contents).unpack()
                     for kind, name, contents in unpack_blocks(blocks) if kind == DISTRIBUTION}
    return Tally(*(Ended(numbers[0]), *numbers[1:-4], latency_ns, distributions))


def unpack_blocks(blocks: bytes) -> Iterator[tuple[int, str, bytes]]:
    """Kind, name and contents of each block; ``rr_loop.h`` says what is in which kind."""
    at = 0
    while at < len(blocks):
        kind, size, name = BLOCK.unpack_from(blocks, at)
        at += BLOCK.size
        yield kind, name.rstrip(b"\0").decode(), blocks[at:at + size]
        at += size


def unpack_histogram(contents: bytes) -> PackedHistogram:
    """A histogram as it lies in a block."""
    return PackedHistogram(contents[HISTOGRAM_HEAD.size:],
                           *HISTOGRAM_HEAD.unpack_from(contents))


def pack_spec(spec: AnySpec, fd: int, stop_fd: int, report_fd: int,
              more: Mapping[str, int] | None = None) -> bytes:
    """A spec as the C loop takes it.

    Args:
        spec: What to do.
        fd, stop_fd, report_fd: Descriptors, -1 for none.
        more: Fields with values that are not in the spec.

    Raises:
        LocalProtocolError: An address is not numeric, or the addresses of a sender are of
            two families.
    """
    tail: list[bytes] = []
    # Where a field of the struct has the name of one of the spec, it has its value.
    values: dict[str, int] = {
        name: int(value) for name, value in vars(spec).items()
        if name in SPEC_FIELDS and isinstance(value, int)}
    values.update(
        kind=KINDS[type(spec)], fd=fd, stop_fd=stop_fd, report_fd=report_fd,
        # Only there does Python run signal handlers, so only there must the loop look up.
        return_at_ticks=threading.current_thread() is threading.main_thread(),
        pace_ns=spec.pace.interval_ns, pace_burst=spec.pace.burst,
        fill_bytes=len(spec.buffers.fill), **_numbers(spec.buffers))
    values.setdefault("file_fd", -1)
    if isinstance(spec, ConnectSpec):
        _add_connections(spec, values, tail)
    tail.append(spec.buffers.fill)
    values.update(more or {})
    return SPEC.pack(*(values.get(name, 0) for name in SPEC_FIELDS)) + b"".join(tail)


def pack_address(address: tuple[str, int] | tuple[str, int, int, int]) -> bytes:
    """A numeric address as the system's ``struct sockaddr``.

    Raises:
        LocalProtocolError: The address is not numeric.
    """
    try:
        family, *_, found = socket.getaddrinfo(
            address[0], address[1], type=socket.SOCK_STREAM,
            flags=socket.AI_NUMERICHOST)[0]
    except (OSError, UnicodeError) as exc:
        raise LocalProtocolError(f"{address[0]!r} is not a numeric address: {exc}") from exc
    host, port = str(found[0]), int(found[1])
    if family == socket.AF_INET:
        return (_address_head(16, family) + struct.pack("!H", port)
                + socket.inet_pton(family, host) + bytes(8))
    flow, scope = address[2:] if len(address) == 4 else (0, 0)
    return (_address_head(28, family) + struct.pack("!HI", port, flow)
            + socket.inet_pton(family, host.partition("%")[0])
            + struct.pack("=I", scope or int(found[3])))  # type: ignore[misc]


def _address_head(length: int, family: int) -> bytes:
    return struct.pack("=BB", length, family) if BSD else struct.pack("=H", family)


def _numbers(record: object) -> Mapping[str, int]:
    return {name: getattr(record, name) for name in field_names(record)
            if name in SPEC_FIELDS}


def _add_connections(spec: ConnectSpec, values: dict[str, int], tail: list[bytes]) -> None:
    low, high = spec.ports
    source = b""
    if spec.destination is not None:
        destination = pack_address(spec.destination)
        six = len(destination) == 28
        if spec.source or high:
            # The loop puts the port in.
            source = pack_address((spec.source or ("::" if six else "0.0.0.0"), 0))
        if source and len(source) != len(destination):
            raise LocalProtocolError(f"{spec.source} cannot connect to {spec.destination[0]}: "
                                     "they are of two families")
        tail += [destination, source]
        values.update(destination_bytes=len(destination), source_bytes=len(source))
    if spec.peer:
        peer = pack_address((spec.peer, 0))
        tail.append(peer)
        values["peer_bytes"] = len(peer)
    tail += map(_pack_option, spec.options)
    values.update(options=len(spec.options), low_port=max(low, 1) if high else 0,
                  high_port=high)
    if high:
        import random  # not for every test: it imports many others

        first = spec.first_port or random.randint(low, high)
        values["first_port"] = min(max(first, values["low_port"]), high)


def _pack_option(option: SocketOption) -> bytes:
    if len(option.value) > 16:
        raise LocalProtocolError(f"a socket option of {len(option.value)} bytes is too long")
    return OPTION.pack(option.level, option.name, len(option.value), option.value)
