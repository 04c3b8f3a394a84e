"""Where round trips of a target run: a thread each, a pool, and the move between them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading

import pytest
from ends import ENGINES, RawSender, run, serving

import xenrr
from xenrr.engine.load import load_engine
from xenrr.errors import EngineUnavailable
from xenrr.results.record import EndSpec, TestSpec
from xenrr.session import pool as pool_module
from xenrr.session.pool import Pools
from xenrr.wire.omni import OmniRequest
from xenrr.wire.sender import PEER_CLOSED

EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES)


async def measured(port: int, spec: TestSpec, after_s: float = 0.0, **options):
    await asyncio.sleep(after_s)
    async with xenrr.connect("127.0.0.1", port, **options) as sender:
        return await sender.run(spec)


def pool_threads() -> int:
    return sum(thread.name == "xenrr-pool" for thread in threading.enumerate())


@EVERY_ENGINE
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_no_transaction_is_lost_in_a_move(engine, test):
    async def body():
        async with serving(engine=engine, alone=2) as server:
            runs = await asyncio.gather(*(
                measured(server.port, TestSpec(test, duration_s=0.9 - place / 10,
                                               request_bytes=100, response_bytes=7),
                         place / 10, engine=engine) for place in range(6)))
            return runs, server.lines

    runs, lines = run(body())
    for each in runs:
        late = each.drained if test == "TCP_RR" else each.in_flight
        told = each.target_tally
        assert not each.error
        assert told.transactions == each.transactions + late
        assert (told.bytes_received, told.bytes_sent) == (
            100 * told.transactions, 7 * told.transactions)
    assert sum("moved to a pool" in line for line in lines) == 2
    assert sum(", a pool of" in line for line in lines) == 4
    assert pool_threads() == 0


@EVERY_ENGINE
def test_a_counted_test_ends_at_its_count_wherever_it_runs(engine):
    async def body():
        async with serving(engine=engine, alone=1) as server:
            return await asyncio.gather(*(
                measured(server.port, TestSpec(transactions=20_000), place / 20, engine=engine)
                for place in range(3)))

    for each in run(body()):
        assert (each.transactions, each.ended) == (20_000, "count")
        assert each.target_tally.transactions == 20_000


@EVERY_ENGINE
@pytest.mark.parametrize("spec", [
    TestSpec("TCP_RR", duration_s=0.1, request_bytes=60_000, response_bytes=300_000),
    TestSpec("TCP_RR", duration_s=0.1, burst=20, request_bytes=3),
    TestSpec("UDP_RR", transactions=500), TestSpec("TCP_RR", transactions=500, burst=4),
    TestSpec("TCP_RR", duration_s=0.1, nodelay=True)], ids=lambda spec: str(spec.test))
def test_a_pool_does_what_a_loop_does(engine, spec):
    async def body():
        async with serving(engine=engine, alone=0) as server:
            return await measured(server.port, spec, engine=engine), server.lines

    measurement, lines = run(body())
    assert not measurement.error
    assert measurement.target_tally.transactions >= measurement.transactions > 0
    assert ", a pool of" in lines[0]


@pytest.mark.parametrize(("spec", "policy"), [
    (TestSpec(duration_s=0.05), {"spin": True}),
    (TestSpec(duration_s=0.05, remote=EndSpec(cpu=0)), {}),
    (TestSpec(duration_s=0.05, remote=EndSpec(pace_us=1000, pace_burst=1)), {}),
    (TestSpec(transactions=2, request_bytes=2**21), {}),
    (TestSpec("TCP_CRR", duration_s=1), {}),
    (TestSpec("TCP_STREAM", duration_s=0.05), {})], ids=["spins", "bound", "paced", "large",
                                                         "connects", "streams"])
def test_what_keeps_its_thread(spec, policy):
    async def body():
        async with serving(alone=0, **policy) as server:
            await measured(server.port, spec)
            return server.lines, pool_threads()

    lines, threads = run(body())
    assert "pool" not in lines[0]
    assert threads == 0


def test_a_pool_ends_when_nobody_uses_it(monkeypatch):
    monkeypatch.setattr(pool_module, "IDLE_S", 0.1)

    async def body():
        async with serving(alone=0) as server:
            await measured(server.port, TestSpec(transactions=3))
            while pool_threads():
                await asyncio.sleep(0.02)
            again = await measured(server.port, TestSpec(transactions=3))
            return again, server.lines

    again, lines = run(body())
    assert again.transactions == 3
    assert sum(", a pool of" in line for line in lines) == 2


@EVERY_ENGINE
def test_a_server_that_ends_takes_its_pools_along(engine):
    async def body():
        server = serving(engine=engine, alone=0)
        running = await server.__aenter__()
        work = asyncio.ensure_future(
            measured(running.port, TestSpec(duration_s=20), engine=engine))
        await asyncio.sleep(0.3)
        await server.__aexit__(None, None, None)
        assert pool_threads() == 0
        return await asyncio.wait_for(work, 10)

    assert run(body()).transactions > 0


class BrokenEngine:
    """An engine whose pools fail."""

    name = "broken"

    def pollers(self):
        return ("epoll",)

    def serve_flows(self, join_fd, leave_fd, poller="auto"):
        raise OSError(24, "no descriptors")


def test_a_pool_that_fails_ends_what_is_in_it_and_no_more(monkeypatch):
    monkeypatch.setattr("xenrr.session.target.load_engine", lambda wanted: BrokenEngine())

    async def body():
        async with serving(alone=0) as server:
            for _ in range(2):
                with pytest.raises(xenrr.ConnectionLost):
                    await measured(server.port, TestSpec(duration_s=0.1))
            return server.lines

    lines = run(body())
    assert sum("a pool of epoll has ended" in line for line in lines) == 2
    assert sum("Input/output error" in line for line in lines) == 2


def test_a_poller_that_is_not_there_is_an_error():
    with pytest.raises(EngineUnavailable, match="io_uring"):
        Pools(load_engine("pure"), "io_uring", 0, 1, print)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="reads /proc")
@pytest.mark.parametrize("alone", [-1, 0], ids=["thread", "pool"])
@pytest.mark.parametrize("scarce", ["threads", "descriptors"])
def test_a_machine_without_room_for_a_loop_costs_one_session_only(monkeypatch, alone, scarce):
    real_start, real_pipe, pipes = threading.Thread.start, os.pipe, []

    def start(thread):
        if scarce == "threads" and thread.name in ("xenrr-loop", "xenrr-pool"):
            raise RuntimeError("can't start new thread")
        real_start(thread)

    def pipe():
        pipes.append(1)
        if scarce == "descriptors" and len(pipes) > 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real_pipe()

    async def body():
        async with serving(alone=alone) as server:
            async with RawSender(server.port) as sender:
                await sender.identify()
                response = await sender.ask(OmniRequest(direction=6, test_length=1))
                before = len(os.listdir("/proc/self/fd"))
                with monkeypatch.context() as patch:
                    patch.setattr(threading.Thread, "start", start)
                    patch.setattr(os, "pipe", pipe)
                    with socket.create_connection(("127.0.0.1", response.data_port), 10):
                        assert await sender.event() is PEER_CLOSED
                left = len(os.listdir("/proc/self/fd")) - before
            assert "no more threads" in server.lines[0] or "Too many open" in server.lines[0]
            return left, await measured(server.port, TestSpec(transactions=3))

    left, measurement = run(body())
    # Its control connection and its data socket are closed.
    assert left < 0
    assert measurement.transactions == 3


def test_who_runs_goes_on_where_there_is_no_room_for_a_pool(monkeypatch):
    real_start = threading.Thread.start

    def start(thread):
        if thread.name == "xenrr-pool":
            raise RuntimeError("can't start new thread")
        real_start(thread)

    async def body():
        async with serving(alone=1) as server:
            running = asyncio.ensure_future(measured(server.port, TestSpec(duration_s=0.5)))
            while not server._pools._alone:
                await asyncio.sleep(0.01)
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", start)
                with pytest.raises((xenrr.ConnectionLost, OSError)):
                    await measured(server.port, TestSpec(duration_s=0.1))
            return await running

    measurement = run(body())
    assert (measurement.ended, measurement.error) == ("time", "")
    assert measurement.target_tally.transactions >= measurement.transactions > 0
