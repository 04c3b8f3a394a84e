from __future__ import annotations

from xenrr.netperf.selector_table import EXTRA, LAST_OF_BLOCK, NETPERF
from xenrr.netperf.selectors import TABLE


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


def test_confidence_values(outcome, records):
    names = ("CONFIDENCE_LEVEL", "CONFIDENCE_INTERVAL", "CONFIDENCE_ITERATION",
             "THROUGHPUT_CONFID", "LOCAL_CPU_CONFID")
    unused = outcome("-t TCP_RR")
    assert [TABLE[name].text(unused) for name in names] == [
        "0", "-1.000000", "1", "-1.000", "-1.000"]
    used = outcome("-t TCP_RR -I 99,0.1", *[records.run()] * 3, width=1.59185)
    assert [TABLE[name].text(used) for name in names] == [
        "99", "0.100000", "3", "159.185", "0.000"]
