"""Records of our own making do what frozen dataclasses do, for us and for whoever asks."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from typing import ClassVar

import pytest

import xenrr
from xenrr.frozen import asdict, dataclass, field, field_names, replace


@dataclass(frozen=True)
class Point:
    """A place."""

    x: int
    y: int = 2
    labels: dict[str, int] = field(default_factory=dict)
    ORIGIN: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("left of the origin")

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclass(frozen=True)
class Place(Point):
    name: str = ""
    within: Point | None = None


# The same, made by the standard library.
Real = dataclasses.make_dataclass("Point", [
    ("x", "int"), ("y", "int", 2), ("labels", "dict", dataclasses.field(default_factory=dict))],
    frozen=True)


@pytest.mark.parametrize(("args", "given"), [
    ((1,), {}), ((1, 3), {}), ((1, 3, {"a": 1}), {}), ((), {"x": 1}), ((1,), {"y": 5}),
    ((), {"labels": {"b": 2}, "x": 0}),
])
def test_it_is_made_printed_and_hashed_like_a_dataclass(args, given):
    mine, real = Point(*args, **given), Real(*args, **given)
    assert repr(mine) == repr(real)
    assert asdict(mine) == dataclasses.asdict(mine) == dataclasses.asdict(real)
    assert mine == Point(*args, **given) and mine != Point(7)
    assert mine != real


@pytest.mark.parametrize(("args", "given", "named"), [
    ((), {}, "'x'"), ((1, 2, {}, 4), {}, "4"), ((1,), {"x": 1}, "'x'"), ((1,), {"z": 1}, "'z'"),
    ((1,), {"ORIGIN": 1}, "'ORIGIN'"), ((), {"y": 1}, "'x'"), ((), {"z": 1}, "'z'"),
])
def test_what_does_not_fit_is_named(args, given, named):
    with pytest.raises(TypeError, match=named):
        Real(*args, **given)
    with pytest.raises(TypeError, match=rf"Point\(\).*{named}"):
        Point(*args, **given)


def test_nothing_of_it_changes():
    point = Point(1)
    for change in (lambda: setattr(point, "x", 2), lambda: setattr(point, "new", 2),
                   lambda: delattr(point, "x")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert point == Point(1)


def test_each_has_a_default_of_its_own():
    first, second = Point(1), Point(1)
    first.labels["a"] = 1
    assert second.labels == {} and not hasattr(Point, "labels")
    assert Point(1, labels=None).labels is None


def test_it_is_checked_however_it_is_made():
    for make in (lambda: Point(-1), lambda: replace(Point(1), x=-1),
                 lambda: dataclasses.replace(Point(1), x=-1)):
        with pytest.raises(ValueError, match="left"):
            make()


def test_fields_of_a_base_come_first():
    place = Place(1, name="here", within=Point(0))
    assert field_names(Place) == field_names(place) == ("x", "y", "labels", "name", "within")
    assert place.sum == 3
    assert asdict(place)["within"] == {"x": 0, "y": 2, "labels": {}}
    assert dataclasses.asdict(place) == asdict(place)


def test_what_asdict_gives_shares_nothing():
    labels = {"a": 1}
    plain = asdict(Point(1, labels=labels))
    labels["a"] = 2
    assert plain["labels"] == {"a": 1}


@pytest.mark.parametrize("cls", [Place, xenrr.TestSpec, xenrr.EndSpec, xenrr.InterimPoint,
                                 xenrr.Run, xenrr.SocketFacts, xenrr.TargetTally])
def test_the_standard_library_takes_it_for_a_dataclass(cls):
    assert dataclasses.is_dataclass(cls)
    assert [item.name for item in dataclasses.fields(cls)] == list(field_names(cls))
    assert list(inspect.signature(cls).parameters) == list(field_names(cls))
    assert cls.__dataclass_params__.frozen


def test_the_standard_library_works_with_it():
    spec = xenrr.TestSpec("UDP_RR", request_bytes=100)
    assert dataclasses.replace(spec, request_bytes=1) == replace(spec, request_bytes=1)
    assert dataclasses.asdict(spec)["local"] == dataclasses.asdict(xenrr.EndSpec())
    for same in (copy.copy(spec), copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert same == spec and hash(same) == hash(spec)


def test_a_dataclass_may_inherit_from_it():
    @dataclasses.dataclass(frozen=True)
    class Named(Point):
        name: str = ""

    named = Named(1, name="a")
    assert (named.sum, named.name) == (3, "a")
    assert dataclasses.asdict(named) == {"x": 1, "y": 2, "labels": {}, "name": "a"}


def test_mistakes_in_a_class_are_told():
    with pytest.raises(TypeError, match="y"):
        @dataclass(frozen=True)
        class Late:
            x: int = 1
            y: int
    with pytest.raises(ValueError, match="default_factory"):
        @dataclass(frozen=True)
        class Shared:
            x: list[int] = []  # noqa: RUF012


def test_to_make_one_imports_nothing():
    program = ("import sys; before = set(sys.modules); from xenrr.frozen import dataclass;"
               "from xenrr.results.record import TestSpec; TestSpec();"
               "print(*set(sys.modules) - before)")
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True,
                          timeout=60, check=True)
    assert not {"dataclasses", "inspect"} & set(done.stdout.split())
