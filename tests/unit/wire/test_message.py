from __future__ import annotations

import pytest

from xenrr.errors import LocalProtocolError
from xenrr.wire.control import CpuCalibrateRequest, DebugResponse, ErrorResponse, UnknownRequest
from xenrr.wire.dialect import CLASSIC_SERVER, NETPERF_2_7
from xenrr.wire.message import (
    LONG_BYTES,
    SHORT_BYTES,
    Kind,
    decode_frame,
    encode_answer,
    encode_request,
)


@pytest.mark.parametrize(("dialect", "size_bytes"),
                         [(CLASSIC_SERVER, SHORT_BYTES), (NETPERF_2_7, LONG_BYTES)])
def test_messages_have_the_size_of_the_dialect(dialect, size_bytes):
    assert encode_request(CpuCalibrateRequest(), dialect) == (
        bytes.fromhex("00000005 ffffffff").ljust(size_bytes, b"\0"))
    assert len(encode_answer(DebugResponse(), dialect)) == size_bytes


def test_word_1_of_a_request_is_a_cpu_and_of_an_answer_an_errno():
    assert encode_request(CpuCalibrateRequest(cpu=3), CLASSIC_SERVER)[4:8] == b"\0\0\0\3"
    assert encode_answer(ErrorResponse(998), CLASSIC_SERVER)[:8] == b"\0\0\0\0\0\0\3\xe6"


@pytest.mark.parametrize("cpu", [2**31, -2**31 - 1, 0.5, None])
def test_a_cpu_that_is_no_word_is_our_own_mistake(cpu):
    with pytest.raises(LocalProtocolError, match="32-bit"):
        encode_request(CpuCalibrateRequest(cpu=cpu), CLASSIC_SERVER)


def test_a_frame_is_two_words_and_a_payload():
    raw = encode_request(UnknownRequest(4, -7), CLASSIC_SERVER)
    assert decode_frame(raw) == (4, -7, bytes(SHORT_BYTES - 8))


@pytest.mark.parametrize("name", ["TCP_RR", "UDP_RR", "OMNI", "SYSINFO"])
def test_answers_follow_their_request_by_number(name):
    assert Kind[f"{name}_RESPONSE"] == Kind[f"DO_{name}"] + 1
    if name != "SYSINFO":
        assert Kind[f"{name}_RESULTS"] == Kind[f"DO_{name}"] + 2
