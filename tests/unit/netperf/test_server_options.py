from __future__ import annotations

import pytest

from xenrr.errors import SpecError
from xenrr.netperf.ending import Ending
from xenrr.netperf.server_options import parse_server


def parse(line):
    return parse_server(line.split())


def test_defaults():
    options = parse("")
    assert (options.host, options.family, options.port, options.passphrase, options.daemon,
            options.verbosity, options.engine) == (None, 0, "12865", None, True, 0, "auto")


def test_everything():
    options = parse("-D -p 5 -L 127.0.0.1,4 -Z word -v 2 --engine pure -d -N -f -n 3 extra")
    assert (options.host, options.family, options.port, options.passphrase, options.daemon,
            options.verbosity, options.engine) == (
                "127.0.0.1", 4, "5", "word", False, 2, "pure")
    assert (options.one_at_a_time, options.debug, options.cpus) == (True, False, 3)


@pytest.mark.parametrize(("line", "placed"), [
    ("", False), ("-d -N -v 1 -Z x -n 2 -4", False), ("-D", True), ("-f", True), ("-p 5", True),
    ("-L ::1", True)])
def test_where_it_listens_rules_out_inetd(line, placed):
    assert parse(line).placed is placed


def test_data_from_anywhere():
    assert not parse("").any_source
    assert parse("--any-source").any_source


def test_polling():
    assert (parse("").spin, parse("").busy_poll_us) == (False, -1)
    options = parse("--busy-poll 50 --spin")
    assert (options.spin, options.busy_poll_us, options.placed) == (True, 50, False)
    for wrong in ("x", "-1", "1000001"):
        with pytest.raises(SpecError, match="--busy-poll"):
            parse(f"--busy-poll {wrong}")


def test_the_last_of_d_and_n_counts():
    assert parse("-N -d").debug
    assert not parse("-d -N").debug


def test_more_cpus_than_can_be_told():
    with pytest.raises(Ending) as caught:
        parse("-n 99999999")
    assert caught.value.exit_code == 1


def test_the_last_one_counts():
    options = parse("-L a,4 -L ::1 -4 -6")
    assert (options.host, options.family) == ("::1", 6)


def test_a_family_nobody_knows_is_remarked():
    assert parse("-L a,bla").notices[0].startswith("WARNING! bla")


@pytest.mark.parametrize(("line", "code", "out", "err"), [
    ("-V", 0, "Netperf version 2.7.0\n", ""), ("-h", 1, "", "\nUsage: netserver"),
    ("-q", 1, "", "netserver: invalid option -- 'q'\n\nUsage: netserver"),
    ("-p", 1, "", "netserver: option requires an argument -- 'p'\n\nUsage: netserver"),
    ("--foo", 1, "", "netserver: unrecognized option '--foo'\n\nUsage: netserver"),
    ("--version", 0, "xenrr ", "")])
def test_endings(line, code, out, err):
    with pytest.raises(Ending) as caught:
        parse(line)
    end = caught.value
    assert end.exit_code == code and end.out.startswith(out) and end.err.startswith(err)
    assert bool(end.out) == bool(out) and bool(end.err) == bool(err)


def test_an_engine_there_is_not():
    with pytest.raises(SpecError, match="fast"):
        parse("--engine fast")
