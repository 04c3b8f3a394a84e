"""Socket options: what is asked for is set, and what is refused is said."""

from __future__ import annotations

import socket
import sys
from dataclasses import fields

import pytest

from xenrr.results.record import EndSpec, TestSpec
from xenrr.session import dataoptions
from xenrr.session.dataoptions import (
    FAILED,
    UNSUPPORTED,
    DataOptions,
    apply_options,
    may_busy_poll,
    sender_options,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's options")

STREAM = (socket.AF_INET, socket.SOCK_STREAM)
TCP, IP, LEVEL = socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.SOL_SOCKET


@pytest.mark.parametrize(("options", "level", "name", "value"), [
    ({"send_buffer": 30000}, LEVEL, socket.SO_SNDBUF, 60000),
    ({"receive_buffer": 30000}, LEVEL, socket.SO_RCVBUF, 60000),
    ({"nodelay": True}, TCP, socket.TCP_NODELAY, 1),
    ({"cork": True}, TCP, socket.TCP_CORK, 1),
    ({"keepalive": True}, LEVEL, socket.SO_KEEPALIVE, 1),
    ({"dontroute": True}, LEVEL, socket.SO_DONTROUTE, 1),
    ({"priority": 5}, LEVEL, socket.SO_PRIORITY, 5),
    ({"tos": 0x20}, IP, socket.IP_TOS, 0x20),
    ({"max_segment": 700}, TCP, socket.TCP_MAXSEG, 700),
    ({"dont_fragment": True}, IP, 10, 2),
    ({"pacing_rate": 100_000}, LEVEL, 47, 100_000),
    ({"fast_open": True}, TCP, 30, 1),
])
def test_each_is_set(options, level, name, value):
    with socket.socket(*STREAM) as sock:
        applied = apply_options(sock, DataOptions(**options))
        assert applied.refused == ()
        assert sock.getsockopt(level, name) == value
        assert len(applied.calls) == 1


def test_options_of_a_listener():
    with socket.socket(*STREAM) as sock:
        applied = apply_options(sock, DataOptions(
            listens=True, fast_open=True, defer_accept=True))
        assert applied.refused == ()
        assert sock.getsockopt(TCP, 23) > 0
        assert sock.getsockopt(TCP, socket.TCP_DEFER_ACCEPT) > 0


def test_congestion_control():
    with socket.socket(*STREAM) as sock:
        kept = sock.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()
        assert apply_options(sock, DataOptions(congestion=kept)).refused == ()
        applied = apply_options(sock, DataOptions(congestion="no such thing é"))
        assert applied.refused == ("congestion",)


def test_traffic_class():
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        assert apply_options(sock, DataOptions(tos=0x28)).tos == 0x28
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 0x28


def test_what_is_in_effect():
    with socket.socket(*STREAM) as sock:
        nothing = apply_options(sock, DataOptions())
        assert (nothing.priority, nothing.tos, nothing.calls) == (-1, -1, ())
        some = apply_options(sock, DataOptions(priority=3, tos=0x10))
        assert (some.priority, some.tos) == (3, 0x10)


def test_a_refusal_is_no_error(monkeypatch):
    class Stubborn(socket.socket):
        def setsockopt(self, *args):
            raise PermissionError(1, "no")

    with Stubborn(*STREAM) as sock:
        applied = apply_options(sock, DataOptions(priority=7, tos=8, nodelay=True))
    assert (applied.priority, applied.tos) == (FAILED, FAILED)
    assert set(applied.refused) == {"priority", "tos", "nodelay"}


def test_busy_polling_is_in_effect_or_said_not_to_be(monkeypatch):
    with socket.socket(*STREAM) as sock:
        # Any value up to the system's own takes no right.
        own = sock.getsockopt(LEVEL, dataoptions.SO_BUSY_POLL)
        assert apply_options(sock, DataOptions(busy_poll=own)).busy_poll == own
        assert may_busy_poll(own)
        monkeypatch.setattr(dataoptions, "SO_BUSY_POLL", 9999)
        applied = apply_options(sock, DataOptions(busy_poll=5, nodelay=True))
        assert (applied.busy_poll, applied.refused) == (FAILED, ("busy_poll",))
        assert not may_busy_poll(5)
        monkeypatch.setattr(dataoptions.sys, "platform", "darwin")
        assert apply_options(sock, DataOptions(busy_poll=5)).busy_poll == UNSUPPORTED


def test_multicast():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert apply_options(sock, DataOptions(multicast_ttl=3)).refused == ()
        assert sock.getsockopt(IP, socket.IP_MULTICAST_TTL) == 3


def test_udp_takes_nothing_of_tcp():
    tcp_only = {"nodelay": True, "cork": True, "congestion": "cubic", "max_segment": 700,
                "fast_open": True, "defer_accept": True, "listens": True}
    assert DataOptions(**tcp_only).wishes(socket.AF_INET, datagram=True) == []


@pytest.mark.parametrize(("spec", "dontroute"), [
    (TestSpec("TCP_RR"), False), (TestSpec("UDP_RR"), False), (TestSpec("TCP_STREAM"), False),
    (TestSpec("UDP_STREAM"), True), (TestSpec("UDP_STREAM", routing=True), False),
    (TestSpec("TCP_RR", routing=False), True)])
def test_routing(spec, dontroute):
    assert sender_options(spec).dontroute is dontroute


def test_a_sender_asks_for_all_of_its_spec():
    spec = TestSpec("TCP_STREAM", nodelay=True, cork=True, keepalive=True, routing=False,
                    fast_open=True, dont_fragment=True, max_segment=1000, pacing_rate=5,
                    multicast_ttl=1, socket_debug=True, busy_poll_us=9, local=EndSpec(
                        send_buffer=1, receive_buffer=2, priority=3, tos=4, congestion="reno"))
    options = sender_options(spec)
    default = DataOptions()
    same = [item.name for item in fields(options)
            if getattr(options, item.name) == getattr(default, item.name)]
    assert same == ["listens", "defer_accept"]
