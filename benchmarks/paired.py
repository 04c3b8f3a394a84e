"""Paired ratios: the only speed figures that can be trusted on a shared machine.

Two things alternate A B B A within one session, so that a drift of the machine hits both;
the answer is the median of the ratios and its interval. An A A pair, run the same way,
states the noise that no ratio here can be better than.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass

__all__ = ["Ratio", "paired_ratio"]

# Ranks of the order statistics that hold the median of n pairs with at least 95 %
# confidence (binomial, p = 1/2): the interval is from the k-th smallest to the k-th largest.
MEDIAN_RANKS = {6: 1, 7: 1, 8: 1, 9: 2, 10: 2, 11: 2, 12: 3, 13: 3, 14: 3, 15: 4, 16: 4,
                17: 5, 18: 5, 19: 5, 20: 6, 25: 8, 30: 10}


@dataclass(frozen=True)
class Ratio:
    """Rate of A over rate of B.

    Attributes:
        median, low, high: Median ratio and its 95 % interval.
        noise: Largest distance from 1 that the middle half of A/A ratios reached.
        a_rate, b_rate: Median rates, transactions per second.
        pairs: How many pairs.
    """

    median: float
    low: float
    high: float
    noise: float
    a_rate: float
    b_rate: float
    pairs: int

    def to_plain(self) -> dict[str, float]:
        """JSON-ready values."""
        return asdict(self)


def paired_ratio(
    a: Callable[[], float], b: Callable[[], float], pairs: int = 7, noise_pairs: int = 4
) -> Ratio:
    """Measure A against B.

    Args:
        a, b: Run once, give a rate.
        pairs: Pairs to run, 6 or more.
        noise_pairs: A/A pairs to run first.

    Raises:
        ValueError: Too few pairs for an interval.
    """
    if pairs < min(MEDIAN_RANKS):
        raise ValueError(f"an interval needs {min(MEDIAN_RANKS)} pairs or more, got {pairs}")
    noise = [abs(a() / a() - 1) for _ in range(noise_pairs)]
    rates: list[tuple[float, float]] = []
    for number in range(pairs):
        if number % 2:
            b_rate = b()
            rates.append((a(), b_rate))
        else:
            a_rate = a()
            rates.append((a_rate, b()))
    ratios = sorted(a_rate / b_rate for a_rate, b_rate in rates)
    rank = MEDIAN_RANKS[max(known for known in MEDIAN_RANKS if known <= pairs)]
    return Ratio(
        median=statistics.median(ratios), low=ratios[rank - 1], high=ratios[-rank],
        noise=statistics.median(noise), a_rate=statistics.median(rate for rate, _ in rates),
        b_rate=statistics.median(rate for _, rate in rates), pairs=pairs)
