from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenrr.errors import CommandError, SpecError
from xenrr.netperf.ending import Ending
from xenrr.netperf.global_options import ENDLESS_S
from xenrr.netperf.options import CSV, HUMAN, KEYVAL, TABLE, parse_client


def parse(line):
    return parse_client(line.split())


def ending(line):
    with pytest.raises(Ending) as caught:
        parse(line)
    return caught.value


def attributes(options, *names):
    return tuple(getattr(options, name) for name in names)


def test_defaults_are_netperfs():
    options = parse("")
    spec = parse("-t tcp_rr").spec(0, 0)
    assert attributes(options, "test", "host", "port", "unit", "verbosity", "headers", "form",
                      "max_iterations") == ("TCP_STREAM", None, "12865", "", 1, True, TABLE, 1)
    assert (spec.test, spec.duration_s, spec.request_bytes, spec.response_bytes,
            spec.local.send_buffer, spec.remote.receive_buffer, spec.nodelay) == (
                "TCP_RR", 10.0, 1, 1, -1, -1, False)


@pytest.mark.parametrize(("text", "duration_s", "transactions"), [
    ("10", 10, None), ("10s", 10, None), ("90.0", 90, None), ("1m0s", 60, None),
    ("1m", 10**6, None), ("-100", None, 100), ("-1k", None, 1000), ("-1K", None, 1024),
    ("0", ENDLESS_S, None)])
def test_lengths(text, duration_s, transactions):
    options = parse(f"-t TCP_RR -l {text}")
    assert attributes(options, "duration_s", "transactions") == (duration_s, transactions)


@pytest.mark.parametrize("test", ["TCP_STREAM", "TCP_MAERTS", "UDP_STREAM", "TCP_SENDFILE"])
def test_a_number_of_bytes_ends_a_one_way_test(test):
    options = parse(f"-t {test} -l -64K")
    assert attributes(options, "duration_s", "transactions", "limit_bytes") == (
        None, None, 65536)
    assert options.spec(0, 0).limit_bytes == 65536


def test_hosts_ports_and_families():
    options = parse("-H fe80::1,inet6 -L 10.0.0.1,4 -p 5000,6000")
    assert attributes(options, "host", "host_family", "local_host", "local_family", "port",
                      "local_port") == ("fe80::1", 6, "10.0.0.1", 4, "5000", "6000")
    assert attributes(parse("-H ,4 -p ,7"), "host", "host_family", "port", "local_port") == (
        None, 4, "12865", "7")
    assert attributes(parse("-4 -6"), "host_family", "local_family") == (6, 6)
    assert parse("-H a,unspec").host_family == 0
    assert "bla not recognized as an address family" in parse("-H a,bla").notices[0]


def test_data_addresses():
    assert parse("-L a").data_source == "a"
    assert parse("-L a -- -L b").data_source == "b"
    # netperf forgets the global one as soon as a data host is given.
    assert parse("-L a -- -H c").data_source is None
    options = parse("-- -H d,6 -4 -P 5,6")
    assert attributes(options, "data_host", "data_family", "data_local_family",
                      "local_data_port", "remote_data_port") == ("d", 4, 4, "5", "6")
    assert attributes(parse("-- -P 7"), "local_data_port", "remote_data_port") == ("7", "7")
    assert attributes(parse("-- -P ,7"), "local_data_port", "remote_data_port") == ("0", "7")


def test_sizes_copy_or_not():
    assert attributes(parse("-- -r 10"), "request_bytes", "response_bytes") == (10, 10)
    assert attributes(parse("-- -r 1K,1k"), "request_bytes", "response_bytes") == (1024, 1000)
    assert attributes(parse("-- -r ,10"), "request_bytes", "response_bytes") == (1, 10)
    options = parse("-- -s 5000 -S ,7KB")
    assert attributes(options.local, "send_buffer", "receive_buffer") == (5000, 5000)
    assert attributes(options.remote, "send_buffer", "receive_buffer") == (-1, 7168)


def test_test_options_reach_the_spec():
    spec = parse("-t UDP_RR -s 2 -D -0.5,10 -- -r 3,4 -b 5 -D -e 2").spec(6, 7)
    assert (spec.test, spec.request_bytes, spec.response_bytes, spec.burst, spec.nodelay,
            spec.wait_s, spec.interim_s, spec.loss_timeout_s, spec.local_data_port,
            spec.remote_data_port) == ("UDP_RR", 3, 4, 5, True, 2, 0.5, 2, 6, 7)


def test_json_leaves_no_interim_results_to_print():
    assert parse("-t TCP_RR -D 1 --json").spec(0, 0).interim_s == 0


@pytest.mark.parametrize(("text", "interim_s"), [("1", 1), (",5", 1), ("-0.2", 0.2),
                                                 ("0", 0.001), ("0.25,100", 0.25)])
def test_demo_intervals(text, interim_s):
    assert parse(f"-D {text}").interim_s == interim_s


@pytest.mark.parametrize(("line", "most", "least", "level", "width"), [
    ("-i 5,4", 5, 4, 99, 0.05), ("-i 3", 3, 3, 99, 0.05), ("-i 1", 3, 3, 99, 0.05),
    ("-i 40", 30, 30, 99, 0.05), ("-i 5,2", 5, 3, 99, 0.05), ("-i 4,9", 9, 9, 99, 0.05),
    ("-I 95", 10, 3, 95, 0.95), ("-I 99,5", 10, 3, 99, 0.05), ("-I 99,", 10, 3, 99, 0.05),
    ("-I 95,.1 -i 6,3", 6, 3, 95, 0.001), ("-i 6,3 -I 95,10", 6, 3, 95, 0.1)])
