"""Messages between a coordinator and its agents: JSON in frames, over any pair of pipes.

A frame is a length of four bytes, most significant first, and that many bytes of JSON whose
top is an object with a text under ``kind``. JSON and not msgpack, because an agent runs on
guests that have nothing but Python.

Both ends may be programs that somebody else started, or a shell that printed a greeting
first: everything is bounded, and what is no frame is an error with the bytes that were
there instead.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from xenrr.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["MAX_FRAME_BYTES", "FrameReader", "Message", "encode_frame"]

LENGTH = struct.Struct(">I")
# A record with an hour of interim results at ten a second is 3 MB of JSON.
MAX_FRAME_BYTES = 64 << 20
# How much of something that is no frame is shown.
SHOWN_BYTES = 60

Message = dict[str, Any]


def encode_frame(kind: str, **fields: object) -> bytes:
    """One message as bytes.

    Raises:
        LocalProtocolError: It is larger than any reader takes.
    """
    body = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise LocalProtocolError(f"a message of {len(body)} bytes does not fit into a frame")
    return LENGTH.pack(len(body)) + body


class FrameReader:
    """Takes bytes as they come, gives whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def in_the_middle(self) -> bool:
        """Whether a message has begun and is not whole."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole with these bytes.

        Raises:
            RemoteProtocolError: What came is no frame.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._buffer)
            if size > MAX_FRAME_BYTES:
                shown = bytes(self._buffer[:SHOWN_BYTES]).decode("utf-8", "replace")
                raise RemoteProtocolError(f"no message but {shown!r}")
            end = LENGTH.size + size
            if len(self._buffer) < end:
                break
            messages.append(_decode(bytes(self._buffer[LENGTH.size:end])))
            del self._buffer[:end]
        return messages


def _decode(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        shown = body[:SHOWN_BYTES].decode("utf-8", "replace")
        raise RemoteProtocolError(f"a message without a kind: {shown!r}")
    return message
