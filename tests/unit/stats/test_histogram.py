from __future__ import annotations

import math
import random

import pytest

from xenrr.stats.histogram import (
    COUNTS_LENGTH,
    HIGHEST_NS,
    Histogram,
    counts_index,
    highest_equivalent,
    lowest_equivalent,
)


def test_every_step_holds_just_its_own_values() -> None:
    for index in range(counts_index(HIGHEST_NS) + 1):
        low, high = lowest_equivalent(index), highest_equivalent(index)
        assert counts_index(low) == counts_index(high) == index
        assert high - low <= low / 1000


def test_range_is_an_hour() -> None:
    assert counts_index(HIGHEST_NS) < COUNTS_LENGTH
    assert COUNTS_LENGTH == 33792  # HdrHistogram's length for 1 ns to 1 h, 3 digits


def test_percentiles_equal_those_of_a_sorted_list() -> None:
    draw = random.Random(7)
    values = [int(draw.lognormvariate(10, 2)) for _ in range(20_000)]
    histogram = Histogram()
    histogram.record_many(values)
    values.sort()
    for percent in (0, 1, 50, 90, 99, 99.9, 99.99, 100):
        exact = values[max(1, math.ceil(percent * len(values) / 100 - 1e-9)) - 1]
        assert exact <= histogram.percentile(percent) <= exact * 1.001 + 1
    assert histogram.mean() == pytest.approx(sum(values) / len(values))
    assert (histogram.min_ns, histogram.max_ns) == (values[0], values[-1])


def test_percentiles_come_in_the_order_asked() -> None:
    histogram = Histogram()
    histogram.record_many(range(1, 101))
    assert histogram.percentiles((99, 50, 100, 1)) == [99, 50, 100, 1]


def test_merging_is_the_same_as_recording_together() -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    one.record_many(range(500, 2000, 7))
    two.record_many(range(3, 900_000, 1001))
    both.record_many([*range(500, 2000, 7), *range(3, 900_000, 1001)])
    one.merge(two)
    assert one == both
    both.merge(Histogram())
    assert one == both
    empty = Histogram()
    empty.merge(one)
    assert empty == one


def test_out_of_range_values_are_kept_and_told() -> None:
    histogram = Histogram()
    histogram.record(HIGHEST_NS * 3)
    histogram.record(-5)
    assert (histogram.total, histogram.clamped) == (2, 1)
    assert (histogram.min_ns, histogram.max_ns) == (0, HIGHEST_NS)


def test_empty_has_no_values() -> None:
    histogram = Histogram()
    assert (histogram.total, histogram.mean(), histogram.stddev()) == (0, 0.0, 0.0)
    assert histogram.percentile(99) == 0


def test_standard_deviation() -> None:
    histogram = Histogram()
    histogram.record(1000, count=2)
    histogram.record(1400, count=2)
    assert histogram.stddev() == pytest.approx(200, rel=0.005)


@pytest.mark.parametrize("percent", [-1, 100.1])
def test_impossible_percentile(percent: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        Histogram().percentile(percent)


def test_negative_count() -> None:
    with pytest.raises(ValueError, match="not negative"):
        Histogram().record(1, count=-1)


def test_plain_form_round_trips() -> None:
    histogram = Histogram()
    histogram.record_many(range(1, 10**6, 997))
    assert Histogram.from_plain(histogram.to_plain()) == histogram


@pytest.mark.parametrize("change", [
    {"layout": "other"}, {"counts": [[COUNTS_LENGTH, 1]]}, {"counts": [[0, -1]]},
    {"counts": "x"}, {"counts": [[0, 1 << 64]]}, {"min_ns": -1}, {"min_ns": 2, "max_ns": 1},
    {"counts": [[9, 1]], "min_ns": 1, "max_ns": 8}])
def test_damaged_plain_form(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Histogram.from_plain({**Histogram().to_plain(), **change})
