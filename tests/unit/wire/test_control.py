from __future__ import annotations

import pytest

from xenrr.errors import LocalProtocolError
from xenrr.wire.control import (
    CpuCalibrateResponse,
    DebugRequest,
    PassphraseRequest,
    SysinfoRequest,
    SysinfoResponse,
)
from xenrr.wire.dialect import CLASSIC_SERVER, NETPERF_2_7
from xenrr.wire.message import Kind, encode_answer, encode_request


def test_a_passphrase_travels_raw():
    raw = encode_request(PassphraseRequest(b"abc"), NETPERF_2_7)
    assert raw.rstrip(b"\0") == bytes.fromhex("00000006 ffffffff 616263")
    assert len(raw) == 656


def test_the_longest_passphrase():
    raw = encode_request(PassphraseRequest(b"x" * 647), NETPERF_2_7)
    assert raw.endswith(b"x\0")
    with pytest.raises(LocalProtocolError, match="at most 647 bytes"):
        encode_request(PassphraseRequest(b"x" * 648), NETPERF_2_7)


def test_the_probe_differs_from_netperfs_only_where_nobody_reads():
    assert encode_request(SysinfoRequest(), NETPERF_2_7).rstrip(b"\0") == bytes.fromhex(
        "00000258 ffffffff")
    assert encode_request(SysinfoRequest(asker="xenrr"), NETPERF_2_7).rstrip(b"\0") == (
        bytes.fromhex("00000258 ffffffff") + b"xenrr")


def test_sysinfo_is_raw_text():
    raw = encode_answer(SysinfoResponse(",a,b,c,d"), CLASSIC_SERVER)
    assert raw == (bytes.fromhex("00000259 00000000") + b",a,b,c,d").ljust(256, b"\0")


def test_calibration_as_netserver_answers_it():
    raw = encode_answer(CpuCalibrateResponse(100.0, 2), CLASSIC_SERVER)
    assert raw.rstrip(b"\0") == bytes.fromhex("00000005 00000000 42c80000 00000002")


def test_debug_on_and_off_are_two_types():
    assert [DebugRequest(on).kind for on in (True, False)] == [Kind.DEBUG_ON, Kind.DEBUG_OFF]
