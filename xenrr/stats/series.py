"""Whether the numbers of one run, or of repeats in order, come from one steady state.

All of it works on a series in time: rates of the intervals of a run, or results of repeats
in the order they were made. Nothing is thrown away here: a warm-up, an outlier or a trend
is found and shown, and whoever reads it decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Trend", "autocorrelation", "effective_samples", "find_outliers", "find_trend",
           "find_warm_up"]

Numbers = npt.NDArray[Any]

# A median absolute deviation is this part of the standard deviation of a normal sample.
MAD_TO_SIGMA = 1.4826
# One normal value in two million lies so far away; a deviation estimated from 20 values is
# often a third too small, which leaves about one in two thousand.
FAR_SIGMAS = 5.0
# The shortest series that a test can say anything about.
LEAST = 8


@dataclass(frozen=True)
class Trend:
    """A drift through a series.

    Attributes:
        p_value: Of the Mann-Kendall test: chance of such an order without any trend.
        change: From the first to the last value along Sen's slope, as a share of the
            median; negative when it falls.
    """

    p_value: float
    change: float


def autocorrelation(values: Sequence[float], lag: int = 1) -> float:
    """Correlation of a series with itself ``lag`` places later; 0.0 if it is constant.

    Raises:
        ValueError: The series is not longer than the lag.
    """
    data = np.asarray(values, dtype=float)
    if not 0 < lag < data.size:
        raise ValueError(f"a lag of {lag} needs more than {data.size} values")
    centred = data - data.mean()
    power = float(centred @ centred)
    return float(centred[lag:] @ centred[:-lag]) / power if power else 0.0


def effective_samples(values: Sequence[float]) -> float:
    """How many independent values a series is worth, 1 to its length.

    The sum of autocorrelations is cut where a pair of neighbours is no longer positive
    (Geyer's initial positive sequence).
    """
    data = np.asarray(values, dtype=float)
    n = data.size
    if n < 4 or not float(data.std()):
        return float(n)
    total = 1.0
    for lag in range(1, n - 1, 2):
        pair = autocorrelation(values, lag) + autocorrelation(values, lag + 1)
        if pair <= 0:
            break
        total += 2 * pair
    return min(float(n), max(1.0, n / total))


def find_trend(values: Sequence[float]) -> Trend | None:
    """Mann-Kendall test and Sen's slope; ``None`` below 8 values.

    The variance is widened by the autocorrelation at lag 1 where that is positive, because
    alike neighbours look like a trend (Hamed and Rao's idea, first lag only).
    """
    data = np.asarray(values, dtype=float)
    n = data.size
    if n < LEAST:
        return None
    later, earlier = np.triu_indices(n, 1)[::-1]
    steps = data[later] - data[earlier]
    score = float(np.sign(steps).sum())
    _, ties = np.unique(data, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5)
                - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    slope = float(np.median(steps / (later - earlier)))
    residue = data - slope * np.arange(n)
    alike = max(0.0, autocorrelation(residue.tolist()))
    variance *= (1 + alike) / (1 - min(alike, 0.95))
    if variance <= 0:
        return Trend(1.0, 0.0)
    z = (abs(score) - 1) / math.sqrt(variance) if score else 0.0
    median = float(np.median(data))
    change = slope * (n - 1) / median if median else 0.0
    return Trend(2 * (1 - NormalDist().cdf(max(z, 0.0))), change)


def find_warm_up(values: Sequence[float]) -> int:
    """How many values at the beginning belong to a warm-up, 0 to half of them.

    MSER says whether the rest has a smaller standard error of its mean without a beginning
    (White 1997); of that beginning only the values that lie far from the rest, one after the
    other from the first, are the warm-up. Without the second rule noise is cut more often
    than not.
    """
    data = np.asarray(values, dtype=float)
    if data.size < LEAST:
        return 0
    most = data.size // 2
    errors = [float(data[cut:].var()) / (data.size - cut) for cut in range(most + 1)]
    cut = int(np.argmin(errors))
    far = set(_far(data[:cut], data[cut:], FAR_SIGMAS))
    return next(place for place in range(cut + 1) if place not in far)


def find_outliers(values: Sequence[float]) -> list[int]:
    """Places of values that lie far from the rest; they are shown, not dropped.

    Far is more than ``FAR_SIGMAS`` robust standard deviations from the median. Among three
    or more values; where most are the same to the last digit, every other one is far.
    """
    data = np.asarray(values, dtype=float)
    return _far(data, data, FAR_SIGMAS) if data.size > 2 else []


def _far(data: Numbers, rest: Numbers, sigmas: float) -> list[int]:
    """Places in ``data`` of values that are far from the median of ``rest``."""
    middle = float(np.median(rest))
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(rest - middle)))
    return [int(place) for place in np.flatnonzero(np.abs(data - middle) > sigmas * sigma)]
