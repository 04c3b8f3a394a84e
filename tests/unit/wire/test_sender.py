from __future__ import annotations

import pytest

from xenrr.errors import LocalProtocolError, RemoteProtocolError
from xenrr.wire.classic import RRRequest, RRResponse, RRResults
from xenrr.wire.control import (
    CpuCalibrateRequest,
    CpuCalibrateResponse,
    DebugRequest,
    DebugResponse,
    DetailsRequest,
    DetailsResponse,
    ErrorResponse,
    FlowsRequest,
    FlowsResponse,
    SysinfoRequest,
    SysinfoResponse,
    UnknownRequest,
)
from xenrr.wire.dialect import (
    CLASSIC_SERVER,
    NETPERF_2_6,
    NETPERF_2_7,
    SHORT_SYSINFO,
    XENRR,
    Dialect,
)
from xenrr.wire.message import Kind, encode_answer
from xenrr.wire.omni import OmniRequest, OmniResponse, OmniResults
from xenrr.wire.sender import NEED_DATA, PEER_CLOSED, PeerIdentified, SenderConnection
from xenrr.wire.states import State

UNAME = SysinfoResponse("|Linux|5.10|x86_64|#1")
DEPRECATED = SysinfoResponse(",Deprecated,Deprecated,Deprecated,Deprecated")
OURS = SysinfoResponse(",xenrr,1.2,Deprecated,Deprecated")
SHORT, LONG = CLASSIC_SERVER, NETPERF_2_7


def started(*, silent=False, passphrase=None):
    sender = SenderConnection(passphrase)
    sender.start()
    if silent:
        sender.probe_silent()
    return sender


def known(dialect):
    """A sender whose peer speaks this dialect."""
    answers = {CLASSIC_SERVER: ErrorResponse(998), NETPERF_2_7: DEPRECATED}
    sender = started(silent=dialect.message_bytes == 656)
    sender.receive_data(encode_answer(answers.get(dialect, UNAME), dialect))
    assert sender.next_event() == PeerIdentified(dialect)
    return sender


def test_the_probe_is_one_message_in_two_parts():
    sender = SenderConnection()
    begin = sender.start()
    assert begin.hex().startswith("00000258ffffffff")
    assert (len(begin), sender.probe_silent()) == (256, bytes(400))


def test_a_passphrase_goes_first_and_settles_the_size():
    sender = SenderConnection(b"abc")
    raw = sender.start()
    assert sender.passphrase_sent
    assert len(raw) == 2 * 656
    assert raw.startswith(bytes.fromhex("00000006 ffffffff 61626300"))
    assert raw[656:].startswith(bytes.fromhex("00000258 ffffffff"))
    with pytest.raises(LocalProtocolError, match="SILENCE is out of place"):
        sender.probe_silent()


def test_a_passphrase_that_cannot_travel_is_our_own_mistake():
    for phrase in (b"x" * 648, b"a\0b"):
        with pytest.raises(LocalProtocolError, match="phrase"):
            SenderConnection(phrase).start()


def test_the_beginning_happens_once():
    sender = started(silent=True)
    with pytest.raises(LocalProtocolError, match="out of place"):
        sender.start()
    with pytest.raises(LocalProtocolError, match="out of place"):
        sender.probe_silent()
    with pytest.raises(LocalProtocolError, match="out of place"):
        SenderConnection().probe_silent()


@pytest.mark.parametrize(("silent", "answer", "dialect"), [
    (False, ErrorResponse(998), CLASSIC_SERVER),
    (False, UNAME, SHORT_SYSINFO),
    (True, UNAME, NETPERF_2_6),
    (True, DEPRECATED, NETPERF_2_7),
    (True, OURS, Dialect(656, True, "X", "xenrr 1.2")),
])
def test_the_answer_to_the_probe_tells_the_peer(silent, answer, dialect):
    sender = started(silent=silent)
    assert sender.dialect is None
    sender.receive_data(encode_answer(answer, dialect))
    assert sender.next_event() == PeerIdentified(dialect)
    assert sender.dialect == dialect
    assert sender.next_event() is NEED_DATA


def test_a_xenrr_target_answers_half_a_probe_with_a_long_message():
    raw = encode_answer(OURS, XENRR)
    sender = started()
    sender.receive_data(raw[:256])
    assert sender.next_event() is NEED_DATA
    sender.receive_data(raw[256:])
    assert sender.next_event() == PeerIdentified(Dialect(656, True, "X", "xenrr 1.2"))


@pytest.mark.parametrize("greeting", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff\xfd\x25",
    bytes.fromhex("00000258 ffffffff"), bytes.fromhex("00000259 00000001"), b"\0" * 8,
    b"x" * 10_000])
