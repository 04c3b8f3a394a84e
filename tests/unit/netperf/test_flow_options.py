"""Options of many flows and of the open loop, at both programs."""

from __future__ import annotations

import pytest

from xenrr.errors import EngineUnavailable, SpecError
from xenrr.netperf.options import parse_client
from xenrr.netperf.serve import serve
from xenrr.netperf.server_options import parse_server


def spec_of(*words: str):
    return parse_client(words).spec(0, 0)


def test_without_them_there_is_one_flow_and_no_rate():
    spec = spec_of("-t", "TCP_RR")
    assert (spec.flows, spec.rate_tps, spec.poller) == (1, None, "auto")


@pytest.mark.parametrize("place", [0, 1], ids=["global", "of the test"])
def test_they_may_stand_anywhere(place):
    ours = ["--flows", "12", "--rate", "1.5k/flow", "--arrivals", "Poisson", "--seed", "7",
            "--poller", "epoll"]
    words = ["-t", "UDP_RR", "--", "-b", "3"]
    spec = spec_of(*(words + ours if place else ours + words))
    assert (spec.flows, spec.rate_tps, spec.rate_per_flow) == (12, 1500.0, True)
    assert (spec.poisson, spec.seed, spec.poller, spec.burst) == (True, 7, "epoll", 3)
    assert spec.asked_rate_tps == 18_000


@pytest.mark.parametrize(("typed", "meant"), [
    ("1000", (1000.0, False)), ("12.5k", (12_500.0, False)), ("1000/s", (1000.0, False)),
    ("0.5/flow", (0.5, True)), ("2m/s/flow", (2e6, True))])
def test_rates(typed, meant):
    spec = spec_of("-t", "TCP_RR", "--rate", typed)
    assert (spec.rate_tps, spec.rate_per_flow) == meant


@pytest.mark.parametrize(("words", "said"), [
    (("-t", "TCP_STREAM", "--flows", "2"), "flows is for round trips"),
    (("-t", "TCP_CRR", "--rate", "10"), "rate_tps is for round trips"),
    (("-t", "TCP_RR", "--arrivals", "poisson"), "there is none"),
    (("-t", "TCP_RR", "--rate", "0"), "--rate: '0' is not a rate above 0"),
    (("-t", "TCP_RR", "--rate", "-5"), "--rate: '-5' is not a rate above 0"),
    (("-t", "TCP_RR", "--rate", "5/hour"), "--rate: '5/hour' is not a rate"),
    (("-t", "TCP_RR", "--rate", "1e12"), "'1e12' is not a rate; try 1000, 12.5k or 50/flow"),
    (("-t", "TCP_RR", "--rate", "9/flows"), "'9/flows' is not a rate; try 1000, 12.5k or 50/f"),
    (("-t", "TCP_RR", "--rate", "9", "-l", "-5"), "not for a number of transactions"),
    (("-t", "TCP_RR", "--flows", "0"), "flows has to lie between 1 and"),
    (("-t", "TCP_RR", "--flows", "many"), "--flows: 'many' is not a number"),
    (("-t", "TCP_RR", "--flows", "70000"), "flows has to lie between 1 and"),
    (("-t", "TCP_RR", "--poller", "kqueue"), "--poller: one of auto, io_uring, epoll, poll"),
    (("-t", "TCP_RR", "--arrivals", "poison"), "did you mean poisson?"),
    (("-t", "TCP_RR", "--seed", "-1"), "a seed lies between"),
    (("-t", "TCP_RR", "--flows", "2", "--spin"), "flows and spin do not go together"),
    (("-t", "TCP_RR", "--flows", "2", "-N"), "flows needs a control connection")], ids=str)
def test_what_does_not_go(words, said):
    with pytest.raises(SpecError) as caught:
        spec_of(*words)
    assert said in str(caught.value)


def test_a_server_takes_a_poller():
    assert parse_server([]).poller == "auto"
    assert parse_server(["--poller", "epoll"]).poller == "epoll"
    with pytest.raises(SpecError, match="did you mean io_uring"):
        parse_server(["--poller", "iouring"])


def test_a_poller_that_is_not_there_ends_a_server_before_it_promises_anything():
    with pytest.raises(EngineUnavailable, match="pure engine cannot wait by io_uring"):
        serve(parse_server(["-D", "-p", "0", "--engine", "pure", "--poller", "io_uring"]))
