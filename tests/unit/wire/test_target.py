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
    PassphraseRequest,
    SysinfoRequest,
    SysinfoResponse,
    UnknownRequest,
)
from xenrr.wire.dialect import (
    CLASSIC_CLIENT,
    CLASSIC_SERVER,
    NETPERF_2_6,
    NETPERF_2_7,
    OMNI_2_4_5,
    SHORT_SYSINFO,
    XENRR,
)
from xenrr.wire.message import Kind, encode_request
from xenrr.wire.omni import OmniFlags, OmniRequest, OmniResponse, OmniResults
from xenrr.wire.states import State
from xenrr.wire.target import NEED_DATA, PEER_CLOSED, TargetConnection

SHORT, LONG = CLASSIC_SERVER, NETPERF_2_7


def asked(*requests, dialect=LONG):
    """A target that was asked these things at once."""
    target = TargetConnection()
    for request in requests:
        target.receive_data(encode_request(request, dialect))
    if target.undecided:
        target.assume_short()
    return target


def test_a_long_first_message_settles_the_size():
    target = asked(OmniRequest())
    assert not target.undecided
    assert target.next_event() == OmniRequest()
    assert target.dialect is NETPERF_2_7
    assert len(target.send(OmniResponse(data_port=7))) == 656


def test_256_bytes_leave_it_open_until_the_shell_has_waited():
    raw = encode_request(RRRequest(), SHORT)
    target = TargetConnection()
    target.receive_data(raw[:255])
    assert (target.next_event(), target.undecided) == (NEED_DATA, False)
    target.receive_data(raw[255:])
    assert (target.next_event(), target.undecided) == (NEED_DATA, True)
    with pytest.raises(LocalProtocolError, match="not said enough"):
        target.dialect  # noqa: B018
    target.assume_short()
    assert not target.undecided
    assert target.next_event() == RRRequest()
    assert target.dialect is CLASSIC_CLIENT
    assert len(target.send(RRResponse(data_port_number=7))) == 256


def test_byte_257_settles_it():
    raw = encode_request(RRRequest(), LONG)
    target = TargetConnection()
    target.receive_data(raw[:256])
    assert target.undecided
    target.receive_data(raw[256:257])
    assert not target.undecided
    target.receive_data(raw[257:])
    assert target.next_event() == RRRequest()


def test_an_end_of_file_settles_it_too():
    target = TargetConnection()
    target.receive_data(encode_request(RRRequest(), SHORT))
    target.receive_eof()
    assert not target.undecided
    assert target.next_event() == RRRequest()
    assert target.next_event() is PEER_CLOSED


def test_assuming_short_without_cause_is_our_own_mistake():
    for target in (TargetConnection(), asked(OmniRequest())):
        with pytest.raises(LocalProtocolError, match="not in doubt"):
            target.assume_short()


def test_half_a_passphrase_is_never_taken_for_a_short_message():
    raw = encode_request(PassphraseRequest(b"abc"), LONG)
    target = TargetConnection()
    target.receive_data(raw[:256])
    assert not target.undecided
    assert target.next_event() is NEED_DATA
    target.receive_data(raw[256:])
    assert target.next_event() == PassphraseRequest(b"abc")
    assert target.state is State.IDLE


@pytest.mark.parametrize(("requests", "dialect", "seen"), [
    ([OmniRequest()], NETPERF_2_7, NETPERF_2_7),
    ([SysinfoRequest()], NETPERF_2_6, NETPERF_2_6),
    ([PassphraseRequest(b"x"), SysinfoRequest()], NETPERF_2_6, NETPERF_2_6),
    ([PassphraseRequest(b"x"), SysinfoRequest(asker="xenrr")], XENRR, XENRR),
    ([RRRequest()], CLASSIC_SERVER, CLASSIC_CLIENT),
    ([SysinfoRequest()], SHORT_SYSINFO, SHORT_SYSINFO),
])
def test_the_first_requests_tell_the_release(requests, dialect, seen):
    target = asked(*requests, dialect=dialect)
    assert [target.next_event() for _ in requests] == requests
    assert target.dialect is seen


@pytest.mark.parametrize(("dialect", "word"), [
    (SHORT_SYSINFO, 21 + 36), (NETPERF_2_6, 22 + 36), (NETPERF_2_7, 27 + 36)])
