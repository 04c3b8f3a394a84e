from __future__ import annotations

from dataclasses import fields

import pytest
from vectors.reader import FOLDER, read

from xenrr.errors import LocalProtocolError
from xenrr.wire.dialect import (
    NETPERF_2_6,
    NETPERF_2_7,
    OMNI_2_4_5,
    SHORT_SYSINFO,
    XENRR,
)
from xenrr.wire.message import HEADER, decode_frame, encode_answer, encode_request
from xenrr.wire.omni import (
    OmniFlags,
    OmniRequest,
    OmniResponse,
    OmniResults,
    is_omni_of_2_4_5,
)

CLASSES = (OmniRequest, OmniResponse, OmniResults)
DIALECTS = (OMNI_2_4_5, SHORT_SYSINFO, NETPERF_2_6, NETPERF_2_7, XENRR)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.peer)
@pytest.mark.parametrize("cls", CLASSES)
def test_no_two_fields_share_a_byte_and_all_fit(cls, dialect):
    end = 0
    for field in cls.layout(dialect).fields:
        # The first form has a word that we leave out: checksums off.
        gap = 4 if dialect is OMNI_2_4_5 and field.name == "data_port" and (
            cls is OmniRequest) else 0
        assert field.offset == end + gap, field
        end += gap
        end += field.wire.size_bytes
    assert end <= dialect.message_bytes - HEADER.size


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_stands_in_the_newest_layout(cls):
    names = {item.name for item in fields(cls)} - {"cpu", "errno"}
    assert {field.name for field in cls.layout(XENRR).fields} == names


def test_what_the_older_layouts_lack():
    def missing(cls, dialect):
        names = {item.name for item in fields(cls)} - {"cpu", "errno"}
        return names - {field.name for field in cls.layout(dialect).fields}

    shares = {f"cpu_percent_{part}" for part in ("user", "system", "iowait", "irq", "swintr")}
    assert missing(OmniRequest, OMNI_2_4_5) == {
        "netserver_ip", "socket_prio", "socket_tos", "cong_control", "fill_file"}
    assert missing(OmniResponse, OMNI_2_4_5) == {"socket_prio", "socket_tos"}
    assert missing(OmniRequest, SHORT_SYSINFO) == {
        "socket_prio", "socket_tos", "cong_control", "fill_file"}
    assert missing(OmniResponse, SHORT_SYSINFO) == {"socket_prio", "socket_tos"}
    assert missing(OmniResults, SHORT_SYSINFO) == {
        "transport_retrans", "cong_control", "steal", *shares}
    assert missing(OmniResults, NETPERF_2_6) == {"steal", *shares}
    assert missing(OmniResults, NETPERF_2_7) == {"steal"}


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


def results(payload):
    return OmniResults(**OmniResults.layout(XENRR).decode(payload))


def test_a_xenrr_target_tells_its_steal_time_behind_what_netperf_reads():
    plain = encode_answer(OmniResults(cong_control="bbr"), NETPERF_2_7)
    ours = encode_answer(OmniResults(cong_control="bbr", steal=12.5), XENRR)
    at = 8 + 4 * 71
    assert ours[:at] == plain[:at]
    assert ours[at:at + 8] == b"xrst" + bytes.fromhex("41480000")
    assert not any(ours[at + 8:])
    assert results(ours[8:]).steal == 12.5
    assert results(plain[8:]).steal == -1.0
    assert encode_answer(OmniResults(steal=3.0), NETPERF_2_7) == encode_answer(
        OmniResults(), NETPERF_2_7)


@pytest.mark.parametrize("words", [
    "00000000 41480000", "42480000 41480000", "78727374 42c80001", "78727374 bf800000",
    "78727374 7fc00000", "78727374 7f800000", "ffffffff ffffffff"])
def test_what_is_no_steal_time_is_not_taken_for_one(words):
    raw = bytearray(encode_answer(OmniResults(steal=1.0), XENRR))
    raw[8 + 4 * 71:8 + 4 * 73] = bytes.fromhex(words)
    assert results(bytes(raw[8:])).steal == -1.0


@pytest.mark.parametrize("steal", [-0.5, 100.5, float("nan"), "much"])
def test_a_steal_time_that_cannot_be_is_our_own_mistake(steal):
    with pytest.raises(LocalProtocolError, match="steal"):
        encode_answer(OmniResults(steal=steal), XENRR)


def test_the_first_form_has_a_word_for_every_flag():
    messages = read(FOLDER / "omni-2.4.5-enable-omni.hex").messages
    payload = decode_frame(messages[2].raw).payload
    values = OmniRequest.layout(OMNI_2_4_5).decode(payload)
    assert values["flags"] == OmniFlags.ROUTING_ALLOWED
    for word, flag in enumerate((OmniFlags.NODELAY, OmniFlags.SENDFILE,
                                 OmniFlags.CONNECTION_TEST, OmniFlags.MEASURE_CPU), 12):
        raw = bytearray(payload)
        raw[4 * word + 3] = 1
        values = OmniRequest.layout(OMNI_2_4_5).decode(bytes(raw))
        assert values["flags"] == OmniFlags.ROUTING_ALLOWED | flag


def test_the_form_of_2_4_5_is_told_apart():
    messages = read(FOLDER / "omni-2.4.5-enable-omni.hex").messages
    assert is_omni_of_2_4_5(decode_frame(messages[2].raw).payload)
    for request in (OmniRequest(), OmniRequest(ipfamily=6, netperf_port=6),
                    OmniRequest(ipfamily=0, socket_type=2, netperf_port=40000)):
        assert not is_omni_of_2_4_5(decode_frame(
            encode_request(request, SHORT_SYSINFO)).payload)
