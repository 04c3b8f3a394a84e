"""netperf's own output: which table belongs to which test, at which verbosity.

``transaction_tables`` and ``stream_tables`` hold the layouts.
"""

from __future__ import annotations

from xenrr.netperf.histogram_text import histogram_text
from xenrr.netperf.iterations import warning
from xenrr.netperf.options import ClientOptions
from xenrr.netperf.outcome import Outcome
from xenrr.netperf.stream_tables import (
    datagram_number,
    datagram_table,
    stream_details,
    stream_number,
    stream_table,
)
from xenrr.netperf.transaction_tables import (
    transaction_details,
    transaction_number,
    transaction_table,
)

__all__ = ["cpu_rate_text", "mss_text", "result_table"]

# netperf takes other levels as they come: above 2 only the details, below 0 nothing.
NUMBER_ONLY, TABLE, DETAILS = 0, 1, 2

TRANSACTION_TESTS = ("TCP_RR", "UDP_RR", "TCP_CRR", "TCP_CC")


def result_table(outcome: Outcome) -> str:
    """What stands below the header line of any test but OMNI, warning included."""
    verbosity, test = outcome.options.verbosity, outcome.test
    if test in TRANSACTION_TESTS:
        number, table, details = transaction_number, transaction_table, transaction_details
    elif test == "UDP_STREAM":
        number, table, details = datagram_number, datagram_table, _nothing
    else:
        number, table, details = stream_number, stream_table, stream_details
    widths = outcome.widths
    text = ""
    if widths is not None and widths.missed(outcome.options):
        text = warning(widths)
    if verbosity == NUMBER_ONLY:
        return text + number(outcome)
    if verbosity in (TABLE, DETAILS):
        text += table(outcome)
    if verbosity >= DETAILS:
        text += details(outcome) + histogram_text(outcome)
    return text


def _nothing(outcome: Outcome) -> str:
    return ""


def mss_text(options: ClientOptions, mss: int) -> str:
    """The result of TCP_MSS, which sends nothing.

    Args:
        options: What was typed.
        mss: TCP_MAXSEG of the connected socket, -1 when unknown.
    """
    if not NUMBER_ONLY <= options.verbosity <= DETAILS:
        return ""
    titled = options.headers and options.verbosity != NUMBER_ONLY
    tag = "" if options.headers or options.brand is None else options.brand
    return ("Maximum\nSegment\nSize (bytes)\n\n" if titled else "") + f"{mss} {tag}\n"


def cpu_rate_text(end: str, rate: float, cpus: int, verbosity: int) -> str:
    """The result of LOC_CPU and REM_CPU: a calibration, without a line end.

    Args:
        end: ``local`` or ``remote``.
        rate: What the calibration says; netperf on Linux always says 100.
        cpus: Number of CPUs of that end.
        verbosity: Of -v.
    """
    text = f"{rate:g}"
    if verbosity > TABLE:
        are, many = ("are", "cpus") if cpus > 1 else ("is", "cpu")
        text += f"\nThere {are} {cpus} {end} {many}\n"
    return text