def test_results_come_in_the_layout_of_the_release(dialect, word):
    requests = [OmniRequest()] if dialect is NETPERF_2_7 else [SysinfoRequest(), OmniRequest()]
    target = asked(*requests[:1], dialect=dialect)
    assert target.next_event() == requests[0]
    if requests[1:]:
        target.send(SysinfoResponse(",a,b,c,d"))
        target.receive_data(encode_request(requests[1], dialect))
        assert target.next_event() == requests[1]
    target.send(OmniResponse(data_port=7))
    assert target.send(OmniResults(ifslot="here"))[8 + 4 * word:].startswith(b"here\0")
    assert target.state is State.IDLE


def test_an_omni_request_of_the_first_form_is_answered_in_it():
    target = asked(SysinfoRequest(), dialect=SHORT)
    assert target.next_event() == SysinfoRequest()
    target.send(SysinfoResponse(",a,b,c,d"))
    request = OmniRequest(flags=OmniFlags.ROUTING_ALLOWED | OmniFlags.MEASURE_CPU)
    target.receive_data(encode_request(request, OMNI_2_4_5))
    assert target.next_event() == request
    assert target.dialect is OMNI_2_4_5
    raw = target.send(OmniResponse(flags=OmniFlags.NODELAY, data_port=7))
    assert [int.from_bytes(raw[8 + 4 * word:][:4], "big") for word in (6, 8, 13)] == [1, 0, 7]
    assert len(target.send(OmniResults())) == 256
    target.receive_data(encode_request(SysinfoRequest(), SHORT))
    assert target.next_event() == SysinfoRequest()
    assert target.dialect is OMNI_2_4_5


def test_a_long_message_never_has_the_first_form():
    """What stands in its words 21 to 25 is somebody's mistake, for the shell to judge."""
    request = OmniRequest(ipfamily=7, netperf_port=4)
    target = asked(request)
    assert target.next_event() == request
    assert target.dialect is NETPERF_2_7


def test_a_xenrr_probe_is_answered_without_waiting():
    probe = encode_request(SysinfoRequest(asker="xenrr"), XENRR)
    target = TargetConnection()
    target.receive_data(probe[:256])
    assert not target.undecided
    assert target.next_event() == SysinfoRequest(asker="xenrr")
    assert target.dialect is XENRR
    assert len(target.send(SysinfoResponse(",xenrr,1"))) == 656
    assert target.next_event() is NEED_DATA


@pytest.mark.parametrize("early", [0, 1, 3, 4, 399, 400])
def test_the_rest_of_a_slow_xenrr_probe_is_skipped(early):
    """It was on its way when our answer was: before, in or after it comes the rest."""
    probe = encode_request(SysinfoRequest(asker="xenrr"), XENRR)
    target = TargetConnection()
    target.receive_data(probe[:256 + early])
    assert target.next_event() == SysinfoRequest(asker="xenrr")
    target.send(SysinfoResponse(",xenrr,1"))
    assert target.next_event() is NEED_DATA
    target.receive_data(probe[256 + early:])
    assert target.next_event() is NEED_DATA
    target.receive_data(encode_request(OmniRequest(), XENRR))
    assert target.next_event() == OmniRequest()


def test_a_xenrr_sender_stays_one_when_it_asks_again():
    target = TargetConnection()
    for asker in ("xenrr", ""):
        raw = encode_request(SysinfoRequest(asker=asker), XENRR)
        target.receive_data(raw if not asker else raw[:256])
        assert target.next_event() == SysinfoRequest(asker=asker)
        assert target.dialect is XENRR
        target.send(SysinfoResponse(",xenrr,1"))


def test_a_request_after_a_quick_xenrr_probe_is_not_skipped():
    target = TargetConnection()
    target.receive_data(encode_request(SysinfoRequest(asker="xenrr"), XENRR)[:256])
    target.next_event()
    target.send(SysinfoResponse(",xenrr,1"))
    for piece in (encode_request(OmniRequest(), XENRR)[i:i + 1] for i in range(656)):
        assert target.next_event() is NEED_DATA
        target.receive_data(piece)
    assert target.next_event() == OmniRequest()


@pytest.mark.parametrize(("request_", "answer", "kind"), [
    (SysinfoRequest(cpu=1), SysinfoResponse(",a"), 601),
    (DebugRequest(True), DebugResponse(), 3),
    (DebugRequest(False), DebugResponse(), 3),
    (CpuCalibrateRequest(), CpuCalibrateResponse(100.0, 2), 5),
    (UnknownRequest(4, 7), ErrorResponse(998), 0),
    (UnknownRequest(-1), ErrorResponse(998), 0),
    (RRRequest(), ErrorResponse(95), 0),
])
@pytest.mark.parametrize("dialect", [SHORT, LONG], ids=["short", "long"])
def test_a_request_and_its_answer(dialect, request_, answer, kind):
    target = asked(request_, dialect=dialect)
    assert target.next_event() == request_
    assert target.state is not State.IDLE
    raw = target.send(answer)
    assert (len(raw), int.from_bytes(raw[:4], "big")) == (dialect.message_bytes, kind)
    assert target.state is State.IDLE