@pytest.mark.parametrize("silent", [False, True])
def test_a_stranger_is_told_by_its_first_bytes(silent, greeting):
    sender = started(silent=silent)
    with pytest.raises(RemoteProtocolError, match="the peer is no netserver"):
        sender.receive_data(greeting)
    with pytest.raises(RemoteProtocolError, match="the peer is no netserver"):
        sender.next_event()


def test_a_stranger_is_told_byte_by_byte():
    sender = started()
    sender.receive_data(b"\0\0\2")
    with pytest.raises(RemoteProtocolError, match="no netserver"):
        sender.receive_data(b"\x60")


@pytest.mark.parametrize("first", [ErrorResponse(998), UNAME])
def test_a_short_peer_that_answers_too_late_is_lost(first):
    """It took our 400 zeros for one message and a half; there is no way back."""
    sender = started(silent=True)
    with pytest.raises(RemoteProtocolError, match="wait longer"):
        for answer in (first, ErrorResponse(998)):
            sender.receive_data(encode_answer(answer, SHORT))
            sender.next_event()
    assert sender.answered_late


def test_a_short_peer_knows_no_passphrase():
    sender = started(passphrase=b"abc")
    sender.receive_data(encode_answer(ErrorResponse(998), SHORT))
    with pytest.raises(RemoteProtocolError, match="knows no passphrase"):
        sender.next_event()


def test_a_wrong_passphrase_is_an_end_of_file():
    sender = started(passphrase=b"abc")
    sender.receive_eof()
    assert sender.next_event() is PEER_CLOSED


def test_nothing_is_asked_before_the_peer_is_known():
    for sender in (SenderConnection(), started(), started(silent=True)):
        with pytest.raises(LocalProtocolError, match="found out first"):
            sender.send(OmniRequest())


@pytest.mark.parametrize("request_", [OmniResponse(data_port=7), UnknownRequest(4), "hello"])
def test_a_sender_sends_requests(request_):
    with pytest.raises(LocalProtocolError, match="a sender does not send"):
        known(LONG).send(request_)


@pytest.mark.parametrize("dialect", [CLASSIC_SERVER, SHORT_SYSINFO, NETPERF_2_6, NETPERF_2_7],
                         ids=lambda one: one.peer)
@pytest.mark.parametrize(("request_", "answers"), [
    (SysinfoRequest(), [UNAME]),
    (DebugRequest(True), [DebugResponse()]),
    (CpuCalibrateRequest(), [CpuCalibrateResponse(100.0, 2)]),
    (RRRequest(), [RRResponse(data_port_number=7), RRResults(trans_received=5)]),
    (RRRequest(kind=Kind.DO_UDP_RR),
     [RRResponse(kind=Kind.UDP_RR_RESPONSE, data_port_number=7),
      RRResults(kind=Kind.UDP_RR_RESULTS)]),
    (OmniRequest(), [OmniResponse(data_port=7), OmniResults(recv_calls=3, ifslot="x")]),
    (OmniRequest(), [OmniResponse(data_port=7), ErrorResponse(104)]),
    (RRRequest(), [ErrorResponse(98, kind=13)]),
], ids=str)
def test_requests_and_their_answers(dialect, request_, answers):
    sender = known(dialect)
    assert len(sender.send(request_)) == dialect.message_bytes
    for answer in answers:
        sender.receive_data(encode_answer(answer, dialect))
        assert sender.next_event() == answer
    assert sender.state is State.IDLE


@pytest.mark.parametrize("answer", [DetailsResponse(2, "{"), ErrorResponse(998, 7800)])
def test_details_of_a_xenrr(answer):
    sender = started()
    sender.receive_data(encode_answer(OURS, XENRR))
    sender.next_event()
    assert sender.send(DetailsRequest(0, 1))[:16].hex() == (
        "00001e78" "ffffffff" "00000000" "00000001")
    sender.receive_data(encode_answer(answer, XENRR))
    assert sender.next_event() == answer
    assert sender.state is State.IDLE


@pytest.mark.parametrize("answer", [FlowsResponse(12), ErrorResponse(998, 7802)])
def test_flows_of_a_xenrr(answer):
    sender = started()
    sender.receive_data(encode_answer(OURS, XENRR))
    sender.next_event()
    assert sender.send(FlowsRequest(12))[:12].hex() == "00001e7a" "ffffffff" "0000000c"
    sender.receive_data(encode_answer(answer, XENRR))
    assert sender.next_event() == answer
    assert sender.state is State.IDLE


