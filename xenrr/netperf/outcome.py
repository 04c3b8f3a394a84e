"""Everything that is printed about one finished command, gathered in one place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from xenrr.netperf.names import DataEnds
from xenrr.netperf.options import ClientOptions
from xenrr.netperf.output_units import throughput
from xenrr.results.record import Run
from xenrr.stats.histogram import Histogram

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """The iterations of one command.

    As netperf has it: rate and elapsed time are means over the iterations, latencies pile
    up over all of them, everything else is that of the last one.

    Attributes:
        options: What was typed.
        ends: Addresses of the data connection as they are shown.
        runs: One record per iteration, at least one.
        width: Confidence reached for the rate as a share of the mean, ``None`` without -I.
    """

    options: ClientOptions
    ends: DataEnds
    runs: tuple[Run, ...]
    width: float | None = None

    @property
    def run(self) -> Run:
        """The last iteration."""
        return self.runs[-1]

    @property
    def rate(self) -> float:
        """Mean of the main result in the unit of -f."""
        return sum(throughput(self.options.unit, run) for run in self.runs) / len(self.runs)

    @property
    def elapsed_s(self) -> float:
        """Mean length of the data phase in s."""
        return sum(run.elapsed_s for run in self.runs) / len(self.runs)

    @cached_property
    def latency_ns(self) -> Histogram:
        """Round trips of all iterations."""
        if len(self.runs) == 1:
            return self.run.latency_ns
        merged = Histogram()
        for run in self.runs:
            merged.merge(run.latency_ns)
        return merged
