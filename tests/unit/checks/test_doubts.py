from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from peers import LOOPBACK

import xenrr
from xenrr.checks import doubts as module
from xenrr.checks.doubts import CODES, doubts_of, doubts_of_repeats
from xenrr.cli.summary import group_runs
from xenrr.cpu.usage import CpuUsage
from xenrr.results.record import EndSpec, FlowRecord, InterimPoint, Run, TargetTally, TestSpec
from xenrr.stats.histogram import Histogram

PAGE = Path(__file__).resolve().parents[3] / "docs/method/doubts.md"
SECOND = 10**9


def histogram_of(count: int, value_ns: int = 20_000) -> Histogram:
    made = Histogram()
    made.record(value_ns, count)
    return made


def make_run(transactions: int = 100_000, **changes: object) -> Run:
    standard = Run(
        spec=TestSpec(duration_s=10), target="dom0", target_address="127.0.0.1:4000",
        local_address="127.0.0.1:4001", peer="xenrr", engine="pure", started_epoch_s=1.5e9,
        elapsed_ns=10 * SECOND, transactions=transactions, requests_sent=transactions,
        in_flight=0, lost=0, late=0, malformed=0, drained=0, bytes_sent=transactions,
        bytes_received=transactions, send_calls=transactions, recv_calls=transactions,
        ended="time", error="",
        latency_ns=histogram_of(transactions),
        target_tally=TargetTally(transactions=transactions),
        host={"clock_source": "tsc", "clock_read_ns": "50", "clock_resolution_ns": "1",
              "load_average": "0.5 0.2 0.1", "cpus": "2"})
    return replace(standard, **changes)  # type: ignore[arg-type]


def interims(*rates: int) -> tuple[InterimPoint, ...]:
    return tuple(InterimPoint((place + 1) * SECOND, SECOND, rate, 2 * rate, 1, 1, 1, 1.5e9)
                 for place, rate in enumerate(rates))


STEADY = (10_000, 10_050, 9_980, 10_020, 9_990, 10_010, 10_040, 9_970, 10_000, 10_030)
FALLING = tuple(10_000 - 100 * place for place in range(20))


def codes(run: Run) -> list[str]:
    return [doubt.code for doubt in doubts_of(run)]


def test_a_sound_run_has_none():
    assert codes(make_run(interims=interims(*STEADY))) == []


