from __future__ import annotations

import json
from dataclasses import replace

import pytest

from xenrr.cpu.usage import CpuShare, CpuUsage
from xenrr.errors import ResultFormatError, SpecError
from xenrr.results.record import InterimPoint, Run, SocketFacts, TargetTally, TestSpec
from xenrr.stats.histogram import Histogram


@pytest.fixture
def run() -> Run:
    histogram = Histogram()
    histogram.record_many([20_000] * 90 + [80_000] * 10)
    return Run(
        spec=TestSpec("tcp_rr", duration_s=2, burst=1), target="dom0",
        target_address="127.0.0.1:5001", local_address="127.0.0.1:40000", peer="netperf 2.6.0",
        engine="pure", started_epoch_s=1.5e9, elapsed_ns=2_000_000_000, transactions=100,
        requests_sent=102, in_flight=2, lost=0, late=0, malformed=0, drained=2, bytes_sent=102,
        bytes_received=100, send_calls=102, recv_calls=100, ended="time", error="",
        latency_ns=histogram,
        interims=(InterimPoint(10**9, 10**9, 50, 100, 20_000, 80_000, 80_000, 1.5e9 + 1),),
        local=SocketFacts(16384, 131072), target_tally=TargetTally(transactions=102),
        host={"kernel": "6.1"})


def test_rates(run: Run) -> None:
    assert run.rate_tps == 50
    assert run.elapsed_s == 2
    assert run.latency_from_rate_us == 40_000  # two in flight at 50 a second
    assert run.interims[0].rate_tps == 50


def test_nothing_measured_has_no_rate(run: Run) -> None:
    nothing = replace(run, elapsed_ns=0, transactions=0)
    assert (nothing.rate_tps, nothing.latency_from_rate_us) == (0.0, 0.0)


def test_json_round_trip(run: Run) -> None:
    assert Run.from_plain(json.loads(json.dumps(run.to_plain()))) == run


@pytest.mark.parametrize("change", [
    {"schema": 99}, {"spec": 5}, {"spec": {"test": "NO_RR"}}, {"interims": 7},
    {"latency_ns": {"layout": "?"}}, {"unknown": 1}, {"local": {"colour": 1}}])
def test_damaged_records_are_refused(run: Run, change: dict[str, object]) -> None:
    with pytest.raises(ResultFormatError):
        Run.from_plain({**run.to_plain(), **change})


def test_a_record_of_schema_1_is_read(run: Run) -> None:
    plain = json.loads(json.dumps(run.to_plain()))
    spec = {name: plain["spec"][name] for name in (
        "test", "request_bytes", "response_bytes", "duration_s", "transactions", "burst",
        "nodelay", "local_data_port", "remote_data_port", "data_host", "data_local_host",
        "data_family", "wait_s", "interim_s", "loss_timeout_s")}
    spec.update(local_send_buffer=-1, local_receive_buffer=-1, remote_send_buffer=-1,
                remote_receive_buffer=-1)
    sockets = ("send_buffer", "receive_buffer", "send_buffer_end", "receive_buffer_end",
               "nodelay", "mss")
    old = {**plain, "schema": 1, "spec": spec}
    for end in ("local", "remote"):
        old[end] = {name: plain[end][name] for name in sockets}
    for name in ("failed_sends", "local_cpu", "remote_cpu", "tcp_info", "tcp_info_start",
                 "loop_thread", "throttling", "remote_host"):
        del old[name]
    old["interims"] = [{name: value for name, value in point.items() if name != "bytes"}
                       for point in plain["interims"]]
    assert Run.from_plain(old) == run


BUSY = CpuUsage(60.0, steal=20.0, cpus=2, method="S", context_switches=5, interrupts=6,
                per_cpu=(CpuShare(0, 10.0), CpuShare(3, steal=2.5)))


def test_conditions_make_the_round_trip(run: Run) -> None:
    run = replace(run, local_cpu=BUSY, tcp_info_start={"tcpi_rtt": 5},
                  loop_thread={"user_us": 7}, throttling={"throttled": 1},
                  remote_host={"kernel": "5"})
    assert Run.from_plain(json.loads(json.dumps(run.to_plain()))) == run


def test_conditions_that_an_earlier_record_of_this_schema_lacks_are_unknown(run: Run) -> None:
    plain = replace(run, local_cpu=CpuUsage(50.0)).to_plain()
    for name in ("tcp_info_start", "loop_thread", "throttling", "remote_host"):
        del plain[name]
    for name in ("nice", "idle", "context_switches", "interrupts", "per_cpu"):
        del plain["local_cpu"][name]  # type: ignore[attr-defined]
    assert Run.from_plain(plain) == replace(run, local_cpu=CpuUsage(50.0))


@pytest.mark.parametrize("per_cpu", [5, [5], [{"cpu": 1, "colour": 2}], [{}]])
def test_damaged_shares_are_refused(run: Run, per_cpu: object) -> None:
    plain = replace(run, local_cpu=BUSY).to_plain()
    plain["local_cpu"]["per_cpu"] = per_cpu  # type: ignore[index]
    with pytest.raises(ResultFormatError):
        Run.from_plain(plain)


def test_service_demand_with_and_without_steal(run: Run) -> None:
    busy = replace(run, local_cpu=BUSY)
    # 60 % of two CPUs for 2 s are 2.4 s for 100 transactions; a third of it was stolen.
    assert busy.service_demand_us("local") == pytest.approx(24_000)
    assert busy.service_demand_us("local", with_steal=False) == pytest.approx(16_000)
    assert busy.service_demand_us("remote") == -1
    assert replace(busy, elapsed_ns=0).service_demand_us("local") == -1
    unknown = replace(run, local_cpu=CpuUsage(60.0))
    assert unknown.service_demand_us("local", with_steal=False) == -1
    stream = replace(busy, spec=TestSpec("TCP_STREAM"), bytes_sent=1024 * 400,
                     bytes_received=0)
    assert stream.service_demand_us("local") == pytest.approx(6000)


def test_spinning_is_for_round_trips_on_one_connection() -> None:
    assert TestSpec("udp_rr", spin=True, burst=3).spin
    assert TestSpec("OMNI", direction="rr", spin=True).spin
    for test in ("TCP_CRR", "TCP_CC", "TCP_STREAM", "UDP_STREAM", "TCP_MAERTS"):
        with pytest.raises(SpecError, match="round trips on one connection"):
            TestSpec(test, spin=True)
    for wrong in (-2, 1_000_001):
        with pytest.raises(SpecError, match="busy_poll_us"):
            TestSpec(busy_poll_us=wrong)


def test_missing_field_is_refused(run: Run) -> None:
    plain = run.to_plain()
    del plain["transactions"]
    with pytest.raises(ResultFormatError):
        Run.from_plain(plain)


def test_defaults_are_netperfs() -> None:
    spec = TestSpec()
    assert (spec.test, spec.request_bytes, spec.response_bytes, spec.duration_s) == (
        "TCP_RR", 1, 1, 10.0)
