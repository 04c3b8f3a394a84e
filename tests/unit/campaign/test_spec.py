"""Declarations: what they mean, and what is said about mistakes."""

from __future__ import annotations

import pytest

from xenrr.campaign.spec import make_campaign
from xenrr.campaign.spec import test_of as cell_test
from xenrr.errors import SpecError
from xenrr.lab.document import parse_document

SMALL = """\
[target]
machine = "b"
[[machine]]
name = "a"
[[machine]]
name = "b"
"""


def read(text):
    return make_campaign(parse_document(text, "c.toml"))


def test_the_least_there_can_be():
    spec = read(SMALL)
    assert spec.name == "c"
    assert (spec.duration_s, spec.repeats, spec.order, spec.seed) == (10.0, 1, "random", 1)
    assert [(one.name, one.senders, one.mode) for one in spec.experiments] == [
        ("all", ("a",), "together")]
    assert (spec.target.serve, spec.target.port) == ("xenrr", 0)  # any port of this machine
    assert spec.test.duration_s == 10.0


def test_numbers_texts_and_units():
    spec = read('duration = "1m30s"\nwarmup = 2\nuntil = "2%"\ninterim = "100ms"\n' + SMALL)
    assert (spec.duration_s, spec.warmup_s, spec.until) == (90.0, 2.0, 0.02)
    assert spec.test.duration_s == 92.0
    assert spec.test.interim_s == 0.1


def test_factors_make_cells():
    spec = read(SMALL + '[factors]\ntype = ["TCP_RR", "UDP_RR"]\nrequest = [1, 1400]\n')
    assert [cell.name for cell in spec.cells] == [
        "type=TCP_RR request=1", "type=TCP_RR request=1400", "type=UDP_RR request=1",
        "type=UDP_RR request=1400"]


def test_flows_and_rates_are_factors_and_a_rate_of_0_is_the_closed_loop():
    spec = read(SMALL + "[test]\nburst = 3\n[factors]\nflows = [1, 100]\nrate = [0, 2500.5]\n")
    tests = [cell_test(spec.test, cell) for cell in spec.cells]
    assert [(test.flows, test.rate_tps, test.burst) for test in tests] == [
        (1, None, 3), (1, 2500.5, 3), (100, None, 3), (100, 2500.5, 3)]
    assert [cell.name for cell in spec.cells][-1] == "flows=100 rate=2500.5"


def test_a_count_makes_many_machines():
    spec = read(SMALL + '[[machine]]\nname = "s"\ncount = 3\n')
    assert spec.experiments[0].senders == ("a", "s1", "s2", "s3")


def test_an_address_is_a_target_that_runs_already():
    spec = read('[target]\naddress = "dom0"\n[[machine]]\nname = "a"\n')
    assert (spec.target.serve, spec.target.port, spec.target.address) == ("no", 12865, "dom0")


def test_senders_without_some():
    spec = read(SMALL + '[[experiment]]\nsenders = "all"\nwithout = ["a"]\n'
                '[[machine]]\nname = "c"\n')
    assert [(one.name, one.senders) for one in spec.experiments] == [("1", ("c",))]


def test_another_length_keeps_the_warm_up():
    spec = read("warmup = 1\n" + SMALL).shortened(duration_s=3.0, repeats=4, seed=9)
    assert (spec.test.duration_s, spec.duration_s, spec.repeats, spec.seed) == (4.0, 3.0, 4, 9)
    with pytest.raises(SpecError, match="repeats"):
        spec.shortened(repeats=0)