@pytest.mark.parametrize("request_", [DetailsRequest(), FlowsRequest(2)], ids=str)
@pytest.mark.parametrize("dialect", [SHORT_SYSINFO, NETPERF_2_6, NETPERF_2_7])
def test_nobody_else_is_asked_for_what_only_a_xenrr_knows(dialect, request_):
    sender = known(dialect)
    with pytest.raises(LocalProtocolError, match="only a xenrr"):
        sender.send(request_)
    assert sender.state is State.IDLE


@pytest.mark.parametrize("dialect", [CLASSIC_SERVER, SHORT_SYSINFO, NETPERF_2_7])
def test_a_dialect_that_is_known_is_not_probed(dialect):
    sender = SenderConnection(dialect=dialect)
    assert sender.start() == b""
    assert len(sender.send(RRRequest())) == dialect.message_bytes
    sender.receive_data(encode_answer(RRResponse(data_port_number=7), dialect))
    assert sender.next_event().data_port_number == 7


def test_a_dialect_that_is_known_and_a_passphrase():
    sender = SenderConnection(b"sesame", NETPERF_2_7)
    assert sender.start()[:16].hex() == "00000006" "ffffffff" + b"sesame\0\0".hex()
    sender.send(RRRequest())


def test_a_xenrr_is_told_who_asks_on_every_connection():
    sender = SenderConnection(dialect=XENRR)
    assert len(sender.start()) == 256
    assert sender.dialect is None


@pytest.mark.parametrize("dialect", [SHORT_SYSINFO, NETPERF_2_7])
def test_a_998_settles_that_there_is_no_omni(dialect):
    sender = known(dialect)
    sender.send(OmniRequest())
    sender.receive_data(encode_answer(ErrorResponse(998), dialect))
    assert sender.next_event() == ErrorResponse(998)
    assert sender.dialect.omni is False
    sender.send(RRRequest())


def test_a_response_settles_that_there_is():
    sender = known(SHORT_SYSINFO)
    assert sender.dialect.omni is None
    sender.send(OmniRequest())
    sender.receive_data(encode_answer(OmniResponse(data_port=7), SHORT_SYSINFO))
    sender.next_event()
    assert sender.dialect.omni is True


def test_another_errno_settles_nothing():
    sender = known(SHORT_SYSINFO)
    sender.send(OmniRequest())
    sender.receive_data(encode_answer(ErrorResponse(98), SHORT_SYSINFO))
    sender.next_event()
    assert sender.dialect.omni is None


def test_a_stale_errno_is_no_error_where_the_type_is_right():
    sender = known(SHORT)
    sender.send(CpuCalibrateRequest())
    sender.receive_data(encode_answer(CpuCalibrateResponse(100.0, 0, errno=998), SHORT))
    assert sender.next_event() == CpuCalibrateResponse(100.0, 0, errno=998)


@pytest.mark.parametrize("swapped", ["62000000", "00000000", "0a0b0c0d"])
def test_the_type_of_results_is_never_read(swapped):
    sender = known(LONG)
    sender.send(OmniRequest())
    sender.receive_data(encode_answer(OmniResponse(data_port=7), LONG))
    sender.next_event()
    sender.receive_data(bytes.fromhex(swapped) + encode_answer(OmniResults(), LONG)[4:])
    assert sender.next_event() == OmniResults()


@pytest.mark.parametrize("answer", [OmniResults(), RRResponse(data_port_number=7), UNAME])
def test_a_response_of_another_type_is_the_peers_mistake(answer):
    sender = known(LONG)
    sender.send(OmniRequest())
    sender.receive_data(encode_answer(answer, LONG))
    with pytest.raises(RemoteProtocolError, match="while the connection is OMNI asked"):
        sender.next_event()


def test_an_answer_that_nobody_asked_for_is_the_peers_mistake():
    for answer in (UNAME, ErrorResponse(104)):
        sender = known(LONG)
        sender.receive_data(encode_answer(answer, LONG))
        with pytest.raises(RemoteProtocolError, match="idle"):
            sender.next_event()


def test_a_port_that_cannot_exist_is_the_peers_mistake():
    sender = known(LONG)
    sender.send(OmniRequest())
    raw = bytearray(encode_answer(OmniResponse(data_port=7), LONG))
    raw[8 + 4 * 11:12 + 4 * 11] = bytes.fromhex("00010000")
    sender.receive_data(bytes(raw))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="data port 65536"):
            sender.next_event()


def test_one_thing_at_a_time():
    sender = known(LONG)
    sender.send(OmniRequest())
    with pytest.raises(LocalProtocolError, match="out of place"):
        sender.send(RRRequest())


def test_a_request_that_does_not_fit_was_not_sent():
    sender = known(LONG)
    with pytest.raises(LocalProtocolError, match="cong_control"):
        sender.send(OmniRequest(cong_control="x" * 16))
    sender.send(OmniRequest())
