from __future__ import annotations

from dataclasses import fields

import pytest

from xenrr.errors import LocalProtocolError
from xenrr.wire.dialect import CLASSIC_SERVER, NETPERF_2_7, SHORT_SYSINFO
from xenrr.wire.message import Kind, decode_frame, encode_answer, encode_request
from xenrr.wire.streams import (
    StreamRequest,
    StreamResponse,
    StreamResults,
    UdpStreamRequest,
    UdpStreamResponse,
    UdpStreamResults,
)

TABLES = [(StreamRequest, 15), (StreamResponse, 10), (StreamResults, 8),
          (UdpStreamRequest, 13), (UdpStreamResponse, 8), (UdpStreamResults, 6)]


def read_udp(raw):
    frame = decode_frame(raw)
    return UdpStreamRequest(cpu=frame.word1,
                            **UdpStreamRequest.layout(CLASSIC_SERVER).decode(frame.payload))


@pytest.mark.parametrize(("cls", "words"), TABLES)
def test_the_tables_hold_every_field_once_and_leave_no_gap(cls, words):
    end = 0
    for field in cls.layout(CLASSIC_SERVER).fields:
        assert field.offset == end
        end += field.wire.size_bytes
    assert end == 4 * words
    assert [field.name for field in cls.layout(CLASSIC_SERVER).fields] == [
        item.name for item in fields(cls)
        if item.name not in ("kind", "cpu", "errno", "old_form")]


@pytest.mark.parametrize("request_", [
    StreamRequest(), StreamRequest(kind=Kind.DO_TCP_MAERTS, block_size=4096),
    UdpStreamRequest(message_size=1400), UdpStreamRequest(message_size=1400, old_form=True)])
def test_a_request_is_the_same_in_all_dialects(request_):
    short = encode_request(request_, CLASSIC_SERVER)
    assert encode_request(request_, NETPERF_2_7) == short.ljust(656, b"\0")


def test_the_kind_says_which_way_a_stream_flows():
    assert encode_request(StreamRequest(), CLASSIC_SERVER)[3] == 10
    assert encode_request(StreamRequest(kind=Kind.DO_TCP_MAERTS), CLASSIC_SERVER)[3] == 94
    assert encode_answer(StreamResults(kind=Kind.TCP_MAERTS_RESULTS), CLASSIC_SERVER)[3] == 96


def test_bytes_of_a_stream_travel_as_a_double():
    # As netserver 2.4.5 sent them.
    raw = encode_answer(StreamResults(bytes_moved=1514897408.0, calls=30902,
                                      elapsed_time=1.0002), CLASSIC_SERVER)
    assert raw[8:20].hex() == "41d692e000000000000078b6"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("old_form", [False, True])
def test_the_two_forms_of_udp_stream_are_told_apart(old_form, family):
    request = UdpStreamRequest(message_size=1400, port=24501, ipfamily=family,
                               recv_connected=int(not old_form), old_form=old_form)
    raw = encode_request(request, CLASSIC_SERVER)
    assert int.from_bytes(raw[8 + 4 * (11 if old_form else 12):][:4], "big") == family
    assert read_udp(raw) == request


@pytest.mark.parametrize("port", [0, 4, 6, 65535])
def test_a_port_is_not_taken_for_a_family(port):
    """The port of the new form stands where the old one has its family."""
    request = UdpStreamRequest(port=port)
    assert read_udp(encode_request(request, CLASSIC_SERVER)) == request


def test_connecting_does_not_travel_in_the_old_form():
    request = UdpStreamRequest(recv_connected=1, old_form=True)
    assert read_udp(encode_request(request, CLASSIC_SERVER)) == UdpStreamRequest(old_form=True)


@pytest.mark.parametrize(("dialect", "raw"), [
    (CLASSIC_SERVER, "01020304"), (SHORT_SYSINFO, "01020304"), (NETPERF_2_7, "04030201")])
def test_the_byte_count_is_turned_round_in_short_messages(dialect, raw):
    answer = UdpStreamResults(messages_received=5, bytes_received=0x04030201)
    assert encode_answer(answer, dialect)[8:16].hex() == "00000005" + raw
    payload = decode_frame(encode_answer(answer, dialect)).payload
    assert UdpStreamResults(**UdpStreamResults.layout(dialect).decode(payload)) == answer


@pytest.mark.parametrize("response", [StreamResponse(), UdpStreamResponse()])
def test_a_response_without_a_port_is_our_own_mistake(response):
    with pytest.raises(LocalProtocolError, match="data_port_number"):
        encode_answer(response, CLASSIC_SERVER)
