from __future__ import annotations

from dataclasses import replace

import pytest

from xenrr.cpu.usage import CpuUsage
from xenrr.netperf.selector_table import EXTRA, LAST_OF_BLOCK, NETPERF
from xenrr.netperf.selectors import TABLE
from xenrr.results.record import EndSpec, TargetTally, TestSpec


def test_netperfs_names_are_all_there_once():
    names = [row[0] for row in NETPERF]
    assert len(names) == len(set(names)) == 174
    assert names[0] == "OUTPUT_NONE" and names[-1] == "COMMAND_LINE"
    assert set(LAST_OF_BLOCK) < set(names)
    assert not set(names) & {row[0] for row in EXTRA}


def test_every_value_fits_its_format(outcome):
    built = outcome("-t TCP_RR -B tag")
    for name, selector in TABLE.items():
        assert isinstance(selector.text(built), str), name
        assert len(selector.titles) <= 4, name


def test_every_value_of_an_empty_run(outcome, records):
    empty = records.run(transactions=0, elapsed_ns=0)
    for name, selector in TABLE.items():
        assert selector.text(outcome("-t UDP_RR", empty)) is not None or name == "RESULT_BRAND"


def test_values_come_from_the_record(outcome):
    built = outcome("-t TCP_RR -- -r 10,20 -b 3 -D -u id")
    values = {name: TABLE[name].text(built) for name in (
        "SOCKET_TYPE", "PROTOCOL", "REMOTE_SEND_SIZE", "REMOTE_RECV_SIZE", "TRANSACTION_RATE",
        "RT_LATENCY", "LOCAL_BYTES_SENT", "LOCAL_BYTES_XFERD", "LOCAL_BYTES_PER_RECV",
        "LOCAL_SEND_THROUGHPUT", "REMOTE_SEND_THROUGHPUT", "MIN_LATENCY", "MAX_LATENCY",
        "P50_LATENCY", "MEAN_LATENCY", "P999_LATENCY", "LOST_TRANSACTIONS", "REMOTE_NODELAY",
        "UUID", "LOCAL_SOCKET_TOS", "LOCAL_INTERFACE_VENDOR", "DEST_FAMILY")}
    assert values == {
        "SOCKET_TYPE": "Stream", "PROTOCOL": "TCP", "REMOTE_SEND_SIZE": "20",
        "REMOTE_RECV_SIZE": "10", "TRANSACTION_RATE": "72016.000", "RT_LATENCY": "55.543",
        "LOCAL_BYTES_SENT": "720160", "LOCAL_BYTES_XFERD": "2160480",
        "LOCAL_BYTES_PER_RECV": "20.00", "LOCAL_SEND_THROUGHPUT": "5.76",
        "REMOTE_SEND_THROUGHPUT": "11.52", "MIN_LATENCY": "13", "MAX_LATENCY": "90",
        "P50_LATENCY": "13", "MEAN_LATENCY": "13.77", "P999_LATENCY": "90.00",
        "LOST_TRANSACTIONS": "0", "REMOTE_NODELAY": "1", "UUID": "id",
        "LOCAL_SOCKET_TOS": "0xffffffff", "LOCAL_INTERFACE_VENDOR": "0xfffffffe",
        "DEST_FAMILY": "2"}


def test_confidence_values(made, records):
    names = ("CONFIDENCE_LEVEL", "CONFIDENCE_INTERVAL", "CONFIDENCE_ITERATION",
             "THROUGHPUT_CONFID", "LOCAL_CPU_CONFID", "REMOTE_CPU_CONFID")
    assert values(made(TestSpec()), *names) == ["0", "-1.000000", "1", *["-1.000"] * 3]
    asked = {"max_iterations": 3, "min_iterations": 3, "confidence_level": 99,
             "confidence_width": 0.001}
    runs = [records.run(transactions=count, local_cpu=CpuUsage(percent))
            for count, percent in ((100, 10.0), (102, 10.0), (104, 10.0))]
    used = values(made(TestSpec(), *runs, **asked), *names)
    assert used == ["99", "0.100000", "3", "22.471", "0.000", "0.000"]


def test_means_and_last_values(made, records):
    """netperf averages the result, the time and the CPUs, and shows the rest as it ended."""
    spec = TestSpec(local=EndSpec(measure_cpu=True))
    runs = [records.run(spec, count, local_cpu=CpuUsage(percent, percent / 2, cpus=2))
            for count, percent in ((1000, 40.0), (3000, 60.0))]
    assert values(made(spec, *runs), "THROUGHPUT", "TRANSACTION_RATE", "LOCAL_CPU_UTIL",
                  "LOCAL_CPU_PERCENT_USER", "LOCAL_SD", "LOCAL_SEND_CALLS") == [
        "2000.00", "3000.000", "50.00", "30.00", "600.000", "3000"]


def test_cpu_values(made, records):
    measured = records.run(local_cpu=records.busy)
    for end in ("LOCAL", "REMOTE"):
        names = [f"{end}_{name}" for name in (
            "CPU_UTIL", "CPU_PERCENT_USER", "CPU_PERCENT_SWINTR", "CPU_METHOD", "CPU_COUNT",
            "CPU_PEAK_UTIL", "CPU_PEAK_ID", "SD", "STEAL")]
        assert values(made(TestSpec(), measured), *names) == (
            ["50.00", "1.82", "18.68", "S", "2", "98.99", "1", "13.886", "0.25"]
            if end == "LOCAL" else
            ["-1.00", "0.00", "0.00", "U", "0", "0.00", "0", "-1.000", "-1.00"])
    assert values(made(TestSpec()), "LOCAL_CPU_PEAK_UTIL", "LOCAL_CPU_PEAK_ID") == [
        "-1.00", "-1"]


