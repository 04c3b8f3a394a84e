"""Tables as Debian's netperf 2.7.0 printed them; blanks at line ends are part of them."""

from __future__ import annotations

import pytest

from xenrr.netperf.tables import rr_table

TITLES = [
    "Local /Remote",
    "Socket Size   Request  Resp.   Elapsed  Trans.",
    "Send   Recv   Size     Size    Time     Rate         ",
    "bytes  Bytes  bytes    bytes   secs.    per sec   ",
    ""]
LINES = ["16384  131072 1        1       1.00     72016.00   ", "16384  131072"]
DETAIL_TITLES = [
    "Alignment      Offset         RoundTrip  Trans    Throughput",
    "Local  Remote  Local  Remote  Latency    Rate     10^6bits/s",
    "Send   Recv    Send   Recv    usec/Tran  per sec  Outbound   Inbound"]


def lines(outcome):
    text = rr_table(outcome)
    assert not text or text.endswith("\n")
    return text.split("\n")[:-1]


def test_table(outcome):
    assert lines(outcome("-t TCP_RR")) == TITLES + LINES
    assert lines(outcome("-t TCP_RR -P 0")) == LINES


def test_the_tag_stands_where_headers_do_not(outcome):
    assert lines(outcome("-t TCP_RR -P 0 -B tag"))[0].endswith("72016.00   tag")
    assert lines(outcome("-t TCP_RR -B tag")) == TITLES + LINES


def test_one_number(outcome):
    assert lines(outcome("-t TCP_RR -v 0")) == ["72016.00 "]
    assert lines(outcome("-t TCP_RR -v 0 -P 0 -B hi")) == ["72016.00 hi"]
    assert lines(outcome("-t TCP_RR -v 0 -B hi")) == ["72016.00 "]


def test_small_numbers_keep_their_width(outcome, records):
    slow = records.run(transactions=100)
    assert lines(outcome("-t TCP_RR -P 0", slow))[0] == (
        "16384  131072 1        1       1.00      100.00   ")
    assert lines(outcome("-t TCP_RR -v 0", slow)) == [" 100.00 "]


def test_details(outcome):
    assert lines(outcome("-t TCP_RR -v 2")) == TITLES + LINES + DETAIL_TITLES + [
        "    8      0       0      0   13.886   72016.000 0.576     0.576 "]
    with_burst = lines(outcome("-t TCP_RR -v 2 -P 0 -- -r 100,200 -b 3"))
    assert with_burst[-1] == (
        "    8      0       0      0   55.543   72016.000 57.613    115.226")


def test_no_details_for_udp(outcome):
    assert lines(outcome("-t UDP_RR -v 2")) == TITLES + LINES


@pytest.mark.parametrize(("verbosity", "shown"), [(3, DETAIL_TITLES), (-1, [])])
def test_levels_that_netperf_takes_literally(outcome, verbosity, shown):
    assert lines(outcome(f"-t TCP_RR -v {verbosity}"))[:3] == shown


@pytest.mark.parametrize(("unit", "title", "value", "detail"), [
    ("m", "10^6bits/sec   ", "   1.15", "10^6bits/s"),
    ("k", "10^3bits/sec   ", "1152.26", "10^3bits/s"),
    ("K", "KBytes/sec   ", " 140.66", "KBytes  /s"),
    ("B", "Bytes/sec   ", "144032.00", "Bytes   /s"),
    ("u", "Usec/sec   ", "   6.94", "Usec    /s"),
    ("z", "KBytes/sec   ", " 140.66", "KBytes  /s"),
])
def test_other_units(outcome, unit, title, value, detail):
    text = lines(outcome(f"-t TCP_RR -f {unit} -v 2"))
    assert text[1:4] == ["Socket Size   Request  Resp.   Elapsed  ",
                         "Send   Recv   Size     Size    Time     Throughput ",
                         f"bytes  Bytes  bytes    bytes   secs.    {title}"]
    assert text[5] == f"16384  131072 1        1       1.00     {value}   "
    assert text[8] == f"Local  Remote  Local  Remote  Latency    Rate     {detail}"


def test_nothing_measured_is_no_division_by_zero(outcome, records):
    empty = records.run(transactions=0, elapsed_ns=0)
    assert lines(outcome("-t TCP_RR -v 2 -P 0", empty))[0].endswith("0.00        0.00   ")
