"""Both codecs read what real programs of eight releases said to each other."""

from __future__ import annotations

import pytest
from vectors.reader import (
    Conversation,
    bytewise,
    conversations,
    hear,
    identified,
    play,
    shown,
    whole,
)

from xenrr.wire.catalogue import TESTS
from xenrr.wire.control import PassphraseRequest, UnknownRequest
from xenrr.wire.message import SHORT_BYTES, Kind, encode_request
from xenrr.wire.streams import UdpStreamRequest, UdpStreamResults
from xenrr.wire.target import NEED_DATA, TargetConnection

CONVERSATIONS = conversations()


@pytest.fixture(params=CONVERSATIONS, ids=lambda one: one.name)
def conversation(request: pytest.FixtureRequest) -> Conversation:
    one: Conversation = request.param
    return one


def test_every_message_means_what_the_file_says(conversation):
    assert [shown(event) for event in play(conversation)] == [
        message.meaning for message in conversation.messages]


@pytest.mark.parametrize("cut", [bytewise, lambda raw: iter([raw[:255], raw[255:]]),
                                 lambda raw: iter([raw[:-1], raw[-1:]])],
                         ids=["byte by byte", "at 255", "before the last byte"])
def test_the_cut_makes_no_difference(conversation, cut):
    assert repr(play(conversation, cut)) == repr(play(conversation, whole))


def test_a_tail_waits_for_the_rest(conversation):
    """The beginning of a next message neither disturbs this one nor counts as one."""
    sender = identified(conversation.dialect)
    target = TargetConnection()
    first, *later = conversation.messages
    tail = b"\0\0\0" if conversation.dialect.message_bytes > SHORT_BYTES else b""
    target.receive_data(first.raw + tail)
    if target.undecided:
        target.assume_short()
    request = target.next_event()
    assert shown(request) == first.meaning
    if isinstance(request, PassphraseRequest):
        assert target.next_event() is NEED_DATA
    if isinstance(request, (PassphraseRequest, UnknownRequest)):
        return
    sender.send(request)
    for message in later[:1]:
        sender.receive_data(message.raw + b"\0\0\0")
        assert shown(sender.next_event()) == message.meaning
        assert sender.next_event() is NEED_DATA


def test_a_request_encodes_to_the_recorded_bytes(conversation):
    """Up to the leftovers of older messages in words that nobody reads."""
    fresh = True
    for message, event in zip(conversation.messages, play(conversation)):
        if message.from_client and not isinstance(event, UnknownRequest):
            raw = encode_request(event, conversation.dialect)
            used = len(raw) if fresh else len(raw.rstrip(b"\0"))
            assert raw[:used].hex(" ", 4) == message.raw[:used].hex(" ", 4)
            fresh = False


def test_there_are_vectors_of_every_dialect_and_message():
    dialects = {conversation.dialect for conversation in CONVERSATIONS}
    kinds = {message.meaning.partition("(")[0]
             for conversation in CONVERSATIONS for message in conversation.messages}
    assert {(one.message_bytes, one.results_layout, one.omni) for one in dialects} == {
        (256, "A", False), (256, "A", None), (256, "A", True),
        (656, "B", True), (656, "C", True)}
    assert kinds == {
        "CpuCalibrateRequest", "CpuCalibrateResponse", "DebugRequest", "DebugResponse",
        "ErrorResponse", "OmniRequest", "OmniResponse", "OmniResults", "PassphraseRequest",
        "RRRequest", "RRResponse", "RRResults", "StreamRequest", "StreamResponse",
        "StreamResults", "SysinfoRequest", "SysinfoResponse", "UdpStreamRequest",
        "UdpStreamResponse", "UdpStreamResults", "UnknownRequest"}


def test_there_are_vectors_of_every_test_and_both_sizes():
    recorded = {(int.from_bytes(message.raw[:4], "big"), len(message.raw))
                for conversation in CONVERSATIONS for message in conversation.messages
                if message.from_client}
    assert {kind for kind, _ in recorded} >= {test.kind for test in TESTS}
    assert {size for kind, size in recorded if kind == Kind.DO_UDP_STREAM} == {256, 656}


def test_both_forms_of_udp_stream_are_recorded():
    forms = {event.old_form for conversation in CONVERSATIONS for event in play(conversation)
             if isinstance(event, UdpStreamRequest)}
    assert forms == {False, True}


def test_real_servers_take_one_off_the_bytes_of_a_udp_stream():
    """So the byte order of each release is right: size times messages, minus 1."""
    checked = 0
    for conversation in CONVERSATIONS:
        size = 0
        for event in play(conversation):
            if isinstance(event, UdpStreamRequest):
                size = event.message_size
            elif isinstance(event, UdpStreamResults):
                assert event.bytes_received == event.messages_received * size - 1
                checked += 1
    assert checked >= 5


def test_a_passphrase_and_the_next_request_in_one_chunk():
    (conversation,) = (one for one in CONVERSATIONS if one.name.startswith("passphrase"))
    first, second, *_ = conversation.messages
    target = TargetConnection()
    target.receive_data(first.raw + second.raw)
    assert [shown(target.next_event()), shown(target.next_event())] == [
        first.meaning, second.meaning]
    assert target.next_event() is NEED_DATA


def test_the_reader_finds_a_wrong_meaning():
    """The tests above can fail: one bit changes what is read."""
    conversation = CONVERSATIONS[0]
    first = conversation.messages[0]
    damaged = bytearray(first.raw)
    damaged[11] ^= 1
    assert shown(hear(TargetConnection(), whole(bytes(damaged)))) != first.meaning
