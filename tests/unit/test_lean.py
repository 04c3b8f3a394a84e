"""What stands in for names of typing and socket behaves as these do where it is used."""

from __future__ import annotations

import copy
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
