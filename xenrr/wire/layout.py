"""Payload layouts as tables that encoding and decoding share.

A layout lists ``Field(name, wire type, word)``; the name is that of a dataclass
attribute, the word counts 32-bit words from the start of the payload. Everything is
big-endian, as every netperf sends it whatever its own byte order; text is raw bytes.

Real servers leave fields unset that then hold swapped leftovers of older messages, so
decoding takes any bit pattern. The only exception is a port that has to be connected to.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from xenrr.errors import LocalProtocolError, RemoteProtocolError
from xenrr.lean import Any, IntFlag, NamedTuple, socket

__all__ = ["DOUBLE", "FLOAT", "INT", "PORT", "UINT", "UINT64", "UINT_REVERSED", "Address",
           "Bytes", "Field", "FlagWords", "Flags", "Layout", "MarkedFloat", "Text", "WireType"]

WORD_BYTES = 4


class WireType:
    """How one value travels; ``size_bytes`` is the room it has."""

    size_bytes: int

    def encode(self, value: Any) -> bytes:
        """Bytes for the wire, at most ``size_bytes``.

        Raises:
            ValueError, TypeError, OverflowError, struct.error: The value does not fit.
        """
        raise NotImplementedError

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        """The value in ``raw``; ``earlier`` holds the fields decoded before it."""
        raise NotImplementedError


class _Number(WireType):
    def __init__(self, code: str) -> None:
        self._struct = struct.Struct(code)
        self.size_bytes = self._struct.size

    def encode(self, value: Any) -> bytes:
        return self._struct.pack(value)

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        return self._struct.unpack(raw)[0]


class _Port(_Number):
    """A port that somebody is going to connect to."""

    def encode(self, value: Any) -> bytes:
        if not 1 <= value <= 65535:
            raise ValueError("a port lies between 1 and 65535")
        return super().encode(value)

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        port = super().decode(raw, earlier)
        if not 1 <= port <= 65535:
            raise RemoteProtocolError(f"the peer offers data port {port}, which cannot exist")
        return port


class Flags(WireType):
    """Flag bits; those outside ``known`` are leftovers and dropped."""

    size_bytes = WORD_BYTES

    def __init__(self, known: IntFlag) -> None:
        self._known = known

    def encode(self, value: Any) -> bytes:
        return struct.pack(">I", value)

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        return self._known.__class__(struct.unpack(">I", raw)[0] & int(self._known))


class FlagWords(WireType):
    """Flags that have a word each, 0 or 1, one behind the other.

    Args:
        order: Which flag each word stands for, no flag for a word without meaning.
        implied: Flags without a word, which are always set.
    """

    def __init__(self, order: tuple[IntFlag, ...], implied: IntFlag) -> None:
        self._order = order
        self._implied = implied
        self.size_bytes = WORD_BYTES * len(order)

    def encode(self, value: Any) -> bytes:
        return struct.pack(f">{len(self._order)}I", *(bool(value & one) for one in self._order))

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        words = struct.unpack(f">{len(self._order)}I", raw)
        flags = self._implied
        for one, word in zip(self._order, words):
            if word:
                flags |= one
        return flags


class MarkedFloat(WireType):
    """A number that is 0 or more behind a word of its own; -1.0 where that word is missing.

    For fields of ours in places where a peer may have leftovers.
    """

    size_bytes = 2 * WORD_BYTES

    def __init__(self, marker: bytes, most: float) -> None:
        self._struct = struct.Struct(">4sf")
        self._marker = marker
        self._most = most

    def encode(self, value: Any) -> bytes:
        if value == -1.0:
            return bytes(self.size_bytes)
        if not 0 <= value <= self._most:
            raise ValueError(f"it lies between 0 and {self._most:g}, or is -1 for unknown")
        return self._struct.pack(self._marker, value)

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        marker, value = self._struct.unpack(raw)
        return value if marker == self._marker and 0 <= value <= self._most else -1.0


class Bytes(WireType):
    """Raw bytes up to the first NUL; one of ``size_bytes`` belongs to the NUL."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes

    def encode(self, value: Any) -> bytes:
        if len(value) >= self.size_bytes:
            raise ValueError(f"at most {self.size_bytes - 1} bytes fit")
        if b"\0" in value:
            raise ValueError("it holds a NUL, where the peer would stop reading")
        return bytes(value) + b"\0"

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        return raw.partition(b"\0")[0]


