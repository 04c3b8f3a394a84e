"""A declaration in TOML whose every mistake is told with file and line.

The TOML readers give values without their places. The places come from reading the file a
second time, statement by statement: lines are added to a statement until the reader takes
it, so no grammar of TOML is repeated here. What a statement or a header defines stands in
its first line; a value inside a list that spans lines is told with the line the list begins in.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Union

from xenrr.errors import SpecError

__all__ = ["MAX_FILE_BYTES", "Document", "Table", "parse_document", "read_document"]

Key = tuple[Union[str, int], ...]

# 1000 hosts, each with a table of its own of ten lines, take a third of this.
MAX_FILE_BYTES = 1 << 20
# A statement is tried again with each further line; one that is longer is no list of machines.
MAX_STATEMENT_LINES = 2000


class Document:
    """What a file says, and where it says it.

    Attributes:
        file: Name of the file, as it was given.
        data: Its top table.
    """

    def __init__(self, file: str, data: Mapping[str, Any], lines: Mapping[Key, int]) -> None:
        self.file = file
        self.data = data
        self._lines = lines

    def line(self, key: Key) -> int | None:
        """Line of a key, or of the nearest table around it that has one."""
        for length in range(len(key), 0, -1):
            for place in (key[:length], (*key[:length], 0)):  # a list begins with its first
                if place in self._lines:
                    return self._lines[place]
        return None

    def error(self, key: Key, message: str) -> SpecError:
        """The error to raise about a key."""
        return SpecError(message, self.file, self.line(key))

    @property
    def top(self) -> Table:
        """The table that holds all others."""
        return Table(self, (), self.data)


class Table:
    """One table of a document; every getter says what it expected.

    Args:
        document: Where it stands.
        key: Path from the top, with numbers for places in lists.
        data: Its content.
    """

    def __init__(self, document: Document, key: Key, data: Mapping[str, Any]) -> None:
        self.document = document
        self.key = key
        self.data = data

    def error(self, name: str, message: str) -> SpecError:
        """The error to raise about one of the table's keys; empty for the table itself."""
        return self.document.error((*self.key, name) if name else self.key, message)

    def only(self, known: Sequence[str]) -> None:
        """Refuse keys that mean nothing here.

        Raises:
            SpecError: There is one; the message names those that were expected.
        """
        for name in self.data:
            if name not in known:
                meant = get_close_matches(name, known, n=1)
                advice = f"did you mean {meant[0]}?" if meant else (
                    f"expected one of {', '.join(known)}")
                raise self.error(name, f"{self.where}no key {name!r} is known here; {advice}")

    @property
    def where(self) -> str:
        """Name of the table in front of a message, such as ``host 3: ``."""
        parts = [str(part + 1) if isinstance(part, int) else part for part in self.key]
        return f"{' '.join(parts)}: " if parts else ""

    def _wrong(self, name: str, expected: str) -> SpecError:
        found = self.data[name]
        shown = {bool: "true or false", dict: "a table", list: "a list"}.get(type(found))
        return self.error(name, f"{self.where}{name}: expected {expected}, "
                                f"found {shown or repr(found)}")

    def text(self, name: str, expected: str) -> str | None:
        """A string that is not empty, or ``None`` where there is none.

        Args:
            name: The key.
            expected: What it should be, for the message.

        Raises:
            SpecError: It is something else.
        """
        if name not in self.data:
            return None
        value = self.data[name]
        if not isinstance(value, str) or not value:
            raise self._wrong(name, expected)
        return value

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number within limits, or ``None`` where there is none.

        Raises:
            SpecError: It is something else.
        """
        if name not in self.data:
            return None
        value = self.data[name]
        # TOML's true is an int to Python.
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(name, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number within limits, or ``None`` where there is none.

        Raises:
            SpecError: It is something else.
        """
        if name not in self.data:
            return None
        value = self.data[name]
        if not isinstance(value, (int, float)) or isinstance(value, bool) or (
                not low <= value <= high):
            raise self._wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def listed(self, name: str, expected: str) -> list[Any] | None:
        """A list, or ``None`` where there is none.

        Raises:
            SpecError: It is something else.
        """
        if name not in self.data:
            return None
        value = self.data[name]
        if not isinstance(value, list):
            raise self._wrong(name, expected)
        return value

    def table(self, name: str) -> Table | None:
        """A table inside this one, or ``None`` where there is none.

        Raises:
            SpecError: It is something else.
        """
        if name not in self.data:
            return None
        value = self.data[name]
        if not isinstance(value, dict):
            raise self._wrong(name, f"a table, [{name}] or {name} = {{ ... }}")
        return Table(self.document, (*self.key, name), value)

    def tables(self, name: str) -> list[Table]:
        """The tables of a list such as ``[[host]]``; empty where there is none.

        Raises:
            SpecError: It is something else.
        """
        if name not in self.data:
            return []
        value = self.data[name]
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(name, f"tables, each one opened by [[{name}]]")
        return [Table(self.document, (*self.key, name, place), item)
                for place, item in enumerate(value)]


