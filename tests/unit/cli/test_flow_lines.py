"""What a person is shown of many flows and of an open loop."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from xenrr.cli.flow_lines import (
    flow_rates,
    flow_texts,
    flows_text,
    repeat_texts,
    schedule_lines,
)
from xenrr.results.record import FlowRecord, TestSpec
from xenrr.stats.histogram import Histogram


def histogram_of(*values_ns: int) -> Histogram:
    made = Histogram()
    for value_ns in values_ns:
        made.record(value_ns)
    return made


@pytest.mark.parametrize(("asked", "text"), [
    ({}, ""), ({"flows": 12}, ", 12 flows"),
    ({"rate_tps": 1500.0}, ", 1 500/s on schedule"),
    ({"flows": 2, "rate_tps": 2.5, "rate_per_flow": True, "poisson": True, "seed": 7,
      "poller": "epoll"}, ", 2 flows, 2.5/s each at random (seed 7), epoll")])
def test_what_was_asked(asked, text):
    assert flows_text(TestSpec(**asked)) == text


def test_how_flows_compare():
    flows = tuple(FlowRecord(f"h:{count}", "time", transactions=count)
                  for count in (100, 300, 200, 0))
    run = SimpleNamespace(flows=flows, elapsed_ns=2 * 10**9, poller="epoll")
    assert flow_rates(run) == [50.0, 150.0, 100.0, 0.0]
    assert flow_texts(run) == ["4 flows by epoll", "each 0 to 150/s, median 75",
                               f"Jain {300**2 / (4 * 35_000):.4f}"]


def test_repeats_show_the_widest_spread():
    def run_of(*counts, late_ns):
        flows = tuple(FlowRecord(f"h:{count}", "time", transactions=count) for count in counts)
        return SimpleNamespace(flows=flows, elapsed_ns=10**9, spec=TestSpec(rate_tps=40.0),
                               distributions={"slip_ns": histogram_of(late_ns)})

    runs = [run_of(10, 30, late_ns=1000), run_of(20, 20, late_ns=5000)]
    assert repeat_texts(runs, unicode=False) == [
        "each flow 10 to 30/s", "Jain at least 0.8000", "asked 40/s",
        "left late by p99 5.00 us at most"]
    single = SimpleNamespace(flows=(), elapsed_ns=1, spec=TestSpec(), distributions={})
    assert repeat_texts([single], unicode=True) == []


@pytest.mark.parametrize("flows", [(), (FlowRecord("h:1", "error"),) * 2])
def test_flows_that_did_nothing(flows):
    run = SimpleNamespace(flows=flows, elapsed_ns=10**9 * len(flows), poller="poll")
    assert not any(map(math.isnan, flow_rates(run)))
    assert flow_texts(run) == (["2 flows by poll"] if flows else [])


def test_what_became_of_a_schedule():
    run = SimpleNamespace(
        spec=TestSpec(rate_tps=100.0), rate_tps=98.76, latency_ns=histogram_of(30_000, 50_000),
        distributions={"slip_ns": histogram_of(2_000), "service_ns": histogram_of(20_000)})
    lines = [" ".join(items) for items in schedule_lines(run, unicode=False)]
    assert lines[0] == "asked 100/s achieved 98.8/s left late by p50 2.00 us, p99 2.00 us"
    assert "p50 30.0 us" in lines[2] and "p50 20.0 us" in lines[4]
    assert schedule_lines(SimpleNamespace(spec=TestSpec()), unicode=True) == []
