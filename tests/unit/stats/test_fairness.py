from __future__ import annotations

import math

import pytest

from xenrr.stats.fairness import jain_index, kendall_tau, max_over_min


@pytest.mark.parametrize(("rates", "index"), [
    ([5, 5, 5], 1.0), ([1, 0, 0, 0], 0.25), ([1, 2], 0.9), ([7], 1.0)])
def test_jain(rates, index):
    assert jain_index(rates) == pytest.approx(index)


def test_nothing_is_neither_fair_nor_unfair():
    assert math.isnan(jain_index([0, 0]))
    assert math.isnan(jain_index([]))
    assert math.isnan(max_over_min([]))
    assert max_over_min([3, 0]) == math.inf
    assert max_over_min([3, 2]) == 1.5


@pytest.mark.parametrize(("one", "other", "tau"), [
    ([1, 2, 3], [10, 20, 30], 1.0), ([1, 2, 3], [3, 2, 1], -1.0),
    # scipy.stats.kendalltau of the same values
    ([12, 2, 1, 12, 2], [1, 4, 7, 1, 0], -0.4714045207910316)])
def test_tau(one, other, tau):
    assert kendall_tau(one, other) == pytest.approx(tau)


def test_what_has_no_order_has_no_tau():
    assert math.isnan(kendall_tau([1, 1], [1, 2]))
    with pytest.raises(ValueError, match="2 values against 1"):
        kendall_tau([1, 2], [1])
