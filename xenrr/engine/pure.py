"""The engine in Python: the specification of what a data phase does.

``pure_rr`` has the round trips on one connection, ``pure_numbered`` those whose requests
have numbers, ``pure_decompose`` their parts, ``pure_connect`` a connection for every
transaction, ``pure_stream`` data that flows one way; ``pure_common`` is what they share.
``pure_flows`` has a sender of many connections, ``pure_pool`` a target of many; both wait
with ``pure_pollers``. What is rarely asked for is read in when it first is.

Samples are appended raw and counted later in bulk, by C code inside Python: a histogram
update per transaction would cost a tenth of a loopback round trip.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import nullcontext
from socket import socket
from typing import TYPE_CHECKING

from xenrr import engine as room
from xenrr.engine.base import AnySpec, ConnectSpec, LoopSpec, Role, StreamSpec, Tally
from xenrr.engine.pure_common import Phase, no_broken_pipe_signal
from xenrr.engine.pure_connect import ConnectSender, ConnectTarget
from xenrr.engine.pure_rr import RoundTripSender, RoundTripTarget
from xenrr.engine.pure_stream import StreamReceiver, StreamSender
from xenrr.engine.pure_thread import find_rseq, leave_rseq, leave_shared_table
from xenrr.errors import LocalProtocolError

if TYPE_CHECKING:
    from xenrr.engine.flows import FlowsSpec, FlowsTally

__all__ = ["PureEngine"]


class PureEngine:
    """Runs data phases in Python."""

    name = "pure"

    def __init__(self) -> None:
        find_rseq()     # here, not in somebody's first round trip

    def run(
        self, sock: socket | None, spec: AnySpec, stop_fd: int = -1, report_fd: int = -1
    ) -> Tally:
        """Run one data phase; see ``base.Engine``."""
        if sock is not None and sock.gettimeout() is not None:
            raise LocalProtocolError("an engine needs a blocking socket without a timeout")
        if spec.own_thread:
            leave_rseq()
            if isinstance(spec, LoopSpec) and sock is not None and room.whole_process:
                leave_shared_table((sock.fileno(), stop_fd, report_fd))
        # send() can be told to raise no signal, write() and sendfile() cannot.
        writes = isinstance(spec, LoopSpec) or (isinstance(spec, StreamSpec)
                                                and (spec.plain_write or spec.file_fd >= 0))
        signals = no_broken_pipe_signal() if writes else nullcontext()
        with signals:
            try:
                phase = _phase(sock, spec, stop_fd, report_fd)
            except MemoryError as exc:
                raise OSError(errno.ENOMEM, "no memory for the buffers") from exc
            try:
                return phase.run()
            finally:
                phase.restore()

    def pollers(self) -> Sequence[str]:
        """Those that work here; see ``flows.FlowsEngine``."""
        from xenrr.engine.pure_pollers import pollers

        return pollers()

    def run_flows(
        self, socks: Sequence[socket], spec: FlowsSpec, stop_fd: int = -1, report_fd: int = -1
    ) -> FlowsTally:
        """Run a sender of many flows; see ``flows.FlowsEngine``."""
        from xenrr.engine.pure_flows import FlowsSender
        from xenrr.engine.pure_pollers import choose_poller

        sender = FlowsSender(socks, spec, choose_poller(spec.poller), stop_fd, report_fd)
        try:
            return sender.run_flows()
        finally:
            sender.restore()

    def serve_flows(self, join_fd: int, leave_fd: int, poller: str = "auto") -> str:
        """Be a pool; see ``flows.FlowsEngine``."""
        from xenrr.engine.pure_pollers import choose_poller
        from xenrr.engine.pure_pool import Pool

        chosen = choose_poller(poller)
        Pool(join_fd, leave_fd, chosen).run()
        return chosen


def _phase(sock: socket | None, spec: AnySpec, stop_fd: int, report_fd: int) -> Phase:
    if isinstance(spec, ConnectSpec) and spec.role is Role.SENDER:
        if sock is not None:
            raise LocalProtocolError("a sender of connections makes its sockets itself")
        return ConnectSender(spec, stop_fd, report_fd)
    if sock is None:
        raise LocalProtocolError("a data phase needs a socket")
    if isinstance(spec, ConnectSpec):
        return ConnectTarget(sock, spec, stop_fd)
    if isinstance(spec, StreamSpec):
        if spec.sends:
            return StreamSender(sock, spec, stop_fd, report_fd)
        return StreamReceiver(sock, spec, stop_fd, report_fd)
    if spec.role is Role.SENDER:
        if spec.decompose:
            from xenrr.engine.pure_decompose import DecomposingSender

            return DecomposingSender(sock, spec, stop_fd, report_fd)
        if spec.numbered:
            from xenrr.engine.pure_numbered import NumberedSender

            return NumberedSender(sock, spec, stop_fd, report_fd)
        return RoundTripSender(sock, spec, stop_fd, report_fd)
    return RoundTripTarget(sock, spec, stop_fd)
