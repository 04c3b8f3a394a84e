from __future__ import annotations

import math

import numpy as np
import pytest

from xenrr.stats.compare import (
    CANNOT_TELL,
    FASTER,
    SLOWER,
    compare,
    compare_percentiles,
    repeats_to_find,
)
from xenrr.stats.histogram import Histogram


def rates(rng: np.random.Generator, count: int, level: float = 20_000.0) -> np.ndarray:
    return level * np.exp(rng.normal(0, 0.03, count))


@pytest.mark.parametrize("paired", [False, True])
def test_the_same_thing_cannot_be_told_apart_as_often_as_promised(paired):
    rng = np.random.default_rng(50)
    verdicts = [compare(rates(rng, 8), rates(rng, 8), paired=paired).verdict
                for _ in range(2000)]
    assert 0.94 <= verdicts.count(CANNOT_TELL) / len(verdicts) <= 0.96
    claims = verdicts.count(FASTER), verdicts.count(SLOWER)
    assert min(claims) > 0.3 * sum(claims)


@pytest.mark.parametrize(("change", "verdict"), [(1.05, FASTER), (1 / 1.05, SLOWER)])
def test_a_change_of_5_percent_is_found_with_the_repeats_advised(change, verdict):
    rng = np.random.default_rng(5)
    repeats = repeats_to_find(0.05, 0.03)
    found = [compare(rates(rng, repeats), rates(rng, repeats, 20_000 * change)).verdict
             for _ in range(500)]
    assert found.count(verdict) / len(found) >= 0.88
    assert 7 <= repeats <= 12


def test_pairs_take_the_drift_out():
    rng = np.random.default_rng(8)
    drift = np.linspace(1, 2, 10)
    before, after = rates(rng, 10) * drift, rates(rng, 10, 22_000) * drift
    assert compare(before, after).verdict == CANNOT_TELL
    result = compare(before, after, paired=True)
    assert result.verdict == FASTER
    assert result.low < 1.1 < result.high


def test_lower_latency_is_faster():
    assert compare([10, 11, 10, 11], [5, 6, 5, 6], lower_is_faster=True).verdict == FASTER
    assert compare([5, 6, 5, 6], [10, 11, 10, 11], lower_is_faster=True).verdict == SLOWER


def test_two_repeats_never_tell():
    result = compare([1.0, 1.0], [9.0, 9.0])
    assert (result.verdict, result.low, result.high) == (CANNOT_TELL, 0.0, math.inf)


def test_constant_sets():
    same = compare([7.0] * 3, [7.0] * 3)
    assert (same.verdict, same.effect, same.ratio) == (CANNOT_TELL, 0.0, 1.0)
    other = compare([7.0] * 3, [14.0] * 3)
    assert other.verdict == FASTER
    assert other.effect == math.inf


@pytest.mark.parametrize(("before", "after", "paired"), [
    ([], [1.0], False), ([1.0], [0.0], False), ([1.0, 2.0], [1.0], True)])
def test_nonsense_is_refused(before, after, paired):
    with pytest.raises(ValueError):
        compare(before, after, paired=paired)


@pytest.mark.parametrize(("change", "spread"), [(0, 0.1), (0.1, -1)])
def test_advice_needs_a_change(change, spread):
    with pytest.raises(ValueError):
        repeats_to_find(change, spread)


def distributions(rng: np.random.Generator, count: int, median_ns: float) -> list[Histogram]:
    made = []
    for level in np.exp(rng.normal(0, 0.03, count)):
        histogram = Histogram()
        histogram.record_many((level * median_ns * np.exp(rng.normal(0, 0.3, 400)))
                              .astype(int).tolist())
        made.append(histogram)
    return made


def test_percentiles_are_compared_over_repeats():
    rng = np.random.default_rng(11)
    slow, fast = distributions(rng, 6, 30_000), distributions(rng, 6, 20_000)
    result = compare_percentiles(slow, fast, 90)
    assert result.verdict == FASTER
    assert result.low < 2 / 3 < result.high
    assert compare_percentiles(fast, slow, 90, paired=True).verdict == SLOWER
    verdicts = [compare_percentiles(distributions(rng, 5, 20_000),
                                    distributions(rng, 5, 20_000), 50).verdict
                for _ in range(60)]
    assert verdicts.count(CANNOT_TELL) >= 53


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0), (2, 3)])
def test_percentiles_need_both_sides(before, after):
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError):
        compare_percentiles(distributions(rng, before, 100), distributions(rng, after, 100),
                            50, paired=True)
