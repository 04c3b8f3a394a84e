"""Options for any test: what netperf 2.7.0 makes of each."""

from __future__ import annotations

import pytest

from xenrr.errors import SpecError
from xenrr.netperf.ending import Ending
from xenrr.netperf.options import parse_client


def parse(line):
    return parse_client(f"-t TCP_RR {line}".split())


def both(line, *names):
    spec = parse(line).spec(0, 0)
    return [tuple(getattr(end, name) for name in names) for end in (spec.local, spec.remote)]


@pytest.mark.parametrize(("line", "local", "remote"), [
    ("-a 64 -A 128,", (64, 64, 0, 0), (128, 8, 0, 0)),
    ("-o ,3 -O 4", (8, 8, 0, 3), (8, 8, 4, 4))])
def test_buffers(line, local, remote):
    assert both(line, "send_alignment", "receive_alignment", "send_offset",
                "receive_offset") == [local, remote]


def test_ring_widths_are_those_of_both_ends():
    assert both("-W 3,5", "send_width", "receive_width") == [(3, 5), (3, 5)]
    assert both("-W ,5", "send_width", "receive_width") == [(0, 5), (0, 5)]


@pytest.mark.parametrize(("text", "cpus"), [("0", [0, 0]), ("1,", [1, -1]), (",1", [-1, 1]),
                                            ("0,1", [0, 1])])
def test_cpus(text, cpus):
    options = parse(f"-T {text}")
    assert [options.local.cpu, options.remote.cpu] == cpus and options.cpu_binding
    assert not parse("").cpu_binding


def test_cpu_measurement_takes_a_rate_only_if_it_begins_with_a_digit():
    assert both("-c", "measure_cpu") == [(True,), (False,)]
    options = parse("-c 50 -C 60.5 -v 2")
    assert options.local.measure_cpu and options.remote.measure_cpu
    assert options.verbosity == 2


@pytest.mark.parametrize(("text", "values"), [
    ("af11", [0x28, 0x28]), ("AF43,cs5", [0x98, 0xA0]), ("0x20,010", [0x20, 8]),
    ("255", [255, 255]), (",ef", [-1, 0xB8]), ("lowdelay,throughput", [0x10, 0x08]),
    ("reliability,", [4, -1])])
def test_types_of_service(text, values):
    options = parse(f"-Y {text}")
    assert [options.local.tos, options.remote.tos] == values and not options.remarks


@pytest.mark.parametrize("text", ["lowdelai", "256", "-1", "0x", "1_0", "bogus"])
def test_what_is_no_type_of_service(text):
    options = parse(f"-Y {text}")
    assert [options.local.tos, options.remote.tos] == [-1, -1]
    # netperf says nothing, and xenrr only where it is clear what was meant.
    assert options.remarks == ([] if text != "lowdelai" else [
        "netperf: -Y: 'lowdelai' is no type of service, none is set (did you mean lowdelay?)"
        "\n"])


def test_priority_keepalive_and_the_rest():
    assert both("-y 3,6", "priority") == [(3,), (6,)]
    options = parse("-S -N -j -r -n 4 -d -d -s 1.5 -Z secret -F a,b")
    assert (options.keepalive, options.no_control, options.histogram, options.result_only,
            options.wait_s, options.passphrase) == (True, True, True, True, 1.5, "secret")
    assert (options.local.fill_file, options.remote.fill_file) == ("a", "b")


def test_a_remote_fill_file_has_a_short_name():
    assert parse(f"-F ,{'x' * 31}").remote.fill_file == "x" * 31
    with pytest.raises(Ending) as caught:
        parse(f"-F ,{'x' * 32}")
    assert (caught.value.exit_code, caught.value.out, caught.value.err) == (
        255, "", "Remote fill file name must be less than 32 characters\n")


@pytest.mark.parametrize(("line", "local", "remote"), [
    ("-w 10", (10_000, 1), (0, 0)), ("-w 10u -b 4", (10, 4), (0, 0)),
    ("-w 2s,3ms", (2_000_000, 1), (3000, 0)), ("-b 5", (1000, 5), (0, 0)),
    ("-b 5,6 -w ,20", (1000, 5), (20_000, 6)), ("-w 7us", (7, 1), (0, 0))])
def test_pacing(line, local, remote):
    assert both(line, "pace_us", "pace_burst") == [local, remote]


@pytest.mark.parametrize("line", [
    "-T x", "-a 1.5", "-y x", "-W x", "-w x", "-b x", "-D 1,x", "-o x", "-w 3h"])
def test_nonsense_is_one_sentence(line):
    with pytest.raises(SpecError):
        parse(line)


@pytest.mark.parametrize("line", ["-T 70000", "-W 100000", "-a 99999999", "-w 9999s -b -1"])
def test_values_beyond_all_bounds(line):
    with pytest.raises(SpecError):
        parse(line).spec(0, 0)
