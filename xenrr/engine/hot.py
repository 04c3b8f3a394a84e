"""The engine in C, however it was loaded.

A library is anything with ``loaded_as`` and ``run``: the extension module ``_hot``, or
``shared.SharedLibrary`` around the same loop without Python's headers. Specs and tallies
cross over as packed 64-bit integers, so there is one place that knows the layouts: here
and ``rr_loop.h``.
"""

from __future__ import annotations

import struct
import threading
from array import array
from socket import socket
from typing import Protocol

from xenrr.engine.base import AnySpec, Ended, LoopSpec, Tally
from xenrr.errors import LocalProtocolError
from xenrr.stats.histogram import Histogram

__all__ = ["SPEC", "TALLY", "HotEngine", "HotLibrary"]

# struct rr_spec and struct rr_tally in rr_loop.h.
SPEC = struct.Struct("=15q")
TALLY = struct.Struct("=22q")


class HotLibrary(Protocol):
    """The loop in C."""

    @property
    def loaded_as(self) -> str:
        """``extension`` or ``ctypes``."""

    def run(self, spec: bytes) -> tuple[bytes, bytes]:
        """Run one data phase without the GIL.

        Args:
            spec: A packed ``SPEC``.

        Returns:
            A packed ``TALLY`` and the counts of the histogram, both in native order.

        Raises:
            OSError: There is no memory for the state of the loop.
        """


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
        self, sock: socket | None, spec: AnySpec, stop_fd: int = -1, report_fd: int = -1
    ) -> Tally:
        """Run one data phase; see ``base.Engine``."""
        if sock is None or not isinstance(spec, LoopSpec):
            raise LocalProtocolError("this engine does round trips only")
        if sock.gettimeout() is not None:
            raise LocalProtocolError("an engine needs a blocking socket without a timeout")
        # Only there does Python run signal handlers, so only there must the loop look up.
        return_at_ticks = threading.current_thread() is threading.main_thread()
        packed, counts = self._library.run(SPEC.pack(
            sock.fileno(), stop_fd, report_fd, spec.role, spec.datagram, spec.request_bytes,
            spec.response_bytes, spec.duration_ns, spec.transactions, spec.burst,
            spec.interim_ns, spec.idle_end_ns, spec.loss_timeout_ns, return_at_ticks,
            spec.own_thread))
        numbers = TALLY.unpack(packed)
        latency_ns = Histogram()
        latency_ns.counts = array("Q", counts)
        (latency_ns.min_ns, latency_ns.max_ns, latency_ns.sum_ns,
         latency_ns.clamped) = numbers[-4:]
        return Tally(*(Ended(numbers[0]), *numbers[1:-4], latency_ns))
