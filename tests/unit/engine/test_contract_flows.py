"""Many connections in one thread: the contract of ``xenrr.engine.flows`` for a sender."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engines import (
    LIMIT_S,
    MS,
    PROTOCOLS,
    RunningFlows,
    RunningPool,
    check_flows,
    end,
    pollers_of,
    read_interims,
    reset,
    sender_spec,
    signals,
    tcp_pair,
    udp_pair,
)

from xenrr.engine.base import Ended, LoopSpec
from xenrr.engine.flows import FlowsEngine, FlowsSpec, FlowsTally, Leave, Schedule
from xenrr.engine.load import load_engine
from xenrr.errors import EngineUnavailable, LocalProtocolError

Sockets = tuple[list[socket.socket], list[socket.socket]]


@pytest.fixture(params=pollers_of("pure") + pollers_of("hot"))
def many(request) -> tuple[FlowsEngine, str]:
    """An engine and one of its pollers."""
    name, poller = request.param.split("-")
    return load_engine(name), poller


@pytest.fixture
def connect_many() -> Iterator[Callable[[int, bool], Sockets]]:
    with contextlib.ExitStack() as stack:
        def make(count: int, datagram: bool = False) -> Sockets:
            pairs = [udp_pair() if datagram else tcp_pair() for _ in range(count)]
            for sock in (sock for pair in pairs for sock in pair):
                stack.enter_context(sock)
            return [near for near, _ in pairs], [far for _, far in pairs]

        yield make


def flows_spec(poller: str, schedule: Schedule | None = None, **values: Any) -> FlowsSpec:
    return FlowsSpec(sender_spec(**values), schedule, poller)


def run_both(sender: tuple[FlowsEngine, str], target: tuple[FlowsEngine, str],
             sockets: Sockets, spec: FlowsSpec) -> tuple[FlowsTally, list[Leave]]:
    """Run flows against a pool, to the end of both."""
    nears, fars = sockets
    rounds = spec.rounds
    with RunningPool(*target) as pool:
        for far in fars:
            pool.add(far, rounds.datagram, rounds.request_bytes, rounds.response_bytes)
        tally = RunningFlows(sender[0], nears, spec).tally()
        for near in nears:
            end(near, rounds.datagram)
        leaves: list[Leave] = []
        while len(leaves) < len(fars):
            while pool.silent:  # it may still have to say what nobody waits for
                for near in nears:
                    near.setblocking(False)
                    with contextlib.suppress(OSError):
                        near.recv(1 << 20)
                    with contextlib.suppress(OSError):
                        if rounds.datagram:     # one that has heard nothing ignores the first
                            near.send(b"")
                time.sleep(0.001)
            leaves += pool.leaves()
    return tally, sorted(leaves, key=lambda leave: leave.id)


@PROTOCOLS
@pytest.mark.parametrize("burst", [0, 7])
def test_a_timed_run_accounts_for_all(many, connect_many, datagram, burst):
    spec = flows_spec(many[1], datagram=datagram, duration_ns=150 * MS, burst=burst)
    tally, leaves = run_both(many, many, connect_many(12, datagram), spec)
    total = tally.total
    assert (total.ended, total.errno, tally.poller) == (Ended.TIME, 0, many[1])
    assert {flow.ended for flow in tally.flows} == {Ended.TIME}
    assert total.elapsed_ns >= 150 * MS
    assert total.started_ns > 0
    check_flows(tally, spec)
    assert total.transactions > 0
    for flow, leave in zip(tally.flows, leaves):
        assert (leave.ended, leave.errno, leave.have_bytes) == (Ended.PEER, 0, 0)
        assert leave.transactions == flow.requests_sent
        assert leave.bytes_received == flow.bytes_sent
        if flow.requests_sent:      # a busy machine may not get to all of them in time
            assert leave.started_ns >= total.started_ns
            assert leave.elapsed_ns > 0


@pytest.mark.parametrize(("sender", "target"), [
    pytest.param("pure", "hot", marks=pytest.mark.c_engine),
    pytest.param("hot", "pure", marks=pytest.mark.c_engine)])
@PROTOCOLS
def test_engines_understand_each_other(connect_many, sender, target, datagram):
    spec = flows_spec("auto", datagram=datagram, duration_ns=100 * MS, burst=2,
                      request_bytes=64, response_bytes=200)
    tally, leaves = run_both((load_engine(sender), "auto"), (load_engine(target), "auto"),
                             connect_many(5, datagram), spec)
    check_flows(tally, spec)
    assert [leave.transactions for leave in leaves] == [
        flow.requests_sent for flow in tally.flows]


SIZES = [(False, 1, 100_000), (False, 100_000, 1), (False, 1 << 20, 1 << 20), (False, 64, 1400),
         (True, 1, 8192), (True, 60_000, 100)]


@pytest.mark.parametrize(("datagram", "request_bytes", "response_bytes"), SIZES)
def test_exactly_as_many_transactions_as_asked(
        many, connect_many, datagram, request_bytes, response_bytes):
    spec = flows_spec(many[1], datagram=datagram, transactions=6, burst=1,
                      request_bytes=request_bytes, response_bytes=response_bytes)
    tally, leaves = run_both(many, many, connect_many(3, datagram), spec)
    assert tally.total.ended is Ended.COUNT
    assert {(flow.ended, flow.transactions, flow.requests_sent, flow.in_flight)
            for flow in tally.flows} == {(Ended.COUNT, 6, 6, 0)}
    check_flows(tally, spec)
    for leave in leaves:
        assert leave.transactions == 6
        assert leave.bytes_received == 6 * request_bytes
        assert leave.bytes_sent == 6 * response_bytes


def test_two_hundred_flows(many, connect_many):
    spec = flows_spec(many[1], duration_ns=200 * MS)
    tally, leaves = run_both(many, many, connect_many(200), spec)
    check_flows(tally, spec)
    assert len(tally.flows) == len(leaves) == 200
    assert tally.total.requests_sent > 0
    assert sum(leave.transactions for leave in leaves) == tally.total.requests_sent


@pytest.mark.parametrize("blocking", [False, True])
def test_sockets_come_back_as_they_were(many, connect_many, blocking):
    nears, fars = connect_many(2)
    for sock in nears + fars:
        sock.setblocking(blocking)
    spec = flows_spec(many[1], transactions=3)
    with RunningPool(*many) as pool:
        for far in fars:
            pool.add(far)
        RunningFlows(many[0], nears, spec).tally()
        for near in nears:
            end(near, False)
        pool.leaves(2)
    for sock in nears + fars:
        assert os.get_blocking(sock.fileno()) is blocking
        assert not any(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))


@pytest.mark.parametrize("how", ["end of file", "reset"])
def test_a_flow_that_dies_leaves_the_others_alone(many, connect_many, how):
    nears, fars = connect_many(4)
    spec = flows_spec(many[1], duration_ns=300 * MS)
    with RunningPool(*many) as pool:
        for far in fars[:3]:
            pool.add(far)
        run = RunningFlows(many[0], nears, spec)
        fars[3].recv(1)
        reset(fars[3]) if how == "reset" else fars[3].close()
        tally = run.tally()
    check_flows(tally, spec)
    *others, dead = tally.flows
    assert tally.total.ended is Ended.TIME
    assert {flow.ended for flow in others} == {Ended.TIME}
    assert dead.ended is (Ended.ERROR if how == "reset" else Ended.PEER)
    assert (dead.transactions, dead.requests_sent, dead.in_flight) == (0, 1, 1)
    assert bool(dead.errno) is (how == "reset")
    assert tally.total.errno == 0


def test_when_all_flows_die_it_is_over(many, connect_many):
    nears, fars = connect_many(3)
    spec = flows_spec(many[1], duration_ns=30_000 * MS)
    run = RunningFlows(many[0], nears, spec)
    for far in fars:
        far.recv(1)
        far.send(b"r")
        far.recv(1)
        far.shutdown(socket.SHUT_WR)
    tally = run.tally()
    check_flows(tally, spec)
    assert tally.total.ended is Ended.PEER
    assert {(flow.ended, flow.transactions, flow.in_flight) for flow in tally.flows} == {
        (Ended.PEER, 1, 1)}


def test_flows_that_reached_their_count_count_for_all(many, connect_many):
    nears, fars = connect_many(2)
    spec = flows_spec(many[1], transactions=2)
    run = RunningFlows(many[0], nears, spec)
    for _ in range(2):
        fars[0].recv(1)
        fars[0].send(b"r")
    fars[1].recv(1)
    time.sleep(0.05)
    assert not run.over
    fars[1].close()
    tally = run.tally()
    assert [flow.ended for flow in tally.flows] == [Ended.COUNT, Ended.PEER]
    assert tally.total.ended is Ended.COUNT
    check_flows(tally, spec)


def test_a_closed_udp_port_ends_a_flow(many, connect_many):
    nears, fars = connect_many(2, True)
    spec = flows_spec(many[1], datagram=True, duration_ns=200 * MS)
    fars[1].close()
    with RunningPool(*many) as pool:
        pool.add(fars[0], True)
        tally = RunningFlows(many[0], nears, spec).tally()
    assert [flow.ended for flow in tally.flows] == [Ended.TIME, Ended.PEER]
    assert tally.flows[1].errno == 0
    check_flows(tally, spec)


def wait_until_taken(socks):
    """Wait until somebody has received all that came, so that it stays a part."""
    give_up_s = time.monotonic() + LIMIT_S
    while any(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)) != bytes(4) for sock in socks):
        assert time.monotonic() < give_up_s
        time.sleep(0.001)


def test_messages_in_parts(many, connect_many):
    nears, fars = connect_many(2)
    spec = flows_spec(many[1], request_bytes=10, response_bytes=10, transactions=2)
    run = RunningFlows(many[0], nears, spec)
    for turn in range(2):
        for far in fars:
            assert len(far.recv(10, socket.MSG_WAITALL)) == 10
            far.send(b"r" * (3 + turn))
        wait_until_taken(nears)
        for far in fars:
            far.send(b"r" * (7 - turn))
    tally = run.tally()
    assert tally.total.ended is Ended.COUNT
    check_flows(tally, spec)
    assert tally.total.recv_calls >= 8


def test_the_deadline_ends_a_wait_that_nobody_answers(many, connect_many):
    nears, fars = connect_many(3)
    fars[1].send(b"r" * 140)
    spec = flows_spec(many[1], response_bytes=100, duration_ns=100 * MS)
    tally = RunningFlows(many[0], nears, spec).tally()
    assert tally.total.ended is Ended.TIME
    assert [flow.transactions for flow in tally.flows] == [0, 1, 0]
    assert [flow.in_flight for flow in tally.flows] == [1, 1, 1]
    assert [flow.leftover_bytes for flow in tally.flows] == [0, 40, 0]
    assert tally.total.elapsed_ns >= 100 * MS
    check_flows(tally, spec)


def test_an_answer_to_what_nobody_asked_is_an_error(many, connect_many):
    nears, fars = connect_many(2)
    spec = flows_spec(many[1], Schedule(1e12), duration_ns=100 * MS)
    fars[1].send(b"r")      # its first request would leave much later
    tally = RunningFlows(many[0], nears, spec).tally()
    assert [flow.ended for flow in tally.flows] == [Ended.TIME, Ended.ERROR]
    assert tally.flows[1].errno
    assert tally.flows[1].transactions == 0


def test_a_flow_whose_socket_is_full_waits_for_room(many, connect_many):
    nears, fars = connect_many(2)
    spec = flows_spec(many[1], request_bytes=1 << 20, burst=30, duration_ns=300 * MS)
    with RunningPool(*many) as pool:
        pool.add(fars[0], request_bytes=1 << 20)
        tally = RunningFlows(many[0], nears, spec).tally()
        end(nears[0], False)
        pool.leaves()
    free, full = tally.flows
    assert free.transactions > 0
    assert full.transactions == 0
    assert 0 < full.bytes_sent < 31 << 20
    check_flows(tally, spec)


@PROTOCOLS
def test_stop_in_the_middle(many, connect_many, stop_pipe, datagram):
    nears, fars = connect_many(5, datagram)
    spec = flows_spec(many[1], datagram=datagram)
    with RunningPool(*many) as pool:
        for far in fars:
            pool.add(far, datagram)
        run = RunningFlows(many[0], nears, spec, stop_pipe[0])
        time.sleep(0.05)
        assert not run.over
        os.write(stop_pipe[1], b"x")
        tally = run.tally()
    assert {flow.ended for flow in tally.flows} == {tally.total.ended} == {Ended.STOPPED}
    check_flows(tally, spec)


def test_stop_before_the_start(many, connect_many, stop_pipe):
    os.write(stop_pipe[1], b"x")
    tally = RunningFlows(many[0], connect_many(2)[0], flows_spec(many[1]),
                         stop_pipe[0]).tally()
    assert (tally.total.ended, tally.total.requests_sent) == (Ended.STOPPED, 0)
    assert [flow.ended for flow in tally.flows] == [Ended.STOPPED, Ended.STOPPED]


@PROTOCOLS
def test_signals_interrupt_and_it_goes_on(many, connect_many, datagram):
    nears, fars = connect_many(6, datagram)
    spec = flows_spec(many[1], datagram=datagram, duration_ns=200 * MS)
    seen: list[int] = []
    with RunningPool(*many) as pool:
        for far in fars:
            pool.add(far, datagram)
        with signals(lambda number, frame: seen.append(number), 0.002, 0.002):
            tally = many[0].run_flows(nears, spec)  # on the main thread, where handlers run
    assert seen
    assert tally.total.ended is Ended.TIME
    assert tally.total.elapsed_ns >= spec.rounds.duration_ns
    assert tally.total.transactions > 0
    check_flows(tally, spec)


def test_an_exception_in_a_handler_gets_out(many, connect_many):
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted

    nears, _ = connect_many(2)
    with pytest.raises(Interrupted), signals(interrupt, 0.1):
        many[0].run_flows(nears, flows_spec(many[1]))
    assert all(os.get_blocking(near.fileno()) for near in nears)


def test_interims_are_of_all_flows(many, connect_many):
    nears, fars = connect_many(4)
    report_read, report_write = os.pipe()
    os.set_blocking(report_write, False)
    try:
        spec = flows_spec(many[1], duration_ns=200 * MS, interim_ns=40 * MS)
        with RunningPool(*many) as pool:
            for far in fars:
                pool.add(far)
            tally = RunningFlows(many[0], nears, spec, -1, report_write).tally()
        interims = read_interims(report_read)
    finally:
        os.close(report_read)
        os.close(report_write)
    total = tally.total
    assert interims
    assert interims[-1].transactions == total.transactions
    assert sum(interim.interval_transactions for interim in interims) == total.transactions
    assert (sum(interim.interval_bytes for interim in interims)
            == total.bytes_sent + total.bytes_received)
    assert max(interim.max_ns for interim in interims) == total.latency_ns.max_ns
    check_flows(tally, spec)


# ---- UDP ----

def test_each_flow_loses_its_own_window(many, connect_many):
    nears, fars = connect_many(2, True)
    spec = flows_spec(many[1], datagram=True, transactions=6, burst=2,
                      loss_timeout_ns=60 * MS)
    with RunningPool(*many) as pool:
        pool.add(fars[1], True)
        run = RunningFlows(many[0], nears, spec)
        fars[0].settimeout(LIMIT_S)
        for _ in range(3):
            fars[0].recv(1)         # lost, all three
        for _ in range(6):
            fars[0].recv(1)
            fars[0].send(b"r")
        tally = run.tally()
    assert tally.total.ended is Ended.COUNT
    assert [(flow.transactions, flow.lost, flow.requests_sent) for flow in tally.flows] == [
        (6, 3, 9), (6, 0, 6)]
    check_flows(tally, spec)


def test_a_silent_udp_peer_is_given_up_alone(many, connect_many):
    nears, fars = connect_many(2, True)
    spec = flows_spec(many[1], datagram=True, duration_ns=600 * MS, burst=1,
                      loss_timeout_ns=20 * MS)
    with RunningPool(*many) as pool:
        pool.add(fars[0], True)
        tally = RunningFlows(many[0], nears, spec).tally()
    answered, silent = tally.flows
    assert (silent.ended, silent.errno) == (Ended.LOST, 0)
    assert silent.lost == silent.requests_sent == 2 * LoopSpec.MAX_SILENCES
    # A machine so busy that nobody is heard for ten timeouts gives up the other one as well.
    assert tally.total.ended is answered.ended
    assert answered.transactions > 0
    check_flows(tally, spec)


def test_datagrams_of_the_wrong_size_count_for_nothing(many, connect_many):
    nears, fars = connect_many(2, True)
    spec = flows_spec(many[1], datagram=True, response_bytes=10, transactions=1)
    run = RunningFlows(many[0], nears, spec)
    for far in fars:
        far.settimeout(LIMIT_S)
        far.recv(1)
        for message in (b"r", b"r" * 11, b"r" * 2000, b"r" * 10):
            far.send(message)
    tally = run.tally()
    assert [(flow.malformed, flow.transactions, flow.bytes_received)
            for flow in tally.flows] == [(3, 1, 10)] * 2
    check_flows(tally, spec)


# ---- what is refused ----

def test_what_no_engine_takes(many, connect_many):
    engine, poller = many
    nears, _ = connect_many(1)
    with pytest.raises(LocalProtocolError, match="number of flows"):
        engine.run_flows([], flows_spec(poller))
    with pytest.raises(LocalProtocolError, match="in flight"):
        engine.run_flows(nears * 5, flows_spec(poller, burst=1_000_000))


def test_a_poller_that_is_not_there_is_an_error(connect_many):
    engine = load_engine("pure")
    with pytest.raises(EngineUnavailable, match="io_uring"):
        engine.run_flows(connect_many(1)[0], flows_spec("io_uring"))
    with pytest.raises(EngineUnavailable, match="io_uring"):
        engine.serve_flows(0, 1, "io_uring")


def test_no_descriptor_is_left_open(many, connect_many):
    sockets = connect_many(3)
    spec = flows_spec(many[1], duration_ns=50 * MS)
    before = sorted(os.listdir("/proc/self/fd"))
    run_both(many, many, sockets, spec)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert select.select([], sockets[0], [], 0)[1]
