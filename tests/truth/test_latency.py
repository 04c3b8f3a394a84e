"""The latencies that are told are those that were, by the log of whoever caused them.

In a closed loop the responder's own times enclose each round trip from both sides, whatever
the machine does meanwhile. With request ``k`` heard at ``h[k]`` and answered at ``a[k]``, its
round trip lasts

* at least ``a[k] - h[k]``: it began before it was heard and ended after it was answered;
* at most ``h[k+1] - a[k-1]``: it began after the response before had been sent, and the next
  request was heard after it had ended.

So the sorted list of the first and the sorted list of the second enclose every percentile,
and that is asserted always. How far apart they are is what the loopback and a busy machine
add; that what is told lies within 2 % of the middle has to be so in one quiet spell.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from engines import Running, RunningFlows, sender_spec
from truth.responder import MS, Log, running_responder

from xenrr.engine.base import Engine, LoopSpec, Tally
from xenrr.engine.flows import FlowsSpec
from xenrr.stats.histogram import Histogram, counts_index

FLOWS, EACH = 8, 130
PERCENTS = (50.0, 99.0, 99.9)
ATTEMPTS = 20
NEAR = 0.02


def connected(ports: Sequence[int], datagram: bool) -> list[socket.socket]:
    socks = []
    for port in ports:
        sock = socket.socket(socket.AF_INET,
                             socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)
        sock.connect(("127.0.0.1", port))
        if not datagram:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks.append(sock)
    return socks


def bounds(log: Log, tally: Tally) -> tuple[list[int], list[int]]:
    """The least and the most that each round trip of a closed loop can have lasted, in ns.

    Args:
        log: Of one flow.
        tally: What the loop told that ran it, alone or with others.
    """
    count = tally.transactions
    least = [answered - heard for heard, answered in zip(log.heard, log.answered)][:count]
    assert len(least) == count
    begins = [tally.started_ns, *log.answered][:count]
    ends = [*log.heard, tally.started_ns + tally.elapsed_ns][1:count + 1]
    return least, [end - begin for begin, end in zip(begins, ends)]


def percentile_of(ordered: Sequence[int], percent: float) -> int:
    """By nearest rank, as ``Histogram.percentile``."""
    return ordered[max(1, math.ceil(percent * len(ordered) / 100 - 1e-9)) - 1]


def enclosed(latency_ns: Histogram, least: Sequence[int], most: Sequence[int]) -> float:
    """Check what is told against its bounds, hard.

    Returns:
        How far the mean or a percentile lies from the middle of its bounds, as a share of it;
        the largest.
    """
    assert latency_ns.total == len(least) == len(most)
    least, most = sorted(least), sorted(most)
    told = [(latency_ns.mean(), sum(least) / len(least), sum(most) / len(most))]
    told += [(latency_ns.percentile(percent), percentile_of(least, percent),
              percentile_of(most, percent)) for percent in (*PERCENTS, 0, 100)]
    for value, low, high in told:
        # Three significant digits, upwards.
        assert low <= value <= high * 1.001 + 1
    # The extremes are one sample each.
    return max(abs(value / ((low + high) / 2) - 1) for value, low, high in told[:-2])


def check_recovery(service: str, datagram: bool, run: Callable[
        [Sequence[socket.socket], LoopSpec], Sequence[Tally]]) -> None:
    """Mean, p50, p99 and p99.9 of a thousand round trips.

    Args:
        service, datagram: See ``running_responder``.
        run: Does what a spec says on several connections; a tally for each of them.
    """
    apart = []
    for attempt in range(ATTEMPTS):
        with running_responder(service, FLOWS, datagram, seed=attempt) as responder:
            socks = connected(responder.ports, datagram)
            tallies = run(socks, sender_spec(datagram, transactions=EACH))
            logs = responder.end()
        for sock in socks:
            sock.close()
        merged = Histogram()
        for one in {id(tally.latency_ns): tally.latency_ns for tally in tallies}.values():
            merged.merge(one)
        least, most = ([value for pair in zip(logs, tallies) for value in bounds(*pair)[place]]
                       for place in (0, 1))
        apart.append(enclosed(merged, least, most))
        if apart[-1] <= NEAR:
            return
    pytest.fail(f"never within {NEAR:.0%} of the middle of the bounds: {apart}")


@pytest.mark.parametrize(("service", "datagram"), [
    ("constant", False), ("exponential", True), ("bimodal", False)])
def test_service_times_that_are_known_are_recovered(engine: Engine, service, datagram):
    """Eight connections at once, a thread each."""
    def run(socks: Sequence[socket.socket], spec: LoopSpec) -> list[Tally]:
        loops = [Running(engine, sock, spec) for sock in socks]
        return [loop.tally() for loop in loops]

    check_recovery(service, datagram, run)


def test_many_flows_of_one_thread_are_recovered(many):
    """They end together, each with a request in flight, and have one histogram."""
    def run(socks: Sequence[socket.socket], spec: LoopSpec) -> list[Tally]:
        timed = replace(spec, transactions=0, duration_ns=EACH * 8 * MS)
        told = RunningFlows(many[0], socks, FlowsSpec(timed, poller=many[1])).tally()
        return [replace(told.total, transactions=flow.transactions) for flow in told.flows]

    check_recovery("bimodal", False, run)


@pytest.mark.parametrize("datagram", [False, True], ids=["tcp", "udp"])
def test_a_closed_loop_has_one_sample_of_a_stall(engine: Engine, datagram):
    """A second in which nothing is answered delays one request: nobody sent the others."""
    with running_responder("none", 1, datagram, stall_after_ms=200) as responder:
        (sock,) = connected(responder.ports, datagram)
        tally = Running(engine, sock, sender_spec(datagram, duration_ns=1500 * MS)).tally()
        (log,) = responder.end()
        sock.close()
    stalled = [answered - heard for heard, answered in zip(log.heard, log.answered)
               if answered - heard >= 1000 * MS]
    assert len(stalled) == 1
    assert tally.latency_ns.max_ns >= stalled[0]
    assert tally.transactions > 1000
    assert tally.latency_ns.percentile(99.9) < 500 * MS
    assert count_above(tally.latency_ns, 500 * MS) == 1


def count_above(latency_ns: Histogram, limit_ns: int) -> int:
    """How many samples are longer than this; those of the same step are."""
    return sum(latency_ns.counts[counts_index(limit_ns):])
