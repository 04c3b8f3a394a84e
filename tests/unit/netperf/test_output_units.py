from __future__ import annotations

import pytest

from xenrr.cpu.usage import CpuUsage
from xenrr.netperf.output_units import (
    byte_rate_in,
    interim_rate,
    interim_unit,
    sd_unit,
    service_demand,
    target_bytes,
    throughput,
    unit_name,
    unit_of,
)
from xenrr.results.record import TargetTally, TestSpec


@pytest.mark.parametrize(("letter", "name", "rate"), [
    ("B", "Bytes", 1048576), ("K", "KBytes", 1024), ("M", "MBytes", 1),
    ("G", "GBytes", 1 / 1024),
    ("b", "10^0bits", 1048576), ("k", "10^3bits", 8388.608), ("m", "10^6bits", 8.388608),
    ("g", "10^9bits", 0.008388608), ("u", "Usec", 1e6 / 1048576), ("?", "KBytes", 1024),
    ("", "KBytes", 1024), ("x", "Trans", 8.388608)])
def test_units(letter, name, rate):
    assert unit_name(letter) == name
    assert byte_rate_in(letter, 1048576) == pytest.approx(rate)


@pytest.mark.parametrize(("test", "typed", "letter"), [
    ("TCP_RR", "", "x"), ("TCP_RR", "?", "x"), ("UDP_RR", "k", "k"), ("TCP_CRR", "", "x"),
    ("TCP_CRR", "m", "m"), ("TCP_CC", "", "x"), ("TCP_CC", "k", "x"), ("TCP_STREAM", "", "m"),
    ("TCP_STREAM", "x", "m"), ("UDP_STREAM", "?", "m"), ("TCP_MAERTS", "z", "z")])
def test_the_letter_depends_on_the_test(test, typed, letter):
    assert unit_of(typed, TestSpec(test)) == letter


def test_omni_counts_connections_without_data():
    spec = TestSpec("OMNI", direction="none", connecting=True)
    assert unit_of("", spec) == "x" and unit_of("k", spec) == "k"


def test_the_main_result(records):
    run = records.run(transactions=500, target_tally=TargetTally(500, 1500, 2500, 5, 5, 1.0))
    assert throughput("x", run) == 500
    # What the target says, where it says both; it may have seen more than came back.
    assert throughput("B", run) == 4000
    idle = records.run(transactions=0, elapsed_ns=0)
    assert [throughput(letter, idle) for letter in "xBu"] == [0, 0, 0]
    classic = records.run(transactions=500, target_tally=TargetTally(500, 500, -1))
    assert throughput("B", classic) == 1000


def test_streams_are_measured_where_they_arrive(records):
    lossy = records.stream(TestSpec("UDP_STREAM"), 1000, 100,
                           target_tally=TargetTally(0, 90_000, -1))
    assert throughput("B", lossy) == target_bytes(lossy) == 90_000
    received = records.stream(TestSpec("TCP_MAERTS"), 1000, 100,
                              target_tally=TargetTally(0, 0, 123_456))
    assert throughput("B", received) == 100_000


def test_without_a_word_from_the_target_all_has_arrived(records):
    silent = {"target_tally": TargetTally()}
    spec = TestSpec("TCP_STREAM", no_control=True)
    assert target_bytes(records.stream(spec, 1000, 100, **silent)) == 100_000
    # netperf counts what was sent, in round trips as well.
    assert target_bytes(records.run(TestSpec(no_control=True), 500, **silent)) == 500


def test_service_demand(records):
    usage = CpuUsage(50.0, cpus=2)
    trips = records.run(transactions=50_000)
    assert service_demand("x", trips, None) == -1
    assert service_demand("x", trips, usage) == pytest.approx(20)
    assert service_demand("m", trips, usage) == pytest.approx(10_240)
    stream = records.stream(TestSpec("TCP_STREAM"), 1024, 1024,
                            target_tally=TargetTally(0, 1 << 19, 0))
    assert service_demand("m", stream, usage) == pytest.approx(1e6 / 1024)
    # Older code: per KB that arrived.
    file = records.stream(TestSpec("TCP_SENDFILE"), 1024, 1024,
                          target_tally=TargetTally(0, 1 << 19, 0))
    assert service_demand("m", file, usage) == pytest.approx(2e6 / 1024)
    idle = records.run(transactions=0, elapsed_ns=0)
    assert service_demand("x", idle, usage) == service_demand("m", idle, usage) == 0


def test_service_demand_of_a_target_that_does_not_count_its_cpus(records):
    """Classic TCP_CRR and TCP_CC: netperf takes its own number for the other one."""
    silent = CpuUsage(50.0, cpus=0)
    run = records.run(transactions=50_000, local_cpu=records.busy)
    assert service_demand("x", run, silent) == pytest.approx(20)
    run = records.run(transactions=50_000, host={"cpus": "4"})
    assert service_demand("x", run, silent) == pytest.approx(40)
    assert service_demand("x", records.run(transactions=50_000), silent) == pytest.approx(10)


def test_interim_rates():
    spec = TestSpec(request_bytes=100, response_bytes=200)
    assert interim_rate(interim_unit("", spec), spec, 50, 99, 0.5) == 100
    assert interim_rate("B", spec, 50, 99, 0.5) == 30_000
    assert interim_rate("B", TestSpec("TCP_STREAM"), 0, 99, 0.5) == 198
    assert interim_rate("B", spec, 50, 99, 0.0) == 0


def test_service_demand_follows_the_unit():
    assert (sd_unit("x"), sd_unit("m")) == ("usec/Tran", "usec/KB")
