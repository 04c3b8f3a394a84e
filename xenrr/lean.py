"""What a plain run takes from large modules of the standard library, without the rest of them.

``typing`` and ``socket`` cost 2 and 4 ms at each start, a quarter of what Python itself needs:
the one for names that only type checkers read, the other for the classes of its numbers and
for selectors. From here come the C modules below ``socket`` and ``signal``, whose calls and
constants are the same ones (numbers are plain ints, and a socket is no context manager), and
names that stand in for those of ``typing``. Type checkers see the real ones.

Modules on the way of a plain run import from here, others need not.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    import signal
    import socket
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


__all__ = ["Any", "ClassVar", "NamedTuple", "Protocol", "TypeVar", "Union", "cast", "signal",
           "socket"]