def test_confidence(line, most, least, level, width):
    options = parse(line)
    assert attributes(options, "max_iterations", "min_iterations", "confidence_level") == (
        most, least, level)
    assert options.confidence_width == pytest.approx(width)


@pytest.mark.parametrize("text", ["97", ",5", "x", ""])
def test_confidence_levels_there_are_not(text):
    with pytest.raises(Ending) as caught:
        parse_client(["-I", text])
    assert (caught.value.exit_code, caught.value.out, caught.value.err) == (
        255, "Only 95% and 99% confidence level is supported\n", "")


def test_output_options():
    assert attributes(parse("-- -o"), "form", "selectors") == (CSV, None)
    assert attributes(parse("-- -k A,b -b 3"), "form", "selectors", "burst") == (
        KEYVAL, "A,b", 3)
    assert attributes(parse("-- -o A -O"), "form", "selectors") == (HUMAN, None)
    assert attributes(parse("-v0 -P0 -f mm -Btag"), "verbosity", "headers", "unit",
                      "brand") == (0, False, "m", "tag")
    assert attributes(parse("-v x -P 2"), "verbosity", "headers") == (0, True)
    assert parse("--percentiles").percentiles == (50, 90, 99, 99.9, 99.99)
    assert parse("-- --percentiles=1,99.9").percentiles == (1, 99.9)


def test_the_command_line_is_kept():
    assert parse("-t TCP_RR -- -o all").command_line == "netperf -t TCP_RR -- -o all"


@pytest.mark.parametrize("line", ["-q", "-l", "--foo", "-t", "-- --foo", "--engine"])
def test_mistakes_that_end_the_program(line):
    end = ending(line)
    assert end.exit_code == 1 and end.out == ""
    assert end.err.startswith("netperf: ") and "Usage: netperf" in end.err


def test_mistakes_in_test_options_are_remarks():
    options = parse("-- -x -r")
    assert options.remarks == ["netperf: invalid option -- 'x'\n",
                               "netperf: option requires an argument -- 'r'\n"]


def test_help_and_version():
    assert (ending("-V").exit_code, ending("-V -q").out) == (0, "Netperf version 2.7.0\n")
    assert (ending("-h").exit_code, ending("-h").out) == (1, "")
    assert (ending("-- -h").exit_code, ending("-- -h").err) == (1, "")
    assert ending("--version").out.startswith("xenrr ")
    # In the order of the line, as with netperf.
    assert ending("-I 5 -V").exit_code == 255


def test_polling():
    spec = parse("-t UDP_RR").spec(0, 0)
    assert (spec.spin, spec.busy_poll_us) == (False, -1)
    for line in ("--spin --busy-poll=20 -t TCP_RR", "-t OMNI -- -d rr --busy-poll 20 --spin"):
        spec = parse(line).spec(0, 0)
        assert (spec.spin, spec.busy_poll_us) == (True, 20)


def test_what_debians_netperf_was_built_without():
    assert parse("-k 1 -K 2").notices == ["I don't know how to get dirty.\n"] * 2


@pytest.mark.parametrize("line", [
    "-l abc", "-s x", "-D x", "-- -r x", "-- -b 3.5", "--engine fast", "--percentiles=101",
    "--percentiles=x", "-I 95,x", "-i x", "-l ''", "--busy-poll x", "--busy-poll -1",
    "-- --busy-poll 1000001"])
def test_nonsense_is_one_sentence(line):
    with pytest.raises(SpecError):
        parse(line)


@pytest.mark.parametrize("line", [
    "-- -r 0", "-- -r 1,0", "-- -r -5", "-- -r 3000000000", "-- -b -1", "-- -b 2m",
    "-t UDP_RR -- -r 1,65508", "-l 1g", "-s -1", "-- -s 3G", "-t TCP_CRR --spin",
    "-t TCP_STREAM -- --spin"])
def test_sizes_that_make_no_sense(line):
    with pytest.raises(SpecError):
        parse(f"-t TCP_RR {line}").spec(0, 0)


LETTERS = "46aAbBcCdDeFfgGhHiIjkKlLmMnNoOpPqrRsStTuUvVwWxyYzZ"
WORDS = ["--", "-", "0", "-1", "1,2", ",3", "4,", "1.5", "64K", "0x20", "af11", "a/8,4", "rr",
         "send|recv", "udp", "dgram", "?", "--json", "--", "", ",", "9" * 40, "-t"]


@given(st.sampled_from(["TCP_RR", "UDP_STREAM", "TCP_CC", "TCP_SENDFILE", "omni", "UUID", "X"]),
       st.lists(st.one_of(st.sampled_from([f"-{letter}" for letter in LETTERS]),
                          st.sampled_from(WORDS), st.text(max_size=5)), max_size=8))
def test_any_line_is_a_test_or_one_error(test, words):
    with contextlib.suppress(CommandError, SpecError):
        parse_client(["-t", test, *words]).spec(0, 0)
