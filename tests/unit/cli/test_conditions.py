from __future__ import annotations

from dataclasses import replace

from xenrr.cli.conditions import condition_lines
from xenrr.cpu.usage import CpuUsage
from xenrr.results.record import Run, TestSpec
from xenrr.stats.histogram import Histogram

DOM_U = {"kernel": "Linux 5.10", "xen": "DomU PV", "xen_version": "4.17", "xen_domid": "3",
         "cpus": "2", "clock_source": "xen", "clock_read_ns": "90", "governor": "performance",
         "load_average": "0.50 0.2 0.1", "interface": "eth0", "driver": "vif", "mtu": "1500",
         "qdisc": "mq", "offloads": "tx sg", "container": "lxc", "cpu_quota": "1.5"}
DOM_0 = {"kernel": "Linux 6.1", "xen": "Dom0", "xen_domid": "0", "interface": "xenbr0",
         "interface_kind": "bridge"}
BUSY = CpuUsage(40.0, 5.0, 20.0, 0.0, 0.0, 10.0, 5.0, 2, "S", 70.0, 1)


def make_run(**changes: object) -> Run:
    standard = Run(
        spec=TestSpec(), target="dom0", target_address="127.0.0.1:4000",
        local_address="127.0.0.1:4001", peer="xenrr", engine="pure", started_epoch_s=1.5e9,
        elapsed_ns=10**9, transactions=1000, requests_sent=1000, in_flight=0, lost=0, late=0,
        malformed=0, drained=0, bytes_sent=1000, bytes_received=1000, send_calls=1000,
        recv_calls=1000, ended="time", error="", latency_ns=Histogram())
    return replace(standard, **changes)  # type: ignore[arg-type]


def lines(*runs: Run) -> dict[str, str]:
    return {heading: ", ".join(items) for heading, items in condition_lines(runs, False)}


def test_everything_is_told():
    run = make_run(
        host=DOM_U, remote_host=DOM_0, local_cpu=BUSY, remote_cpu=CpuUsage(10.0),
        loop_thread={"involuntary_switches": 4}, throttling={"throttled": 2},
        tcp_info={"tcpi_total_retrans": 3, "tcpi_rtt": 40, "tcpi_snd_mss": 1448,
                  "tcpi_snd_cwnd": 10},
        tcp_info_start={"tcpi_total_retrans": 1, "tcpi_rtt": 20})
    assert lines(run) == {
        "sender": "Linux 5.10, DomU PV 3 on Xen 4.17, lxc container, 2 CPUs, quota 1.5 CPUs, "
                  "governor performance, clock xen 90 ns, load 0.50 before",
        "target": "Linux 6.1, Dom0 on Xen",
        "path": "eth0 (vif), mtu 1500, qdisc mq, offloads tx sg",
        "target path": "xenbr0 (bridge)",
        "cpu": "sender 40 % of 2 (user 5, system 20, softirq 10, steal 5.0), busiest CPU 1 at "
               "70 %, target 10 % of 1 (steal unknown)",
        "loop": "put aside 4 times, stopped 2 times by a CPU quota, 800 us of the sender's "
                "CPUs per transaction",
        "tcp": "2 retransmissions, rtt 20.0 us before, 40.0 us at the end, mss 1448, cwnd 10"}


def test_repeats_are_added_up_and_averaged():
    told = lines(*(make_run(local_cpu=CpuUsage(percent, steal=0.0), throttling={"throttled": 1})
                   for percent in (10.0, 30.0)))
    assert told["cpu"].startswith("sender 20 % of 1")
    assert told["loop"].startswith("stopped 2 times")


def test_a_record_that_knows_nothing_has_no_line():
    assert lines(make_run()) == {}
    assert lines(make_run(local_cpu=CpuUsage(-1.0), remote_host={"interface": "lo"})) == {
        "target": "unknown kernel"}