def test_details_are_for_a_xenrr():
    target = asked(SysinfoRequest(asker="xenrr"), DetailsRequest(1, 2), dialect=XENRR)
    target.next_event()
    target.send(SysinfoResponse(",xenrr,1"))
    assert target.next_event() == DetailsRequest(1, 2)
    raw = target.send(DetailsResponse(3, "x" * 643))
    assert (len(raw), int.from_bytes(raw[:4], "big")) == (656, 7801)
    assert target.state is State.IDLE


def test_flows_are_for_a_xenrr():
    target = asked(SysinfoRequest(asker="xenrr"), FlowsRequest(1000), dialect=XENRR)
    target.next_event()
    target.send(SysinfoResponse(",xenrr,1"))
    assert target.next_event() == FlowsRequest(1000)
    raw = target.send(FlowsResponse(12))
    assert (len(raw), raw[:12].hex()) == (656, "00001e7b" "00000000" "0000000c")
    assert target.state is State.IDLE


@pytest.mark.parametrize("request_", [DetailsRequest(1, 2), FlowsRequest(2)], ids=str)
@pytest.mark.parametrize("dialect", [SHORT, LONG], ids=["short", "long"])
def test_to_others_what_a_xenrr_asks_is_unknown(dialect, request_):
    target = asked(request_, dialect=dialect)
    assert target.next_event() == UnknownRequest(int(request_.kind))
    target.send(ErrorResponse(998))


def test_details_that_do_not_fit():
    target = asked(SysinfoRequest(asker="xenrr"), DetailsRequest(), dialect=XENRR)
    target.next_event()
    target.send(SysinfoResponse(",xenrr,1"))
    target.next_event()
    with pytest.raises(LocalProtocolError, match="text"):
        target.send(DetailsResponse(1, "x" * 644))
    target.send(ErrorResponse(61))


@pytest.mark.parametrize("kind", [Kind.DO_TCP_RR, Kind.DO_UDP_RR])
def test_tests_follow_one_another(kind):
    target = TargetConnection()
    for _ in range(3):
        target.receive_data(encode_request(RRRequest(kind=kind), LONG))
        assert target.next_event() == RRRequest(kind=kind)
        target.send(RRResponse(kind=Kind(kind + 1), data_port_number=7))
        target.send(RRResults(kind=Kind(kind + 2)))


def test_an_error_during_a_test_ends_it():
    target = asked(OmniRequest())
    target.next_event()
    target.send(OmniResponse(data_port=7))
    target.send(ErrorResponse(104))
    assert target.state is State.IDLE


@pytest.mark.parametrize("answer", [
    OmniResults(), RRResponse(data_port_number=7), SysinfoResponse(",a"), DebugResponse(),
    RRResponse(kind=Kind.DO_OMNI, data_port_number=7)])
def test_an_answer_out_of_turn_is_our_own_mistake(answer):
    target = asked(OmniRequest())
    target.next_event()
    with pytest.raises(LocalProtocolError, match="out of place"):
        target.send(answer)
    target.send(OmniResponse(data_port=7))


def test_an_answer_that_does_not_fit_leaves_the_test_open():
    target = asked(OmniRequest())
    target.next_event()
    with pytest.raises(LocalProtocolError, match="data_port"):
        target.send(OmniResponse())
    target.send(ErrorResponse(98))


def test_a_target_does_not_ask():
    with pytest.raises(LocalProtocolError, match="does not send OmniRequest"):
        asked(OmniRequest()).send(OmniRequest())


@pytest.mark.parametrize("request_", [OmniRequest(), UnknownRequest(4), DebugRequest(True)])
def test_a_request_during_a_test_is_the_peers_mistake(request_):
    target = asked(OmniRequest(), request_)
    assert target.next_event() == OmniRequest()
    target.send(OmniResponse(data_port=7))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="while the connection is OMNI running"):
            target.next_event()


def test_any_test_length_family_and_port_is_the_shells_to_judge():
    request = OmniRequest(test_length=-2**31, ipfamily=99, data_port=2**32 - 1, direction=77)
    assert asked(request).next_event() == request