class Text(Bytes):
    """Bytes that are text; what is no UTF-8 becomes U+FFFD."""

    def encode(self, value: Any) -> bytes:
        return super().encode(value.encode())

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        return super().decode(raw, earlier).decode(errors="replace")


class Address(WireType):
    """Four words with an IPv4 or IPv6 address, all zero for none (``""``).

    IPv4 stands in network order in the first word. IPv6 does in 2.5.0; later releases on
    little-endian hosts reverse the four bytes of each word (recorded:
    ipv6-local-address-*.hex). A big-endian netperf would send them straight; none has been
    seen, and nothing in the message tells it apart.
    """

    size_bytes = 4 * WORD_BYTES

    def __init__(self, *, reversed_ipv6_words: bool) -> None:
        self._turn = _reverse_words if reversed_ipv6_words else bytes

    def encode(self, value: Any) -> bytes:
        if not value:
            return bytes(self.size_bytes)
        address = value.partition("%")[0]  # a scope means nothing on another machine
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            packed = socket.inet_pton(family, address)
        except OSError as exc:
            raise ValueError("it is no numeric address") from exc
        if family == socket.AF_INET6:
            return self._turn(packed)
        return packed.ljust(self.size_bytes, b"\0")

    def decode(self, raw: bytes, earlier: Mapping[str, Any]) -> Any:
        if earlier["ipfamily"] == 6:
            return socket.inet_ntop(socket.AF_INET6, self._turn(raw)) if any(raw) else ""
        first = raw[:WORD_BYTES]
        return socket.inet_ntop(socket.AF_INET, first) if any(first) else ""


def _reverse_words(raw: bytes) -> bytes:
    words = len(raw) // WORD_BYTES
    return struct.pack(f"<{words}I", *struct.unpack(f">{words}I", raw))


INT = _Number(">i")
UINT = _Number(">I")
UINT_REVERSED = _Number("<I")
FLOAT = _Number(">f")
DOUBLE = _Number(">d")
UINT64 = _Number(">Q")
PORT = _Port(">I")


class Field(NamedTuple):
    """One line of a layout table.

    ``skip_bytes`` moves a field off its word: three strings of the OMNI response stand one
    behind the other without alignment.
    """

    name: str
    wire: WireType
    word: int
    skip_bytes: int = 0

    @property
    def offset(self) -> int:
        """Bytes from the start of the payload."""
        return WORD_BYTES * self.word + self.skip_bytes


class Layout:
    """Where the fields of one message stand in its payload."""

    def __init__(self, *table: Field | tuple[str, WireType, int]) -> None:
        self._table = table
        self._fields: tuple[Field, ...] | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """Its lines. Of two dozen layouts a program uses three: made when first asked for."""
        if self._fields is None:
            self._fields = tuple(Field(*line) for line in self._table)
        return self._fields

    def encode(self, message: object, payload_bytes: int) -> bytes:
        """The payload of a message; what no field covers is zero.

        Raises:
            LocalProtocolError: A value does not fit its place.
        """
        payload = bytearray(payload_bytes)
        for field in self.fields:
            value = getattr(message, field.name)
            try:
                raw = field.wire.encode(value)
                if field.offset + len(raw) > payload_bytes:
                    raise ValueError(f"a payload of {payload_bytes} bytes has no room for it")
            except (ValueError, TypeError, OverflowError, AttributeError,
                    struct.error) as exc:
                name = f"{type(message).__name__}.{field.name}"
                raise LocalProtocolError(f"{name} cannot be {value!r}: {exc}") from exc
            payload[field.offset:field.offset + len(raw)] = raw
        return bytes(payload)

    def decode(self, payload: bytes) -> dict[str, Any]:
        """The fields of a payload by name.

        Raises:
            RemoteProtocolError: A port to connect to is none.
        """
        values: dict[str, Any] = {}
        for field in self.fields:
            raw = payload[field.offset:field.offset + field.wire.size_bytes]
            values[field.name] = field.wire.decode(raw, values)
        return values
