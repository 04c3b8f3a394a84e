"""How evenly something is shared, and whether two orders agree. Plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["jain_index", "kendall_tau", "max_over_min"]


def jain_index(rates: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all get the same, 1/n when one gets everything.

    Args:
        rates: ``(senders,)``, none negative.

    Returns:
        NaN without a rate above 0.

    Source: Jain, Chiu, Hawe: A quantitative measure of fairness, DEC-TR-301, 1984.
    """
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else math.nan


def max_over_min(rates: Sequence[float]) -> float:
    """The largest over the smallest; infinite when one got nothing, NaN without rates."""
    if not rates or not max(rates):
        return math.nan
    return max(rates) / min(rates) if min(rates) else math.inf


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b: 1 for the same order, -1 for the reverse, ties allowed.

    Args:
        one, other: ``(machines,)`` each, in the same order of machines.

    Returns:
        NaN where one of them puts nothing in an order.

    Raises:
        ValueError: They are of different lengths.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} values against {len(other)}")
    both, ordered_one, ordered_other = 0, 0, 0
    for place in range(len(one)):
        for before in range(place):
            sign_one = _sign(one[place] - one[before])
            sign_other = _sign(other[place] - other[before])
            both += sign_one * sign_other
            ordered_one += abs(sign_one)
            ordered_other += abs(sign_other)
    return both / math.sqrt(ordered_one * ordered_other) if (
        ordered_one and ordered_other) else math.nan


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
