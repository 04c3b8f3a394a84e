"""What a finished data phase amounts to: how it ended, what went wrong, the record.

Pure functions of what an engine and a target said.
"""

from __future__ import annotations

import errno
import os

from xenrr.engine.base import Ended, LoopSpec, Tally
from xenrr.frozen import replace
from xenrr.results.record import RECEIVE, SECOND_NS, Run, SocketFacts, TestSpec
from xenrr.session.dataend import Finish
from xenrr.session.requests import Report
from xenrr.session.shapes import Shape

__all__ = ["end_of", "missing_stamps", "moved", "run_of", "what_went_wrong"]


def run_of(
    spec: TestSpec, tally: Tally, finish: Finish, told: Report, remote: SocketFacts,
    local: SocketFacts, **rest: object,
) -> Run:
    """The record.

    Args:
        spec: What was asked.
        tally, finish: What the engine and the end of the connection say.
        told: What the target says.
        remote, local: The two sockets.
        rest: Further fields of it.
    """
    if told.send_buffer_end >= 0:
        remote = replace(remote, send_buffer_end=told.send_buffer_end,
                         receive_buffer_end=told.receive_buffer_end)
    return Run(
        spec=spec, elapsed_ns=finish.elapsed_ns, transactions=tally.transactions,
        requests_sent=tally.requests_sent, in_flight=tally.in_flight, lost=tally.lost,
        late=tally.late, reordered=tally.reordered, malformed=tally.malformed,
        drained=finish.drained,
        bytes_sent=tally.bytes_sent, bytes_received=tally.bytes_received,
        send_calls=tally.send_calls, recv_calls=tally.recv_calls,
        failed_sends=tally.failed_sends, latency_ns=tally.latency_ns,
        distributions=tally.distributions, local=local,
        remote=replace(remote, congestion=told.congestion,
                       retransmissions=told.retransmissions),
        target_tally=told.tally, remote_cpu=told.cpu,
        **rest)  # type: ignore[arg-type]


def moved(tally: Tally, shape: Shape) -> int:
    """Bytes that went either way in a one-way test; 0 in others, which count transactions."""
    return tally.bytes_sent + tally.bytes_received if shape.one_way else 0


def end_of(tally: Tally, shape: Shape, spec: TestSpec) -> Ended:
    """How a phase ended, in the sender's words: a target that stops sending ends it."""
    if (shape is Shape.RECEIVES and tally.ended is Ended.PEER) or _was_shut(tally, spec):
        return Ended.TIME if spec.duration_s is not None else Ended.COUNT
    return tally.ended


def _was_shut(tally: Tally, spec: TestSpec) -> bool:
    """Whether a target that sends on every connection has stopped to listen.

    netserver's time is over before ours in such a test.
    """
    return (spec.connecting and spec.direction == RECEIVE and tally.ended is Ended.ERROR
            and tally.errno == errno.ECONNREFUSED and tally.transactions > 0)


def what_went_wrong(tally: Tally, spec: TestSpec, shape: Shape) -> str:
    """A sentence for a data phase that did not end as asked; empty when it did."""
    what = f"{tally.transactions} transactions"
    if shape.one_way:
        what = f"{tally.bytes_sent + tally.bytes_received} bytes"
    after = f"after {tally.elapsed_ns / SECOND_NS:.2f} s and {what}"
    if tally.ended is Ended.PEER and shape is not Shape.RECEIVES:
        return f"the peer ended the data connection {after}"
    if tally.ended is Ended.LOST:
        text = f"{LoopSpec.MAX_SILENCES} requests in a row were lost {after}"
        if not tally.transactions and spec.data_host is None:
            text += ("; if the target has several addresses, name the one it answers from as "
                     "the data host (netperf: -- -H)")
        return text
    if tally.ended is Ended.ERROR and not _was_shut(tally, spec):
        return f"the data connection failed {after}: {os.strerror(tally.errno)}"
    return ""


def missing_stamps(tally: Tally) -> str:
    """Why nothing of a test that decomposes could be decomposed; empty where it was."""
    if any(part.max_ns for part in tally.distributions.values()):
        return ""
    if not tally.transactions:
        refused = tally.ended is Ended.ERROR and tally.errno == errno.EOPNOTSUPP
        return ("decompose: this kernel does not stamp what a socket sends (Linux 4.14 and "
                "later do)" if refused else "")
    return (f"decompose: the kernel took no time stamps of the packets of "
            f"{tally.transactions} round trips; the driver of the network interface has to "
            "take part when it sends (ethtool -T tells whether: software-transmit)")
