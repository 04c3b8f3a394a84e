"""Frozen dataclasses that cost a program's start next to nothing.

``dataclasses`` writes the source of a constructor and of comparisons for every class and has
it compiled at import, and it imports ``inspect`` for it. For the sixty records on the way of a
plain test that was more than half of the time from the start of the program to its first
transaction. Here all classes share the same few functions, which read what they need from the
class.

They are dataclasses to whoever asks: ``dataclasses.fields``, ``replace``, ``asdict``,
``is_dataclass`` and ``inspect.signature`` work with them, and so does a dataclass that
inherits from one. What these functions look for is made when it is first looked for. Type
checkers are told that ``dataclass`` is the one of the standard library.

Only what records need is here: frozen, compared by value, all fields in the constructor.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import asdict, dataclass, field, replace
    from typing import Any, NoReturn

__all__ = ["asdict", "dataclass", "field", "field_names", "replace"]

# What copying leaves as it is; the rest is copied as ``copy.deepcopy`` does it.
ATOMS = {type(None), bool, int, float, str, bytes}


# In place of a default: there is none, or it is made anew for each record.
ABSENT, FRESH = object(), object()


class _Field:
    """What ``field`` gives: a default that is made anew for each record."""

    def __init__(self, default_factory: Callable[[], object]) -> None:
        self.default_factory = default_factory


def _dataclass(*, frozen: bool) -> Callable[[Any], Any]:
    """Make a class with annotated attributes a frozen dataclass.

    Args:
        frozen: Always ``True``; type checkers want to see it.

    Raises:
        TypeError: A field without a default follows one with a default.
        ValueError: A default could be changed by whoever holds a record.
    """
    assert frozen
    return _frozen


def _frozen(cls: Any) -> Any:
    # Every field with its default, or ABSENT: what a record begins as.
    template: dict[str, Any] = {}
    factories: dict[str, Callable[[], object]] = {}
    for base in cls.__mro__[-2:0:-1]:
        if "_plan" in base.__dict__:
            template.update(base.__dict__["_plan"][0])
            factories.update(base.__dict__["_plan"][2])
    own = cls.__dict__
    # Texts, since annotations are postponed in every file.
    for name, kind in own.get("__annotations__", {}).items():
        if kind.startswith("ClassVar"):
            continue
        default = own.get(name, ABSENT)
        factories.pop(name, None)
        if default.__class__ is _Field:
            factories[name] = default.default_factory
            delattr(cls, name)
            default = FRESH
        elif default.__class__.__hash__ is None:
            raise ValueError(f"the default of {cls.__name__}.{name} can be changed; "
                             "use default_factory")
        template[name] = default
    required = tuple(name for name in template if template[name] is ABSENT)
    if required != tuple(template)[:len(required)]:
        raise TypeError(f"{cls.__name__}.{required[-1]} has no default and follows one that "
                        "has one")
    cls.__match_args__ = tuple(template)  # type: ignore[misc]
    # All that a constructor needs, in one look.
    cls._plan = template, required, factories, hasattr(cls, "__post_init__")
    for name, method in METHODS:
        if name not in own:
            setattr(cls, name, method)
    for name in LAZY:
        setattr(cls, name, LAZY[name])
    return cls


# Constructors are called for every session and every message: nothing is looked up twice.
def _init(self: Any, /, *args: Any, **given: Any) -> None:
    template, required, factories, settles = self._plan
    values = template.copy()
    if args:
        if len(args) > len(values):
            raise TypeError(f"{_name(self)} takes {len(values)} values, {len(args)} were given")
        for name, value in zip(template, args):
            if name in given:
                raise TypeError(f"{_name(self)} got multiple values for argument {name!r}")
            values[name] = value
    values.update(given)
    if len(values) != len(template):
        stranger = next(name for name in given if name not in template)
        raise TypeError(f"{_name(self)} got an unexpected keyword argument {stranger!r}")
    for name in required:
        if values[name] is ABSENT:
            raise TypeError(f"{_name(self)} missing a required argument: {name!r}")
    if factories:
        for name in factories:
            if values[name] is FRESH:
                values[name] = factories[name]()
    self.__dict__.update(values)
    if settles:
        self.__post_init__()


def _name(record: object) -> str:
    return f"{record.__class__.__name__}()"


def _values(record: Any) -> tuple[Any, ...]:
    return tuple(map(record.__dict__.__getitem__, record.__match_args__))


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    inside = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.__match_args__)
    return f"{self.__class__.__qualname__}({inside})"


def _setattr(self: Any, name: str, value: object) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _replace(record: Any, /, **changes: Any) -> Any:
    """A record like this one, with other values where they are given."""
    return record.__class__(**{**dict(zip(record.__match_args__, _values(record))), **changes})


def field_names(record: Any) -> tuple[str, ...]:
    """Names of the fields of a record or of its class, in order."""
    found: tuple[str, ...] = record.__match_args__
    return found


def _asdict(record: Any) -> dict[str, Any]:
    """Fields and values, records inside as mappings too; shares nothing that can change."""
    return {name: _plain(record.__dict__[name]) for name in record.__match_args__}


def _plain(value: Any) -> Any:
    kind = value.__class__
    if kind in ATOMS:
        return value
    if hasattr(kind, "_plan"):
        return _asdict(value)
    if kind in (list, tuple):
        return kind(map(_plain, value))
    if kind is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    from copy import deepcopy

    return deepcopy(value)


def _field(*, default_factory: Callable[[], object]) -> Any:
    """A field whose default is made anew for each record."""
    return _Field(default_factory)


class _Lazy:
    """What a real dataclass has, made when it is first looked for."""

    def __init__(self, make: Callable[[type], object]) -> None:
        self._make = make

    def __get__(self, record: object, cls: type) -> Any:
        return self._make(cls)


def _twin(cls: Any) -> Any:
    """A real dataclass with the same fields."""
    home = next(base for base in cls.__mro__ if "_plan" in base.__dict__)
    if "_real" not in home.__dict__:
        import dataclasses

        kinds: dict[str, str] = {}
        for base in home.__mro__[::-1]:
            if "_plan" in base.__dict__:
                kinds.update(vars(base).get("__annotations__", {}))
        template, _, factories, _ = home._plan
        lines: list[Any] = []
        for name, default in template.items():
            if default is FRESH:
                found = dataclasses.field(default_factory=factories[name])
            elif default is ABSENT:
                found = dataclasses.field()
            else:
                found = dataclasses.field(default=default)
            lines.append((name, kinds[name], found))
        home._real = dataclasses.make_dataclass(home.__name__, lines, frozen=True)
    return home._real


def _signature(cls: Any) -> Any:
    if cls.__init__ is not _init:
        raise AttributeError("__signature__")  # a constructor of its own has one of its own
    from inspect import signature

    return signature(_twin(cls))


METHODS = (("__init__", _init), ("__eq__", _eq), ("__hash__", _hash), ("__repr__", _repr),
           ("__setattr__", _setattr), ("__delattr__", _delattr), ("__replace__", _replace))
LAZY = {
    "__dataclass_fields__": _Lazy(lambda cls: _twin(cls).__dataclass_fields__),
    "__dataclass_params__": _Lazy(lambda cls: _twin(cls).__dataclass_params__),
    "__signature__": _Lazy(_signature),
}

if not TYPE_CHECKING:
    asdict, dataclass, field, replace = _asdict, _dataclass, _field, _replace
