"""Did it get faster? Two sets of repeats, one plain answer that claims no more than they do.

Rates and latencies are positive and change by factors, so the comparison is of logarithms:
the answer is a ratio with its interval. The sets are taken as independent (Welch), or as
pairs where repeat i of one was made beside repeat i of the other; pairing takes the drift
of the machine out.

The verdict is "faster" or "slower" only when the whole interval lies on one side of 1, so
of comparisons of the same thing with itself, at a level of 95 %, 1 in 20 is wrong and the
others say "cannot tell". With fewer than ``LEAST_REPEATS`` on a side it is always "cannot
tell".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xenrr.stats.histogram import Histogram
from xenrr.stats.interval import percentile_logs, t_quantile

__all__ = ["CANNOT_TELL", "FASTER", "SLOWER", "Comparison", "compare", "compare_percentiles",
           "repeats_to_find"]

Numbers = npt.NDArray[Any]

FASTER, SLOWER, CANNOT_TELL = "faster", "slower", "cannot tell"
LEAST_REPEATS = 3
# Beyond it nobody repeats; it also ends the search below.
MOST_REPEATS = 10_000


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Attributes:
        ratio, low, high: B / A of the geometric means, and its interval.
        level: Of the interval.
        effect: Difference of the logarithms in standard deviations of one repeat (Cohen's
            d); 0.0 where both sets are constant and alike, infinite where they are constant
            and differ.
        verdict: ``faster``, ``slower`` or ``cannot tell``.
        repeats: Values of A and of B.
        paired: Whether pairs were compared.
    """

    ratio: float
    low: float
    high: float
    level: float
    effect: float
    verdict: str
    repeats: tuple[int, int]
    paired: bool


def compare(
    before: Sequence[float], after: Sequence[float], *, level: float = 0.95,
    paired: bool = False, lower_is_faster: bool = False,
) -> Comparison:
    """Compare two sets of results.

    Args:
        before, after: Results of A and of B, all positive: rates, or latencies with
            ``lower_is_faster``.
        level: Of the interval; 1 - level of comparisons without a difference claim one.
        paired: The sets belong together place by place.
        lower_is_faster: What "faster" means.

    Raises:
        ValueError: A set is empty, a value is not positive, or pairs do not match.
    """
    a, b = (np.asarray(values, dtype=float) for values in (before, after))
    if not a.size or not b.size or not (a > 0).all() or not (b > 0).all():
        raise ValueError("a comparison needs positive results on both sides")
    if paired and a.size != b.size:
        raise ValueError(f"{a.size} results cannot be paired with {b.size}")
    return _compare(np.log(a), np.log(b), level, paired, lower_is_faster)


def compare_percentiles(
    before: Sequence[Histogram], after: Sequence[Histogram], percent: float, *,
    level: float = 0.95, paired: bool = False,
) -> Comparison:
    """Compare a percentile of latency over two sets of repeats; lower is faster.

    Args:
        before, after: Distributions of A and of B, one a repeat, none empty.
        percent: 0 to 100.
        level, paired: As in ``compare``.

    Raises:
        ValueError: A set is empty, or pairs do not match.
    """
    if not before or not after:
        raise ValueError("a comparison needs results on both sides")
    if paired and len(before) != len(after):
        raise ValueError(f"{len(before)} results cannot be paired with {len(after)}")
    return _compare(percentile_logs(before, percent)[1], percentile_logs(after, percent)[1],
                    level, paired, lower_is_faster=True)


def repeats_to_find(
    change: float, spread: float, *, level: float = 0.95, power: float = 0.9
) -> int:
    """Repeats a side that find a change of this size, when there is one.

    Args:
        change: As a share: 0.05 for 5 %.
        spread: Standard deviation of one repeat as a share of the mean.
        level: Of the comparison's interval.
        power: Chance to find it.

    Returns:
        At least ``LEAST_REPEATS``, at most ``MOST_REPEATS``.

    Raises:
        ValueError: ``change`` is not above 0 or ``spread`` is negative.
    """
    if change <= 0 or spread < 0:
        raise ValueError("a change above 0 and a spread of 0 or more are needed")
    shift = math.log1p(change)
    low, high = LEAST_REPEATS, MOST_REPEATS
    # Power grows with the number of repeats: halve the range.
    while low < high:
        repeats = (low + high) // 2
        freedom = 2 * (repeats - 1)
        wanted = t_quantile(level, freedom) + t_quantile(2 * power - 1, freedom)
        if shift >= wanted * spread * math.sqrt(2 / repeats):
            high = repeats
        else:
            low = repeats + 1
    return low


def _compare(a: Numbers, b: Numbers, level: float, paired: bool,
             lower_is_faster: bool) -> Comparison:
    """Compare two sets of logarithms."""
    difference = float(b.mean() - a.mean())
    if min(a.size, b.size) < LEAST_REPEATS:
        reach = math.inf
    elif paired:
        reach = _reach(float((b - a).var(ddof=1)) / a.size, a.size - 1, level)
    else:
        shares = float(a.var(ddof=1)) / a.size, float(b.var(ddof=1)) / b.size
        squares = shares[0] ** 2 / (a.size - 1) + shares[1] ** 2 / (b.size - 1)
        freedom = sum(shares) ** 2 / squares if squares else float(a.size + b.size - 2)
        reach = _reach(sum(shares), freedom, level)
    verdict = CANNOT_TELL
    if abs(difference) > reach:
        verdict = FASTER if (difference > 0) is not lower_is_faster else SLOWER
    return Comparison(
        ratio=math.exp(difference), low=math.exp(difference - reach),
        high=_exp(difference + reach), level=level, effect=_effect(a, b, difference),
        verdict=verdict, repeats=(int(a.size), int(b.size)), paired=paired)


def _reach(variance_of_difference: float, freedom: float, level: float) -> float:
    return t_quantile(level, freedom) * math.sqrt(variance_of_difference)


def _effect(a: Numbers, b: Numbers, difference: float) -> float:
    freedom = a.size + b.size - 2
    pooled = (float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / freedom
              if freedom else 0.0)
    if pooled:
        return difference / math.sqrt(pooled)
    return math.copysign(math.inf, difference) if difference else 0.0


def _exp(value: float) -> float:
    return math.inf if math.isinf(value) else math.exp(value)
