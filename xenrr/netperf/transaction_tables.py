"""netperf's tables for tests that make transactions: TCP_RR, UDP_RR, TCP_CRR, TCP_CC.

Lines end in blanks where netperf's do: the tag of -B stands there, but only while headers
are off. Socket sizes are those right after the sockets were made. Tests that connect for
every transaction have a plainer table: no tag, no letter for how the CPU was measured, and
always the titles of transactions, whatever -f made of the numbers below them.

Source: output of Debian's netperf 2.7.0 for every -v, -f, -c and -C.
"""

from __future__ import annotations

from xenrr.netperf.outcome import Outcome
from xenrr.netperf.output_units import (
    MEGABITS,
    TRANSACTIONS,
    byte_rate_in,
    is_known,
    unit_name,
)

__all__ = ["transaction_details", "transaction_number", "transaction_table"]


def transaction_number(outcome: Outcome) -> str:
    """The line of -v 0: the rate, or with -c or -C the service demand."""
    plain = outcome.run.spec.connecting
    if not outcome.measures_cpu:
        return f"{outcome.rate:7.2f}\n" if plain else f"{outcome.rate:7.2f} {outcome.brand}\n"
    local = outcome.run.spec.local.measure_cpu
    demand = outcome.local_demand if local else outcome.remote_demand
    method = outcome.local_method if local else outcome.remote_method
    return f"{demand:6.3f}\n" if plain else f"{demand:6.3f} {method} {outcome.brand}\n"


def transaction_table(outcome: Outcome) -> str:
    """Titles and both lines of numbers."""
    if outcome.measures_cpu:
        titles, line = _cpu_titles(outcome), _cpu_line(outcome)
    else:
        titles, line = _titles(outcome), _line(outcome)
    remote = outcome.remote
    return ((titles if outcome.options.headers else "") + f"{line}\n"
            f"{remote.send_buffer:<6d} {remote.receive_buffer:<6d}\n")


def transaction_details(outcome: Outcome) -> str:
    """What -v 2 adds; nothing in UDP_RR."""
    spec = outcome.run.spec
    local, remote = spec.local, outcome.remote_asked
    if outcome.test == "UDP_RR":
        return ""
    if spec.connecting:
        # An offset under the alignments, as below: older code.
        second = (remote.receive_offset if outcome.test == "TCP_CC"
                  else remote.receive_alignment)
        return ("\nAlignment      Offset\n"
                "Local  Remote  Local  Remote\n"
                "Send   Recv    Send   Recv\n"
                f"{local.send_alignment:5d}  {second:5d}   "
                f"{local.send_offset:5d}  {remote.receive_offset:5d}\n")
    unit, run = outcome.unit, outcome.run
    outbound = byte_rate_in(unit, run.rate_tps * spec.request_bytes)
    inbound = byte_rate_in(unit, run.rate_tps * spec.response_bytes)
    shown = unit_name(MEGABITS if unit == TRANSACTIONS else unit)
    odd = "" if is_known(unit) else (
        f"WARNING calc_throughput_internal_omni: unknown units {unit}\n")
    # What stands under "Remote Recv" of the alignments is the offset. Either direction is
    # worth a warning of its own.
    return (f"{odd}{odd}"
            "Alignment      Offset         RoundTrip  Trans    Throughput\n"
            f"Local  Remote  Local  Remote  Latency    Rate     {shown:<8.8}/s\n"
            "Send   Recv    Send   Recv    usec/Tran  per sec  Outbound   Inbound\n"
            f"{local.send_alignment:5d}  {remote.receive_offset:5d}   "
            f"{local.send_offset:5d}  {remote.receive_offset:5d}   "
            f"{run.latency_from_rate_us:<6.3f}   "
            f"{run.rate_tps:<6.3f} {outbound:<6.3f}    {inbound:<6.3f}\n")


def _titles(outcome: Outcome) -> str:
    if outcome.unit == TRANSACTIONS or outcome.run.spec.connecting:
        last = ("Trans.", "Rate         ", "per sec   ")
    else:
        last = ("", "Throughput ", f"{unit_name(outcome.unit)}/sec   ")
    return ("Local /Remote\n"
            f"Socket Size   Request  Resp.   Elapsed  {last[0]}\n"
            f"Send   Recv   Size     Size    Time     {last[1]}\n"
            f"bytes  Bytes  bytes    bytes   secs.    {last[2]}\n\n")


def _line(outcome: Outcome) -> str:
    run = outcome.run
    tag = "" if run.spec.connecting else outcome.brand
    return (f"{run.local.send_buffer:<6d} {run.local.receive_buffer:<6d} "
            f"{run.spec.request_bytes:<6d}   {run.spec.response_bytes:<6d}  "
            f"{outcome.elapsed_s:<6.2f}   {outcome.rate:7.2f}   {tag}")


def _cpu_titles(outcome: Outcome) -> str:
    plain = outcome.run.spec.connecting
    if plain or outcome.unit == TRANSACTIONS:
        first, second, per = "Trans.", "Rate", "us/Tr"
    else:
        first, second, per = "Tput", unit_name(outcome.unit)[:8], "us/KB"
    methods = ("%      %  " if plain else
               f"% {outcome.local_method}    % {outcome.remote_method}")
    return ("Local /Remote\n"
            f"Socket Size   Request Resp.  Elapsed {first:<8} CPU    CPU    S.dem   S.dem\n"
            f"Send   Recv   Size    Size   Time    {second:<8} local  remote local   remote\n"
            f"bytes  bytes  bytes   bytes  secs.   per sec  {methods}    {per}   {per}\n\n")


def _cpu_line(outcome: Outcome) -> str:
    run = outcome.run
    text = (f"{run.local.send_buffer:<6d} {run.local.receive_buffer:<6d} "
            f"{run.spec.request_bytes:<6d}  {run.spec.response_bytes:<6d} "
            f"{outcome.elapsed_s:<6.2f}  {outcome.rate:<6.2f}"
            + (" " * 2 if outcome.test == "TCP_RR" else " " * 3))
    shares = (f"{outcome.local_cpu_percent:<6.2f} {outcome.remote_cpu_percent:<6.2f} "
              f"{outcome.local_demand:<6.3f}  {outcome.remote_demand:<6.3f}")
    return text + shares + ("" if run.spec.connecting else f" {outcome.brand}")
