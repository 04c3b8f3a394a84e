"""Tables as Debian's netperf 2.7.0 printed them; blanks at line ends are part of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xenrr.netperf.stream_tables import datagrams_sent
from xenrr.netperf.tables import result_table
from xenrr.results.record import EndSpec, TargetTally, TestSpec

TITLES = [
    "Recv   Send    Send                          ",
    "Socket Socket  Message  Elapsed              ",
    "Size   Size    Size     Time     Throughput  ",
    "bytes  bytes   bytes    secs.    10^6bits/sec  ",
    ""]
LINE = "131072  16384  16384    1.00     19413.99   "
MSS = ["", "Maximum", "Segment", "Size (bytes)", " 65483"]
MEASURED = EndSpec(measure_cpu=True)
DATAGRAM_TITLES = [
    "Socket  Message  Elapsed      Messages                ",
    "Size    Size     Time         Okay Errors   Throughput",
    "bytes   bytes    secs            #      #   10^6bits/sec",
    ""]


def lines(outcome):
    text = result_table(outcome)
    assert text.endswith("\n")
    return text.split("\n")[:-1]


@pytest.mark.parametrize("test", ["TCP_STREAM", "TCP_MAERTS", "TCP_SENDFILE"])
def test_table(made, test):
    spec = TestSpec(test)
    assert lines(made(spec)) == [*TITLES, LINE]
    assert lines(made(spec, headers=False, brand="tag")) == [f"{LINE}tag"]
    assert lines(made(spec, verbosity=0)) == ["19413.99 "]
    assert lines(made(spec, verbosity=0, headers=False, brand="tag")) == ["19413.99 tag"]


@pytest.mark.parametrize(("unit", "title", "value"), [
    ("x", "10^6bits/sec  ", "19413.99"), ("k", "10^3bits/sec  ", "19413991.42"),
    ("g", "10^9bits/sec  ", "  19.41"), ("K", "KBytes/sec  ", "2369872.00"),
    ("M", "MBytes/sec  ", "2314.33"), ("G", "GBytes/sec  ", "   2.26"),
    ("b", "10^0bits/sec  ", "2426748928.00"), ("B", "Bytes/sec  ", "2426748928.00"),
    ("u", "Usec/sec  ", "   0.00"), ("z", "KBytes/sec  ", "2369872.00")])
def test_units(made, unit, title, value):
    text = lines(made(TestSpec("TCP_STREAM"), unit=unit))
    assert text[3:] == [f"bytes  bytes   bytes    secs.    {title}", "",
                        f"131072  16384  16384    1.00     {value}   "]


def test_details_of_a_sender(made):
    assert lines(made(TestSpec("TCP_STREAM"), verbosity=2))[6:] == [
        "",
        "Alignment      Offset         Bytes    Bytes       Sends   Bytes    Recvs",
        "Local  Remote  Local  Remote  Xfered   Per                 Per",
        "Send   Recv    Send   Recv             Send (avg)          Recv (avg)",
        "    8       8      0       0 2426748928  16384.00    148117   65536.44  37029",
        *MSS]


def test_details_of_a_receiver(made):
    spec = TestSpec("TCP_MAERTS", local=EndSpec(receive_alignment=64, receive_offset=3),
                    remote=EndSpec(receive_alignment=128, receive_offset=4))
    assert lines(made(spec, verbosity=2))[6:] == [
        "",
        "Alignment      Offset         Bytes    Bytes       Recvs   Bytes    Sends",
        "Local  Remote  Local  Remote  Xfered   Per                 Per",
        "Recv   Send    Recv   Send             Recv (avg)          Send (avg)",
        "   64     128      3       4 2426748928  65536.44     37029   16384.00 148117",
        *MSS]


def test_details_of_a_file(made):
    assert lines(made(TestSpec("TCP_SENDFILE"), verbosity=2))[10:] == [
        "    8       8      0       0 2.427e+09  16384.00    148117   65536.44  37029", *MSS]


def test_details_without_a_word_from_the_target(made, records):
    spec = TestSpec("TCP_STREAM", no_control=True)
    run = records.stream(spec, target_tally=TargetTally())
    text = lines(made(spec, run, verbosity=2))
    assert text[5].startswith("     0  16384  16384 ")
    assert text[10] == ("    8      -1      0      -1 2426748928  16384.00    148117      inf"
                        "      0")


def cpu_titles(near, far, methods):
    return [
        "Recv   Send    Send                          Utilization       Service Demand",
        f"Socket Socket  Message  Elapsed              {near}     {far}     {near}    {far}",
        "Size   Size    Size     Time     Throughput  local    remote   local   remote",
        f"bytes  bytes   bytes    secs.    10^6bits/s  % {methods[0]}      "
        f"% {methods[1]}      us/KB   us/KB",
        ""]


def test_cpu_columns(made, records):
    spec = TestSpec("TCP_STREAM", local=MEASURED)
    run = records.stream(spec, local_cpu=records.busy)
    line = "131072  16384  16384    1.00       19413.99   50.00    -1.00    0.422   -1.000 "
    assert lines(made(spec, run)) == [*cpu_titles("Send", "Recv", "SU"), line]
    assert lines(made(spec, run, verbosity=0)) == [" 0.422 S "]
    assert lines(made(spec, run, headers=False, brand="tag")) == [f"{line}tag"]


def test_cpu_columns_show_the_sockets_of_the_other_direction(made, records):
    """TCP_MAERTS only, and only here."""
    spec = TestSpec("TCP_MAERTS", remote=MEASURED)
    run = records.stream(spec, remote_cpu=records.busy)
    run = replace(run, local=replace(run.local, send_buffer=1, receive_buffer=2),
                  remote=replace(run.remote, send_buffer=3, receive_buffer=4))
    assert lines(made(spec, run)) == [*cpu_titles("Recv", "Send", "US"), (
        "     4      1  16384    1.00       19413.99   -1.00    50.00    -1.000  0.422  ")]
    assert lines(made(spec, run, verbosity=0)) == [" 0.422 S "]
    plain = TestSpec("TCP_MAERTS")
    assert lines(made(plain, replace(run, spec=plain)))[-1].startswith("     2      3 ")


def test_what_is_shown_of_the_unit_above_cpu_columns(made, records):
    spec = TestSpec("TCP_STREAM", local=MEASURED)
    text = lines(made(spec, records.stream(spec, local_cpu=records.busy), unit="K"))
    assert text[3].startswith("bytes  bytes   bytes    secs.    KBytes  /s  % S ")


def lossy(records, spec, **changes):
    """Datagrams, of which some did not leave and more did not arrive."""
    run = records.stream(spec, 262971, 1000)
    return replace(run, failed_sends=7, target_tally=TargetTally(0, 243521000, 0, 243521, 0),
                   **changes)


def test_datagrams(made, records):
    spec = TestSpec("UDP_STREAM")
    run = lossy(records, spec)
    numbers = ["212992    1000   1.00       262971      7    2103.77",
               "212992           1.00       243521           1948.17",
               ""]
    assert lines(made(spec, run)) == DATAGRAM_TITLES + numbers
    assert lines(made(spec, run, headers=False, brand="tag")) == numbers
    assert lines(made(spec, run, verbosity=0)) == ["2103.77"]


def test_datagrams_with_cpu_columns(made, records):
    spec = TestSpec("UDP_STREAM", local=MEASURED, remote=MEASURED)
    run = lossy(records, spec, local_cpu=records.busy, remote_cpu=records.busy)
    assert lines(made(spec, run)) == [
        "Socket  Message  Elapsed      Messages                   CPU      Service",
        "Size    Size     Time         Okay Errors   Throughput   Util     Demand",
        "bytes   bytes    secs            #      #   10^6bits/sec % SS     us/KB",
        "",
        "212992    1000   1.00       262971      7     2103.8     50.00    3.894 ",
        "212992           1.00       243521            1948.2     50.00    3.894 ",
        ""]
    assert lines(made(spec, run, verbosity=0)) == ["  3.89 S"]


def test_the_letter_beside_the_demand_of_datagrams_is_the_senders(made, records):
    spec = TestSpec("UDP_STREAM", remote=MEASURED)
    run = lossy(records, spec, remote_cpu=records.busy)
    assert lines(made(spec, run, verbosity=0)) == ["  3.89 U"]


def test_datagrams_that_left_are_counted_by_their_bytes(records):
    run = lossy(records, TestSpec("UDP_STREAM"))
    assert datagrams_sent(replace(run, send_calls=262978)) == 262971
    assert datagrams_sent(replace(run, local=replace(run.local, send_bytes=-1))) == 262971