@pytest.mark.parametrize(("code", "changes"), [
    ("broken", {"error": "the peer ended the data connection"}),
    ("stopped", {"ended": "stopped"}),
    ("short", {"elapsed_ns": SECOND // 2}),
    ("samples", {"latency_ns": histogram_of(99_999)}),
    ("counts", {"target_tally": TargetTally(transactions=99_000)}),
    ("loss", {"lost": 3}),
    ("loss", {"late": 1}),
    ("loss", {"malformed": 1}),
    ("rate", {"spec": TestSpec(duration_s=10, rate_tps=10_200.0)}),
    # Half of what was asked for: the last response had waited for 5 s, the median for half.
    ("rate", {"spec": TestSpec(duration_s=10, rate_tps=20_000.0),
              "latency_ns": histogram_of(100_000, 5 * SECOND // 2)}),
    ("rate", {"spec": TestSpec(duration_s=10, rate_tps=1_020.0, rate_per_flow=True, flows=10)}),
    ("rate", {"spec": TestSpec(duration_s=10, rate_tps=10_200.0, poisson=True)}),
    ("slip", {"distributions": {"slip_ns": histogram_of(100, 2_100)}}),
    ("flows", {"spec": TestSpec(duration_s=10, flows=2),
               "flows": (FlowRecord("h:1", "time"), FlowRecord("h:2", "peer"))}),
    ("flows", {"spec": TestSpec(duration_s=10, flows=2),
               "flows": (FlowRecord("h:1", "time", transactions=10, requests_sent=10),
                         FlowRecord("h:2", "time", requests_sent=1, in_flight=1))}),
    ("steal", {"local_cpu": CpuUsage(50.0, steal=1.5)}),
    ("steal", {"remote_cpu": CpuUsage(50.0, steal=40.0)}),
    ("throttled", {"throttling": {"periods": 20, "throttled": 3, "throttled_us": 150_000}}),
    ("self-connection", {"target_address": "127.0.0.1:4001"}),
    ("shared-cpu", {"spec": TestSpec(duration_s=10, local=EndSpec(cpu=1),
                                     remote=EndSpec(cpu=1))}),
    ("shared-cpu", {"host": {"cpus_allowed": "3"}, "remote_host": {"cpus_allowed": "3"}}),
    ("shared-cpu", {"host": {"cpus_allowed": "0"},
                    "spec": TestSpec(duration_s=10, remote=EndSpec(cpu=0))}),
    ("clock", {"host": {"clock_source": "hpet"}}),
    ("clock", {"host": {"clock_read_ns": "1500"}}),
    ("clock", {"host": {"clock_resolution_ns": "4000000"}}),
    ("clocks", {"target_tally": TargetTally(transactions=100_000, elapsed_s=9.7)}),
    ("clocks", {"target_tally": TargetTally(transactions=100_000, elapsed_s=13.0)}),
    ("busy", {"host": {"load_average": "3.1 1 1", "cpus": "2"}}),
    ("busy", {"remote_host": {"load_average": "9 1 1", "cpus": "4"}}),
    ("warm-up", {"interims": interims(5_000, 6_000, *STEADY, *STEADY)}),
    ("trend", {"interims": interims(*FALLING)}),
])
def test_each_doubt_is_provoked(code, changes):
    doubts = doubts_of(make_run(**changes))
    assert [doubt.code for doubt in doubts] == [code]
    assert str(doubts[0]).endswith(f"[{code}]")


def test_repeats_of_a_run_are_counted_once_each():
    """Both ends of both runs were busy: that is two runs and not four."""
    busy = {"load_average": "9 1 1", "cpus": "4"}
    run = make_run(host=busy, remote_host=busy)
    (one,) = group_runs([run])
    assert [doubt.text.split(" was")[0] for doubt in one.doubts()] == [
        "the load of the sender", "the load of the target"]
    (both,) = group_runs([run, run])
    assert [doubt.text.split(",")[0] for doubt in both.doubts()] == ["in 2 of 2 runs"]


def test_real_runs_have_doubts(xenrr_server):
    """A glance, with both ends bound to one CPU."""
    cpu = EndSpec(cpu=min(os.sched_getaffinity(0)))
    run = xenrr.measure(LOOPBACK, port=xenrr_server.port, duration_s=0.05, local=cpu,
                        remote=cpu)
    assert {"few-samples", "shared-cpu"} <= set(codes(run))
    # A machine that is busy enough makes a second of it.
    assert ("short" in codes(run)) == (run.elapsed_s < 1)
    assert not {"samples", "counts", "self-connection", "broken"} & set(codes(run))


def test_few_samples_are_few_for_the_percentiles_that_are_shown():
    run = make_run(5000)
    (doubt,) = doubts_of(run)
    assert doubt.code == "few-samples"
    assert "5000 samples tell little about p99.9; 10000 would" in doubt.text
    assert doubts_of(run, percents=(50, 99)) == []
    assert "p100" in doubts_of(run, percents=(100,))[0].text


@pytest.mark.parametrize(("changes", "why"), [
    ({}, "nobody kept up, so latencies grow with the length of the run"),
    ({"requests_sent": 100_700, "lost": 600, "in_flight": 100},
     "nobody kept up, so latencies grow with the length of the run; 100 were on their way at "
     "its end"),
    ({"requests_sent": 102_000, "lost": 1_500, "in_flight": 500},
     "they left, and 1500 were lost; 500 were on their way at its end"),
    ({"requests_sent": 101_500, "lost": 1_500}, "they left, and 1500 were lost"),
])
def test_a_rate_is_missed_by_who_does_not_keep_up_or_by_losses(changes, why):
    run = make_run(spec=TestSpec("UDP_RR", duration_s=10, rate_tps=10_200.0), **changes)
    assert f"10200 requests/s were asked for and 10000 were answered: {why}" in [
        doubt.text for doubt in doubts_of(run) if doubt.code == "rate"]


def test_an_open_loop_without_a_request_says_that_it_tells_nothing():
    run = make_run(0, spec=TestSpec(duration_s=10, rate_tps=0.01, poisson=True))
    assert [str(doubt) for doubt in doubts_of(run)] == [
        "not one response came in its time, as no request was due in it [few-samples]"]


@pytest.mark.parametrize("changes", [
    {"target_tally": TargetTally()},                    # the target says nothing
    {"target_tally": TargetTally(transactions=100_016)},  # answered after the end
    {"target_tally": TargetTally(transactions=100_000, elapsed_s=10.2)},
    {"target_tally": TargetTally(transactions=100_000, elapsed_s=0.0)},
    # A queue that takes 2 s to pass is one at the end too.
    {"target_tally": TargetTally(transactions=100_000, elapsed_s=13.0),
     "latency_ns": histogram_of(100_000, 2 * SECOND)},
    {"host": {"cpus_allowed": "0-1"}, "remote_host": {"cpus_allowed": "0-1"}},
    {"host": {"cpus_allowed": "0"}, "remote_host": {"cpus_allowed": "1"}},
    {"host": {"cpus_allowed": "0"}},                    # the target's are unknown
    {"local_cpu": CpuUsage(50.0)},                      # steal unknown
    {"host": {}},
    {"throttling": {"periods": 20, "throttled": 0, "throttled_us": 0}},
    {"host": {"load_average": "?", "cpus": "", "clock_read_ns": "n/a"}},
    {"spec": TestSpec(duration_s=10, local=EndSpec(cpu=1), remote=EndSpec(cpu=0))},
])
def test_what_is_unknown_or_normal_is_no_doubt(changes):
    assert codes(make_run(**changes)) == []


def test_streams_have_no_transactions_to_doubt():
    run = make_run(spec=TestSpec("TCP_STREAM", duration_s=10), transactions=0)
    assert codes(run) == []


def test_repeats():
    def found(*rates):
        return [doubt.code for doubt in doubts_of_repeats(rates)]

    assert found(*STEADY) == []
    assert found(100.0) == []
    assert found(100.0, 150.0) == ["not-converged"]
    assert found(*STEADY, 9_000) == ["outlier"]
    assert found(*FALLING) == ["drift"]


def test_every_code_has_its_page_and_is_used():
    explained = re.findall(r"^### (.+)$", PAGE.read_text(), re.MULTILINE)
    used = set(re.findall(r'Doubt\(\s*"([a-z-]+)"', Path(module.__file__).read_text()))
    assert sorted(explained) == sorted(CODES) == sorted(used)


@pytest.mark.parametrize("changes", [
    {"spec": TestSpec(duration_s=10, rate_tps=10_050.0)},
    {"spec": TestSpec(duration_s=10, rate_tps=10_100.0, poisson=True)},
    {"spec": TestSpec(duration_s=10, rate_tps=0.2), "transactions": 1,
     "requests_sent": 1, "in_flight": 0},
    # 200 ms away: as many as leave in that time are on their way at the end.
    {"spec": TestSpec(duration_s=10, rate_tps=10_190.0), "in_flight": 2_000,
     "latency_ns": histogram_of(100_000, 200_000_000)},
    {"spec": TestSpec(duration_s=10, rate_tps=2.5, rate_per_flow=True, flows=4),
     "transactions": 96, "requests_sent": 100, "in_flight": 4},
    {"distributions": {"slip_ns": histogram_of(100, 1_900)}},
    {"flows": (FlowRecord("h:1", "time"), FlowRecord("h:2", "time"))},
], ids=["near", "by chance", "slow", "far away", "one a flow", "in time", "whole"])
def test_a_rate_that_was_kept_and_flows_that_stayed_are_not_doubted(changes):
    assert not {"rate", "slip", "flows"} & set(codes(make_run(**changes)))
