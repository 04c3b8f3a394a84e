"""Invariant: whatever bytes a peer sends, in whatever pieces, the codec either gives events
or raises RemoteProtocolError, keeps at most MAX_BUFFERED_BYTES, and gives at most one event
per 256 bytes.

Random bytes alone never get past the first header, so the input is recorded messages with
bits flipped, words replaced, parts cut out, doubled or swapped. The seed is fixed; a failure
prints the number of the case, which alone brings it back. XENRR_FUZZ_CASES runs more.
"""

from __future__ import annotations

import os
import random

from vectors.reader import Conversation, conversations, identified, play

from xenrr.errors import RemoteProtocolError
from xenrr.wire.catalogue import REQUESTS
from xenrr.wire.connection import MAX_BUFFERED_BYTES, NEED_DATA, PEER_CLOSED
from xenrr.wire.control import (
    CpuCalibrateRequest,
    DebugRequest,
    DetailsRequest,
    DetailsResponse,
    ErrorResponse,
    PassphraseRequest,
    SysinfoRequest,
)
from xenrr.wire.dialect import XENRR
from xenrr.wire.message import SHORT_BYTES, encode_answer, encode_request
from xenrr.wire.sender import SenderConnection
from xenrr.wire.states import State
from xenrr.wire.target import TargetConnection

CASES = int(os.environ.get("XENRR_FUZZ_CASES", "2000"))
CONVERSATIONS = conversations()
SENT = (CpuCalibrateRequest, DebugRequest, SysinfoRequest, *REQUESTS)
# Words that mean something somewhere: types, limits, errno 998 both ways round.
WORDS = [0, 1, 2, 4, 5, 6, 10, 13, 16, 19, 34, 94, 97, 98, 99, 300, 600, 601, 998, 7800, 7801,
         0xE6030000, 0x62000000, 0x7F800000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 65535, 65536]


def damaged(dice: random.Random, raw: bytes) -> bytes:
    """The same bytes after one to eight accidents, most of them small."""
    data = bytearray(raw or b"\0")
    for _ in range(dice.randint(1, 8)):
        at = dice.randrange(len(data))
        accident = dice.randrange(40)
        if accident == 0:
            del data[at:at + dice.randint(1, 300)]
            data = data or bytearray(1)
        elif accident == 1:
            data[at:at] = data[at:at + dice.randint(1, 300)]
        elif accident == 2:
            data = data[at:] + data[:at]
        elif accident < 20:
            data[at] ^= 1 << dice.randrange(8)
        else:
            at -= at % 4
            data[at:at + 4] = dice.choice(WORDS).to_bytes(4, "big")
    return bytes(data)


def chunks(dice: random.Random, raw: bytes) -> list[bytes]:
    """Pieces of the sizes in which TCP brings them."""
    pieces = []
    while raw:
        size = dice.choice([1, 7, 8, 255, 256, 257, 400, 656, 1312, 4096])
        pieces.append(raw[:size])
        raw = raw[size:]
    return pieces


def feed_target(dice: random.Random, raw: bytes) -> int:
    """Play a server that refuses everything; the number of events."""
    target = TargetConnection()
    events = 0

    def take() -> None:
        nonlocal events
        while (event := target.next_event()) not in (NEED_DATA, PEER_CLOSED):
            events += 1
            if not isinstance(event, PassphraseRequest):
                target.send(ErrorResponse(998))
        assert len(target._buffer) <= MAX_BUFFERED_BYTES

    for piece in chunks(dice, raw):
        target.receive_data(piece)
        take()
        if target.undecided and dice.random() < 0.5:
            target.assume_short()
            take()
    target.receive_eof()
    take()
    return events


def feed_sender(dice: random.Random, answers: bytes, conversation: Conversation) -> int:
    """Play a client that asks what was asked when recording; the number of events."""
    if dice.random() < 0.2:
        sender = SenderConnection()
        sender.start()
        if dice.random() < 0.5:
            sender.probe_silent()
    else:
        sender = identified(conversation.dialect)
    requests = [event for event in play(conversation) if isinstance(event, SENT)]
    events = 0

    def ask() -> None:
        if sender.state is State.IDLE and requests:
            sender.send(requests.pop(0))

    ask()
    for piece in chunks(dice, answers):
        sender.receive_data(piece)
        while sender.next_event() not in (NEED_DATA, PEER_CLOSED):
            events += 1
            ask()
        assert len(sender._buffer) <= MAX_BUFFERED_BYTES
    sender.receive_eof()
    sender.next_event()
    return events


def run_case(number: int) -> tuple[int, str]:
    """One damaged conversation; how many events it gave, and how it ended."""
    dice = random.Random(number)
    conversation = dice.choice(CONVERSATIONS)
    from_client = dice.random() < 0.5
    raw = b"".join(message.raw for message in conversation.messages
                   if message.from_client == from_client)
    raw = damaged(dice, raw)
    try:
        if from_client:
            events = feed_target(dice, raw)
        else:
            events = feed_sender(dice, raw, conversation)
    except RemoteProtocolError:
        return 0, "refused"
    assert events <= len(raw) // SHORT_BYTES
    return events, "read"


def test_damaged_conversations():
    ends = {"read": 0, "refused": 0}
    for number in range(CASES):
        try:
            _, end = run_case(number)
        except Exception as exc:
            raise AssertionError(f"case {number}") from exc
        ends[end] += 1
    # Damage that is always refused, or never, would test nothing.
    assert min(ends.values()) > CASES // 20, ends


def test_damaged_details():
    """No recorded peer has them: both messages between two xenrr, one of them damaged."""
    answer = encode_answer(DetailsResponse(3, '{"kernel":"Linux"}'), XENRR)
    requests = (encode_request(SysinfoRequest(asker="xenrr"), XENRR)
                + encode_request(DetailsRequest(1, 2), XENRR))
    for number in range(CASES // 4):
        dice = random.Random(number)
        sender = identified(XENRR)
        sender.send(DetailsRequest(1, 2))
        try:
            for piece in chunks(dice, damaged(dice, answer)):
                sender.receive_data(piece)
                event = sender.next_event()
                assert event is NEED_DATA or isinstance(
                    event, (DetailsResponse, ErrorResponse)), number
        except RemoteProtocolError:
            pass
        try:
            feed_target(dice, damaged(dice, requests))
        except RemoteProtocolError:
            continue
