from __future__ import annotations

import pytest

from xenrr.cpu.usage import CpuUsage
from xenrr.netperf.iterations import Widths, another, warning, widths_of
from xenrr.results.record import TestSpec

ASKED = {"max_iterations": 10, "min_iterations": 3, "confidence_level": 95,
         "confidence_width": 0.05}


def test_the_warning_is_netperfs():
    assert warning(Widths(0.20803, 0.07343, 0.07343)) == """\
!!! WARNING
!!! Desired confidence was not achieved within the specified iterations.
!!! This implies that there was variability in the test environment that
!!! must be investigated before going further.
!!! Confidence intervals: Throughput      : 20.803%
!!!                       Local CPU util  : 7.343%
!!!                       Remote CPU util : 7.343%

"""


def test_widths(made, records):
    options = made(TestSpec(), **ASKED).options
    runs = [records.run(transactions=count, local_cpu=CpuUsage(percent))
            for count, percent in ((1000, 20.0), (1002, 40.0), (1004, 60.0))]
    widths = widths_of(options, runs)
    assert widths == pytest.approx((0.0099, 2.4843, 0.0), abs=1e-3)
    assert widths.missed(options)
    options.result_only = True
    assert not widths.missed(options)


def test_nothing_can_be_told(made, records):
    asked = made(TestSpec(), **ASKED).options
    assert widths_of(asked, [records.run()]) is None
    assert widths_of(made(TestSpec()).options, [records.run()] * 3) is None
    connections = records.run(TestSpec("TCP_CC"))
    assert widths_of(asked, [connections] * 3) is None


def test_idle_or_unmeasured_cpus_are_certain(made, records):
    options = made(TestSpec(), **ASKED).options
    idle = records.run(local_cpu=CpuUsage(0.0))
    assert widths_of(options, [idle] * 3) == (0, 0, 0)
    assert widths_of(options, [idle, records.run()]) == (0, 0, 0)


def test_the_rate_is_that_of_the_unit(made, records):
    """With -f k of a stream it is the byte rate that has to be known, not a count of 0."""
    spec = TestSpec("TCP_STREAM")
    options = made(spec, unit="k", **ASKED).options
    runs = [records.stream(spec, calls) for calls in (1000, 1000, 1000)]
    assert widths_of(options, runs) == (0, 0, 0)


@pytest.mark.parametrize(("test", "same", "different"), [
    ("TCP_RR", 3, 10), ("TCP_STREAM", 3, 10), ("TCP_SENDFILE", 3, 9), ("TCP_CC", 1, 1)])
def test_how_often_a_test_runs(made, records, test, same, different):
    spec = TestSpec(test)
    one = records.run if spec.direction in ("rr", "none") else records.stream
    options = made(spec, **ASKED).options
    for step, expected in ((0, same), (50, different)):
        runs = [one(spec, 100)]
        while another(options, runs):
            runs.append(one(spec, 100 + step * len(runs)))
        assert len(runs) == expected
    assert not another(made(spec).options, [one(spec, 100)])


def test_the_least_number_is_kept_where_both_are_the_same(made, records):
    spec = TestSpec("TCP_SENDFILE")
    options = made(spec, **{**ASKED, "max_iterations": 3}).options
    assert another(options, [records.stream(spec, calls) for calls in (1, 20)])
    assert not another(options, [records.stream(spec, calls) for calls in (1, 20, 300)])
