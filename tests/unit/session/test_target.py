"""The target against senders that misbehave, and its limits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from dataclasses import replace

import pytest
from ends import ENGINES, RawSender, run, serving

import xenrr
from xenrr.results.record import TestSpec
from xenrr.session import answer as answer_module
from xenrr.session import target as target_module
from xenrr.session.target import TargetPolicy, open_listeners
from xenrr.wire.message import LONG_BYTES, Kind
from xenrr.wire.omni import OmniRequest, OmniResponse
from xenrr.wire.sender import PEER_CLOSED


def udp_request(**fields) -> OmniRequest:
    return OmniRequest(request_size=1, response_size=1, protocol=17, socket_type=2, direction=6,
                       test_length=1, **fields)


def tcp_request(**fields) -> OmniRequest:
    values = {"request_size": 1, "response_size": 1, "protocol": 6, "socket_type": 1,
              "direction": 6, "test_length": 1, **fields}
    return OmniRequest(**values)


async def measured(port: int, spec: TestSpec, **options):
    async with xenrr.connect("127.0.0.1", port, **options) as sender:
        return await sender.run(spec)


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR", "TCP_CRR", "TCP_STREAM", "TCP_MAERTS",
                                  "UDP_STREAM"])
def test_data_that_takes_another_path_than_the_control_connection(test) -> None:
    async def body():
        async with serving() as server:
            spec = TestSpec(test, duration_s=1, data_local_host="127.0.0.4")
            return await measured(server.port, spec), server.lines

    measurement, lines = run(body())
    assert measurement.bytes_sent + measurement.bytes_received > 0
    assert "turned away" not in lines[0]


def test_magnified_answers_go_only_where_they_were_asked_for() -> None:
    async def body():
        async with serving() as server, RawSender(server.port) as sender:
            await sender.identify()
            request = udp_request(netperf_ip="127.0.0.4")
            refused = await sender.ask(replace(request, response_size=2))
            return refused, await sender.ask(request)

    refused, response = run(body())
    assert refused.errno == errno.EACCES
    assert response.data_port


@pytest.mark.parametrize("sender_engine", ENGINES)
@pytest.mark.parametrize("target_engine", ENGINES)
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_both_ends_agree(sender_engine, target_engine, test) -> None:
    async def body():
        async with serving(engine=target_engine) as server:
            timed = await measured(server.port, TestSpec(test, duration_s=0.3),
                                   engine=sender_engine)
            counted = await measured(server.port, TestSpec(test, transactions=500),
                                     engine=sender_engine)
            return timed, counted, server.lines

    timed, counted, lines = run(body())
    late = timed.drained if test == "TCP_RR" else timed.in_flight
    assert timed.transactions <= timed.target_tally.transactions <= timed.transactions + late
    assert counted.transactions == counted.target_tally.transactions == 500
    assert 0 < counted.target_tally.elapsed_s < 20
    assert 0.2 < timed.target_tally.elapsed_s < 20
    assert "xenrr" in timed.peer
    assert len(lines) == 2


def test_several_tests_on_one_connection() -> None:
    async def body():
        async with serving() as server, xenrr.connect("127.0.0.1", server.port) as sender:
            return [await sender.run(TestSpec(test, transactions=20, request_bytes=size))
                    for test in ("TCP_RR", "UDP_RR") for size in (1, 1400)]

    assert [done.transactions for done in run(body())] == [20] * 4


@pytest.mark.parametrize(("request_", "errno"), [
    (tcp_request(request_size=0), 22), (tcp_request(response_size=-5), 22),
    (tcp_request(direction=0), 998), (udp_request(flags=0x24), 998),
    (tcp_request(protocol=132), 93), (tcp_request(ipfamily=7), 97),
])
def test_what_is_not_served_is_refused_with_an_errno(request_, errno) -> None:
    async def body():
        async with serving() as server, RawSender(server.port) as sender:
            await sender.identify()
            refused = await sender.ask(request_)
            fine = await sender.ask(tcp_request())
            return refused, fine

    refused, fine = run(body())
    assert refused.errno == errno
    assert isinstance(fine, OmniResponse)


def test_datagrams_too_large_are_refused() -> None:
    async def body():
        async with serving() as server, RawSender(server.port) as sender:
            await sender.identify()
            return await sender.ask(OmniRequest(
                request_size=65508, response_size=1, protocol=17, socket_type=2, direction=6,
                test_length=1))

    assert run(body()).errno == 90


@pytest.mark.parametrize("junk", [
    b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000, b"\xff" * LONG_BYTES * 20,
    struct.pack(">ii", Kind.PASSPHRASE, -1) + b"x" * 648])
def test_junk_on_the_control_port_hurts_nobody_else(junk, monkeypatch) -> None:
    monkeypatch.setattr(target_module, "MESSAGE_LIMIT_S", 0.5)

    async def body():
        async with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(junk)
            done = await measured(server.port, TestSpec(transactions=20))
            writer.write_eof()
            with contextlib.suppress(OSError):
                await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return done

    assert run(body()).transactions == 20


def test_half_a_message_has_a_time_limit(monkeypatch) -> None:
    monkeypatch.setattr(target_module, "MESSAGE_LIMIT_S", 0.3)

    async def body():
        async with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"\0" * 300)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            return server.lines

    assert "no whole request" in run(body())[0]


def test_an_idle_session_ends(monkeypatch) -> None:
    monkeypatch.setattr(target_module, "IDLE_LIMIT_S", 0.3)

    async def body():
        async with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()

    run(body())


def test_sessions_are_bounded() -> None:
    async def body():
        async with serving(max_sessions=2) as server:
            async with RawSender(server.port) as one, RawSender(server.port) as two:
                await one.identify()
                await two.identify()
                async with RawSender(server.port) as three:
                    assert await three.event() is PEER_CLOSED
            for _ in range(100):
                if not server._sessions:
                    break
                await asyncio.sleep(0.05)
            return await measured(server.port, TestSpec(transactions=5))

    assert run(body()).transactions == 5


def test_a_sender_that_never_connects_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(answer_module, "FIRST_DATA_LIMIT_S", -0.5)

    async def body():
        async with serving() as server, RawSender(server.port) as sender:
            await sender.identify()
            results = []
            for request in (tcp_request(), udp_request()):
                await sender.ask(request)
                results.append(await sender.event())
            return results

    assert [done.trans_received for done in run(body())] == [0, 0]


def test_strangers_are_kept_out_of_a_tcp_test() -> None:
    async def body():
        async with serving() as server, RawSender(server.port) as sender:
            await sender.identify()
            port = (await sender.ask(tcp_request(test_length=-3))).data_port
            loop = asyncio.get_running_loop()
            with socket.socket() as stranger, socket.socket() as data:
                stranger.setblocking(False)
                stranger.bind(("127.0.0.3", 0))
                await loop.sock_connect(stranger, ("127.0.0.1", port))
                assert await asyncio.wait_for(loop.sock_recv(stranger, 1), 10) == b""
                data.setblocking(False)
                await loop.sock_connect(data, ("127.0.0.1", port))
                for _ in range(3):
                    await loop.sock_sendall(data, b"x")
                    assert len(await asyncio.wait_for(loop.sock_recv(data, 1), 10)) == 1
                results = await sender.event()
            return results, server.lines

    results, lines = run(body())
    assert results.trans_received == 3
    assert "1 strangers" in lines[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_strangers_are_kept_out_of_a_udp_test(engine) -> None:
    async def body():
        async with serving(engine=engine) as server, RawSender(server.port) as sender:
            await sender.identify()
            port = (await sender.ask(udp_request())).data_port
            with socket.socket(type=socket.SOCK_DGRAM) as stranger, \
                    socket.socket(type=socket.SOCK_DGRAM) as data:
                stranger.bind(("127.0.0.3", 0))
                data.bind(("127.0.0.1", 0))
                for sock in (stranger, data):
                    sock.settimeout(5)
                # Queued in one go: before, between and after the right sender's requests.
                for sock in (stranger, data, stranger, data, stranger):
                    sock.sendto(b"x", ("127.0.0.1", port))
                await asyncio.sleep(0.3)
                for _ in range(2):
                    assert len(await asyncio.to_thread(data.recv, 10)) == 1
                data.sendto(b"", ("127.0.0.1", port))
                results = await sender.event()
                stranger.setblocking(False)
                with pytest.raises(BlockingIOError):
                    stranger.recv(10)
            return results

    assert run(body()).trans_received == 2


def test_control_connection_lost_ends_a_counted_test() -> None:
    async def body():
        async with serving() as server:
            async with RawSender(server.port) as sender:
                await sender.identify()
                port = (await sender.ask(tcp_request(test_length=-1000))).data_port
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"x")
                await asyncio.wait_for(reader.readexactly(1), 10)
            # The target closes the data connection although it was not told to.
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()

    run(body())


def test_a_second_server_on_the_same_port_is_refused() -> None:
    async def body():
        async with serving() as server:
            with pytest.raises(OSError):
                open_listeners(TargetPolicy(host="127.0.0.1", port=server.port))

    run(body())


def test_passphrase() -> None:
    async def body():
        async with serving(passphrase="sesame") as server:
            right = await measured(server.port, TestSpec(transactions=5), passphrase="sesame")
            for wrong in ("other", None):
                with pytest.raises(xenrr.ConnectionLost):
                    await measured(server.port, TestSpec(transactions=5), passphrase=wrong)
            return right

    assert run(body()).transactions == 5


def test_two_hundred_senders_at_once() -> None:
    async def body():
        async with serving() as server:
            return await asyncio.gather(*(
                measured(server.port, TestSpec(("TCP_RR", "UDP_RR")[number % 2],
                                               transactions=20, loss_timeout_s=60),
                         timeout_s=30)
                for number in range(200)))

    assert [done.transactions for done in run(body())] == [20] * 200


def test_stopping_the_server_stops_running_tests() -> None:
    async def body():
        async with serving() as server:
            sender = asyncio.ensure_future(measured(server.port, TestSpec(duration_s=30)))
            while not server._sessions:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
        return await sender

    assert run(body()).error


def test_cancelled_run_ends_early() -> None:
    async def body():
        async with serving() as server:
            async with xenrr.connect("127.0.0.1", server.port) as sender:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(sender.run(TestSpec(duration_s=30)), 0.5)
                return await sender.run(TestSpec(transactions=5))

    assert run(body()).transactions == 5
