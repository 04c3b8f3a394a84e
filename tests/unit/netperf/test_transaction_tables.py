"""Tables as Debian's netperf 2.7.0 printed them; blanks at line ends are part of them."""

from __future__ import annotations

import pytest

from xenrr.netperf.tables import result_table
from xenrr.results.record import EndSpec, TestSpec

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
CPU_TITLES = [
    "Local /Remote",
    "Socket Size   Request Resp.  Elapsed Trans.   CPU    CPU    S.dem   S.dem",
    "Send   Recv   Size    Size   Time    Rate     local  remote local   remote",
    "bytes  bytes  bytes   bytes  secs.   per sec  % S    % U    us/Tr   us/Tr",
    ""]
MEASURED = EndSpec(measure_cpu=True)


def lines(outcome):
    text = result_table(outcome)
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


def test_details_tell_where_the_buffers_lay(made):
    spec = TestSpec(local=EndSpec(send_alignment=16, send_offset=1),
                    remote=EndSpec(receive_alignment=128, receive_offset=4))
    assert lines(made(spec, verbosity=2))[-1].startswith("   16      4       1      4   ")


@pytest.mark.parametrize(("unit", "title", "value", "detail"), [
    ("m", "10^6bits/sec   ", "   1.15", "10^6bits/s"),
    ("k", "10^3bits/sec   ", "1152.26", "10^3bits/s"),
    ("K", "KBytes/sec   ", " 140.66", "KBytes  /s"),
    ("B", "Bytes/sec   ", "144032.00", "Bytes   /s"),
    ("u", "Usec/sec   ", "   6.94", "Usec    /s"),
])
def test_other_units(outcome, unit, title, value, detail):
    text = lines(outcome(f"-t TCP_RR -f {unit} -v 2"))
    assert text[1:4] == ["Socket Size   Request  Resp.   Elapsed  ",
                         "Send   Recv   Size     Size    Time     Throughput ",
                         f"bytes  Bytes  bytes    bytes   secs.    {title}"]
    assert text[5] == f"16384  131072 1        1       1.00     {value}   "
    assert text[8] == f"Local  Remote  Local  Remote  Latency    Rate     {detail}"


def test_a_unit_that_is_none(outcome):
    text = lines(outcome("-t TCP_RR -f z -v 2 -P 0"))
    warned = "WARNING calc_throughput_internal_omni: unknown units z"
    assert text[0] == "16384  131072 1        1       1.00      140.66   "
    assert text[2:4] == [warned, warned] and text[4] == DETAIL_TITLES[0]
    assert "Rate     KBytes  /s" in text[5]


def test_the_layout_is_that_of_the_name(made):
    """``-t TCP_RR -- -T udp``: other sockets, the same table and details."""
    spec = TestSpec("UDP_RR")
    assert len(lines(made(spec, test="TCP_RR", verbosity=2))) == 11
    assert len(lines(made(spec, verbosity=2))) == 7


def test_cpu_columns(made, records):
    spec = TestSpec(local=MEASURED)
    run = records.run(spec, local_cpu=records.busy)
    assert lines(made(spec, run)) == [*CPU_TITLES, (
        "16384  131072 1       1      1.00    72016.00  50.00  -1.00  13.886  -1.000 "),
        "16384  131072"]
    assert lines(made(spec, run, headers=False, brand="tag"))[0].endswith("  -1.000 tag")
    assert lines(made(spec, run, verbosity=0)) == ["13.886 S "]
    assert lines(made(spec, run, verbosity=2))[-1] == (
        "    8      0       0      0   13.886   72016.000 0.576     0.576 ")


def test_cpu_columns_of_the_target(made, records):
    spec = TestSpec("UDP_RR", remote=MEASURED)
    run = records.run(spec, remote_cpu=records.busy)
    assert lines(made(spec, run, unit="k")) == [
        "Local /Remote",
        "Socket Size   Request Resp.  Elapsed Tput     CPU    CPU    S.dem   S.dem",
        "Send   Recv   Size    Size   Time    10^3bits local  remote local   remote",
        "bytes  bytes  bytes   bytes  secs.   per sec  % U    % S    us/KB   us/KB",
        "",
        "16384  131072 1       1      1.00    1152.26   -1.00  50.00  -1.000  7109.531 ",
        "16384  131072"]
    assert lines(made(spec, run, verbosity=0)) == ["13.886 S "]


@pytest.mark.parametrize(("test", "alignment"), [("TCP_CRR", 64), ("TCP_CC", 3)])
def test_connections(made, records, test, alignment):
    spec = TestSpec(test, remote=EndSpec(receive_alignment=64, receive_offset=3))
    details = ["", "Alignment      Offset", "Local  Remote  Local  Remote",
               "Send   Recv    Send   Recv", f"    8  {alignment:5d}       0      3"]
    assert lines(made(spec, verbosity=2)) == TITLES + LINES + details
    assert lines(made(spec, verbosity=0)) == ["72016.00"]
    assert lines(made(spec, headers=False, brand="tag")) == LINES


@pytest.mark.parametrize("test", ["TCP_CRR", "TCP_CC"])
def test_cpu_columns_of_connections(made, records, test):
    spec = TestSpec(test, local=MEASURED, remote=MEASURED)
    run = records.run(spec, local_cpu=records.busy, remote_cpu=records.busy)
    assert lines(made(spec, run, brand="tag")) == [
        *CPU_TITLES[:3],
        "bytes  bytes  bytes   bytes  secs.   per sec  %      %      us/Tr   us/Tr",
        "",
        "16384  131072 1       1      1.00    72016.00   50.00  50.00  13.886  13.886",
        "16384  131072"]
    assert lines(made(spec, run, verbosity=0)) == ["13.886"]


def test_without_a_control_connection(made):
    spec = TestSpec(remote=EndSpec(measure_cpu=True), no_control=True)
    text = lines(made(spec, verbosity=2))
    assert text[:5] == TITLES and text[6] == "0      0     "
    assert text[-1].startswith("    8     -1       0     -1   13.886 ")


def test_units_of_connections(made):
    """The titles stay; TCP_CC, which is older code, looks at no unit at all."""
    assert lines(made(TestSpec("TCP_CRR"), unit="m")) == [*TITLES, (
        "16384  131072 1        1       1.00        1.15   "), "16384  131072"]
    assert lines(made(TestSpec("TCP_CC"), unit="k")) == TITLES + LINES
