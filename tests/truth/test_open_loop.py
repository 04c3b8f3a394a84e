"""The open loop tells how long requests waited that a closed loop never sends.

When each request was meant to leave follows from the schedule, and when it was answered is
noted by the responder; so each round trip lasted at least from the one to the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
from engines import RunningFlows, sender_spec
from truth.responder import MS, Log, running_responder
from truth.test_latency import ATTEMPTS, NEAR, PERCENTS, connected, count_above, percentile_of

from xenrr.engine.flows import SERVICE, SLIP, FlowsSpec, FlowsTally, Schedule


def meant(schedule: Schedule, flow: int, flows: int, started_ns: int) -> Iterator[int]:
    """When the requests of a flow were meant to leave; see ``Schedule``."""
    mask, state, gaps_ns, number = (1 << 64) - 1, schedule.seed + flow, 0.0, 0
    while not schedule.poisson:
        yield started_ns + int((flow / flows + number) * schedule.interval_ns)
        number += 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
        drawn = (mixed ^ (mixed >> 31)) >> 11
        gaps_ns -= math.log(1 - drawn / (1 << 53)) * schedule.interval_ns
        yield started_ns + int(gaps_ns)


def least_of(tally: FlowsTally, schedule: Schedule, logs: Sequence[Log]) -> list[int]:
    """The least that each round trip can have lasted, in ns, sorted."""
    return sorted(
        answered - meant_ns
        for number, (flow, log) in enumerate(zip(tally.flows, logs))
        for meant_ns, answered in zip(
            meant(schedule, number, len(logs), tally.total.started_ns),
            log.answered[:flow.transactions]))


def check_sums(tally: FlowsTally) -> None:
    """A round trip is how late its request left, and what came then.

    Of requests in flight at the end only the first is known.
    """
    total = tally.total
    slip, service = total.distributions[SLIP], total.distributions[SERVICE]
    assert slip.total == total.requests_sent
    assert total.transactions == total.latency_ns.total == service.total
    late_ns = total.latency_ns.sum_ns - service.sum_ns
    assert 0 <= late_ns <= slip.sum_ns
    assert total.in_flight or late_ns == slip.sum_ns


def test_queues_that_form_are_told(many):
    """Requests come at random, 80/s a flow, and take 8 ms each: many wait for others.

    Mean, p50, p99 and p99.9 of what is told lie between what they have to be at least and
    2 % more in one quiet spell.
    """
    engine, poller = many
    apart = []
    for attempt in range(ATTEMPTS):
        schedule = Schedule(1000 * MS / 80, poisson=True, seed=attempt)
        with running_responder("constant", 8, False) as responder:
            socks = connected(responder.ports, False)
            tally = RunningFlows(engine, socks, FlowsSpec(
                sender_spec(False, duration_ns=1600 * MS, burst=999), schedule,
                poller)).tally()
            logs = responder.end()
        for sock in socks:
            sock.close()
        check_sums(tally)
        least, told = least_of(tally, schedule, logs), tally.total.latency_ns
        assert len(least) == told.total > 500
        pairs = [(told.mean(), sum(least) / len(least))]
        pairs += [(told.percentile(percent), percentile_of(least, percent))
                  for percent in PERCENTS]
        for value, low in pairs:
            assert low <= value * 1.001
        apart.append(max(value / low - 1 for value, low in pairs))
        if apart[-1] <= NEAR:
            return
    pytest.fail(f"never within {NEAR:.0%} of what has to be at the least: {apart}")


RATE_TPS, STALL_NS, LIMIT_NS = 200, 1000 * MS, 100 * MS


@pytest.mark.parametrize(("datagram", "burst"), [(False, 0), (False, 999), (True, 999)],
                         ids=["tcp-one", "tcp-many", "udp-many"])
def test_a_stall_is_visible(many, datagram, burst):
    """A second without answers delays what was meant to leave in it, sent or not.

    All but those of the last tenth of it have waited for more than a tenth of a second.
    """
    engine, poller = many
    schedule = Schedule(1000 * MS / RATE_TPS)
    by_arithmetic = RATE_TPS * (STALL_NS - LIMIT_NS) // 10**9
    for _ in range(ATTEMPTS):
        with running_responder("none", 1, datagram, stall_after_ms=300) as responder:
            socks = connected(responder.ports, datagram)
            tally = RunningFlows(engine, socks, FlowsSpec(
                sender_spec(datagram, duration_ns=1800 * MS, burst=burst), schedule,
                poller)).tally()
            logs = responder.end()
        socks[0].close()
        check_sums(tally)
        least, told = least_of(tally, schedule, logs), tally.total.latency_ns
        for percent in (*PERCENTS, 90.0, 100.0):
            assert told.percentile(percent) >= percentile_of(least, percent)
        delayed = sum(value > LIMIT_NS for value in least)
        assert count_above(told, LIMIT_NS) >= delayed
        if delayed >= by_arithmetic - 1:
            break   # else the machine was too busy for all of it to lie in the test's time
    assert delayed >= by_arithmetic - 1
    assert told.max_ns >= STALL_NS
    assert told.percentile(90) > STALL_NS / 2
    if not burst:
        # One at a time: what a closed loop would have told.
        assert count_above(tally.total.distributions[SERVICE], STALL_NS // 2) == 1
