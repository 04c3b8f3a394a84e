from __future__ import annotations

import pytest

from xenrr.cli.drawing import chart_rows, count_text, duration_text, fit, percent_texts
from xenrr.stats.histogram import Histogram


def histogram(*pairs):
    made = Histogram()
    for value_ns, count in pairs:
        made.record(value_ns, count)
    return made


@pytest.mark.parametrize(("value_ns", "text"), [
    (0, "0 ns"), (999, "999 ns"), (1000, "1.00 µs"), (18_234, "18.2 µs"), (9_996, "10.0 µs"),
    (99_960, "100 µs"), (999_499, "999 µs"), (999_501, "1.00 ms"), (1_500_000_000, "1.50 s"),
])
def test_durations_have_three_digits(value_ns, text):
    assert duration_text(value_ns) == text
    assert duration_text(value_ns, unicode=False) == text.replace("µ", "u")


def test_counts_are_grouped():
    assert [count_text(value) for value in (0, 999.6, 52134)] == ["0", "1 000", "52 134"]


def test_fit_never_cuts_an_item():
    assert fit(["aaaa", "bbbb", "cc"], 11) == ["aaaa   bbbb", "cc"]
    assert fit(["b", "a far too long one", "c"], 12) == ["b", "a far too", "  long one", "c"]
    assert fit(["incomprehensible"], 12) == ["incomprehensible"]
    assert fit([], 5) == []


def test_percentiles_and_maximum():
    shown = percent_texts(histogram((20_000, 999), (1_000_000, 1)))
    assert shown == ["p50 20.0 µs", "p90 20.0 µs", "p99 20.0 µs", "p99.9 20.0 µs",
                     "max 1.00 ms"]


@pytest.mark.parametrize("width", [1, 8, 38, 60, 500])
@pytest.mark.parametrize("pairs", [
    [(0, 5)], [(20_000, 1)], [(12_000, 90_000), (14_000, 40_000), (3_000_000, 1)],
    [(1, 1), (3_600_000_000_000, 1)], [(0, 1), (5_000_000, 7)],
])
@pytest.mark.parametrize("unicode", [True, False])
def test_charts_keep_to_their_width(width, pairs, unicode):
    rows = chart_rows(histogram(*pairs), width, unicode)
    assert all(len(row) <= max(width, 8) for row in rows)
    if not unicode:
        assert all(row.isascii() for row in rows)


def test_a_chart_shows_every_value_and_its_place():
    rows = chart_rows(histogram((10_000, 1_000_000), (1_000_000, 1)), 40)
    *bars, axis = rows
    # The mode fills its column to the top, the single stall is the smallest mark.
    assert [bar[0] for bar in bars] == ["█"] * len(bars)
    assert bars[-1].rstrip()[-1] == "▁"
    assert len(bars[-1]) == 40
    assert axis.startswith("|10 µs")
    assert "|100 µs" in axis


def test_a_narrow_distribution_is_not_stretched():
    rows = chart_rows(histogram((20_000, 10), (20_100, 10)), 40)
    assert max(len(row.strip()) for row in rows[:-1]) <= 2


def test_an_empty_histogram_gives_no_chart():
    assert chart_rows(Histogram(), 40) == []
