from __future__ import annotations

from dataclasses import fields

import pytest

from xenrr.errors import LocalProtocolError
from xenrr.wire.classic import RRRequest, RRResponse, RRResults
from xenrr.wire.dialect import CLASSIC_SERVER, NETPERF_2_7
from xenrr.wire.message import Kind, encode_answer, encode_request


@pytest.mark.parametrize(("cls", "words"), [(RRRequest, 16), (RRResponse, 9), (RRResults, 8)])
def test_the_tables_hold_every_field_once_and_leave_no_gap(cls, words):
    table = cls.layout(CLASSIC_SERVER).fields
    assert [field.word for field in table] == list(range(words))
    assert [field.name for field in table] == [
        item.name for item in fields(cls) if item.name not in ("kind", "cpu", "errno")]


def test_the_layout_is_the_same_in_all_dialects():
    for request in (RRRequest(), RRRequest(kind=Kind.DO_UDP_RR, request_size=1400)):
        short = encode_request(request, CLASSIC_SERVER)
        assert encode_request(request, NETPERF_2_7) == short.ljust(656, b"\0")


def test_the_kind_says_which_test():
    assert encode_request(RRRequest(), CLASSIC_SERVER)[3] == 13
    assert encode_request(RRRequest(kind=Kind.DO_UDP_RR), CLASSIC_SERVER)[3] == 19
    assert encode_answer(RRResults(kind=Kind.UDP_RR_RESULTS), CLASSIC_SERVER)[3] == 21


def test_a_response_without_a_port_is_our_own_mistake():
    with pytest.raises(LocalProtocolError, match="data_port_number"):
        encode_answer(RRResponse(), CLASSIC_SERVER)
