"""Paired ratios: the only speed figures that can be trusted on a shared machine.

What is compared takes turns within one session, A B C and then C B A, so that a drift of the
machine hits all of it; the answer is the median of the ratios and its interval. A A pairs,
run the same way, state the noise that no ratio here can be better than.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

__all__ = ["MEDIAN_RANKS", "Measure", "Ratio", "Rounds", "Sample", "measure_rounds"]

# What one run gives, by name: "rate" in transactions per second or 10^6 bit/s, "p99_ns", ...
Sample = Mapping[str, float]
Measure = Callable[[], Sample]

# Ranks of the order statistics that hold the median of n pairs with at least 95 %
# confidence (binomial, p = 1/2): the interval is from the k-th smallest to the k-th largest.
MEDIAN_RANKS = {6: 1, 7: 1, 8: 1, 9: 2, 10: 2, 11: 2, 12: 3, 13: 3, 14: 3, 15: 4, 16: 4,
                17: 5, 18: 5, 19: 5, 20: 6, 25: 8, 30: 10}


@dataclass(frozen=True)
class Ratio:
    """A over B.

    Attributes:
        median, low, high: Median ratio and its 95 % interval; with fewer than six pairs,
            which have none, the smallest and the largest.
        noise: Largest distance from 1 that the middle half of A/A ratios reached.
        a, b: Medians of both.
        pairs: How many pairs.
    """

    median: float
    low: float
    high: float
    noise: float
    a: float
    b: float
    pairs: int

    def to_plain(self) -> dict[str, float]:
        """JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Rounds:
    """What was measured side by side.

    Attributes:
        samples: One of each round, by name.
        noise: A/A pairs of the first name.
    """

    samples: Mapping[str, Sequence[Sample]]
    noise: Sequence[tuple[Sample, Sample]]

    def ratio(self, a: str, b: str, value: str = "rate") -> Ratio:
        """One of those that were measured over another.

        Raises:
            KeyError: A sample does not tell this value.
        """
        pairs = [(one[value], other[value])
                 for one, other in zip(self.samples[a], self.samples[b])]
        ratios = sorted(one / other for one, other in pairs)
        rank = MEDIAN_RANKS[max((known for known in MEDIAN_RANKS if known <= len(pairs)),
                                default=min(MEDIAN_RANKS))]
        noise = [abs(one[value] / other[value] - 1) for one, other in self.noise]
        return Ratio(
            median=statistics.median(ratios), low=ratios[rank - 1], high=ratios[-rank],
            noise=statistics.median(noise) if noise else 0.0,
            a=statistics.median(one for one, _ in pairs),
            b=statistics.median(other for _, other in pairs), pairs=len(pairs))


def measure_rounds(
    measures: Mapping[str, Measure], pairs: int = 7, noise_pairs: int = 4,
) -> Rounds:
    """Measure side by side.

    Args:
        measures: What to run, by name; the first one's noise is taken before all else.
        pairs: Rounds, each with one run of everything.
        noise_pairs: A/A pairs.

    Raises:
        ValueError: There is nothing to measure, or no round.
    """
    if not measures or pairs < 1:
        raise ValueError(f"{len(measures)} things in {pairs} rounds are no measurement")
    first = measures[next(iter(measures))]
    noise = [(first(), first()) for _ in range(noise_pairs)]
    samples: dict[str, list[Sample]] = {name: [] for name in measures}
    for number in range(pairs):
        names = list(measures)
        for name in reversed(names) if number % 2 else names:
            samples[name].append(measures[name]())
    return Rounds(samples, noise)
