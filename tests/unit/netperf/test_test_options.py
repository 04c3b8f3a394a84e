"""Options of OMNI and of the tests built on it, and of the older three."""

from __future__ import annotations

import pytest

from xenrr.errors import SpecError
from xenrr.netperf.ending import Ending
from xenrr.netperf.options import parse_client


def parse(line):
    return parse_client(line.split())


def shape(line):
    spec = parse(line).spec(0, 0)
    return spec.test, spec.protocol, spec.direction, spec.connecting


@pytest.mark.parametrize(("line", "wanted"), [
    ("", ("TCP_STREAM", "tcp", "send", False)),
    ("-t tcp_maerts", ("TCP_MAERTS", "tcp", "receive", False)),
    ("-t UDP_STREAM", ("UDP_STREAM", "udp", "send", False)),
    ("-t Tcp_Crr", ("TCP_CRR", "tcp", "rr", True)),
    ("-t TCP_CC", ("TCP_CC", "tcp", "none", True)),
    ("-t TCP_SENDFILE", ("TCP_SENDFILE", "tcp", "send", False)),
    ("-t omni", ("OMNI", "tcp", "send", False)),
    ("-t omni -- -d RR", ("OMNI", "tcp", "rr", False)),
    ("-t omni -- -d 6", ("OMNI", "tcp", "rr", False)),
    ("-t omni -- -d 0x4", ("OMNI", "tcp", "receive", False)),
    ("-t omni -- -d send|maerts", ("OMNI", "tcp", "rr", False)),
    ("-t omni -- -d transmit", ("OMNI", "tcp", "send", False)),
    ("-t omni -- -c", ("OMNI", "tcp", "none", True)),
    ("-t omni -- -c -d rr", ("OMNI", "tcp", "rr", True)),
    ("-t omni -- -c -m 100", ("OMNI", "tcp", "send", True)),
    ("-t omni -- -r 5", ("OMNI", "tcp", "rr", False)),
    ("-t omni -- -m 5", ("OMNI", "tcp", "send", False)),
    ("-t omni -- -m ,5", ("OMNI", "tcp", "receive", False)),
    ("-t omni -- -M ,5", ("OMNI", "tcp", "receive", False)),
    ("-t omni -- -M 5,6", ("OMNI", "tcp", "rr", False)),
    # An explicit direction ends what other options imply.
    ("-t omni -- -d send -r 5", ("OMNI", "tcp", "send", False)),
    ("-t omni -- -T UDP -d rr", ("OMNI", "udp", "rr", False)),
    # A name is a set of defaults.
    ("-t TCP_RR -- -T udp", ("UDP_RR", "udp", "rr", False)),
    ("-t TCP_RR -- -c", ("TCP_CRR", "tcp", "rr", True)),
    ("-t UDP_STREAM -- -T tcp", ("TCP_STREAM", "tcp", "send", False)),
    ("-t TCP_RR -- -d send", ("TCP_RR", "tcp", "rr", False)),
    ("-t TCP_STREAM -- -c", ("OMNI", "tcp", "send", True)),
    ("-t TCP_STREAM -- -m 5,6 -M 7,8", ("TCP_STREAM", "tcp", "send", False)),
    ("-t omni -- -T sdp", ("OMNI", "tcp", "send", False)),
])
def test_protocol_direction_connections(line, wanted):
    assert shape(line) == wanted


def test_sizes_of_calls():
    spec = parse("-- -m 1K,2 -M 3,4").spec(0, 0)
    assert (spec.local.send_bytes, spec.remote.send_bytes, spec.remote.receive_bytes,
            spec.local.receive_bytes) == (1024, 2, 3, 4)
    # netperf's own mark for "as large as the socket buffer".
    assert parse("-- -m 0,0 -M 0").spec(0, 0).local.send_bytes == -1
    # netperf makes one-way buffers as large as a request, when there is one.
    spec = parse("-- -r 100,200").spec(0, 0)
    assert (spec.local.send_bytes, spec.remote.receive_bytes) == (100, 100)
    spec = parse("-t TCP_MAERTS -- -r 100,200").spec(0, 0)
    assert (spec.remote.send_bytes, spec.local.receive_bytes) == (200, 200)


def test_switches_and_numbers():
    spec = parse("-t TCP_RR -- -a -B -C -D -F -f -g -I -U -V -G 500 -l 3 -q 1000 -R 0"
                 ).spec(0, 0)
    assert all((spec.defer_accept, spec.packet_info, spec.cork, spec.nodelay, spec.fast_open,
                spec.dont_fragment, spec.socket_debug, spec.plain_write, spec.retry_connect,
                spec.copy_avoidance))
    assert (spec.max_segment, spec.multicast_ttl, spec.pacing_rate, spec.routing) == (
        500, 3, 1000, False)
    assert parse("-- -R 1").routing is True and parse("").routing is None


