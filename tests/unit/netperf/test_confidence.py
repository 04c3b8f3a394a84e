from __future__ import annotations

import math

import pytest

from xenrr.netperf.confidence import MAX_ITERATIONS, STUDENT_T, relative_width


def test_the_width_of_a_known_sample():
    # Mean 102, deviations 1 and 2: variance 8/3, t(95 %, 2) = 4.303.
    width = relative_width([100, 102, 104], 95)
    assert width == pytest.approx(2 * 4.303 * math.sqrt(8 / 3 / 2) / 102)
    assert relative_width([100, 102, 104], 99) == pytest.approx(width * 9.925 / 4.303)


def test_too_few_or_nothing():
    assert relative_width([], 95) == relative_width([5], 95) == math.inf
    assert relative_width([0, 0, 0], 95) == math.inf
    assert relative_width([7, 7], 95) == 0


def test_there_is_a_t_for_every_possible_number_of_iterations():
    for level, table in STUDENT_T.items():
        assert len(table) == MAX_ITERATIONS - 1
        assert list(table) == sorted(table, reverse=True)
        assert relative_width(range(1, MAX_ITERATIONS + 1), level) > 0