def read_document(file: str) -> Document:
    """Read a file.

    Raises:
        SpecError: It is no TOML, no UTF-8, or longer than ``MAX_FILE_BYTES``.
        OSError: It cannot be read.
    """
    with Path(file).open("rb") as stream:
        raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise SpecError(f"longer than {MAX_FILE_BYTES} bytes", file)
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise SpecError("TOML is UTF-8, and this line is not", file, line) from exc
    return parse_document(text, file)


def parse_document(text: str, file: str) -> Document:
    """Read a text.

    Args:
        text: TOML.
        file: Name for messages.

    Raises:
        SpecError: It is no TOML.
    """
    loads = _reader()
    try:
        data = loads(text)
    except ValueError as exc:
        message = str(exc)
        place = re.search(r" \(at line (\d+), column \d+\)", message)
        line = int(place[1]) if place else text.count("\n") + 1
        raise SpecError(f"no TOML: {re.sub(r' [(]at .*', '', message)}", file, line) from exc
    except RecursionError as exc:
        raise SpecError("no TOML: nested too deeply", file) from exc
    return Document(file, data, dict(_places(text, loads)))


def _reader() -> Any:
    for name in ("tomllib", "tomli"):  # the standard library's is from Python 3.11 on
        with contextlib.suppress(ModuleNotFoundError):
            return import_module(name).loads
    raise SpecError("reading TOML takes Python 3.11 or the package tomli")


def _places(text: str, loads: Any) -> Iterator[tuple[Key, int]]:
    """Every key that a statement or a header defines, with the line it begins in.

    The text has been found to be TOML, so each statement is complete at some line.
    """
    table: Key = ()
    counts: dict[Key, int] = {}
    statement: list[str] = []
    first = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not statement:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            first = number
            if line.lstrip().startswith("["):
                table = _header(loads(line), counts, is_list=line.lstrip().startswith("[["))
                yield table, first
                continue
        statement.append(line)
        try:
            found = loads("\n".join(statement))
        except ValueError:
            if len(statement) > MAX_STATEMENT_LINES:
                return
            continue
        statement = []
        yield from ((key, first) for key in _keys(found, table))


def _header(found: Mapping[str, Any], counts: dict[Key, int], is_list: bool) -> Key:
    """Path of the table that a header opens; names of lists are followed by a number."""
    names: list[str] = []
    inner: Any = found
    while isinstance(inner, dict) and inner:
        name, inner = next(iter(inner.items()))
        names.append(name)
        if isinstance(inner, list):
            break
    key: Key = ()
    for place, name in enumerate(names):
        key = (*key, name)
        if is_list and place == len(names) - 1:
            counts[key] = counts.get(key, 0) + 1
        if key in counts:
            key = (*key, counts[key] - 1)
    return key


def _keys(found: Any, above: Key) -> Iterator[Key]:
    items = found.items() if isinstance(found, dict) else (
        enumerate(found) if isinstance(found, list) else ())
    for name, inner in items:
        yield (*above, name)
        yield from _keys(inner, (*above, name))