def test_congestion_control_and_widths():
    options = parse("-- -K cubic -W 3")
    assert (options.local.congestion, options.remote.congestion) == ("cubic", "cubic")
    assert (options.local.send_width, options.remote.send_width) == (3, 3)
    options = parse("-- -K ,reno")
    assert (options.local.congestion, options.remote.congestion) == ("", "reno")


@pytest.mark.parametrize(("text", "ports"), [
    ("20000,30000", (20000, 30000)), ("20000", (20000, 20000)), (",30000", (5000, 30000)),
    ("30000,20000", (30000, 30000))])
def test_port_ranges(text, ports):
    assert parse(f"-t TCP_CRR -- -p {text}").spec(0, 0).connect_ports == ports


def test_masks():
    options = parse("-- -H 10.0.0.0/8,4 -L ::1/64")
    assert (options.data_host, options.data_mask, options.data_family) == ("10.0.0.0", 8, 4)
    assert (options.data_local_host, options.data_local_mask) == ("::1", 64)
    # The older parser has none: this is a name, and not a good one.
    assert parse("-t TCP_CC -- -H 10.0.0.0/8").data_host == "10.0.0.0/8"


@pytest.mark.parametrize(("line", "remark"), [
    ("-t omni -- -d snd", "netperf: -d: there is no direction 'snd' (did you mean send?)\n"),
    ("-t omni -- -T ucp", "netperf: -T: there is no protocol 'ucp', tcp is taken "
                          "(did you mean "),
    ("-- -i 3", "netperf: the test option -i has no effect\n"),
    ("-t TCP_CC -- -k", "netperf: invalid option -- 'k'\n"),
])
def test_remarks(line, remark):
    options = parse(line)
    assert len(options.remarks) == 1 and options.remarks[0].startswith(remark)


def test_nonsense_that_netperf_takes_for_its_default_is_taken_for_it():
    assert shape("-t omni -- -T bogus -d bogus") == ("OMNI", "tcp", "send", False)
    assert parse("-t omni -- -T bogus -d bogus").remarks == []


def test_options_of_the_older_tests():
    options = parse("-t TCP_SENDFILE -- -m 8K -M 4K -C -D -b 3 -n -N -T x -w x -z -W 5 -R 0 "
                    "-s 1 -S 2,3 -P 4,5 -r 6,7 -4")
    spec = options.spec(4, 5)
    assert (spec.local.send_bytes, spec.remote.receive_bytes, spec.local.send_width,
            spec.nodelay, spec.cork, spec.routing) == (8192, 4096, 5, True, True, False)
    assert (spec.local.send_buffer, spec.remote.receive_buffer, spec.data_family) == (1, 3, 4)
    assert parse("-t TCP_CC -- -V").notices == [
        "Local send copy avoidance not available.\nLocal recv copy avoidance not available.\n"]


@pytest.mark.parametrize(("line", "port", "response"), [
    ("-t TCP_RR -- -r 5", "echo", 5), ("-t TCP_STREAM", "discard", 1),
    ("-t TCP_MAERTS", "chargen", 1), ("-t TCP_SENDFILE", "discard", 1),
    ("-t TCP_RR -- -P 5,6 -r 3,4", "6", 3)])
def test_without_control_connection(line, port, response):
    options = parse(f"-N {line}")
    assert (options.remote_data_port, options.response_bytes) == (port, response)
    assert options.spec(0, 7).no_control


@pytest.mark.parametrize("test", ["TCP_CC", "TCP_MSS"])
def test_no_service_for_some(test):
    with pytest.raises(Ending) as caught:
        parse(f"-N -t {test}")
    assert (caught.value.exit_code, caught.value.out) == (
        255, f"No default port known for the {test} test, please set one yourself\n")
    assert parse(f"-N -t {test} -- -P 5").remote_data_port == "5"


def test_unknown_tests_have_no_options():
    assert parse("-t SCTP_RR -- -h -x").remarks == []


@pytest.mark.parametrize("test", ["TCP_RR", "TCP_CC", "UUID"])
def test_help(test):
    with pytest.raises(Ending) as caught:
        parse(f"-t {test} -- -h")
    assert caught.value.exit_code == 1 and caught.value.out.startswith("\nUsage: netperf ")
    assert caught.value.err == ""


@pytest.mark.parametrize("line", [
    "-t omni -- -d 8", "-t omni -- -t dgram", "-t omni -- -T udp -t stream",
    "-t omni -- -t seqpacket", "-- -m x", "-- -G x", "-- -H a/x", "-t TCP_CC -- -m x",
    "-- -p x", "-- -W 1.5"])
def test_contradictions_and_nonsense(line):
    with pytest.raises(SpecError):
        parse(line)


@pytest.mark.parametrize("line", [
    "-- -m 2G", "-t UDP_STREAM -- -m 70000", "-t TCP_CRR -- -p 0,7", "-t TCP_CRR -- -p 70000",
    "-t omni -- -c -T udp", "-- -G 3G", "-- -G -2", "-- -l 256", "-- -q 9999999999999999999"])
def test_values_that_make_no_sense(line):
    with pytest.raises(SpecError):
        parse(line).spec(0, 0)
