from __future__ import annotations

import pytest
from vectors.reader import identified

from xenrr.wire.catalogue import TESTS
from xenrr.wire.dialect import CLASSIC_SERVER, NETPERF_2_7
from xenrr.wire.message import Kind
from xenrr.wire.states import State
from xenrr.wire.target import TargetConnection

EVERY = pytest.mark.parametrize("test", TESTS, ids=lambda one: one.kind.name)


def port_of(response):
    return "data_port" if hasattr(response, "data_port") else "data_port_number"


def test_every_test_type_is_there_once():
    kinds = {kind for kind in Kind if kind.name.startswith("DO_")} - {Kind.DO_SYSINFO}
    assert [test.kind for test in TESTS] == sorted(
        kinds, key=[test.kind for test in TESTS].index)
    assert len(kinds) == len(TESTS)


@EVERY
@pytest.mark.parametrize("dialect", [CLASSIC_SERVER, NETPERF_2_7], ids=lambda one: one.peer)
def test_a_whole_test_between_our_two_ends(test, dialect):
    kinds = [{} if test.kind == Kind.DO_OMNI else {"kind": Kind(test.kind + i)}
             for i in range(3)]
    sender, target = identified(dialect), TargetConnection()
    request = test.request(**kinds[0])
    for _ in range(2):
        target.receive_data(sender.send(request))
        assert sender.state is test.asked
        if target.undecided:
            target.assume_short()
        assert target.next_event() == request
        response = test.response(**{port_of(test.response): 7}, **kinds[1])
        sender.receive_data(target.send(response))
        assert sender.next_event() == response
        assert sender.state is target.state is test.running
        results = test.results(elapsed_time=1.5, cpu_util=50.0, num_cpus=2, **kinds[2])
        sender.receive_data(target.send(results))
        assert sender.next_event() == results
        assert sender.state is target.state is State.IDLE


@EVERY
def test_results_are_read_whatever_their_type_says(test):
    """Real servers turn the type word round."""
    sender, target = identified(NETPERF_2_7), TargetConnection()
    kinds = [{} if test.kind == Kind.DO_OMNI else {"kind": Kind(test.kind + i)}
             for i in range(3)]
    target.receive_data(sender.send(test.request(**kinds[0])))
    target.next_event()
    sender.receive_data(target.send(
        test.response(**{port_of(test.response): 7}, **kinds[1])))
    sender.next_event()
    raw = target.send(test.results(**kinds[2]))
    sender.receive_data(raw[3::-1] + raw[4:])
    assert sender.next_event() == test.results(**kinds[2])
