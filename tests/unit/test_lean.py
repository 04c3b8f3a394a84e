"""What stands in for names of typing, enum and socket behaves as these do where it is used."""

from __future__ import annotations

import copy
import enum
import json
import pickle
import socket
import typing

import pytest

from xenrr import lean


class Place(lean.NamedTuple):
    """A named tuple of ours."""

    name: str
    row: int
    seat: int = 7

    @property
    def text(self) -> str:
        return f"{self.name} {self.row}"


class Real(typing.NamedTuple):
    """The same of typing."""

    name: str
    row: int
    seat: int = 7


@pytest.mark.parametrize(("args", "given"), [
    (("a", 1), {}), (("a", 1, 2), {}), ((), {"name": "a", "row": 1}), (("a",), {"row": 3}),
    (("a", 1), {"seat": 5}),
])
def test_a_named_tuple_is_one(args, given):
    mine, real = Place(*args, **given), Real(*args, **given)
    assert mine == real == tuple(mine)
    assert (mine.name, mine.row, mine.seat) == (real.name, real.row, real.seat)
    assert repr(mine) == repr(real).replace("Real", "Place")
    assert mine._asdict() == real._asdict() and mine._fields == real._fields
    assert mine._replace(row=9) == real._replace(row=9)
    for same in (copy.copy(mine), copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert same == mine and isinstance(same, Place)
    assert mine.text.startswith("a ")


@pytest.mark.parametrize(("args", "given"), [
    ((), {}), (("a",), {}), (("a", 1, 2, 3), {}), (("a", 1), {"row": 2}), (("a", 1), {"x": 2})])
def test_what_does_not_fit_is_refused(args, given):
    for kind in (Place, Real):
        with pytest.raises(TypeError):
            kind(*args, **given)


def test_sockets_are_those_of_the_standard_library():
    assert issubclass(socket.socket, lean.socket.socket)
    assert lean.socket.gaierror is socket.gaierror
    assert lean.socket.timeout is socket.timeout
    for name in ("AF_INET", "AF_INET6", "SOCK_STREAM", "SOL_SOCKET", "MSG_PEEK"):
        assert getattr(lean.socket, name) == getattr(socket, name)


class Fruit(lean.Enum):
    """Constants of ours."""

    APPLE = "apple"
    PEAR = "pear"

    @property
    def is_apple(self) -> bool:
        return self is Fruit.APPLE


class RealFruit(enum.Enum):
    """The same of enum."""

    APPLE = "apple"
    PEAR = "pear"


class Level(lean.IntEnum):
    """Numbers of ours."""

    LOW = 0
    HIGH = 7


class RealLevel(enum.IntEnum):
    """The same of enum."""

    LOW = 0
    HIGH = 7


class Bits(lean.IntFlag):
    """Bits of ours."""

    ONE = 1
    TOP = 1 << 31


@pytest.mark.parametrize(("mine", "real", "other"), [
    (Fruit, RealFruit, "plum"), (Level, RealLevel, 1)])
def test_constants_are_those_of_enum(mine, real, other):
    assert [(one.name, one.value) for one in mine] == [(one.name, one.value) for one in real]
    assert [*mine.__members__] == [*real.__members__] and len(mine) == len(real)
    for one, same in zip(mine, real):
        assert repr(one) == repr(same).replace("Real", "")
        assert mine(one.value) is mine[one.name] is getattr(mine, one.name) is one
        assert one in mine and isinstance(one, mine) and bool(one) == bool(same)
        for copied in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            assert copied is one
        assert {one: "found"}[mine(one.value)] == "found"
    for kind in (mine, real):
        with pytest.raises(ValueError, match=f"{other!r} is not a valid"):
            kind(other)
        with pytest.raises(KeyError):
            kind["OTHER"]


def test_constants_have_methods_and_numbers_are_numbers():
    assert Fruit.APPLE.is_apple and not Fruit.PEAR.is_apple
    assert str(Fruit.APPLE) == str(RealFruit.APPLE).replace("Real", "")
    assert Level.HIGH == 7 and Level.LOW < Level.HIGH and isinstance(Level.HIGH, int)
    assert f"{Level.HIGH} {Level.HIGH:03d}" == "7 007" and [*"ab"][Level.LOW] == "a"
    assert json.dumps(Level.HIGH) == "7" and Level.HIGH != Fruit.APPLE


def test_bits_add_up():
    both = Bits.ONE | Bits.TOP
    assert both == (1 << 31) + 1 == sum(Bits) and isinstance(both, Bits)
    assert both & Bits.ONE is Bits.ONE and not Bits.ONE & Bits.TOP
    assert Bits(0) == 0 and isinstance(Bits(0), Bits) and 3 & Bits.ONE is Bits.ONE
    assert repr(both) == "<Bits.ONE|TOP: 2147483649>"
    assert pickle.loads(pickle.dumps(both)) == both == copy.deepcopy(both)
