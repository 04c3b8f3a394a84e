"""Many flows in C: what goes there and what comes back; ``rr_many.h`` has the loop."""

from __future__ import annotations

import errno
import struct
from array import array
from collections.abc import Sequence
from socket import socket

from xenrr.engine.base import Ended, LoopSpec, Role
from xenrr.engine.flows import Flow, FlowsSpec, FlowsTally
from xenrr.engine.hot import (
    HotLibrary,
    pack_spec,
    unpack_blocks,
    unpack_histogram,
    unpack_tally,
)
from xenrr.errors import EngineUnavailable, LocalProtocolError
from xenrr.frozen import replace
from xenrr.units import POLLERS

__all__ = ["FLOW", "FLOWS", "FLOW_HEAD", "POLLER_RAN", "POOL", "pollers", "run_flows",
           "serve_flows"]

# enum rr_kind, enum rr_block_kind.
FLOWS, POOL = 3, 4
FLOW, POLLER_RAN = 2, 3
# How a block of one flow begins: the fields of Flow before its histogram.
FLOW_HEAD = struct.Struct("=11q")
NUMBER = struct.Struct("=q")
# Asking the kernel is some system calls, and the answer does not change.
_FOUND: dict[str, tuple[str, ...]] = {}


def pollers(library: HotLibrary) -> tuple[str, ...]:
    """See ``flows.FlowsEngine``."""
    if library.loaded_as not in _FOUND:
        found = library.pollers()
        _FOUND[library.loaded_as] = tuple(
            name for number, name in enumerate(POLLERS) if number and found >> number & 1)
    return _FOUND[library.loaded_as]


def run_flows(library: HotLibrary, socks: Sequence[socket], spec: FlowsSpec, stop_fd: int,
              report_fd: int) -> FlowsTally:
    """See ``flows.FlowsEngine``."""
    spec.check(len(socks))
    rounds = spec.rounds
    if any(sock.gettimeout() for sock in socks):
        raise LocalProtocolError("an engine needs sockets without a timeout")
    fds = array("q", (sock.fileno() for sock in socks))
    if len(set(fds)) < len(fds):
        raise LocalProtocolError("a connection is there twice")
    values = {"kind": FLOWS, "flows": len(fds), "poller": _number(library, spec.poller)}
    if spec.schedule is not None:
        bits = NUMBER.unpack(struct.pack("=d", spec.schedule.interval_ns))[0]
        values.update(interval_bits=bits, poisson=spec.schedule.poisson,
                      seed=spec.schedule.seed)
    # The table of descriptors stays that of all threads: it holds too many to sort out.
    packed = pack_spec(replace(rounds, own_thread=False), -1, stop_fd, report_fd, values)
    parts = _run(library, packed + fds.tobytes(), spec.poller)
    ran, flows = "", []
    for kind, _, contents in unpack_blocks(parts[2]):
        if kind == POLLER_RAN:
            ran = POLLERS[NUMBER.unpack(contents)[0]]
        elif kind == FLOW:
            ended, *numbers = FLOW_HEAD.unpack_from(contents)
            flows.append(Flow(*(Ended(ended), *numbers,
                                unpack_histogram(contents[FLOW_HEAD.size:]))))
    return FlowsTally(unpack_tally(*parts), tuple(flows), ran)


def serve_flows(library: HotLibrary, join_fd: int, leave_fd: int, poller: str) -> str:
    """See ``flows.FlowsEngine``."""
    number = _number(library, poller)
    packed = pack_spec(LoopSpec(Role.TARGET, False), join_fd, -1, leave_fd,
                       {"kind": POOL, "poller": number})
    tally = unpack_tally(*_run(library, packed, poller))
    if tally.ended is Ended.ERROR:
        raise OSError(tally.errno, "the pool cannot go on")
    return POLLERS[number]


def _number(library: HotLibrary, poller: str) -> int:
    found = pollers(library)
    if poller == "auto":
        poller = found[0]
    if poller not in found:
        raise EngineUnavailable(f"the poller {poller!r} does not work here; there are "
                                f"{', '.join(found)}")
    return POLLERS.index(poller)


def _run(library: HotLibrary, packed: bytes, poller: str) -> tuple[bytes, bytes, bytes]:
    try:
        return library.run(packed)
    except OSError as exc:
        if exc.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        raise EngineUnavailable(f"the poller {poller!r} does not work here: {exc}") from exc