@pytest.mark.parametrize(("text", "line", "words"), [
    ("durration = 5\n" + SMALL, 1, "did you mean duration"),
    ("duration = 0\n" + SMALL, 1, "expected a number from 0.05"),
    ('duration = "5x"\n' + SMALL, 1, "is not a time"),
    ('order = "any"\n' + SMALL, 1, "expected random or declared"),
    ('until = "0%"\n' + SMALL, 1, "above 0% and below 100%"),
    ('study = "x"\n' + SMALL, 1, "antonioli-2006"),
    ('lab = "nowhere.toml"\n' + SMALL, 1, "No such file"),
    (SMALL + '[[machine]]\nname = "a"\n', 8, "already"),
    (SMALL + '[[machine]]\nhost = "x"\n', 7, "name: expected"),
    (SMALL + '[[machine]]\nname = "c"\nlauncher = "tractor"\n', 9,
     "local or lab or ssh or dask"),
    (SMALL + '[[machine]]\nname = "c"\nlauncher = "dask"\n', 9, "dask needs the key scheduler"),
    (SMALL + '[[machine]]\nname = "c"\nworker = "1"\n', 9, 'launcher = "dask"'),
    ('scheduler = "cluster"\n' + SMALL, 1, "such as tcp://host:8786"),
    ('scheduler = "-x"\n' + SMALL, 1, "such as tcp://host:8786"),
    ('max_skew = 0\n' + SMALL, 1, "max_skew: expected"),
    (SMALL + '[[machine]]\nname = "c"\nlauncher = "lab"\n', 9, "the lab has no machine c"),
    (SMALL + '[[machine]]\nname = "c"\naddress = "-oProxyCommand=x"\n', 9, "IP address"),
    (SMALL + '[[machine]]\nname = "c"\naccount = "-x"\n', 9, "name of a user"),
    (SMALL + '[[machine]]\nname = "c"\ndomain = "Dom7"\n', 9, "expected Dom0 or DomU"),
    (SMALL + '[[experiment]]\nsenders = ["z"]\n', 8, "no machine 'z'; expected one of a, b"),
    (SMALL + '[[experiment]]\nsenders = ["a", "a"]\n', 8, "each machine once"),
    (SMALL + '[[experiment]]\nmode = "dance"\n', 8, "together or alone or matrix"),
    (SMALL + '[[experiment]]\nname = "x"\n[[experiment]]\nname = "x"\n', 10, "already"),
    (SMALL + '[[experiment]]\nname = "x|y"\n', 8, "letters, digits"),
    (SMALL + "[factors]\nrequest = []\n", 8, "expected 1 to 100 values"),
    (SMALL + "[factors]\nrequest = [1, 1]\n", 8, "different whole numbers"),
    (SMALL + "[factors]\nflows = [1, 2.5]\n", 8, "different whole numbers"),
    (SMALL + "[factors]\nflows = [0]\n", 7, "flows has to lie between 1"),
    (SMALL + "[factors]\nrate = [100, true]\n", 8, "different rates"),
    (SMALL + "[factors]\nrate = [-1]\n", 7, "rate_tps has to lie between"),
    (SMALL + '[test]\ntype = "TCP_CRR"\nflows = 2\n', 7, "round trips on lasting connections"),
    (SMALL + "[test]\nrate = true\n", 8, "rate: expected"),
    (SMALL + '[[machine]]\nname = "c"\nsender = "netperf"\n[test]\nflows = 2\n', 9,
     "flows and rate are for xenrr's senders"),
    (SMALL + '[[machine]]\nname = "c"\nsender = "netperf"\n[test]\ntype = "TCP_CC"\n', 9,
     "runs TCP_RR, UDP_RR, TCP_CRR for a time"),
    (SMALL + '[[experiment]]\nrepeats = 0\n', 8, "repeats: expected"),
    (SMALL + '[factors]\ntype = ["TCP_STREAM"]\n', 8, "expected a test with round trips"),
    (SMALL + '[test]\ntype = "SCTP_RR"\n', 7, "there is no test SCTP_RR"),
    (SMALL + "[test]\nrequest = 0\n", 8, "expected a whole number from 1"),
    ("repeats = 1000\n" + SMALL + "[factors]\nrequest = [" + ",".join(
        map(str, range(1, 101))) + "]\nburst = [0, 1, 2]\n", 1, "more than 100000"),
    ('[target]\nmachine = "z"\n[[machine]]\nname = "a"\n', 2, "no machine 'z'"),
    ('[target]\naddress = "x"\nserve = "xenrr"\n[[machine]]\nname = "a"\n', 3,
     "only a machine"),
])
def test_a_mistake_is_told_with_its_line(text, line, words):
    with pytest.raises(SpecError) as caught:
        read(text)
    assert (caught.value.file, caught.value.line) == ("c.toml", line)
    assert words in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [
    ("", "at least one"), ('[[machine]]\nname = "a"\n', "expected a [target]"),
    ('[target]\nmachine = "a"\n[[machine]]\nname = "a"\n', "a machine beside the target")])
def test_what_is_missing_is_said(text, words):
    with pytest.raises(SpecError, match=words.replace("[", r"\[")):
        read(text)
