"""netperf's tables for request/response tests, blank for blank.

Lines end in blanks where netperf's do: the tag of -B stands there, but only while headers
are off. Socket sizes are those right after the sockets were made.

Source: output of Debian's netperf 2.7.0 for every -v and -f.
"""

from __future__ import annotations

from xenrr.netperf.outcome import Outcome
from xenrr.netperf.output_units import TRANSACTIONS, byte_rate_in, unit_name

__all__ = ["rr_table"]

# netperf takes other levels as they come: above 2 only the details, below 0 nothing.
NUMBER_ONLY, TABLE, DETAILS = 0, 1, 2


def rr_table(outcome: Outcome) -> str:
    """What stands below the header line for the verbosity that was asked for."""
    options = outcome.options
    tag = options.brand if options.brand is not None and not options.headers else ""
    if options.verbosity == NUMBER_ONLY:
        return f"{outcome.rate:7.2f} {tag}\n"
    text = ""
    if options.verbosity in (TABLE, DETAILS):
        text = (_titles(options.unit) if options.headers else "") + _lines(outcome, tag)
    if options.verbosity >= DETAILS and options.test == "TCP_RR":
        text += _details(outcome)
    return text


def _titles(unit: str) -> str:
    if unit == TRANSACTIONS:
        last = ("Trans.", "Rate         ", "per sec   ")
    else:
        last = ("", "Throughput ", f"{unit_name(unit)}/sec   ")
    return ("Local /Remote\n"
            f"Socket Size   Request  Resp.   Elapsed  {last[0]}\n"
            f"Send   Recv   Size     Size    Time     {last[1]}\n"
            f"bytes  Bytes  bytes    bytes   secs.    {last[2]}\n\n")


def _lines(outcome: Outcome, tag: str) -> str:
    run = outcome.run
    return (f"{run.local.send_buffer:<6d} {run.local.receive_buffer:<6d} "
            f"{run.spec.request_bytes:<6d}   {run.spec.response_bytes:<6d}  "
            f"{outcome.elapsed_s:<6.2f}   {outcome.rate:7.2f}   {tag}\n"
            f"{run.remote.send_buffer:<6d} {run.remote.receive_buffer:<6d}\n")


def _details(outcome: Outcome) -> str:
    unit, run = outcome.options.unit, outcome.run
    seconds = run.elapsed_s or 1.0  # nothing was measured: the rates below are 0
    outbound = byte_rate_in(unit, run.bytes_sent / seconds)
    inbound = byte_rate_in(unit, run.bytes_received / seconds)
    shown = unit_name("m" if unit == TRANSACTIONS else unit)
    # Buffers are neither aligned nor shifted by an option here: netperf's own defaults. What
    # stands under "Remote Recv" of the alignments is an offset (fact sheet, trap 30).
    return ("Alignment      Offset         RoundTrip  Trans    Throughput\n"
            f"Local  Remote  Local  Remote  Latency    Rate     {shown:<8}/s\n"
            "Send   Recv    Send   Recv    usec/Tran  per sec  Outbound   Inbound\n"
            f"{8:5d}  {0:5d}   {0:5d}  {0:5d}   {run.latency_from_rate_us:<6.3f}   "
            f"{run.rate_tps:<6.3f} {outbound:<6.3f}    {inbound:<6.3f}\n")