def test_values_of_a_stream(made, records):
    built = made(TestSpec("TCP_STREAM"))
    assert values(built, "DIRECTION", "THROUGHPUT_UNITS", "LOCAL_SEND_SIZE",
                  "LOCAL_RECV_SIZE", "REMOTE_SEND_SIZE", "REMOTE_RECV_SIZE", "REQUEST_SIZE",
                  "RESPONSE_SIZE", "TRANSACTION_RATE", "RT_LATENCY", "SD_UNITS",
                  "LOCAL_SEND_WIDTH", "LOCAL_RECV_WIDTH", "REMOTE_RECV_CALLS",
                  "LOCAL_SEND_THROUGHPUT", "REMOTE_RECV_THROUGHPUT") == [
        "Send", "10^6bits/s", "16384", "0", "-1", "131072", "-1", "-1", "1.000", "-1.000",
        "usec/KB", "2", "0", "37029", "19413.99", "19413.99"]
    built = made(TestSpec("TCP_MAERTS"))
    assert values(built, "DIRECTION", "LOCAL_SEND_SIZE", "LOCAL_RECV_SIZE",
                  "REMOTE_SEND_SIZE", "REMOTE_RECV_SIZE", "REMOTE_SEND_THROUGHPUT") == [
        "Receive", "0", "131072", "16384", "-1", "19413.99"]


def test_failed_datagrams_are_no_send_calls(made, records):
    run = records.stream(TestSpec("UDP_STREAM"), 1000, 100, send_calls=1200, failed_sends=200)
    assert values(made(run.spec, run), "LOCAL_SEND_CALLS", "LOCAL_BYTES_PER_SEND",
                  "PROTOCOL", "SOCKET_TYPE") == ["1000", "100.00", "UDP", "Datagram"]


@pytest.mark.parametrize(("direction", "connecting", "name", "sizes"), [
    ("rr", False, "Send|Recv", ["1", "1"]), ("rr", True, "Connect|Send|Recv", ["1", "1"]),
    ("none", True, "Connection", ["-1", "-1"])])
def test_directions(made, direction, connecting, name, sizes):
    spec = TestSpec("OMNI", direction=direction, connecting=connecting)
    assert values(made(spec), "DIRECTION", "REQUEST_SIZE", "RESPONSE_SIZE") == [name, *sizes]


def test_what_was_asked_and_what_came_of_it(made, records):
    spec = TestSpec(
        local=EndSpec(cpu=0, send_alignment=16, receive_alignment=32, send_offset=1,
                      receive_offset=2, fill_file="noise", pace_us=10_000, pace_burst=5),
        remote=EndSpec(cpu=1, send_width=5))
    run = records.run(spec)
    run = replace(run, local=replace(run.local, priority=3, tos=0x10, congestion="reno",
                                     cork=True, retransmissions=9),
                  remote=replace(run.remote, priority=-2, tos=-2, congestion="cubic"))
    assert values(made(spec, run), "LOCAL_CPU_BIND", "REMOTE_CPU_BIND", "LOCAL_SEND_ALIGN",
                  "LOCAL_RECV_ALIGN", "LOCAL_SEND_OFFSET", "LOCAL_RECV_OFFSET",
                  "LOCAL_FILL_FILE", "LOCAL_INTERVAL_USECS", "LOCAL_INTERVAL_BURST",
                  "REMOTE_SEND_WIDTH", "REMOTE_RECV_WIDTH", "LOCAL_SOCKET_PRIO",
                  "LOCAL_SOCKET_TOS", "LOCAL_CONG_CONTROL", "LOCAL_CORK",
                  "LOCAL_TRANSPORT_RETRANS", "REMOTE_SOCKET_PRIO", "REMOTE_SOCKET_TOS",
                  "REMOTE_CONG_CONTROL", "REMOTE_TRANSPORT_RETRANS") == [
        "0", "1", "16", "32", "1", "2", "noise", "10000", "5", "5", "1", "3", "0x10", "reno",
        "1", "9", "-2", "0xfffffffe", "cubic", "-1"]


def test_the_targets_cork_is_what_was_typed(made):
    assert values(made(TestSpec(cork=True)), "LOCAL_CORK", "REMOTE_CORK") == ["0", "1"]
    assert values(made(TestSpec()), "REMOTE_CORK") == ["0"]


def test_no_congestion_control_of_connections(made, records):
    run = records.run(TestSpec("TCP_CRR"))
    run = replace(run, local=replace(run.local, congestion="reno"))
    assert values(made(run.spec, run), "LOCAL_CONG_CONTROL") == [""]


def test_without_a_control_connection(made, records):
    spec = TestSpec(no_control=True)
    run = records.run(spec, 1000, target_tally=TargetTally())
    assert values(made(spec, run), "RSS_SIZE", "RSS_SIZE_END", "REMOTE_SEND_SIZE",
                  "REMOTE_SEND_ALIGN", "REMOTE_RECV_OFFSET", "REMOTE_SEND_WIDTH",
                  "REMOTE_BYTES_SENT", "REMOTE_BYTES_XFERD", "REMOTE_TRANSPORT_RETRANS",
                  "REMOTE_RECV_CALLS", "REMOTE_NODELAY", "REMOTE_CPU_PEAK_UTIL",
                  "REMOTE_CPU_PEAK_ID", "DEST_FAMILY") == [
        "0", "-1", "-1", "-1", "-1", "0", "0", "1000", "-2", "0", "-1", "-1.00", "-1", "0"]


def values(built, *names):
    return [TABLE[name].text(built) for name in names]
