"""How well a mean or a percentile is known, from repeats of the same run.

The unit of evidence is the **repeat**, not the transaction: transactions inside one run
share its weather (placement, steal, cache, a neighbour), so millions of them say little
about the next run. Every interval here therefore comes from how much whole repeats differ,
with Student's t for their number.

Percentiles are never averaged. The estimate is that of the merged distribution, and how far
it can be trusted comes from the jackknife: leave one repeat out, merge the rest, look again
(delete-a-group jackknife; Kott 2001). The bootstrap over repeats was tried first: with the
five to ten repeats that people make it covers 83 to 90 % where it promises 95 %.

A single run gives only an order-statistics interval, which takes its samples for
independent; ``order_interval`` says so, and ``effective_samples`` takes the autocorrelation
of its interim series into account.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xenrr.stats.histogram import Histogram, highest_equivalent

__all__ = ["Interval", "StopRule", "mean_interval", "order_interval", "percentile_interval",
           "percentile_logs", "t_quantile"]

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that holds the truth with probability ``level``.

    Attributes:
        estimate, low, high: In the unit of what was measured; the bounds are infinite where
            there is too little to tell.
        level: 0.95 for 95 %.
        repeats: Independent values behind it; 1 for a single run.
        method: ``t``, ``jackknife`` or ``order statistics``.
    """

    estimate: float
    low: float
    high: float
    level: float
    repeats: int
    method: str

    @property
    def relative_half_width(self) -> float:
        """Half of the width as a share of the estimate; infinite when that is 0."""
        if not self.estimate or math.isinf(self.high - self.low):
            return math.inf
        return (self.high - self.low) / 2 / abs(self.estimate)


