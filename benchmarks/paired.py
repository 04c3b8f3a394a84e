"""Paired ratios: the only speed figures that can be trusted on a shared machine.

What is compared takes turns within one session, A B C and then C B A, so that a drift of the
machine hits all of it; the answer is the median of the ratios and its interval. A A pairs,
run the same way, state the noise that no ratio here can be better than.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

__all__ = ["Measure", "Ratio", "Rounds", "Sample", "measure_rounds", "median_rank"]

# What one run gives, by name: "rate" in transactions per second or 10^6 bit/s, "p99_ns", ...
Sample = Mapping[str, float]
Measure = Callable[[], Sample]


def median_rank(pairs: int) -> int:
    """Which order statistics hold the median with at least 95 % confidence.

    Args:
        pairs: How many values there are; fewer than six have no such interval, and 1 is
            told for them, the smallest and the largest.

    Returns:
        ``k``: the interval is from the k-th smallest to the k-th largest (binomial, p = 1/2).
    """
    below, rank = 1, 0
    while 40 * below <= 2 ** pairs:
        rank += 1
        below += math.comb(pairs, rank)
    return max(1, rank)


@dataclass(frozen=True)
class Ratio:
    """A over B.

    Attributes:
        median, low, high: Median ratio and its 95 % interval; with fewer than six pairs,
            which have none, the smallest and the largest.
        noise: How far from 1 the middle one of the A/A ratios was; ``None`` without any.
        a, b: Medians of both.
        pairs: How many pairs.
    """

    median: float
    low: float
    high: float
    noise: float | None
    a: float
    b: float
    pairs: int

    def to_plain(self) -> dict[str, float | None]:
        """JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Rounds:
    """What was measured side by side.

    Attributes:
        samples: One of each round, by name, from the first round to the last that it was in.
        noise: A/A pairs of the first name.
    """

    samples: Mapping[str, Sequence[Sample]]
    noise: Sequence[tuple[Sample, Sample]]

    def ratio(self, a: str, b: str, value: str = "rate") -> Ratio:
        """One of those that were measured over another, in the rounds that both were in.

        Raises:
            KeyError: A sample does not tell this value.
        """
        pairs = [(one[value], other[value])
                 for one, other in zip(self.samples[a], self.samples[b])]
        ratios = sorted(one / other for one, other in pairs)
        rank = median_rank(len(pairs))
        noise = [abs(one[value] / other[value] - 1) for one, other in self.noise]
        return Ratio(
            median=statistics.median(ratios), low=ratios[rank - 1], high=ratios[-rank],
            noise=statistics.median(noise) if noise else None,
            a=statistics.median(one for one, _ in pairs),
            b=statistics.median(other for _, other in pairs), pairs=len(pairs))


def measure_rounds(
    measures: Mapping[str, Measure], pairs: int | Mapping[str, int] = 7, noise_pairs: int = 4,
) -> Rounds:
    """Measure side by side.

    Args:
        measures: What to run, by name; the first one's noise is taken before all else.
        pairs: Rounds, each with one run of everything; or how many of them by name, from
            the first one on.
        noise_pairs: A/A pairs.

    Raises:
        ValueError: There is nothing to measure, or no round.
    """
    wanted = pairs if isinstance(pairs, Mapping) else dict.fromkeys(measures, pairs)
    if not measures or min(wanted.values()) < 1:
        raise ValueError(f"{len(measures)} things in {pairs} rounds are no measurement")
    first = measures[next(iter(measures))]
    noise = [(first(), first()) for _ in range(noise_pairs)]
    samples: dict[str, list[Sample]] = {name: [] for name in measures}
    for number in range(max(wanted.values())):
        names = [name for name in measures if number < wanted[name]]
        for name in reversed(names) if number % 2 else names:
            samples[name].append(measures[name]())
    return Rounds(samples, noise)
