from __future__ import annotations

import numpy as np
import pytest

from xenrr.stats.series import (
    autocorrelation,
    effective_samples,
    find_outliers,
    find_trend,
    find_warm_up,
)


def noise(count: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(1000, 10, count)


def remembering(count: int, share: float, seed: int = 5) -> np.ndarray:
    """A first-order process: each value keeps ``share`` of the one before."""
    steps = np.random.default_rng(seed).normal(0, 1, count)
    values = np.zeros(count)
    for place in range(1, count):
        values[place] = share * values[place - 1] + steps[place]
    return 1000 + values


def test_autocorrelation_of_known_processes():
    assert abs(autocorrelation(noise(5000))) < 0.05
    assert autocorrelation(remembering(20_000, 0.8)) == pytest.approx(0.8, abs=0.03)
    assert autocorrelation([5.0] * 10) == 0.0
    with pytest.raises(ValueError, match="lag"):
        autocorrelation([1.0, 2.0], 2)


def test_values_that_remember_count_for_less():
    assert effective_samples(noise(2000)) > 1500
    # A first-order process with 0.8 is worth (1 - 0.8) / (1 + 0.8) of its length.
    assert effective_samples(remembering(20_000, 0.8)) == pytest.approx(20_000 / 9, rel=0.25)
    assert effective_samples([1.0] * 9) == 9


@pytest.mark.parametrize("drift", [-0.05, 0.05])
def test_a_drift_is_found_with_its_size(drift):
    values = noise(40) * (1 + drift * np.arange(40) / 39)
    trend = find_trend(values)
    assert trend is not None
    assert trend.p_value < 0.001
    assert trend.change == pytest.approx(drift, abs=0.015)


@pytest.mark.parametrize("make", [noise, lambda n, seed: remembering(n, 0.4, seed)])
def test_steady_series_are_rarely_called_drifting(make):
    found = [find_trend(make(30, seed=seed)).p_value < 0.01 for seed in range(300)]
    assert sum(found) <= 12


def test_few_or_constant_values_have_no_trend():
    assert find_trend([1.0] * 7) is None
    assert find_trend([1.0] * 20).p_value == 1.0


def test_a_warm_up_is_found():
    values = noise(40)
    values[:4] -= [400, 300, 200, 100]
    assert find_warm_up(values) == 4


def test_steady_series_have_no_warm_up():
    cuts = [find_warm_up(noise(40, seed)) for seed in range(200)]
    assert sum(cut > 0 for cut in cuts) <= 10
    assert find_warm_up([9.0, 1.0, 1.0]) == 0


def test_outliers_are_named_not_dropped():
    values = noise(20)
    values[7] = 700
    assert find_outliers(values) == [7]
    assert find_outliers([5.0, 5.0, 5.0, 6.0]) == [3]
    assert find_outliers([1.0, 100.0]) == []
