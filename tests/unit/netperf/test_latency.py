from __future__ import annotations

import pytest

from xenrr.errors import SpecError
from xenrr.netperf.latency import parse_percents, percent_of_selector, percentile_lines
from xenrr.results.record import TestSpec


@pytest.mark.parametrize(("name", "percent"), [
    ("P50_LATENCY", 50), ("P99.9_LATENCY", 99.9), ("P999_LATENCY", 99.9),
    ("P9999_LATENCY", 99.99), ("P99.999_LATENCY", 99.999), ("P0_LATENCY", 0),
    ("P100_LATENCY", 100), ("P101_LATENCY", None), ("PX_LATENCY", None), ("P_LATENCY", None),
    ("P1e1_LATENCY", None), ("P-1_LATENCY", None), ("MAX_LATENCY", None), ("P50", None),
    ("PROTOCOL", None)])
def test_percentile_names(name, percent):
    assert percent_of_selector(name) == percent


def test_lists():
    assert parse_percents("50, 99.9,100") == (50, 99.9, 100)


@pytest.mark.parametrize("text", ["", "50,", "x", "101", "-1", "999", "nan"])
def test_lists_there_are_not(text):
    with pytest.raises(SpecError):
        parse_percents(text)


def test_lines(outcome):
    assert percentile_lines(outcome("-t TCP_RR"), (50.0, 99.9)) == (
        "Round-trip latency, usec\n"
        "   MIN     P50   P99.9     MAX\n"
        "13.000  13.007  90.000  90.000\n")
    assert percentile_lines(outcome("-t TCP_RR -P 0"), (50.0,)) == "13.000  13.007  90.000\n"


def test_nothing_goes_round_one_way(made):
    assert percentile_lines(made(TestSpec("TCP_STREAM")), (50.0,)).splitlines()[0] == (
        "Time of a call, usec")


def test_keyval_lines(outcome):
    assert percentile_lines(outcome("-t TCP_RR -- -k"), (99.9,)) == (
        "LATENCY_MIN_USEC=13.000\nLATENCY_P99.9_USEC=90.000\nLATENCY_MAX_USEC=90.000\n")


def test_iterations_pile_up(outcome, records):
    one, two = records.run(transactions=1000), records.run(transactions=3000)
    both = outcome("-t TCP_RR", one, two)
    assert both.latency_ns.total == 4000
    assert both.rate == 2000 and both.elapsed_s == 1
