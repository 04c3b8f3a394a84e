"""The latency histogram of netperf builds that have one: decades of ten counters each.

Debian's build has none. Here it is printed when both -v 2 and -j ask for it: -j alone
prints nothing anywhere, and parsers of -v 2 take its last line for the details.

Source: netperf 2.7.0 src/netlib.c, HIST_report(), and the titles of src/nettest_omni.c and
src/nettest_bsd.c; output of a build with ``--enable-histogram``.
"""

from __future__ import annotations

from xenrr.netperf.outcome import Outcome
from xenrr.results.record import TestSpec
from xenrr.stats.histogram import Histogram, lowest_equivalent

__all__ = ["histogram_text"]

ROWS = ("UNIT_USEC", "TEN_USEC", "HUNDRED_USEC", "UNIT_MSEC", "TEN_MSEC", "HUNDRED_MSEC",
        "UNIT_SEC", "TEN_SEC")
CELLS = 10
DETAILS = 2

# The misspelt one is netperf's.
TITLES = {
    "TCP_RR": "\nHistogram of request/response times\n",
    "UDP_RR": "\nHistogram of request/reponse times.\n",
    "TCP_CRR": "\nHistogram of request/response times\n",
    "TCP_CC": "\nHistogram of request/response times\n",
    "TCP_STREAM": "\n\nHistogram of time spent in send() call.\n",
    "TCP_SENDFILE": "\n\nHistogram of time spent in send() call.\n",
    "TCP_MAERTS": "\n\nHistogram of time spent in recv() call.\n",
    "UDP_STREAM": "\nHistogram of time spent in send() call\n",
}


def histogram_text(outcome: Outcome, selected: bool = False) -> str:
    """Title and rows; empty unless -j and -v 2 were given.

    Args:
        outcome: With the samples of all iterations.
        selected: Whether the results are those of selectors, which have other titles.
    """
    options = outcome.options
    if not options.histogram or options.verbosity < DETAILS:
        return ""
    spec = outcome.run.spec
    title = None if selected else TITLES.get(outcome.test)
    return (title or _selected_title(spec)) + _rows(outcome.latency_ns)


def _selected_title(spec: TestSpec) -> str:
    if spec.direction == "receive":
        what = "recv"
    elif spec.direction == "send":
        what = "send"
    elif not spec.connecting:
        what = "request/response"
    else:
        what = "connect/close" if spec.direction == "none" else (
            "connect/request/response/close")
    return f"\nHistogram of {what} times\n"


def _rows(latency_ns: Histogram) -> str:
    counts = [[0] * CELLS for _ in ROWS]
    beyond = total = 0
    for index, count in latency_ns.buckets():
        # Whole microseconds, as netperf takes them; three significant digits are far finer
        # than a cell.
        value = lowest_equivalent(index) // 1000
        row = 0
        while value >= CELLS and row < len(ROWS):
            value //= CELLS
            row += 1
        if row < len(ROWS):
            counts[row][value] += count
        else:
            beyond += count
        total += count
    lines = [f"{name:<14}" + "".join(f": {count:4d}" for count in row) + "\n"
             for name, row in zip(ROWS, counts)]
    return "".join(lines) + f">100_SECS: {beyond}\nHIST_TOTAL:      {total}\n"
