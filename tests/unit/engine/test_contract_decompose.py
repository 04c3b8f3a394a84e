"""Round trips split by the kernel's time stamps: three parts that make up the whole."""

from __future__ import annotations

import errno
import select
import socket
import sys
import time

import pytest
from engines import (
    LIMIT_S,
    MS,
    PROTOCOLS,
    Running,
    check_accounts,
    run_both,
    sender_spec,
    signals,
    target_spec,
)

from xenrr.engine import stamps
from xenrr.engine.base import PARTS, STAMPS_GRACE, STAMPS_GRACE_NS, Ended, Pace, Tally
from xenrr.errors import LocalProtocolError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"),
                                reason="only Linux stamps packets")


@pytest.fixture(autouse=True)
def stamping():
    """Somebody wants stamps already, so the kernel takes them from the first packet on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        stamps.prepare_stamps(sock)
        yield


def check_parts(tally: Tally) -> int:
    """Every transaction is in all three parts or in none; how many are in none."""
    assert tuple(tally.distributions) == PARTS
    send_path, network, wake_up = tally.distributions.values()
    missing = tally.transactions - network.total
    assert 0 <= missing < tally.transactions
    assert send_path.total == network.total == wake_up.total
    assert all(part.clamped == 0 for part in (send_path, network, wake_up))
    whole_ns = send_path.sum_ns + network.sum_ns + wake_up.sum_ns
    if missing:
        assert whole_ns < tally.latency_ns.sum_ns
    else:
        assert whole_ns == tally.latency_ns.sum_ns
    return missing


@PROTOCOLS
@pytest.mark.parametrize("sizes", [(1, 1), (1000, 9000)])
def test_the_parts_make_up_the_whole(engine, connect, datagram, sizes):
    spec = sender_spec(datagram, duration_ns=100 * MS, decompose=True, request_bytes=sizes[0],
                       response_bytes=sizes[1])
    sent, answered = run_both((engine, engine), connect(datagram), spec)
    assert sent.ended is Ended.TIME
    assert answered.transactions == sent.requests_sent
    check_accounts(sent, spec)
    assert check_parts(sent) <= sent.transactions // 2


@pytest.mark.parametrize("values", [
    {"request_bytes": (3 << 20) + 1, "response_bytes": (2 << 20) + 3},
    {"plain_write": True}, {"pace": Pace(2 * MS, 2)}], ids=["pieces", "write", "pace"])
def test_any_round_trip_can_be_split(engine, connect, values):
    spec = sender_spec(transactions=12, decompose=True, **values)
    sent, answered = run_both((engine, engine), connect(False), spec)
    assert (sent.ended, sent.transactions, answered.transactions) == (Ended.COUNT, 12, 12)
    check_accounts(sent, spec)
    check_parts(sent)


@PROTOCOLS
def test_a_slow_peer_shows_in_the_network(engine, connect, datagram):
    near, far = connect(datagram)
    run = Running(engine, near, sender_spec(datagram, transactions=10, decompose=True))
    far.settimeout(LIMIT_S)
    for _ in range(10):
        far.recv(1)
        time.sleep(0.005)
        far.send(b"r")
    tally = run.tally()
    assert tally.ended is Ended.COUNT
    check_parts(tally)
    send_path, network, wake_up = tally.distributions.values()
    assert network.min_ns >= 5 * MS
    # A busy machine is late at times, but not in each of ten round trips.
    assert network.min_ns > max(send_path.min_ns, wake_up.min_ns)


def test_stamps_of_lost_requests_are_nobody_elses(engine, connect):
    near, far = connect(True)
    spec = sender_spec(True, transactions=6, loss_timeout_ns=30 * MS, decompose=True)
    run = Running(engine, near, spec)
    far.settimeout(LIMIT_S)
    for turn in range(9):
        far.recv(1)
        if turn % 3:            # every third is lost
            far.send(b"r")
    tally = run.tally()
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 6)
    check_accounts(tally, spec)
    check_parts(tally)


@PROTOCOLS
def test_the_socket_comes_back_as_it_was(engine, connect, datagram):
    near, far = connect(datagram)
    option = socket.SOL_SOCKET, stamps.SO_TIMESTAMPING
    before = near.getsockopt(*option)
    spec = sender_spec(datagram, transactions=5, decompose=True)
    run_both((engine, engine), (near, far), spec)
    assert near.getsockopt(*option) == before
    assert stamps.next_sent_stamp(near) is None
    poll = select.poll()
    poll.register(near, 0)      # what is in the error queue shows unasked
    assert not any(events & select.POLLERR for _, events in poll.poll(0))


def test_a_socket_that_gives_no_stamps_ends_it(engine):
    near, far = socket.socketpair()     # no packets, no device
    with near, far:
        answering = Running(engine, far, target_spec())
        spec = sender_spec(decompose=True)
        tally = Running(engine, near, spec).tally()
        near.shutdown(socket.SHUT_WR)
        answering.tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.EOPNOTSUPP)
    assert tally.transactions >= STAMPS_GRACE
    assert tally.elapsed_ns >= STAMPS_GRACE_NS
    check_accounts_of_an_end_in_between(tally)


def check_accounts_of_an_end_in_between(tally: Tally) -> None:
    """The response that was one too many has arrived and is no transaction."""
    assert tally.requests_sent == tally.transactions + tally.in_flight
    assert (tally.in_flight, tally.latency_ns.total) == (1, tally.transactions)
    assert not any(part.total for part in tally.distributions.values())


def test_a_socket_that_refuses_ends_it_at_once(engine):
    with socket.socket() as sock:       # not connected: there are no bytes to number
        tally = Running(engine, sock, sender_spec(decompose=True)).tally()
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.EOPNOTSUPP)
    assert tally.requests_sent == 0


def test_signal_handlers_run_meanwhile(engine, connect):
    near, far = connect(False)
    answering = Running(engine, far, target_spec())
    seen = []
    spec = sender_spec(duration_ns=200 * MS, decompose=True)
    with signals(lambda *_: seen.append(1), 0.05, 0.02):
        sent = engine.run(near, spec)
    assert sent.ended is Ended.TIME
    assert seen
    check_accounts(sent, spec)
    check_parts(sent)
    near.shutdown(socket.SHUT_WR)
    answering.tally()


@pytest.mark.parametrize("values", [{"burst": 1}, {"spin": True}])
def test_only_one_request_at_a_time_is_split(values):
    with pytest.raises(LocalProtocolError, match="one request in flight"):
        sender_spec(decompose=True, **values)
    with pytest.raises(LocalProtocolError, match="only a sender"):
        target_spec(decompose=True)
