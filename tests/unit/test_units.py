from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenrr import units
from xenrr.errors import SpecError


@pytest.mark.parametrize(("text", "count"), [
    ("0", 0), ("8", 8), ("-100", -100), ("+5", 5), (" 64K ", 65536), ("64k", 64000),
    ("1m", 10**6), ("1M", 1 << 20), ("2g", 2 * 10**9), ("1G", 1 << 30), ("-1k", -1000),
    ("1.5K", 1536), ("90.0", 90), ("9007199254740993", 9007199254740993),
])
def test_counts(text, count):
    assert units.parse_count(text) == count


@pytest.mark.parametrize("text", ["", "K", "x", "1x", "1KK", "1.5", "0x10", "1_000", "1e3",
                                  "nan", "1 2", "--1", "\uff11", "1.2.3", "9" * 5000,
                                  "9" * 400 + ".0"])
def test_what_is_no_count(text):
    with pytest.raises(SpecError, match="-r: "):
        units.parse_count(text, "-r")


@pytest.mark.parametrize(("text", "duration_s"), [
    ("10", 10), ("90.0", 90), ("10s", 10), ("1m0s", 60), ("1h2m3s", 3723), ("500ms", 0.5),
    ("250us", 0.00025), ("1.5h", 5400), ("-100", -100), ("-1k", -1000), ("0", 0),
    ("1d", 86400), ("-10s", -10), ("1m0.5s", 60.5),
    ("1m", 10**6),  # netperf's letter, not a minute
])
def test_durations(text, duration_s):
    assert units.parse_duration(text) == pytest.approx(duration_s)


@pytest.mark.parametrize("text", ["", "s", "10minutes", "abc", "1m30", "1..5s", "ten", "1s s",
                                  "inf", "10 s", "٣"])
def test_what_is_no_duration(text):
    with pytest.raises(SpecError, match="-l: "):
        units.parse_duration(text, "-l")


@pytest.mark.parametrize(("text", "rate"), [("1000", 1000), ("12.5k", 12500), ("1m", 1e6),
                                            ("1000/s", 1000), ("2K", 2048)])
def test_rates(text, rate):
    assert units.parse_rate(text) == rate


@pytest.mark.parametrize(("text", "rate"), [
    ("100mbit", 1e8), ("1Gbit/s", 1e9), ("536kbit", 536e3), ("1500", 1500), ("1.5Mbit", 1.5e6)])
def test_bit_rates(text, rate):
    assert units.parse_bit_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-1", "fast", "bit", "/s", "1kk"])
@pytest.mark.parametrize("parse", [units.parse_rate, units.parse_bit_rate])
def test_what_is_no_rate(parse, text):
    with pytest.raises(SpecError):
        parse(text)


@given(st.integers(-(2**62), 2**62))
def test_integers_come_back(number):
    assert units.parse_count(str(number)) == number


@given(st.integers(0, 2**50))
def test_bytes_come_back(count):
    assert units.parse_count(units.format_bytes(count)) == count


@given(st.text(max_size=12))
def test_any_text_is_a_value_or_a_spec_error(text):
    for parse in (units.parse_count, units.parse_duration, units.parse_rate,
                  units.parse_bit_rate, units.parse_number):
        try:
            parse(text)
        except SpecError as exc:
            assert repr(text) in str(exc) or "missing" in str(exc)


@pytest.mark.parametrize(("duration_s", "text"), [
    (0.25, "250 ms"), (10, "10 s"), (1.5, "1.5 s"), (90, "1 min 30 s"), (7200, "2 h"),
    (90061, "1 d 1 h 1 min 1 s"), (59.9999, "1 min"), (0, "0 ns"), (-90, "-1 min 30 s")])
def test_durations_for_a_person(duration_s, text):
    assert units.format_duration(duration_s) == text


@pytest.mark.parametrize(("latency_ns", "text"), [
    (0, "0 ns"), (850, "850 ns"), (13234, "13.2 µs"), (999499, "999 µs"), (999600, "1 ms"),
    (1.5e6, "1.5 ms"), (2.5e9, "2.5 s")])
def test_latencies_for_a_person(latency_ns, text):
    assert units.format_latency(latency_ns) == text


def test_rates_for_a_person():
    assert units.format_rate(72016.136) == "72,016/s"
    assert units.format_rate(45.991) == "45.99/s"
