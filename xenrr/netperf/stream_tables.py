"""netperf's tables for tests in which data flows one way.

TCP_STREAM, TCP_MAERTS and TCP_SENDFILE share one layout, UDP_STREAM has its own: there the
two ends may differ, so each has a line. Socket sizes are those right after the sockets were
made. Lines end in blanks where netperf's do.

Source: output of Debian's netperf 2.7.0 for every -v, -f, -c and -C.
"""

from __future__ import annotations

import math

from xenrr.netperf.outcome import Outcome
from xenrr.netperf.output_units import byte_rate_in, datagrams_sent, target_bytes, unit_name

__all__ = ["datagram_number", "datagram_table", "stream_details", "stream_number",
           "stream_table"]


def stream_number(outcome: Outcome) -> str:
    """The line of -v 0: the rate, or with -c or -C the service demand."""
    if not outcome.measures_cpu:
        return f"{outcome.rate:7.2f} {outcome.brand}\n"
    if outcome.run.spec.local.measure_cpu:
        return f"{outcome.local_demand:6.3f} {outcome.local_method} {outcome.brand}\n"
    return f"{outcome.remote_demand:6.3f} {outcome.remote_method} {outcome.brand}\n"


def stream_table(outcome: Outcome) -> str:
    """Titles and the line of numbers."""
    run, cpu = outcome.run, outcome.measures_cpu
    received = outcome.test == "TCP_MAERTS"
    # With CPU columns TCP_MAERTS shows the sockets of the other direction; netperf's way.
    receiver, sender = ((run.local, outcome.remote) if received and not cpu
                        else (outcome.remote, run.local))
    block = outcome.remote.send_bytes if received else run.local.send_bytes
    text = _stream_titles(outcome, received, cpu) if outcome.options.headers else ""
    text += (f"{receiver.receive_buffer:6d} {sender.send_buffer:6d} {block:6d}    "
             f"{outcome.elapsed_s:<6.2f}   ")
    if not cpu:
        return f"{text}{outcome.rate:7.2f}   {outcome.brand}\n"
    return (f"{text}  {outcome.rate:7.2f}   "
            f"{outcome.local_cpu_percent:<6.2f}   {outcome.remote_cpu_percent:<6.2f}   "
            f"{outcome.local_demand:<6.3f}  {outcome.remote_demand:<6.3f} {outcome.brand}\n")


def _stream_titles(outcome: Outcome, received: bool, cpu: bool) -> str:
    unit = unit_name(outcome.unit)
    if not cpu:
        return ("Recv   Send    Send                          \n"
                "Socket Socket  Message  Elapsed              \n"
                "Size   Size    Size     Time     Throughput  \n"
                f"bytes  bytes   bytes    secs.    {unit}/sec  \n\n")
    near, far = ("Recv", "Send") if received else ("Send", "Recv")
    return ("Recv   Send    Send                          Utilization       Service Demand\n"
            f"Socket Socket  Message  Elapsed              {near}     {far}     "
            f"{near}    {far}\n"
            "Size   Size    Size     Time     Throughput  local    remote   local   remote\n"
            f"bytes  bytes   bytes    secs.    {unit:<8.8}/s  % {outcome.local_method}      "
            f"% {outcome.remote_method}      us/KB   us/KB\n\n")


