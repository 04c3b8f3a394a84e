from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import pytest

from xenrr.errors import LocalProtocolError, RemoteProtocolError
from xenrr.wire import layout as wire
from xenrr.wire.layout import Address, Bytes, Field, Flags, Layout, Text

NETWORK_ORDER = Address(reversed_ipv6_words=False)
REVERSED = Address(reversed_ipv6_words=True)


class Bits(IntFlag):
    ONE = 0x1
    TOP = 0x80000000


@dataclass
class Record:
    value: Any
    ipfamily: int = 4


def encoded(kind, value, payload_bytes=32):
    return Layout(("value", kind, 1)).encode(Record(value), payload_bytes)


def decoded(kind, raw, family=4):
    table = Layout(("ipfamily", wire.INT, 0), ("value", kind, 1))
    return table.decode(family.to_bytes(4, "big") + raw.ljust(kind.size_bytes, b"\0"))["value"]


@pytest.mark.parametrize(("kind", "value", "raw"), [
    (wire.INT, -2, "fffffffe"),
    (wire.UINT, 4294967295, "ffffffff"),
    (wire.UINT64, 5 + (7 << 32), "00000007 00000005"),
    (wire.FLOAT, 100.0, "42c80000"),
    (wire.PORT, 65535, "0000ffff"),
    (Flags(Bits.ONE | Bits.TOP), Bits.TOP, "80000000"),
    (Bytes(8), b"abc", "61626300"),
    (Text(8), "µ", "c2b500"),
    (REVERSED, "127.0.0.1", "7f000001"),
    (REVERSED, "", "00"),
])
def test_values_are_big_endian_words_and_raw_text(kind, value, raw):
    assert encoded(kind, value)[4:] == bytes.fromhex(raw).ljust(28, b"\0")
    assert decoded(kind, bytes.fromhex(raw)) == value


@pytest.mark.parametrize(("kind", "raw"), [
    (NETWORK_ORDER, "20010db8 00000000 00000000 00000001"),
    (REVERSED, "b80d0120 00000000 00000000 01000000"),
])
def test_ipv6_words_stand_as_the_release_has_them(kind, raw):
    assert encoded(kind, "2001:db8::1")[4:20].hex() == raw.replace(" ", "")
    assert decoded(kind, bytes.fromhex(raw), family=6) == "2001:db8::1"


def test_the_scope_of_an_address_stays_at_home():
    assert encoded(REVERSED, "fe80::1%eth0") == encoded(REVERSED, "fe80::1")


@pytest.mark.parametrize(("kind", "value"), [
    (wire.INT, 2**31), (wire.INT, None), (wire.INT, "1"), (wire.INT, 1.5),
    (wire.UINT, -1), (wire.UINT64, 2**64), (wire.FLOAT, 1e39), (wire.FLOAT, "fast"),
    (wire.PORT, 0), (wire.PORT, 65536), (wire.PORT, None),
    (Flags(Bits.ONE), 2**32),
    (Bytes(4), b"four"), (Bytes(4), b"a\0b"), (Text(4), "four"), (Text(4), b"abc"),
    (REVERSED, "localhost"), (REVERSED, "1.2.3"), (REVERSED, "::g"), (REVERSED, 5),
])
def test_a_value_that_does_not_fit_is_our_own_mistake(kind, value):
    with pytest.raises(LocalProtocolError, match=r"Record.value cannot be"):
        encoded(kind, value)


def test_a_text_that_the_short_message_has_no_room_for():
    assert encoded(Text(64), "x" * 27)[-1] == 0
    with pytest.raises(LocalProtocolError, match="payload of 32 bytes"):
        encoded(Text(64), "x" * 28)


def test_leftovers_decode_to_something():
    garbage = bytes.fromhex("ffffffff" * 4)
    assert math.isnan(decoded(wire.FLOAT, garbage[:4]))
    assert decoded(Text(4), garbage[:4]) == "\ufffd" * 4
    assert decoded(Text(4), b"full") == "full"
    assert decoded(Bytes(8), b"abc\0rest") == b"abc"
    assert decoded(Flags(Bits.ONE), garbage[:4]) == Bits.ONE
    assert decoded(REVERSED, garbage, family=4) == "255.255.255.255"
    assert decoded(REVERSED, garbage, family=77) == "255.255.255.255"
    assert decoded(REVERSED, garbage, family=6) == ":".join(["ffff"] * 8)


@pytest.mark.parametrize("port", ["00000000", "00010000", "ffffffff"])
def test_a_port_to_connect_to_has_to_be_one(port):
    with pytest.raises(RemoteProtocolError, match="data port"):
        decoded(wire.PORT, bytes.fromhex(port))


def test_strings_may_stand_off_the_words():
    table = Layout(Field("value", Text(3), 0), Field("ipfamily", wire.INT, 0, 3))
    assert table.encode(Record("ab", 6), 8) == b"ab\0\0\0\0\6\0"
    assert table.decode(b"ab\0\0\0\0\6\0") == {"value": "ab", "ipfamily": 6}
