from __future__ import annotations

from dataclasses import fields

import pytest
from vectors.reader import FOLDER, read

from xenrr.wire.dialect import NETPERF_2_6, NETPERF_2_7, SHORT_SYSINFO
from xenrr.wire.message import HEADER, decode_frame, encode_answer, encode_request
from xenrr.wire.omni import (
    OmniFlags,
    OmniRequest,
    OmniResponse,
    OmniResults,
    is_omni_of_2_4_5,
)

CLASSES = (OmniRequest, OmniResponse, OmniResults)
DIALECTS = (SHORT_SYSINFO, NETPERF_2_6, NETPERF_2_7)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.peer)
@pytest.mark.parametrize("cls", CLASSES)
def test_no_two_fields_share_a_byte_and_all_fit(cls, dialect):
    end = 0
    for field in cls.layout(dialect).fields:
        assert field.offset == end, field
        end += field.wire.size_bytes
    assert end <= dialect.message_bytes - HEADER.size


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_stands_in_the_newest_layout(cls):
    names = {item.name for item in fields(cls)} - {"cpu", "errno"}
    assert {field.name for field in cls.layout(NETPERF_2_7).fields} == names


def test_what_the_older_layouts_lack():
    def missing(cls, dialect):
        names = {item.name for item in fields(cls)} - {"cpu", "errno"}
        return names - {field.name for field in cls.layout(dialect).fields}

    shares = {f"cpu_percent_{part}" for part in ("user", "system", "iowait", "irq", "swintr")}
    assert missing(OmniRequest, SHORT_SYSINFO) == {
        "socket_prio", "socket_tos", "cong_control", "fill_file"}
    assert missing(OmniResponse, SHORT_SYSINFO) == {"socket_prio", "socket_tos"}
    assert missing(OmniResults, SHORT_SYSINFO) == {
        "transport_retrans", "cong_control", *shares}
    assert missing(OmniResults, NETPERF_2_6) == shares


@pytest.mark.parametrize(("dialect", "words"), [
    (SHORT_SYSINFO, {"serv_dem": 12, "subdevice": 20, "ifname": 21, "ifslot": 57}),
    (NETPERF_2_6, {"serv_dem": 12, "transport_retrans": 21, "ifname": 22, "cong_control": 62}),
    (NETPERF_2_7, {"serv_dem": 17, "transport_retrans": 26, "ifname": 27, "cong_control": 67}),
], ids=["A", "B", "C"])
def test_where_the_results_layouts_differ(dialect, words):
    table = {field.name: field.word for field in OmniResults.layout(dialect).fields}
    assert {name: table[name] for name in words} == words


def test_the_defaults_are_a_plain_tcp_rr():
    vector = read(FOLDER / "first-omni-2.7.0.hex").messages[0]
    request = OmniRequest(test_length=1, netperf_port=0x8FD9)
    assert encode_request(request, NETPERF_2_7) == vector.raw


def test_only_two_flags_of_a_response_are_believed():
    raw = bytearray(encode_answer(OmniResponse(data_port=7), NETPERF_2_7))
    raw[32:36] = bytes.fromhex("365f3639")
    values = OmniResponse.layout(NETPERF_2_7).decode(decode_frame(bytes(raw)).payload)
    assert values["flags"] == OmniFlags.NODELAY | OmniFlags.MEASURE_CPU


def test_dead_flags_of_a_request_are_dropped():
    raw = bytearray(encode_request(OmniRequest(), NETPERF_2_7))
    raw[56:60] = b"\xff" * 4
    values = OmniRequest.layout(NETPERF_2_7).decode(decode_frame(bytes(raw)).payload)
    assert values["flags"] == sum(OmniFlags)
    assert not values["flags"] & 0x17C0


def test_the_form_of_2_4_5_is_told_apart():
    messages = read(FOLDER / "omni-2.4.5-enable-omni.hex").messages
    assert is_omni_of_2_4_5(decode_frame(messages[-1].raw).payload)
    for request in (OmniRequest(), OmniRequest(ipfamily=6, netperf_port=6),
                    OmniRequest(ipfamily=0, socket_type=2, netperf_port=40000)):
        assert not is_omni_of_2_4_5(decode_frame(
            encode_request(request, SHORT_SYSINFO)).payload)