def stream_details(outcome: Outcome) -> str:
    """What -v 2 adds: where the buffers lay, what each call moved, the segment size."""
    run = outcome.run
    local, tally, remote = run.spec.local, run.target_tally, outcome.remote_asked
    if outcome.test == "TCP_MAERTS":
        near, far = "Recv", "Send"
        alignment, offset = local.receive_alignment, local.receive_offset
        moved, calls, there, far_calls = (run.bytes_received, run.recv_calls,
                                          tally.bytes_sent, tally.send_calls)
    else:
        near, far = "Send", "Recv"
        alignment, offset = local.send_alignment, local.send_offset
        moved, calls, far_calls = run.bytes_sent, run.send_calls, tally.recv_calls
        there = moved
    shown = f"{moved:6d}"
    if outcome.test == "TCP_SENDFILE":  # older code: what arrived, as a floating-point number
        moved = there = target_bytes(run)
        shown = f"{moved:6.4g}"
    return (f"\nAlignment      Offset         Bytes    Bytes       {near}s   Bytes    {far}s\n"
            "Local  Remote  Local  Remote  Xfered   Per                 Per\n"
            f"{near}   {far}    {near}   {far}             {near} (avg)          {far} (avg)\n"
            f"{alignment:5d}   {remote.receive_alignment:5d}  "
            f"{offset:5d}   {remote.receive_offset:5d} "
            f"{shown}  {_per_call(moved, calls):6.2f}    {calls:6d}   "
            f"{_per_call(there, far_calls):6.2f} {max(far_calls, 0):6d}\n"
            f"\nMaximum\nSegment\nSize (bytes)\n{run.local.mss:6d}\n")


def _per_call(count: int, calls: int) -> float:
    if calls > 0:
        return count / calls
    return math.inf if count > 0 else 0.0


def _datagram_rates(outcome: Outcome) -> tuple[float, float]:
    """What was sent and what arrived, of the last iteration."""
    run = outcome.run
    seconds = run.elapsed_s or 1.0  # nothing was measured: both are 0
    return (byte_rate_in(outcome.unit, run.bytes_sent / seconds),
            byte_rate_in(outcome.unit, max(run.target_tally.bytes_received, 0) / seconds))


def datagram_number(outcome: Outcome) -> str:
    """The line of -v 0 in UDP_STREAM: what was sent, not what arrived."""
    if not outcome.measures_cpu:
        return f"{_datagram_rates(outcome)[0]:7.2f}\n"
    # The letter is that of the sender even where the number is the target's.
    local = outcome.run.spec.local.measure_cpu
    demand = outcome.local_demand if local else outcome.remote_demand
    return f"{demand:6.2f} {outcome.local_method}\n"


def datagram_table(outcome: Outcome) -> str:
    """Titles and both lines of UDP_STREAM, and the empty line that ends them."""
    run, cpu = outcome.run, outcome.measures_cpu
    sent, received = _datagram_rates(outcome)
    near, far = f"{sent:7.2f}", f"{received:7.2f}"
    if cpu:
        near = (f"{sent:7.1f}     {outcome.local_cpu_percent:<6.2f}   "
                f"{outcome.local_demand:<6.3f}")
        far = (f"{received:7.1f}     {outcome.remote_cpu_percent:<6.2f}   "
               f"{outcome.remote_demand:<6.3f}")
    text = _datagram_titles(outcome, cpu) if outcome.options.headers else ""
    seconds = f"{outcome.elapsed_s:<7.2f}"
    return (f"{text}{run.local.send_buffer:6d}  {run.local.send_bytes:6d}   {seconds}   "
            f"{datagrams_sent(run):7d} {run.failed_sends:6d}    {near}\n"
            f"{outcome.remote.receive_buffer:6d}           {seconds}   "
            f"{max(run.target_tally.recv_calls, 0):7d}           {far}\n\n")


def _datagram_titles(outcome: Outcome, cpu: bool) -> str:
    unit = unit_name(outcome.unit)
    if not cpu:
        return ("Socket  Message  Elapsed      Messages                \n"
                "Size    Size     Time         Okay Errors   Throughput\n"
                f"bytes   bytes    secs            #      #   {unit}/sec\n\n")
    return ("Socket  Message  Elapsed      Messages                   CPU      Service\n"
            "Size    Size     Time         Okay Errors   Throughput   Util     Demand\n"
            f"bytes   bytes    secs            #      #   {unit}/sec "
            f"% {outcome.local_method}{outcome.remote_method}     us/KB\n\n")
