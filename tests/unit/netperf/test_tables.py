"""Which table at which verbosity, and the two tests that have hardly any."""

from __future__ import annotations

import pytest

from xenrr.netperf.tables import cpu_rate_text, mss_text, result_table
from xenrr.results.record import TestSpec


@pytest.mark.parametrize("test", ["TCP_RR", "TCP_CRR", "TCP_CC", "TCP_STREAM", "TCP_MAERTS",
                                  "TCP_SENDFILE", "UDP_STREAM"])
def test_levels_that_netperf_takes_literally(made, test):
    """Level 3 is the details without the table, a negative one nothing."""
    both = result_table(made(TestSpec(test), verbosity=2))
    table = result_table(made(TestSpec(test)))
    assert both == table + result_table(made(TestSpec(test), verbosity=3))
    assert result_table(made(TestSpec(test), verbosity=-1)) == ""
    assert result_table(made(TestSpec(test), verbosity=0)).count("\n") == 1


@pytest.mark.parametrize("test", ["UDP_RR", "UDP_STREAM"])
def test_udp_has_no_details(made, test):
    assert result_table(made(TestSpec(test), verbosity=2)) == result_table(
        made(TestSpec(test)))


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_STREAM", "TCP_STREAM"])
def test_the_warning_stands_above_the_table(made, records, test):
    one = records.stream if test.endswith("STREAM") else records.run
    runs = [one(TestSpec(test), count) for count in (1000, 2000, 4000)]
    asked = {"max_iterations": 3, "min_iterations": 3, "confidence_level": 99,
             "confidence_width": 0.05}
    text = result_table(made(TestSpec(test), *runs, **asked))
    assert text.startswith("!!! WARNING\n!!! Desired confidence was not achieved")
    assert "!!!                       Remote CPU util : 0.000%\n\n" in text
    assert result_table(made(TestSpec(test), *runs[:1] * 3, **asked)).startswith(
        ("Local /Remote", "Recv ", "Socket "))
    number = result_table(made(TestSpec(test), *runs, **asked, verbosity=0))
    assert number.startswith("!!! WARNING\n")


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR", "TCP_CRR", "TCP_CC", "TCP_STREAM",
                                  "TCP_MAERTS", "TCP_SENDFILE", "UDP_STREAM"])
@pytest.mark.parametrize("unit", ["", "k", "u"])
def test_nothing_measured_is_no_division_by_zero(made, records, test, unit):
    spec = TestSpec(test)
    one = records.run if spec.direction in ("rr", "none") else records.stream
    empty = one(spec, 0, elapsed_ns=0, local_cpu=records.busy)
    for verbosity in (0, 1, 2):
        assert "0.00" in result_table(made(spec, empty, unit=unit, verbosity=verbosity))


def test_mss(made):
    options = made(TestSpec()).options
    assert mss_text(options, 32741) == "Maximum\nSegment\nSize (bytes)\n\n32741 \n"
    options.verbosity = 0
    assert mss_text(options, 32741) == "32741 \n"
    options.verbosity = 3
    assert mss_text(options, 32741) == ""
    options.verbosity, options.headers, options.brand = 2, False, "tag"
    assert mss_text(options, -1) == "-1 tag\n"


def test_cpu_rates():
    assert cpu_rate_text("local", 100.0, 2, 1) == "100"
    assert cpu_rate_text("remote", 100.0, 2, 2) == "100\nThere are 2 remote cpus\n"
    assert cpu_rate_text("local", 12345678.0, 1, 2) == "1.23457e+07\nThere is 1 local cpu\n"
