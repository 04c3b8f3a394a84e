"""Interim results while a test runs (-D), in the form of the results that follow.

The last interval is rarely whole; it is printed at the end if anything was done in it, as
netperf has done since 2.6.0 in all but its older tests. Times are seconds of the wall clock.
"""

from __future__ import annotations

from xenrr.netperf.options import CSV, KEYVAL, ClientOptions
from xenrr.netperf.output_units import interim_rate, interim_unit, unit_name
from xenrr.results.record import SECOND_NS, InterimPoint, Run, TestSpec

__all__ = ["InterimPrinter"]

# What is left after the last interval: less than this is a rounding matter, not an interval.
SHORTEST_NS = 1_000_000
# Older code prints whole intervals only. Ours keep to a schedule, so one that follows a late
# one is a bit short; the rest at the end of a test is shorter still.
WHOLE_ONLY = ("TCP_CC", "TCP_SENDFILE")
WHOLE_SHARE = 0.75


class InterimPrinter:
    """Formats the interim results of all iterations of one command.

    Args:
        options: What was typed.
        spec: The test.
    """

    def __init__(self, options: ClientOptions, spec: TestSpec) -> None:
        self._options = options
        self._spec = spec
        self._unit = interim_unit(options.unit, spec)
        self._index = 0

    def lines(self, point: InterimPoint) -> str:
        """The line or lines for one interval, with line ends."""
        whole_ns = WHOLE_SHARE * self._spec.interim_s * SECOND_NS
        if self._spec.test in WHOLE_ONLY and point.interval_ns < whole_ns:
            return ""
        return self._lines(point.transactions, point.bytes, point.interval_ns,
                           point.at_epoch_s)

    def last_lines(self, run: Run) -> str:
        """The same for what a finished run did after its last interim result, if anything."""
        done_ns = run.interims[-1].end_ns if run.interims else 0
        left_ns = run.elapsed_ns - done_ns
        transactions = run.transactions - sum(point.transactions for point in run.interims)
        moved = (run.bytes_sent + run.bytes_received
                 - sum(point.bytes for point in run.interims))
        done = moved if self._spec.is_one_way else transactions
        if left_ns < SHORTEST_NS or done <= 0 or self._spec.test in WHOLE_ONLY:
            return ""
        return self._lines(transactions, moved, left_ns,
                           run.started_epoch_s + run.elapsed_ns / SECOND_NS)

    def _lines(self, transactions: int, moved: int, interval_ns: int,
               at_epoch_s: float) -> str:
        seconds = interval_ns / SECOND_NS
        rate = interim_rate(self._unit, self._spec, transactions, moved, seconds)
        unit = f"{unit_name(self._unit)}/s"
        index, self._index = self._index, self._index + 1
        if self._options.form == KEYVAL:
            return (f"NETPERF_INTERIM_RESULT[{index}]={rate:.2f}\n"
                    f"NETPERF_UNITS[{index}]={unit}\n"
                    f"NETPERF_INTERVAL[{index}]={seconds:.3f}\n"
                    f"NETPERF_ENDING[{index}]={at_epoch_s:.3f}\n")
        if self._options.form == CSV:
            return f"{rate:7.2f},{unit},{seconds:.3f},{at_epoch_s:.3f}\n"
        return (f"Interim result: {rate:7.2f} {unit} over {seconds:.3f} seconds "
                f"ending at {at_epoch_s:.3f}\n")
