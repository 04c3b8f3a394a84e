"""Many flows and the open loop, both ends: what they count, refuse and survive."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
import time
from dataclasses import replace

import pytest
from ends import ENGINES, FakeTarget, RawSender, run, serving

import xenrr
from xenrr.checks.doubts import doubts_of
from xenrr.engine.flows import SERVICE, SLIP
from xenrr.errors import SpecError
from xenrr.results.record import EndSpec, TestSpec
from xenrr.session import answer as answer_module
from xenrr.session import pool as pool_module
from xenrr.session import sockets as sockets_module
from xenrr.session import target as target_module
from xenrr.session.sender import open_sender
from xenrr.wire.control import FlowsRequest, FlowsResponse
from xenrr.wire.omni import OmniRequest, OmniResponse, OmniResults
from xenrr.wire.target import TargetConnection

EVERY_ENGINE = pytest.mark.parametrize("engine", ENGINES)
RR = OmniRequest(request_size=1, response_size=1, protocol=6, socket_type=1, direction=6,
                 test_length=1)
UDP = {"protocol": 17, "socket_type": 2}


async def measured(port: int, spec: TestSpec, **options):
    async with xenrr.connect("127.0.0.1", port, **options) as sender:
        return await sender.run(spec)


def check_sums(run) -> None:
    """What a record says of all flows is what its flows add up to."""
    for name in ("transactions", "requests_sent", "in_flight", "bytes_sent", "bytes_received"):
        assert sum(getattr(flow, name) for flow in run.flows) == getattr(run, name), name
    for flow in run.flows:
        assert flow.requests_sent == flow.transactions + flow.in_flight + flow.lost
        assert flow.latency_ns.total == flow.transactions
    assert run.latency_ns.total == run.transactions


@EVERY_ENGINE
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_both_ends_agree(engine, test):
    async def body():
        async with serving(engine=engine) as server:
            timed = await measured(server.port, TestSpec(test, duration_s=0.2, flows=12),
                                   engine=engine)
            counted = await measured(
                server.port, TestSpec(test, transactions=30, flows=5, burst=2),
                engine=engine)
            return timed, counted, server.lines

    timed, counted, lines = run(body())
    for measurement in (timed, counted):
        check_sums(measurement)
        assert not measurement.error
        assert len({flow.local_address for flow in measurement.flows}) == len(measurement.flows)
    late = timed.drained if test == "TCP_RR" else timed.in_flight
    assert timed.target_tally.transactions == timed.transactions + late
    assert timed.target_tally.bytes_received == timed.target_tally.transactions
    assert (counted.transactions, counted.ended) == (150, "count")
    assert counted.target_tally.transactions == 150
    assert [flow.transactions for flow in counted.flows] == [30] * 5
    assert timed.poller in lines[0] and lines[0].endswith("12 flows")


@EVERY_ENGINE
@pytest.mark.parametrize("flows", [1, 4])
def test_the_open_loop(engine, flows):
    async def body():
        async with serving(engine=engine) as server:
            spec = TestSpec("TCP_RR", duration_s=0.3, rate_tps=400.0, flows=flows)
            return await measured(server.port, spec, engine=engine)

    measurement = run(body())
    assert 0 < measurement.requests_sent <= 120
    assert {SERVICE, SLIP} == set(measurement.distributions)
    assert measurement.distributions[SERVICE].total == measurement.transactions
    assert len(measurement.flows) == (flows if flows > 1 else 0)
    assert measurement.target_tally.transactions >= measurement.transactions


def test_a_record_of_many_flows_comes_back():
    async def body():
        async with serving() as server:
            return await measured(server.port, TestSpec(duration_s=0.05, flows=3,
                                                        rate_tps=500.0, rate_per_flow=True))

    measurement = run(body())
    assert measurement.spec.asked_rate_tps == 1500
    assert type(measurement).from_plain(measurement.to_plain()) == measurement


def test_a_thousand_flows_that_do_nothing():
    async def body():
        async with serving() as server:
            return await measured(server.port, TestSpec(transactions=1, flows=1000))

    measurement = run(body())
    assert (measurement.transactions, measurement.target_tally.transactions) == (1000, 1000)


def test_a_target_takes_so_many_and_no_more():
    async def body():
        async with serving(max_flows=4) as server:
            async with xenrr.connect("127.0.0.1", server.port) as sender:
                with pytest.raises(SpecError, match="at most 4 more flows, not 5"):
                    await sender.run(TestSpec(duration_s=0.1, flows=5))
                single = await sender.run(TestSpec(duration_s=0.1))
                four = await sender.run(TestSpec(transactions=3, flows=4))
                again = await sender.run(TestSpec(transactions=3, flows=4))
            return single, four, again

    single, *many = run(body())
    assert single.transactions > 0
    assert [each.transactions for each in many] == [12, 12]


@pytest.mark.parametrize(("asked", "told"), [(2**32 - 1, 6), (6, 6), (0, 0)])
def test_what_a_stranger_can_ask_for_is_bounded(asked, told):
    async def body():
        async with serving(max_flows=6) as server, RawSender(server.port) as sender:
            await sender.identify()
            return await sender.ask(FlowsRequest(asked))

    assert run(body()) == FlowsResponse(told)


def test_flows_of_other_senders_count_until_they_are_gone():
    async def body():
        async with serving(max_flows=6) as server, RawSender(server.port) as other:
            await other.identify()
            async with RawSender(server.port) as sender:
                await sender.identify()
                told = [await sender.ask(FlowsRequest(4)), await other.ask(FlowsRequest(4))]
                # Once more is instead, not in addition.
                told.append(await sender.ask(FlowsRequest(5)))
            while (await other.ask(FlowsRequest(6))).flows < 6:
                await asyncio.sleep(0.01)
            return told

    assert [answer.flows for answer in run(body())] == [4, 2, 5]


@pytest.mark.parametrize("request_", [
    replace(RR, direction=4, request_size=-1, response_size=-1),
    replace(RR, request_size=2**21),
    replace(RR, interval_usecs=1000, interval_burst=1), replace(RR, send_width=3)],
    ids=["stream", "large", "paced", "ring"])
def test_many_flows_of_something_else_are_refused(request_):
    async def body():
        async with serving() as server, RawSender(server.port) as sender:
            await sender.identify()
            await sender.ask(FlowsRequest(3))
            refused = await sender.ask(request_)
            # The promise is over with the test it was for.
            return refused, await sender.ask(replace(RR, direction=4, request_size=-1,
                                                     response_size=-1))

    refused, response = run(body())
    assert refused.errno == errno.EINVAL
    assert isinstance(response, OmniResponse)


def phase_of(request, phase, flows=3, **policy):
    """A test of many flows whose data a function does in a thread; results and log."""
    async def body():
        async with serving(**policy) as server, RawSender(server.port) as sender:
            await sender.identify()
            assert await sender.ask(FlowsRequest(flows)) == FlowsResponse(flows)
            response = await sender.ask(request)
            with contextlib.ExitStack() as kept:
                await asyncio.get_running_loop().run_in_executor(
                    None, phase, response.data_port, kept)
                return await sender.event(), server.lines

    return run(body())


def connected(port: int, kept: contextlib.ExitStack, source: str = "127.0.0.1"):
    sock = kept.enter_context(socket.create_connection(("127.0.0.1", port), 10, (source, 0)))
    sock.settimeout(10)
    return sock


@EVERY_ENGINE
def test_a_flow_that_ends_ends_no_other(engine):
    def phase(port, kept):
        socks = [connected(port, kept) for _ in range(3)]
        for sock in socks:
            sock.sendall(b"x")
            assert sock.recv(1)
        socks[1].close()
        time.sleep(0.05)
        socks[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        socks[0].close()
        time.sleep(0.05)
        socks[2].sendall(b"y")
        assert socks[2].recv(1)
        socks[2].shutdown(socket.SHUT_WR)

    results, lines = phase_of(RR, phase, engine=engine)
    assert (results.trans_received, results.bytes_received) == (4, 4)
    assert "4 transactions" in lines[0]


def test_connections_from_elsewhere_are_none_of_the_flows():
    def phase(port, kept):
        connected(port, kept)
        stranger = connected(port, kept, "127.0.0.4")
        assert stranger.recv(1) == b""
        for _ in range(2):
            connected(port, kept).shutdown(socket.SHUT_RDWR)
        kept.pop_all().close()

    results, lines = phase_of(RR, phase)
    assert results.trans_received == 0
    assert "1 strangers turned away" in lines[0]


@pytest.mark.parametrize("come", [connected, lambda port, kept: None], ids=["one", "none"])
def test_flows_that_do_not_come_are_not_waited_for_long(monkeypatch, come):
    monkeypatch.setattr(answer_module, "NEXT_FLOW_LIMIT_S", 0.1)
    results, _ = phase_of(RR, come)
    assert isinstance(results, OmniResults)
    assert results.trans_received == 0


def target_of_flows(backlog, served):
    """A script: agree on any number of flows and serve some."""
    def script(fake):
        codec = TargetConnection()
        fake.answer_probe(codec)
        fake.sock.sendall(codec.send(FlowsResponse(fake.request(codec).flows)))
        fake.request(codec)
        with contextlib.ExitStack() as kept, socket.create_server(
                ("127.0.0.1", 0), backlog=backlog) as listener:
            fake.sock.sendall(codec.send(OmniResponse(data_port=listener.getsockname()[1])))
            for _ in range(served):
                sock = kept.enter_context(listener.accept()[0])
                threading.Thread(target=echo, args=(sock,), daemon=True).start()
            fake.request(codec)

    def echo(sock):
        with contextlib.suppress(OSError):
            while data := sock.recv(1):
                sock.sendall(data)

    return script


def test_a_target_that_does_not_accept_them_all_is_not_waited_for_long():
    with FakeTarget(target_of_flows(1, 0)) as fake, \
            open_sender("127.0.0.1", fake.port, timeout_s=0.5) as sender, \
            pytest.raises(OSError, match=r"data connection .* failed") as caught:
        sender.run(TestSpec(duration_s=0.2, flows=50))
    assert caught.value.errno == errno.ETIMEDOUT


def test_flows_that_nobody_serves_are_doubted():
    with FakeTarget(target_of_flows(50, 2)) as fake, \
            open_sender("127.0.0.1", fake.port, response_limit_s=0.5) as sender:
        measurement = sender.run(TestSpec(duration_s=0.2, flows=6))
    assert "no results from the target" in measurement.error
    assert sum(not flow.transactions for flow in measurement.flows) == 4
    check_sums(measurement)
    assert "4 of 6 flows got no response at all" in [
        doubt.text for doubt in doubts_of(measurement)]


def test_flows_that_are_set_aside_and_not_used_are_given_back(monkeypatch):
    monkeypatch.setattr(target_module, "MESSAGE_LIMIT_S", 0.1)

    async def body():
        async with serving(max_flows=6) as server, RawSender(server.port) as sender, \
                RawSender(server.port) as other:
            await sender.identify()
            await other.identify()
            assert await sender.ask(FlowsRequest(6)) == FlowsResponse(6)
            closed = await asyncio.wait_for(sender.reader.read(1), 10)
            return closed, await other.ask(FlowsRequest(6))

    assert run(body()) == (b"", FlowsResponse(6))


def test_what_one_was_promised_is_not_promised_to_another(monkeypatch):
    # So many descriptors can be opened, whatever is open.
    monkeypatch.setattr(pool_module, "room_for_descriptors", lambda wanted: min(wanted, 10))

    async def body():
        async with serving(max_flows=100) as server, RawSender(server.port) as one, \
                RawSender(server.port) as other:
            await one.identify()
            await other.identify()
            rooms = []
            for sender, flows in ((one, 6), (other, 6), (other, 4), (one, 7), (one, 6)):
                rooms.append((await sender.ask(FlowsRequest(flows))).flows)
            # What has connected is counted where it is counted as open.
            response = await one.ask(replace(RR, test_length=30))
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(6):
                    _, writer = await asyncio.open_connection("127.0.0.1", response.data_port)
                    stack.callback(writer.close)
                for _ in range(100):
                    rooms.append((await other.ask(FlowsRequest(6))).flows)
                    if rooms[-1] == 6:
                        break
                    await asyncio.sleep(0.02)
                return rooms

    rooms = run(body())
    assert rooms[:5] == [6, 4, 4, 6, 6]
    assert rooms[-1] == 6


def test_a_request_of_each_flow_has_room_at_once():
    """One socket takes them all, and the same flows would lose theirs every time."""
    async def asked(flows, **changes):
        async with serving() as server, RawSender(server.port) as sender:
            await sender.identify()
            if flows > 1:
                await sender.ask(FlowsRequest(flows))
            response = await sender.ask(replace(RR, **UDP, **changes))
            return response.recv_buf_size

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        usual = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
        allowed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert run(asked(1)) == usual
    assert run(asked(1000)) >= min(allowed, 2_000_000)
    # Who asks for a size gets that.
    assert run(asked(1000, recv_buf_size=20_000)) < usual


def test_datagrams_from_elsewhere_are_none_of_the_flows():
    def phase(port, kept):
        def sender(source):
            sock = kept.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind((source, 0))
            sock.connect(("127.0.0.1", port))
            sock.settimeout(0.3 if source == "127.0.0.4" else 10)
            sock.send(b"x")
            return sock

        for _ in range(3):
            assert sender("127.0.0.1").recv(1)
        stranger = sender("127.0.0.4")
        with pytest.raises(socket.timeout):
            stranger.recv(1)
        sender("127.0.0.1").send(b"")

    results, _ = phase_of(replace(RR, **UDP), phase)
    assert 3 <= results.trans_received <= 4


@EVERY_ENGINE
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_a_stop_in_the_middle(engine, test):
    async def body():
        async with serving(engine=engine) as server:
            def work():
                with open_sender("127.0.0.1", server.port, engine=engine) as sender:
                    timer = threading.Timer(0.2, sender.stop)
                    return sender.run(TestSpec(test, duration_s=30, flows=6),
                                      on_start=timer.start)

            return await asyncio.get_running_loop().run_in_executor(None, work)

    measurement = run(body())
    assert (measurement.ended, measurement.error) == ("stopped", "")
    assert 0 < measurement.elapsed_s < 10
    check_sums(measurement)


def test_interim_results_are_of_all_flows():
    async def body():
        async with serving() as server:
            return await measured(server.port, TestSpec(duration_s=0.4, flows=4, interim_s=0.1))

    measurement = run(body())
    assert len(measurement.interims) >= 3
    assert sum(point.transactions for point in measurement.interims) == measurement.transactions


def test_a_target_that_goes_away_leaves_what_was_measured():
    async def body():
        server = serving()
        running = await server.__aenter__()
        work = asyncio.ensure_future(measured(running.port, TestSpec(duration_s=20, flows=5)))
        await asyncio.sleep(0.5)
        await server.__aexit__(None, None, None)
        return await asyncio.wait_for(work, 10)

    measurement = run(body())
    assert measurement.error and measurement.transactions > 0
    check_sums(measurement)


def test_a_process_without_descriptors_says_so(monkeypatch):
    monkeypatch.setattr("xenrr.session.branches.room_for_descriptors", lambda wanted: 7)

    async def body():
        async with serving() as server:
            with pytest.raises(SpecError, match=r"9 flows need 9 descriptors.* open 7 more"):
                await measured(server.port, TestSpec(duration_s=0.1, flows=9))

    run(body())


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes(monkeypatch):
    import resource

    limits = [100, 200]
    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: limits.__setitem__(
        slice(0, 2), list(pair)))
    monkeypatch.setattr(sockets_module, "_descriptors_in_use", lambda: 50)
    assert sockets_module.room_for_descriptors(10) == 10
    assert limits == [100, 200]
    assert sockets_module.room_for_descriptors(100) == 100
    assert limits == [182, 200]
    assert sockets_module.room_for_descriptors(1000) == 118
    assert limits == [200, 200]
    limits[1] = resource.RLIM_INFINITY
    assert sockets_module.room_for_descriptors(1000) == 1000
    limits[0] = resource.RLIM_INFINITY
    assert sockets_module.room_for_descriptors(5000) == 5000


def test_nobody_keeps_up_with_five_million_requests_per_second():
    async def body():
        async with serving() as server:
            return await measured(server.port, TestSpec(duration_s=0.1, rate_tps=5e6))

    measurement = run(body())
    # The window was full all the time, so they left late too.
    assert {"rate", "slip"} <= {doubt.code for doubt in doubts_of(measurement)}
    assert measurement.in_flight <= 1024


@pytest.mark.parametrize(("changes", "word"), [
    ({"local": EndSpec(pace_us=1000, pace_burst=1)}, "pace"),
    ({"remote": EndSpec(pace_us=1000, pace_burst=1)}, "pace"),
    ({"plain_write": True}, "write"),
    ({"local": EndSpec(send_width=2)}, "ring"),
    ({"request_bytes": 2**21}, "1048576"),
    ({"local_data_port": 7000}, "local port"),
    ({"remote": EndSpec(cpu=0)}, "CPU"),
    ({"burst": 999_999, "flows": 5}, "in flight"),
], ids=str)
def test_what_many_flows_do_not_go_with(changes, word):
    spec = TestSpec(**{"duration_s": 0.1, "flows": 2, **changes})

    async def body():
        async with serving() as server:
            with pytest.raises(SpecError, match=word):
                await measured(server.port, spec)

    run(body())
