"""A sender that lets its target wait between the connection and the first request."""

from __future__ import annotations

import time

import pytest
from peers import running_netserver, running_xenrr_server

from xenrr.results.record import TestSpec
from xenrr.session.sender import open_sender

# A target ends a test of its own accord 4 s after its time, which is in whole seconds.
LATE_S = 5.5


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_a_late_first_request_finds_its_target(test):
    with running_xenrr_server() as server, open_sender(server.host, server.port) as sender:
        run = sender.run(TestSpec(test, duration_s=0.2), patience_s=30,
                         on_start=lambda: time.sleep(LATE_S))
    assert (run.ended, run.error) == ("time", "")
    assert run.spec.duration_s == 0.2
    assert run.elapsed_ns < 2_000_000_000
    assert run.target_tally.transactions >= run.transactions > 0


@pytest.mark.peer("netserver")
def test_and_so_does_netserver_over_tcp():
    with running_netserver() as server, open_sender(server.host, server.port) as sender:
        run = sender.run(TestSpec(duration_s=0.2), patience_s=30,
                         on_start=lambda: time.sleep(LATE_S))
    assert (run.ended, run.error) == ("time", "")
    assert run.target_tally.transactions == run.transactions + run.drained > 0
