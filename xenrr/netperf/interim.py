"""Interim results while a test runs (-D), in the form of the results that follow.

The last interval is rarely whole; it is printed at the end, as netperf has done since
2.6.0. Times are seconds of the wall clock.
"""

from __future__ import annotations

from xenrr.netperf.options import CSV, KEYVAL, ClientOptions
from xenrr.netperf.output_units import TRANSACTIONS, byte_rate_in, unit_name
from xenrr.results.record import SECOND_NS, InterimPoint, Run

__all__ = ["InterimPrinter"]

# What is left after the last interval: less than this is a rounding matter, not an interval.
SHORTEST_NS = 1_000_000


class InterimPrinter:
    """Formats the interim results of all iterations of one command."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._index = 0

    def lines(self, point: InterimPoint) -> str:
        """The line or lines for one interval, with line ends."""
        return self._lines(self._rate(point.transactions, point.interval_ns),
                           point.interval_ns, point.at_epoch_s)

    def last_lines(self, run: Run) -> str:
        """The same for what a finished run did after its last interim result, if anything."""
        done_ns = run.interims[-1].end_ns if run.interims else 0
        left_ns = run.elapsed_ns - done_ns
        if left_ns < SHORTEST_NS:
            return ""
        transactions = run.transactions - sum(point.transactions for point in run.interims)
        return self._lines(self._rate(transactions, left_ns), left_ns,
                           run.started_epoch_s + run.elapsed_ns / SECOND_NS)

    def _rate(self, transactions: int, interval_ns: int) -> float:
        if interval_ns <= 0:
            return 0.0
        rate_tps = transactions * SECOND_NS / interval_ns
        if self._options.unit == TRANSACTIONS:
            return rate_tps
        both_ways = self._options.request_bytes + self._options.response_bytes
        return byte_rate_in(self._options.unit, rate_tps * both_ways)

    def _lines(self, rate: float, interval_ns: int, at_epoch_s: float) -> str:
        unit, seconds = f"{unit_name(self._options.unit)}/s", f"{interval_ns / SECOND_NS:.3f}"
        index, self._index = self._index, self._index + 1
        if self._options.form == KEYVAL:
            return (f"NETPERF_INTERIM_RESULT[{index}]={rate:.2f}\n"
                    f"NETPERF_UNITS[{index}]={unit}\n"
                    f"NETPERF_INTERVAL[{index}]={seconds}\n"
                    f"NETPERF_ENDING[{index}]={at_epoch_s:.3f}\n")
        if self._options.form == CSV:
            return f"{rate:7.2f},{unit},{seconds},{at_epoch_s:.3f}\n"
        return (f"Interim result: {rate:7.2f} {unit} over {seconds} seconds "
                f"ending at {at_epoch_s:.3f}\n")
