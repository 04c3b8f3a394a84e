"""netperf's own output: which table belongs to which test, at which verbosity.

``transaction_tables`` and ``stream_tables`` hold the layouts.
"""

from __future__ import annotations

from xenrr.netperf.options import ClientOptions
from xenrr.netperf.outcome import Outcome

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

    Layout = tuple[Callable[[Outcome], str], Callable[[Outcome], str],
                   Callable[[Outcome], str]]

__all__ = ["cpu_rate_text", "mss_text", "result_table"]

# netperf takes other levels as they come: above 2 only the details, below 0 nothing.
NUMBER_ONLY, TABLE, DETAILS = 0, 1, 2

TRANSACTION_TESTS = ("TCP_RR", "UDP_RR", "TCP_CRR", "TCP_CC")


def result_table(outcome: Outcome) -> str:
    """What stands below the header line of any test but OMNI, warning included."""
    verbosity, test = outcome.options.verbosity, outcome.test
    number, table, details = _layout(test)
    widths = outcome.widths
    text = ""
    if widths is not None and widths.missed(outcome.options):
        from xenrr.netperf.iterations import warning

        text = warning(widths)
    if verbosity == NUMBER_ONLY:
        return text + number(outcome)
    if verbosity in (TABLE, DETAILS):
        text += table(outcome)
    if verbosity >= DETAILS:
        from xenrr.netperf.histogram_text import histogram_text

        text += details(outcome) + histogram_text(outcome)
    return text


def _layout(test: str) -> Layout:
    """What makes the number alone, the table, and its details; only this one is loaded."""
    if test in TRANSACTION_TESTS:
        from xenrr.netperf import transaction_tables as transactions

        return (transactions.transaction_number, transactions.transaction_table,
                transactions.transaction_details)
    from xenrr.netperf import stream_tables as streams

    if test == "UDP_STREAM":
        return streams.datagram_number, streams.datagram_table, _nothing
    return streams.stream_number, streams.stream_table, streams.stream_details


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
