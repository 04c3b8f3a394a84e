"""What a plain run takes from large modules of the standard library, without the rest of them.

``typing`` and ``socket`` cost 2 and 4 ms at each start, a quarter of what Python itself needs:
the one for names that only type checkers read, the other for the classes of its numbers and
for selectors; ``enum`` costs 1 ms and as much again for the classes that are made with it.
From here come the C modules below ``socket`` and ``signal``, whose calls and constants are the
same ones (numbers are plain ints, and a socket is no context manager), and what stands in for
names of ``typing`` and ``enum``. Type checkers see the real ones.

Modules on the way of a plain run import from here, others need not.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    import signal
    import socket
    from enum import Enum, IntEnum, IntFlag
    from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, Union, cast
else:
    from operator import itemgetter

    try:
        import _signal as signal
        import _socket as socket
    except ImportError:  # another Python than CPython and PyPy
        import signal
        import socket

    class _Form:
        """Of use in annotations only, which nobody evaluates."""

        def __getitem__(self, kinds):
            return self

        def __call__(self, *args, **kwargs):
            return self

    Any = ClassVar = TypeVar = Union = _Form()

    class Protocol:
        """What a class has to have; nobody asks at run time whether it does."""

    def cast(kind, value):
        """The value as it is."""
        return value

    class NamedTuple(tuple):
        """A tuple whose places have names, as annotated in the class."""

        __slots__ = ()

        def __init_subclass__(cls):
            names = tuple(cls.__annotations__)
            cls._defaults = {name: cls.__dict__[name] for name in names
                             if name in cls.__dict__}
            cls._fields = cls.__match_args__ = names
            for place, name in enumerate(names):
                setattr(cls, name, property(itemgetter(place)))

        def __new__(cls, *args, **given):
            if len(args) != len(cls._fields) or given:
                values = dict(zip(cls._fields, args))
                if len(args) > len(cls._fields) or values.keys() & given.keys():
                    raise TypeError(f"{cls.__name__}() got too many values")
                values = {**cls._defaults, **values, **given}
                if len(values) > len(cls._fields):
                    raise TypeError(f"{cls.__name__}() got an unexpected keyword argument")
                try:
                    args = [values[name] for name in cls._fields]
                except KeyError as exc:
                    raise TypeError(f"{cls.__name__}() missing a required argument: "
                                    f"{exc}") from None
            return tuple.__new__(cls, args)

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            inside = ", ".join(map("{}={!r}".format, self._fields, self))
            return f"{self.__class__.__name__}({inside})"

        def _replace(self, **changes):
            return self.__class__(**{**dict(zip(self._fields, self)), **changes})

        def _asdict(self):
            return dict(zip(self._fields, self))

    class _Members(type):
        """Of classes whose constants are their only instances.

        Each constant with a value of its own: there are no aliases and no ``auto``.
        """

        def __new__(mcs, name, bases, space):
            cls = super().__new__(mcs, name, bases, space)
            cls._by_value = {}
            cls.__members__ = {}
            for key, value in space.items():
                if key[0] != "_" and not hasattr(value, "__get__"):
                    member = cls._made(value)
                    member.name, member.value = key, value
                    cls._by_value[value] = cls.__members__[key] = member
                    setattr(cls, key, member)
            return cls

        def __call__(cls, value):
            try:
                return cls._by_value[value]
            except KeyError:
                return cls._missing_(value)

        def __getitem__(cls, name):
            return cls.__members__[name]

        def __iter__(cls):
            return iter(cls.__members__.values())

        def __len__(cls):
            return len(cls.__members__)

        def __contains__(cls, member):
            return isinstance(member, cls) and member.value in cls._by_value

    class Enum(metaclass=_Members):
        """Constants that are what they are named."""

        @classmethod
        def _made(cls, value):
            return cls.__new__(cls)

        @classmethod
        def _missing_(cls, value):
            raise ValueError(f"{value!r} is not a valid {cls.__qualname__}")

        def __str__(self):
            return f"{self.__class__.__name__}.{self.name}"

        def __repr__(self):
            return f"<{self.__class__.__name__}.{self.name}: {self.value!r}>"

        def __reduce_ex__(self, protocol):
            return self.__class__, (self.value,)

    class IntEnum(int, Enum):
        """Constants that are numbers as well."""

        @classmethod
        def _made(cls, value):
            return int.__new__(cls, value)

        __str__ = int.__repr__
        __repr__ = Enum.__repr__

    class IntFlag(IntEnum):
        """Constants that are bits, and what they add up to."""

        @classmethod
        def _missing_(cls, value):
            made = cls._made(value)
            made.name, made.value = "|".join(
                member.name for member in cls if member.value & value) or None, value
            return made

        def __or__(self, other):
            return self.__class__(int(self) | int(other))

        def __and__(self, other):
            return self.__class__(int(self) & int(other))

        __ror__, __rand__ = __or__, __and__


__all__ = ["Any", "ClassVar", "Enum", "IntEnum", "IntFlag", "NamedTuple", "Protocol", "TypeVar",
           "Union", "cast", "signal", "socket"]
