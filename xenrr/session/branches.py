"""Many flows, or a schedule: what a sender does beyond one connection as fast as it can.

A xenrr is told how many flows are to come and takes them all at one port, in one session. To
any other netserver a session is one connection, so there is a session for each flow: a
*branch*. However they came about, one loop drives all connections, and what the branches
report is added up.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Sequence
from typing import Protocol

from xenrr.engine.base import MAX_PIECE_BYTES, Buffers, LoopSpec, Tally
from xenrr.engine.flows import MAX_IN_FLIGHT, FlowsSpec, FlowsTally, Schedule
from xenrr.errors import PeerRefused, SpecError
from xenrr.frozen import field_names, replace
from xenrr.results.record import SECOND_NS, FlowRecord, TargetTally, TestSpec
from xenrr.session.dataend import DATA_CLOSE_LIMIT_S, LOOK_S, DataEnd, Finish
from xenrr.session.requests import Report
from xenrr.session.sockets import room_for_descriptors

__all__ = ["Branch", "check_flows", "finish_flows", "flow_records", "flows_spec",
           "make_room", "sum_reports"]

# Requests in flight on each connection that keeps to a rate, unless a burst says otherwise:
# enough that a stall of a second delays nothing at a thousand requests per second.
OPEN_WINDOW = 1024


class Branch(Protocol):
    """One session with its data connections, one or all of them."""

    @property
    def end(self) -> DataEnd:
        """Its data connections."""

    @property
    def classic(self) -> bool:
        """Whether it speaks the classic dialect."""


def check_flows(spec: TestSpec) -> None:
    """Refuse what does not go with many flows or a rate.

    Raises:
        SpecError: It says what.
    """
    asked = "a rate" if spec.flows == 1 else "many flows"
    if spec.local.pace_burst or (spec.flows > 1 and spec.remote.pace_burst):
        raise SpecError(f"{asked} and a pace (interval and burst) do not go together")
    if spec.plain_write:
        raise SpecError(f"{asked} and write() instead of send() do not go together")
    if spec.local.send_width > 1 or spec.local.receive_width > 1:
        raise SpecError(f"with {asked} a ring has one buffer")
    if max(spec.request_bytes, spec.response_bytes) > MAX_PIECE_BYTES:
        raise SpecError(f"with {asked} a message has at most {MAX_PIECE_BYTES} bytes")
    if spec.flows > 1:
        if spec.local_data_port:
            raise SpecError("many flows do not fit on one local port; leave it to the system")
        changed = Buffers(send_alignment=spec.remote.send_alignment,
                          receive_alignment=spec.remote.receive_alignment,
                          send_offset=spec.remote.send_offset,
                          receive_offset=spec.remote.receive_offset) != Buffers()
        if changed or spec.remote.cpu >= 0:
            raise SpecError("many flows leave the target's buffers and its CPU to the target")
    if spec.burst and spec.flows * (spec.burst + 1) > MAX_IN_FLIGHT:
        raise SpecError(f"{spec.flows} flows with {spec.burst + 1} requests in flight each are "
                        f"more than {MAX_IN_FLIGHT}")


def make_room(spec: TestSpec, each: int) -> None:
    """See to it that all flows can have their descriptors.

    Args:
        spec: The test.
        each: How many descriptors a flow needs.

    Raises:
        SpecError: This process may not open so many.
    """
    wanted = spec.flows * each
    room = room_for_descriptors(wanted)
    if room < wanted:
        raise SpecError(f"{spec.flows} flows need {wanted} descriptors, and this process may "
                        f"open {room} more; raise its limit (ulimit -n)")


def flows_spec(spec: TestSpec, rounds: LoopSpec, flows: int) -> FlowsSpec:
    """The data phase for an engine.

    Args:
        spec: The test.
        rounds: What each flow does.
        flows: How many there are.
    """
    schedule = None
    if spec.rate_tps is not None:
        per_flow = spec.rate_tps if spec.rate_per_flow else spec.rate_tps / spec.flows
        schedule = Schedule(SECOND_NS / per_flow, spec.poisson, spec.seed)
        if not spec.burst:
            rounds = replace(rounds, burst=min(OPEN_WINDOW, MAX_IN_FLIGHT // flows) - 1)
    return FlowsSpec(rounds, schedule, spec.poller)


def flow_records(
    names: Sequence[str], tally: FlowsTally, failures: Sequence[Exception]
) -> tuple[FlowRecord, ...]:
    """What each flow did, those that never were at the end.

    Args:
        names: Local addresses of the flows of the tally.
        tally: The engine's.
        failures: Why the others could not be set up.
    """
    shared = [name for name in field_names(FlowRecord)
              if name not in ("local_address", "ended")]
    done = [FlowRecord(name, flow.ended.name.lower(),
                       **{field: getattr(flow, field) for field in shared})
            for name, flow in zip(names, tally.flows)]
    return (*done, *(FlowRecord("", "error", _errno_of(exc)) for exc in failures))


def finish_flows(
    branches: Sequence[Branch], tally: Tally, flows: FlowsTally
) -> Finish:
    """End all data connections as a single one is ended, at once.

    Args:
        branches: All, with their connections in the order of the tally.
        tally, flows: What the loop did.
    """
    if branches[0].end.spec.is_datagram:
        for branch in branches:
            branch.end.finish(tally, classic=branch.classic, stopped=lambda: False)
        return Finish(tally.elapsed_ns)
    sockets = [sock for branch in branches for sock in branch.end.sockets]
    for sock in sockets:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
    end_s = time.monotonic() + DATA_CLOSE_LIMIT_S
    drained, size = 0, branches[0].end.spec.response_bytes
    for sock, flow in zip(sockets, flows.flows):
        drained += (flow.leftover_bytes + _rest_of(sock, end_s)) // size
    return Finish(tally.elapsed_ns, drained=drained)


def sum_reports(reports: Sequence[Report]) -> Report:
    """One report for all; what one of them does not tell is not known of all."""
    if len(reports) == 1:
        return reports[0]
    sums = {name: [getattr(each.tally, name) for each in reports]
            for name in field_names(TargetTally)}
    longest = max(sums.pop("elapsed_s"))
    # Every branch runs on the same host: one of them has seen its CPUs.
    return replace(
        reports[0], tally=TargetTally(elapsed_s=longest, **{
            name: -1 if min(values) < 0 else sum(values) for name, values in sums.items()}))


def _rest_of(sock: socket.socket, end_s: float) -> int:
    """Bytes that still come before the end of file, or until a time."""
    received = 0
    with contextlib.suppress(OSError):
        while (left_s := end_s - time.monotonic()) > 0:
            sock.settimeout(min(left_s, LOOK_S))
            try:
                data = sock.recv(1 << 16)
            except socket.timeout:
                continue
            if not data:
                break
            received += len(data)
    return received


def _errno_of(error: Exception) -> int:
    if isinstance(error, (OSError, PeerRefused)):
        return error.errno or errno.EIO
    return errno.ECONNABORTED
