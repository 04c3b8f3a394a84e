"""Where the time of a decomposed test went, as a small table. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xenrr.cli.drawing import count_text, duration_text
from xenrr.results.record import Run
from xenrr.stats.histogram import Histogram

__all__ = ["Part", "part_rows", "parts_of"]

WORDS = {"send_path_ns": "send path", "network_ns": "network and peer",
         "wakeup_ns": "wake-up"}


@dataclass(frozen=True)
class Part:
    """One part of all round trips.

    Attributes:
        name: As in the record.
        p50_ns, p99_ns, mean_ns: Of the part; its percentiles are of other round trips than
            those of the whole, and do not add up.
        share: Of the time of all parts together, 0 to 1.
    """

    name: str
    p50_ns: int
    p99_ns: int
    mean_ns: float
    share: float

    def to_plain(self) -> dict[str, float]:
        """JSON-ready values."""
        return {"p50_ns": self.p50_ns, "p99_ns": self.p99_ns, "mean_ns": self.mean_ns,
                "share": self.share}


def parts_of(runs: Sequence[Run]) -> list[Part]:
    """The parts over all repeats; none where nothing was decomposed."""
    merged = {name: Histogram() for name in WORDS}
    for run in runs:
        for name, histogram in run.distributions.items():
            if name in merged:
                merged[name].merge(histogram)
    whole_ns = sum(histogram.sum_ns for histogram in merged.values())
    return [Part(name, histogram.percentile(50), histogram.percentile(99),
                 histogram.mean(), histogram.sum_ns / whole_ns)
            for name, histogram in merged.items()] if whole_ns else []


def part_rows(runs: Sequence[Run], unicode: bool = True) -> list[str]:
    """The table's lines; none where nothing was decomposed.

    Args:
        runs: Repeats of one test.
        unicode: Whether ``µ`` can be shown.
    """
    parts = parts_of(runs)
    if not parts:
        return []
    rows = [f"{'part':<18}{'p50':>9}{'p99':>10}{'mean':>10}{'share':>8}"]
    for part in parts:
        p50, p99, mean = (duration_text(value_ns, unicode) for value_ns in
                          (part.p50_ns, part.p99_ns, part.mean_ns))
        rows.append(f"{WORDS[part.name]:<18}{p50:>9}{p99:>10}{mean:>10}"
                    f"{100 * part.share:>6.1f} %")
    missing, of = (sum(values) for values in
                   zip(*((run.undecomposed, run.transactions) for run in runs)))
    if missing:
        rows.append(f"{count_text(missing)} of {count_text(of)} round trips are in none of "
                    "them: a time stamp was missing")
    return rows
