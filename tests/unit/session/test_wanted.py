"""What a peer asks a target for: every kind of test is read, every number bounded."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenrr.engine.base import Pace
from xenrr.session.shapes import MAX_RING_BYTES, Rings, Shape
from xenrr.session.wanted import MAX_TARGET_BLOCK_BYTES, Refused, wanted_of
from xenrr.wire.classic import RRRequest
from xenrr.wire.message import Kind
from xenrr.wire.omni import OmniFlags, OmniRequest
from xenrr.wire.streams import StreamRequest, UdpStreamRequest

ONE_WAY = {"request_size": -1, "response_size": -1}
UDP = {"protocol": 17, "socket_type": 2}
CONNECTS = OmniFlags.CONNECTION_TEST | OmniFlags.ROUTING_ALLOWED


def wanted(request):
    return wanted_of(request, 4, "127.0.0.1")


@pytest.mark.parametrize(("request_", "name", "shape", "sizes"), [
    (OmniRequest(), "TCP_RR", Shape.ROUNDS, (1, 1)),
    (OmniRequest(protocol=0), "TCP_RR", Shape.ROUNDS, (1, 1)),
    (OmniRequest(**UDP), "UDP_RR", Shape.ROUNDS, (1, 1)),
    (OmniRequest(direction=4, **ONE_WAY), "TCP_STREAM", Shape.RECEIVES, (-1, 0)),
    (OmniRequest(direction=2, send_size=99, **ONE_WAY), "TCP_MAERTS", Shape.SENDS, (0, 99)),
    (OmniRequest(direction=4, receive_size=212992, **ONE_WAY, **UDP), "UDP_STREAM",
     Shape.RECEIVES, (212992, 0)),
    (OmniRequest(direction=4, receive_size=2**31 - 1, **ONE_WAY, **UDP), "UDP_STREAM",
     Shape.RECEIVES, (MAX_TARGET_BLOCK_BYTES, 0)),
    (OmniRequest(direction=2, netperf_port=5, **ONE_WAY, **UDP), "UDP_MAERTS", Shape.SENDS,
     (0, -1)),
    (OmniRequest(flags=CONNECTS), "TCP_CRR", Shape.CONNECTIONS, (1, 1)),
    (OmniRequest(direction=0, flags=CONNECTS, **ONE_WAY), "TCP_CC", Shape.CONNECTIONS, (0, 0)),
    (RRRequest(), "TCP_RR", Shape.ROUNDS, (1, 1)),
    (RRRequest(Kind.DO_UDP_RR), "UDP_RR", Shape.ROUNDS, (1, 1)),
    (RRRequest(Kind.DO_TCP_CRR, request_size=7), "TCP_CRR", Shape.CONNECTIONS, (7, 1)),
    (RRRequest(Kind.DO_TCP_CC), "TCP_CC", Shape.CONNECTIONS, (0, 0)),
    (StreamRequest(), "TCP_STREAM", Shape.RECEIVES, (0, 0)),
    (StreamRequest(Kind.DO_TCP_MAERTS, block_size=8), "TCP_MAERTS", Shape.SENDS, (0, 8)),
    (UdpStreamRequest(message_size=1472), "UDP_STREAM", Shape.RECEIVES, (1472, 0)),
])
def test_every_kind_of_test(request_, name, shape, sizes):
    got = wanted(request_)
    assert (got.name, got.shape, (got.receive_bytes, got.send_bytes)) == (name, shape, sizes)
    assert got.classic is not isinstance(request_, OmniRequest)
    assert got.datagram is name.startswith("UDP")
    # netserver's way: the alarm is for the sender's seconds, a count for the rest.
    if not isinstance(request_, StreamRequest) or shape is Shape.SENDS:
        assert (got.duration_s, got.count) == (10, 0)


def test_everything_an_omni_request_can_ask_for():
    got = wanted(OmniRequest(
        send_buf_size=1000, recv_buf_size=2000, send_alignment=16, send_offset=1, send_width=3,
        recv_alignment=32, recv_offset=2, recv_width=4, socket_prio=5, socket_tos=32,
        cong_control="reno", fill_file="/etc/shadow", data_port=99, netserver_ip="127.0.0.3",
        netperf_ip="127.0.0.4", netperf_port=98, interval_burst=6, interval_usecs=7,
        so_rcvavoid=1, direction=4, cpu=1, test_length=-50,
        flags=OmniFlags.NODELAY | OmniFlags.MEASURE_CPU | OmniFlags.FAST_OPEN
        | OmniFlags.DEFER_ACCEPT | OmniFlags.DONT_FRAGMENT | OmniFlags.KEEPALIVE, **ONE_WAY))
    options = got.options
    assert (options.send_buffer, options.receive_buffer) == (1000, 2000)
    assert options.nodelay and options.fast_open and options.defer_accept
    assert options.dont_fragment and options.keepalive and options.dontroute
    assert options.listens
    assert (options.priority, options.tos, options.congestion) == (5, 32, "reno")
    assert got.rings == Rings(3, 4, 16, 32, 1, 2)
    assert got.pace == Pace(7000, 6)
    assert (got.port, got.address, got.cpu, got.count) == (99, "127.0.0.3", 1, 50)
    assert (got.data_host, got.data_port) == ("127.0.0.4", 98)
    assert got.discard and got.measure_cpu
    assert "/etc/shadow" in got.ignored and "not read" in got.ignored


def test_buffers_of_0_are_the_default():
    """2.4.0 to 2.4.3 send 0 for it (fact sheet, trap 2)."""
    zero = {"recv_buf_size": 0, "send_buf_size": 0}
    for request in (RRRequest(**zero), StreamRequest(**zero),
                    UdpStreamRequest(message_size=1, recv_buf_size=0)):
        options = wanted(request).options
        assert (options.send_buffer, options.receive_buffer) == (-1, -1)


def test_no_delay_is_nothing_to_udp():
    flags = OmniFlags.NODELAY | OmniFlags.ROUTING_ALLOWED
    assert not wanted(OmniRequest(flags=flags, **UDP)).options.nodelay
    assert not wanted(RRRequest(Kind.DO_UDP_RR, no_delay=77)).options.nodelay


@pytest.mark.parametrize(("request_", "number"), [
    (OmniRequest(direction=4, receive_size=MAX_RING_BYTES, **ONE_WAY), errno.EMSGSIZE),
    (OmniRequest(direction=2, send_size=MAX_RING_BYTES, **ONE_WAY), errno.EMSGSIZE),
    (OmniRequest(direction=2, send_size=65508, netperf_port=1, **ONE_WAY, **UDP),
     errno.EMSGSIZE),
    (OmniRequest(direction=2, **ONE_WAY, **UDP), errno.EDESTADDRREQ),
    (OmniRequest(direction=2, netperf_port=65536, **ONE_WAY, **UDP), errno.EINVAL),
    (OmniRequest(data_port=65536), errno.EINVAL),
    (OmniRequest(test_length=2**31 - 1), errno.EINVAL),
    (OmniRequest(cpu=2**31 - 1), errno.EINVAL),
    (OmniRequest(direction=0, **ONE_WAY), 998),
    (OmniRequest(flags=CONNECTS, **UDP), 998),
    (OmniRequest(protocol=132), errno.EPROTONOSUPPORT),
    (OmniRequest(socket_type=4), errno.EPROTONOSUPPORT),
    (OmniRequest(ipfamily=7), errno.EAFNOSUPPORT),
    (OmniRequest(request_size=0), errno.EINVAL),
    (RRRequest(Kind.DO_TCP_CRR, response_size=0), errno.EINVAL),
    (RRRequest(Kind.DO_UDP_RR, request_size=65508), errno.EMSGSIZE),
    (StreamRequest(block_size=MAX_RING_BYTES), errno.EMSGSIZE),
    (StreamRequest(port=-1), errno.EINVAL),
    (StreamRequest(Kind.DO_TCP_MAERTS, test_length=2**31 - 1), errno.EINVAL),
    (UdpStreamRequest(message_size=0), errno.EINVAL),
    (UdpStreamRequest(message_size=65508), errno.EMSGSIZE),
])
def test_what_no_test_can_have_is_refused(request_, number):
    with pytest.raises(Refused) as caught:
        wanted(request_)
    assert caught.value.errno == number
    assert str(caught.value)


words = st.integers(-2**31, 2**31 - 1)
unsigned = st.integers(0, 2**32 - 1)


@given(st.builds(
    OmniRequest, send_buf_size=words, send_size=words, send_alignment=unsigned,
    send_offset=unsigned, send_width=unsigned, request_size=words, recv_buf_size=words,
    receive_size=words, recv_alignment=unsigned, recv_offset=unsigned, recv_width=unsigned,
    response_size=words, test_length=words, data_port=unsigned, ipfamily=unsigned,
    socket_type=st.integers(0, 4), protocol=st.sampled_from([6, 17, 132]),
    direction=st.integers(0, 9), netperf_port=unsigned, interval_burst=unsigned,
    interval_usecs=unsigned, socket_prio=words, socket_tos=words, cong_control=st.text(),
    cpu=words, flags=st.sampled_from([OmniFlags(0), CONNECTS])))
def test_any_request_is_bounded_or_refused(request):
    try:
        got = wanted(request)
    except Refused as refused:
        assert 0 < refused.errno <= 998
        return
    assert max(got.receive_bytes, got.send_bytes) <= 2**31 - 1
    assert 0 <= got.port <= 65535 and 0 <= got.data_port <= 65535
    assert 0 <= got.duration_s <= 10_000_000
