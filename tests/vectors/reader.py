"""Recorded conversations: how the ``*.hex`` files read, and how they are played.

A file opens with comments that say who talked and on what machine, then::

    dialect NETPERF_2_7
    client 656
    00000061 ffffffff ...           # words of 8 hex digits; the rest of the 656 bytes is 0
    = OmniRequest(test_length=1)    # what it means; fields at their default are left out

``play`` lets both codecs read along: the target hears the client's bytes, the sender those
of the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from xenrr.wire import dialect as dialects
from xenrr.wire.control import (
    ErrorResponse,
    PassphraseRequest,
    SysinfoResponse,
    UnknownRequest,
)
from xenrr.wire.dialect import Dialect
from xenrr.wire.message import LONG_BYTES, encode_answer
from xenrr.wire.sender import NEED_DATA, PeerIdentified, SenderConnection
from xenrr.wire.target import TargetConnection

FOLDER = Path(__file__).resolve().parent
Cut = Callable[[bytes], Iterator[bytes]]

# What a server of each dialect answers to the probe.
PROBE_ANSWERS = {
    dialects.CLASSIC_SERVER: ErrorResponse(998),
    dialects.SHORT_SYSINFO: SysinfoResponse(",Linux,5.10,x86_64,#1"),
    dialects.OMNI_2_4_5: SysinfoResponse(",Linux,5.10,x86_64,#1"),
    dialects.NETPERF_2_6: SysinfoResponse(",Linux,5.10,x86_64,#1"),
    dialects.XENRR: SysinfoResponse(",xenrr,"),
    dialects.NETPERF_2_7: SysinfoResponse(",Deprecated,Deprecated,Deprecated,Deprecated"),
}


@dataclass(frozen=True)
class Message:
    """One recorded message."""

    from_client: bool
    raw: bytes
    meaning: str


@dataclass(frozen=True)
class Conversation:
    """One file."""

    name: str
    dialect: Dialect
    messages: tuple[Message, ...]


def read(path: Path) -> Conversation:
    """Read one file."""
    dialect: Dialect | None = None
    messages = []
    speaker, size_bytes, words = "", 0, ""
    for line in path.read_text().splitlines():
        if line.startswith("="):
            raw = bytes.fromhex(words).ljust(size_bytes, b"\0")
            assert len(raw) == size_bytes, f"{path}: too many words before {line}"
            messages.append(Message(speaker == "client", raw, line[1:].strip()))
            words = ""
            continue
        text = line.partition("#")[0].strip()
        if text.startswith("dialect "):
            dialect = getattr(dialects, text.split()[1])
        elif text.startswith(("client ", "server ")):
            speaker, size = text.split()
            size_bytes = int(size)
        else:
            words += text
    assert dialect is not None and messages and not words, path
    return Conversation(path.stem, dialect, tuple(messages))


def conversations() -> list[Conversation]:
    """All of them."""
    found = [read(path) for path in sorted(FOLDER.glob("*.hex"))]
    assert found, FOLDER
    return found


def shown(event: object) -> str:
    """An event as the files write it: fields at their default are left out."""
    told = []
    for item in fields(event):  # type: ignore[arg-type]
        value = getattr(event, item.name)
        if value != item.default:
            text = f"{value:.6g}" if isinstance(value, float) else repr(value)
            told.append(f"{item.name}={int(value) if isinstance(value, int) else text}")
    return f"{type(event).__name__}({', '.join(told)})"


def whole(raw: bytes) -> Iterator[bytes]:
    """Uncut."""
    yield raw


def bytewise(raw: bytes) -> Iterator[bytes]:
    """One byte at a time."""
    return (raw[i:i + 1] for i in range(len(raw)))


def identified(dialect: Dialect) -> SenderConnection:
    """A sender that has found out that its peer speaks this dialect."""
    sender = SenderConnection()
    sender.start()
    if dialect.message_bytes == LONG_BYTES:
        sender.probe_silent()
    sender.receive_data(encode_answer(PROBE_ANSWERS[dialect], dialect))
    if dialect is dialects.OMNI_2_4_5:
        assert sender.next_event() == PeerIdentified(dialects.SHORT_SYSINFO)
        sender._dialect = dialect  # nothing that it says tells this server apart
        return sender
    assert sender.next_event() == PeerIdentified(dialect)
    return sender


def hear(connection: TargetConnection | SenderConnection, pieces: Iterator[bytes]) -> object:
    """Feed one message and return the one event that it is."""
    events: list[object] = []
    for piece in pieces:
        connection.receive_data(piece)
        event = connection.next_event()
        if event is not NEED_DATA:
            events.append(event)
    if isinstance(connection, TargetConnection) and connection.undecided:
        connection.assume_short()
        events.append(connection.next_event())
    assert len(events) == 1, events
    assert connection.next_event() is NEED_DATA or isinstance(events[0], PassphraseRequest)
    return events[0]


def play(conversation: Conversation, cut: Cut = whole) -> list[object]:
    """All events of a conversation, each message cut into pieces by ``cut``."""
    target = TargetConnection()
    sender = identified(conversation.dialect)
    events = []
    for message in conversation.messages:
        event = hear(target if message.from_client else sender, cut(message.raw))
        events.append(event)
        if not message.from_client:
            target.send(clean(event))
        elif not isinstance(event, (PassphraseRequest, UnknownRequest)):
            sender.send(event)  # type: ignore[arg-type]
    assert target.dialect.message_bytes == conversation.dialect.message_bytes
    return events


def clean(answer: object) -> object:
    """The same kind of answer without a real server's leftovers, which do not encode."""
    if isinstance(answer, (ErrorResponse, SysinfoResponse)):
        return answer
    kept = {item.name: getattr(answer, item.name) for item in fields(answer)  # type: ignore
            if item.name in ("kind", "data_port", "data_port_number", "rate", "cpus")}
    return type(answer)(**kept)
