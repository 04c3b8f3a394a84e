from __future__ import annotations

import math

import numpy as np
import pytest

from xenrr.stats.histogram import Histogram, counts_index
from xenrr.stats.interval import (
    Interval,
    StopRule,
    mean_interval,
    order_interval,
    percentile_interval,
    t_quantile,
)

# A seeded experiment of this size knows a coverage to about 1 % (one standard error).
TRIALS = 500
PROMISED = (0.93, 0.97)


def histogram_of(samples_ns: np.ndarray) -> Histogram:
    made = Histogram()
    values, counts = np.unique(samples_ns.astype(int), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist()):
        made.counts[counts_index(value)] += count
    made.min_ns, made.max_ns = int(values[0]), int(values[-1])
    return made


def covered(intervals: list[Interval], truth: float) -> float:
    return sum(each.low <= truth <= each.high for each in intervals) / len(intervals)


@pytest.mark.parametrize(("level", "freedom", "t"), [
    (0.95, 1, 12.706), (0.95, 9, 2.262), (0.99, 29, 2.756), (0.95, 1e9, 1.960)])
def test_t_is_that_of_the_tables(level, freedom, t):
    assert t_quantile(level, freedom) == pytest.approx(t, abs=5e-4)


@pytest.mark.parametrize(("level", "freedom"), [(0, 3), (1, 3), (0.95, 0)])
def test_there_is_no_t_for_nonsense(level, freedom):
    with pytest.raises(ValueError):
        t_quantile(level, freedom)


@pytest.mark.parametrize("repeats", [3, 5, 10])
def test_the_mean_is_covered_as_promised(repeats):
    rng = np.random.default_rng(20_06)
    intervals = [mean_interval(rng.normal(20_000, 600, repeats)) for _ in range(4 * TRIALS)]
    assert PROMISED[0] <= covered(intervals, 20_000) <= PROMISED[1]


@pytest.mark.parametrize(("repeats", "percent"), [(5, 50), (5, 99), (10, 50), (10, 99)])
def test_percentiles_over_repeats_are_covered_as_promised(repeats, percent):
    """Every repeat has a level of its own (3 % around the truth) and 2000 samples."""
    rng = np.random.default_rng(12)
    shape = 20_000 * np.exp(rng.normal(0, 0.4, 500_000))
    truth = float(np.percentile(
        shape * np.exp(rng.normal(0, 0.03, shape.size)), percent))
    intervals = []
    for _ in range(TRIALS):
        levels = np.exp(rng.normal(0, 0.03, (repeats, 1)))
        samples = rng.choice(shape, (repeats, 2000)) * levels
        intervals.append(percentile_interval([histogram_of(row) for row in samples], percent))
    assert PROMISED[0] <= covered(intervals, truth) <= PROMISED[1]


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_order_statistics_are_covered_as_promised(percent):
    rng = np.random.default_rng(7)
    truth = float(20_000 * -math.log(1 - percent / 100))
    intervals = [order_interval(histogram_of(rng.exponential(20_000, 3000)), percent)
                 for _ in range(TRIALS)]
    assert PROMISED[0] <= covered(intervals, truth) <= PROMISED[1]


def test_one_repeat_tells_nothing_about_the_next():
    assert mean_interval([5.0]).relative_half_width == math.inf
    interval = percentile_interval([histogram_of(np.full(10, 700))], 50)
    assert (interval.estimate, interval.low, interval.high) == (700, -math.inf, math.inf)


def test_alike_repeats_leave_no_doubt():
    interval = percentile_interval([histogram_of(np.full(10, 700))] * 4, 99)
    assert (interval.low, interval.estimate, interval.high) == (700, 700, 700)
    assert mean_interval([3.0, 3.0, 3.0]).relative_half_width == 0


def test_the_estimate_is_the_percentile_of_all_samples():
    fast, slow = histogram_of(np.full(900, 1000)), histogram_of(np.full(100, 2000))
    merged = Histogram()
    merged.merge(fast)
    merged.merge(slow)
    for percent in (50, 90, 90.1, 99.9):
        assert percentile_interval([fast, slow], percent).estimate == merged.percentile(
            percent)


def test_too_few_samples_do_not_bound_a_high_percentile():
    interval = order_interval(histogram_of(np.arange(1000, 1100)), 99.9)
    assert interval.high == math.inf
    narrow = order_interval(histogram_of(np.arange(1000, 1100)), 50)
    wide = order_interval(histogram_of(np.arange(1000, 1100)), 50, effective=20)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("call", [
    lambda: mean_interval([]), lambda: mean_interval([1.0, math.nan]),
    lambda: percentile_interval([], 50), lambda: percentile_interval([Histogram()], 50),
    lambda: percentile_interval([histogram_of(np.full(3, 7))], 101),
    lambda: order_interval(Histogram(), 50),
    lambda: order_interval(histogram_of(np.full(3, 7)), 100),
    lambda: StopRule(0.0), lambda: StopRule(0.02, least=1), lambda: StopRule(0.02, most=3)])
def test_nonsense_is_refused(call):
    with pytest.raises(ValueError):
        call()


def test_the_stop_rule_keeps_its_promise():
    """Stopping early on luck would leave the truth outside more often than promised."""
    rng = np.random.default_rng(99)
    rule = StopRule(0.02)
    intervals, made = [], []
    for _ in range(TRIALS):
        values: list[float] = []
        while not rule.done(values):
            values.append(float(rng.normal(1000, 30)))
        intervals.append(mean_interval(values))
        made.append(len(values))
    assert covered(intervals, 1000) >= 0.92
    assert all(each.relative_half_width <= 0.021 for each in intervals)
    # (1.96 * 0.03 / 0.02) ** 2 = 8.6 with the spread known; it has to be estimated.
    assert 9 <= np.mean(made) <= 16


def test_the_stop_rule_gives_up():
    rule = StopRule(0.001, most=12)
    values = [1.0, 2.0] * 6
    assert rule.done(values)
    assert not rule.reached(values)
    assert not rule.done(values[:11])