def t_quantile(level: float, freedom: float) -> float:
    """Student's two-sided t: the mean of a sample lies within this many standard errors.

    Args:
        level: 0.95 for 95 %, above 0 and below 1.
        freedom: Degrees of freedom, above 0.

    Raises:
        ValueError: Either is out of range.
    """
    if not 0 < level < 1 or freedom <= 0:
        raise ValueError(f"no t for level {level} and {freedom} degrees of freedom")
    from scipy.special import stdtrit  # a quarter of a second: only when it is needed

    return float(stdtrit(freedom, 0.5 + level / 2))


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of independent values, such as the rates of repeats.

    Args:
        values: ``(repeats,)``; one alone has an infinite interval.
        level: Wanted coverage.

    Raises:
        ValueError: There are no values, or one is not a number.
    """
    data = np.asarray(values, dtype=float)
    if data.size == 0 or not np.isfinite(data).all():
        raise ValueError("an interval needs values, all of them finite")
    mean = float(data.mean())
    return _around(mean, float(data.std(ddof=1)) if data.size > 1 else math.inf, data.size,
                   level, "t")


def percentile_interval(
    histograms: Sequence[Histogram], percent: float, level: float = 0.95
) -> Interval:
    """A percentile over repeats: of the merged distribution, with its interval, in ns.

    Args:
        histograms: One a repeat; empty ones are refused.
        percent: 0 to 100.
        level: Wanted coverage.

    Raises:
        ValueError: Nothing was recorded in a repeat, there are none, or ``percent`` is out
            of range.
    """
    if not histograms or not all(any(histogram.counts) for histogram in histograms):
        raise ValueError("a percentile needs repeats with samples in each of them")
    if not 0 <= percent <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, got {percent}")
    estimate, logs = percentile_logs(histograms, percent)
    repeats = len(histograms)
    if repeats == 1:
        return _around(estimate, math.inf, 1, level, "jackknife")
    reach = t_quantile(level, repeats - 1) * float(logs.std(ddof=1)) / math.sqrt(repeats)
    return Interval(estimate, estimate * math.exp(-reach), estimate * math.exp(reach), level,
                    repeats, "jackknife")


def percentile_logs(histograms: Sequence[Histogram], percent: float) -> tuple[float, Numbers]:
    """What each repeat says about a percentile of all of them.

    Args:
        histograms: One a repeat, none of them empty.
        percent: 0 to 100.

    Returns:
        The percentile of the merged distribution in ns, and ``(repeats,)`` jackknife
        pseudo-values of its logarithm: they behave like independent values, one a repeat.
        Logarithms, because latencies are skewed to the right and never negative; 0 ns counts
        as 1.
    """
    counts, tops = _matrix(histograms)
    whole = counts.sum(axis=0)
    estimate = _percentile_of(whole, tops, percent)
    repeats = len(histograms)
    log = math.log(max(estimate, 1.0))
    if repeats == 1:
        return estimate, np.array([log])
    without = np.array([_percentile_of(whole - row, tops, percent) for row in counts])
    return estimate, repeats * log - (repeats - 1) * np.log(np.maximum(without, 1.0))


def order_interval(
    histogram: Histogram, percent: float, level: float = 0.95,
    effective: float | None = None,
) -> Interval:
    """A percentile of one run by order statistics, in ns.

    The rank of the true percentile among n independent samples is binomial; normal
    approximation. What lies beyond the smallest or largest sample is infinite: so many
    samples cannot bound that percentile.

    Args:
        histogram: Of one run.
        percent: Above 0 and below 100.
        level: Wanted coverage.
        effective: How many independent samples its samples are worth; all when ``None``.

    Raises:
        ValueError: The histogram is empty or ``percent`` is out of range.
    """
    total = histogram.total
    if not total or not 0 < percent < 100:
        raise ValueError("order statistics need samples and a percentile inside 0 to 100")
    n = total if effective is None else max(1.0, min(float(effective), float(total)))
    share = percent / 100
    reach = _normal_quantile(level) * math.sqrt(share * (1 - share) / n)
    low, high = share - reach, share + reach
    counts, tops = _matrix([histogram])
    whole = counts[0]
    return Interval(
        estimate=_percentile_of(whole, tops, percent),
        low=0.0 if low * n < 1 else _percentile_of(whole, tops, 100 * low),
        high=math.inf if (1 - high) * n < 1 else _percentile_of(whole, tops, 100 * high),
        level=level, repeats=1, method="order statistics")


@dataclass(frozen=True)
class StopRule:
    """When enough repeats have been made (``--until 2%``).

    Looking after every repeat and stopping at the first narrow interval stops too early: a
    lucky run of alike values looks precise. So the variance gets a term of 1/n of the wanted
    width (Chow and Robbins 1965), there are never fewer than ``least`` repeats, and the
    interval has to be narrow twice in a row.

    Attributes:
        half_width: Wanted, as a share of the mean: 0.02 for plus or minus 2 %.
        level: Of the interval.
        least, most: Repeats; at least 5 are made.
    """

    half_width: float
    level: float = 0.95
    least: int = 5
    most: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.half_width < 1 or not 2 <= self.least <= self.most:
            raise ValueError("a stop rule needs a width between 0 and 1 and at least two "
                             "repeats")

    def done(self, values: Sequence[float]) -> bool:
        """Whether to stop after these values."""
        return len(values) >= self.most or self.reached(values)

    def reached(self, values: Sequence[float]) -> bool:
        """Whether these values are known as well as wanted."""
        return (len(values) >= self.least and self._narrow(values)
                and self._narrow(values[:-1]))

    def _narrow(self, values: Sequence[float]) -> bool:
        data = np.asarray(values, dtype=float)
        mean = float(data.mean())
        if data.size < 2 or not mean:
            return False
        wanted = self.half_width * abs(mean)
        t = t_quantile(self.level, data.size - 1)
        variance = float(data.var(ddof=1)) + wanted**2 / (t * t * data.size)
        return t * math.sqrt(variance / data.size) <= wanted


def _around(estimate: float, spread: float, repeats: int, level: float,
            method: str) -> Interval:
    if math.isinf(spread):
        return Interval(estimate, -math.inf, math.inf, level, repeats, method)
    reach = t_quantile(level, repeats - 1) * spread / math.sqrt(repeats)
    return Interval(estimate, estimate - reach, estimate + reach, level, repeats, method)


def _matrix(histograms: Sequence[Histogram]) -> tuple[Numbers, Numbers]:
    """Counts ``(repeats, steps)`` of the steps that hold anything, and their tops in ns."""
    every = np.array([np.frombuffer(histogram.counts, dtype=np.uint64)
                      for histogram in histograms])
    used = np.flatnonzero(every.any(axis=0))
    tops = np.array([highest_equivalent(int(index)) for index in used], dtype=float)
    return every[:, used].astype(np.int64), tops


def _percentile_of(counts: Numbers, tops: Numbers, percent: float) -> float:
    """As ``Histogram.percentile``, without its cut to the exact extremes."""
    running = np.cumsum(counts)
    rank = max(1, math.ceil(percent * int(running[-1]) / 100 - 1e-9))
    return float(tops[int(np.searchsorted(running, rank))])


def _normal_quantile(level: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2)
