"""The histogram alone (pytest-benchmark)."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from xenrr.stats.histogram import Histogram, PackedHistogram


@pytest.fixture
def filled() -> Histogram:
    """A thousand values that spread over as many steps as those of a run do."""
    histogram = Histogram()
    histogram.record_many(range(12_000, 112_000, 100))
    return histogram


def test_record(benchmark: BenchmarkFixture) -> None:
    histogram = Histogram()
    benchmark(histogram.record, 13_337)
    assert histogram.min_ns == histogram.max_ns == 13_337


def test_percentiles(benchmark: BenchmarkFixture, filled: Histogram) -> None:
    found = benchmark(filled.percentiles, (50, 90, 99, 99.9))
    assert found == sorted(found)


def test_merge(benchmark: BenchmarkFixture, filled: Histogram) -> None:
    merged = Histogram()
    benchmark(merged.merge, filled)
    assert merged.total % filled.total == 0


def test_pack_and_unpack(benchmark: BenchmarkFixture, filled: Histogram) -> None:
    assert benchmark(lambda: PackedHistogram.of(filled).unpack()) == filled
