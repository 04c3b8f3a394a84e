"""The comparison itself: it finds what it has to find, and lets measured numbers differ."""

from __future__ import annotations

import itertools

import pytest
from interop.differential.shape import Shown, differences, tidy

ROW = "16384  131072 1        1       1.00     18970.04   "
BANNER = ("MIGRATED TCP REQUEST/RESPONSE TEST from 0.0.0.0 (0.0.0.0) port 0 AF_INET to "
          "127.0.0.1 () port 0 AF_INET : demo : first burst 0")


def shown(*lines: str, err: tuple[str, ...] = (), code: int = 0) -> Shown:
    return Shown(lines, err, code)


@pytest.mark.parametrize(("wanted", "got"), [
    (ROW, "16384  131072 1        1       1.01      9970.04   "),
    (ROW, "16384  131072 1        1       1.00     118970.04   "),
    (ROW, "16384  131072 1        1       1.00       13.90   "),
    ("212992           0.00            3           13211.50",
     "212992           0.00            4           1032.94"),
    ("THROUGHPUT=18970.04", "THROUGHPUT=1.00"),
    ("P99_LATENCY=74", "P99_LATENCY=1740"),
    ("1,2.00,Trans/s", "17,26.31,Trans/s"),
    ("Interim result: 69391.39 Trans/s over 1.011 seconds ending at 1795417205.415",
     "Interim result:  9391.39 Trans/s over 1.001 seconds ending at 1795417299.001"),
    ("!!! Confidence intervals: Throughput      : 20.803%",
     "!!! Confidence intervals: Throughput      : 0.803%"),
])
def test_measured_numbers_may_differ(wanted, got):
    assert differences(shown(BANNER, wanted), shown(BANNER, got)) == []


@pytest.mark.parametrize(("wanted", "got"), [
    (ROW, "16384  131072 1        1       1.0      18970.04   "),
    (ROW, "16384  131072 1        1       1.00     18970   "),
    (ROW, "16384  131072 1        1       1.00     18970.04"),
    (ROW, "16384  131072 1       1       1.00     18970.04   "),
    (ROW, "16384  131072 1        2       1.00     18970.04   "),
    (ROW, "32768  131072 1        1       1.00     18970.04   "),
    (ROW, ROW + "tag"),
    (ROW, "16384  131072 1        1       1.00     -18970.04   "),
    ("THROUGHPUT=18970.04", "THROUGHPUT=18970.041"),
    ("THROUGHPUT=18970.04", "Throughput=18970.04"),
    ("LSS_SIZE=16384", "LSS_SIZE=32768"),
    ("LOCAL_SD=-1.000", "LOCAL_SD=1.000"),
    ("THROUGHPUT_UNITS=Trans/s", "THROUGHPUT_UNITS=10^6bits/s"),
    ("1,2.00,Trans/s", "1,2.00"),
    (BANNER, BANNER.replace("burst 0", "burst 1")),
    (BANNER, BANNER.replace(" : demo", "")),
    ("bytes  Bytes  bytes    bytes   secs.    per sec   ",
     "bytes  Bytes  bytes    bytes   secs.    per sec"),
])
def test_everything_else_is_found(wanted, got):
    assert differences(shown(wanted), shown(got)) != []


def test_streams_and_exit_codes_are_compared():
    fine = shown(ROW)
    assert differences(fine, shown(ROW, code=1)) != []
    assert differences(fine, shown(ROW, err=("a word",))) != []
    assert differences(fine, shown(ROW, ROW)) != []
    assert differences(shown(ROW, err=("a word",)), fine) != []


def test_a_sentence_more_on_stderr_is_allowed_only_where_the_case_says_so():
    wanted = shown(ROW, err=("netperf: invalid option -- 'q'",))
    got = shown(ROW, err=("netperf: invalid option -- 'q'", "did you mean -Q?"))
    assert differences(wanted, got) != []
    assert differences(wanted, got, more_err=True) == []
    assert differences(wanted, shown(ROW, err=("did you mean -Q?",)), more_err=True) != []


def test_interim_results_are_counted_once_and_have_to_be_numbered():
    def four(place: int) -> list[str]:
        return [f"NETPERF_INTERIM_RESULT[{place}]=1.00", f"NETPERF_UNITS[{place}]=Trans/s",
                f"NETPERF_INTERVAL[{place}]=1.000", f"NETPERF_ENDING[{place}]=1795417290.848"]

    wanted = shown(*four(0), *four(1), "THROUGHPUT=1.00")
    assert differences(wanted, shown(*four(0), "THROUGHPUT=1.00")) == []
    assert differences(wanted, shown("THROUGHPUT=1.00")) != []
    assert differences(wanted, shown(*four(0), *four(2), "THROUGHPUT=1.00")) != []
    assert differences(wanted, shown(*four(1), "THROUGHPUT=1.00")) != []


def test_columns_of_any_width_are_in_their_place():
    """The row of TCP_RR with -c and -C, flush left in columns of six, that some outgrow."""
    sizes = itertools.product((9.123, 56.789, 123.456, 1234.567, 20345.678), repeat=2)
    rows = [f"16384  131072 1       1      {0.01:<6.2f}  {rate:<6.2f}  {share:<6.2f} "
            f"{share:<6.2f} {near:<6.3f}  {far:<6.3f} "
            for near, far in sizes for rate, share in ((987.65, 3.14), (123456.78, 100.0))]
    assert [found for one, other in itertools.permutations(rows, 2)
            if (found := differences(shown(one), shown(other)))] == []


def test_a_rate_that_begins_like_a_port_is_none():
    text = "0.01 15583.33 port 15583, at 15583.\n/tmp/15583x"
    assert tidy(text, [("15583", "PORT")]) == (
        "0.01 15583.33 port PORT, at PORT.", "/tmp/15583x")
