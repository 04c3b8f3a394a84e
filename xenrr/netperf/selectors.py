"""Results as chosen by selectors: -o (CSV), -k (NAME=value), -O (columns for a person).

A selection is a list of blocks, and a block a list of selectors. It is read and checked
before the test runs: a slip in a name should not cost a measurement.

Source: output of Debian's netperf 2.7.0; its oddities are kept where parsers may lean on
them and are named where they occur.
"""

from __future__ import annotations

from functools import cache

from xenrr.netperf.ending import CODE_FAILED, Ending
from xenrr.netperf.latency import percent_of_selector
from xenrr.netperf.messages import no_selector_file
from xenrr.netperf.options import CSV
from xenrr.netperf.outcome import Outcome
from xenrr.netperf.selector_table import EXTRA, LAST_OF_BLOCK, NETPERF, Value

__all__ = ["Selection", "Selector", "csv_text", "human_text", "keyval_text", "names_text",
           "read_selection", "unknown_text"]

# A test's own columns: the first few by its direction, then the result, then the CPUs if
# one of them is measured. "-k" without an argument and OMNI without an option print them.
OWN_SEND = ("LSS_SIZE_END", "RSR_SIZE_END", "LOCAL_SEND_SIZE")
OWN_RECEIVE = ("RSS_SIZE_END", "LSR_SIZE_END", "REMOTE_SEND_SIZE")
OWN_TRANSACTIONS = ("LSS_SIZE_END", "LSR_SIZE_END", "RSR_SIZE_END", "RSS_SIZE_END",
                    "REQUEST_SIZE", "RESPONSE_SIZE")
OWN_RESULT = ("ELAPSED_TIME", "THROUGHPUT", "THROUGHPUT_UNITS")
OWN_CPU = tuple(f"{end}_CPU_{part}" for end in ("LOCAL", "REMOTE") for part in (
    "UTIL", "PERCENT_USER", "PERCENT_SYSTEM", "PERCENT_IOWAIT", "PERCENT_IRQ",
    "PERCENT_SWINTR", "METHOD"))
OWN_DEMAND = ("LOCAL_SD", "REMOTE_SD", "SD_UNITS")
TITLE_LINES = 4
# A file of selectors is a few lines; nobody means the rest of a larger one.
MAX_FILE_CHARACTERS = 1 << 16
# netperf puts its name for "every one" above a list of names.
EVERY = "ALL"


class Selector:
    """One column.

    Attributes:
        name: In upper case; empty for a name nobody knows, which makes an empty column.
    """

    def __init__(self, name: str, titles: str, format_: str, value: Value) -> None:
        self.name = name
        self._titles = titles
        self._format = format_
        self._value = value

    @property
    def titles(self) -> list[str]:
        """Up to four lines."""
        return self._titles.split("|") if self._titles else []

    def text(self, outcome: Outcome) -> str | None:
        """The value as it is printed, ``None`` where there is none."""
        value = self._value(outcome) if callable(self._value) else self._value
        return None if value is None else self._format % value


Selection = list[list[Selector]]

UNKNOWN = Selector("", "", "%s", None)
TABLE = {row[0]: Selector(*row) for row in (*NETPERF, *EXTRA)}


@cache
def _by_title() -> dict[str, Selector]:
    """netperf takes the title of a column for its name as well (in files; here everywhere)."""
    return {" ".join(selector.titles).upper(): selector for selector in TABLE.values()}


def _find(name: str) -> Selector:
    known = TABLE.get(name.upper())
    if known is not None:
        return known
    percent = percent_of_selector(name.upper())
    if percent is None:
        return _by_title().get(name.upper(), UNKNOWN)
    wanted = percent

    def value(outcome: Outcome) -> float:
        return outcome.latency_ns.percentile(wanted) / 1000

    return Selector(name.upper(), f"{percent:g}th|Percentile|Latency|Microseconds", "%.2f",
                    value)


def names_text() -> str:
    """The list that ``?`` asks for: netperf's own, in its order, then ours."""
    return ",".join(TABLE) + "\n"


def _own_columns(outcome: Outcome) -> Selection:
    """What a test prints when nobody chose."""
    first = {"send": OWN_SEND, "receive": OWN_RECEIVE}
    names = (*first.get(outcome.run.spec.direction, OWN_TRANSACTIONS), *OWN_RESULT)
    if outcome.measures_cpu:
        names = (*names, *OWN_CPU, *OWN_DEMAND)
    return [[TABLE[name] for name in names]]


def _every_block() -> Selection:
    """``all``: netperf's list in its four blocks."""
    blocks: Selection = [[]]
    for name, *_ in NETPERF[1:]:
        blocks[-1].append(TABLE[name])
        if name in LAST_OF_BLOCK:
            blocks.append([])
    return blocks


def read_selection(argument: str | None, form: str) -> tuple[Selection, list[str]]:
    """Turn what follows -o, -O or -k into columns.

    Args:
        argument: A list of names, ``all``, ``?``, a file, or ``None`` for the test's own.
        form: ``CSV``, ``KEYVAL`` or ``HUMAN``.

    Returns:
        The blocks, empty for the test's own columns; and names nobody knows (netperf leaves
        them out of -k and prints an empty column for them in -O).

    Raises:
        Ending: The file cannot be read; ``?`` was answered; -o names something unknown
            (netperf aborts there with a damaged heap).
    """
    if argument is None:
        return [], []
    if argument == "?":
        raise Ending(CODE_FAILED, names_text())
    if argument.upper() == EVERY:
        return _every_block(), []
    if not _looks_like_names(argument):
        return _read_file(argument)
    unknown: list[str] = []
    blocks: Selection = []
    # netperf stops after four blocks; here there is no such limit.
    for line in argument.split(";"):
        block = [_find(word) for word in _words(line)]
        unknown += [word for word in _words(line) if _find(word) is UNKNOWN]
        if block:
            blocks.append(block)
    if unknown and form == CSV:
        raise Ending(CODE_FAILED, err=f"netperf: {unknown_text(unknown)}\n")
    return blocks, unknown


def _words(line: str) -> list[str]:
    """Names between commas; blanks separate names too, unless they are part of a title."""
    words = []
    for word in filter(None, map(str.strip, line.split(","))):
        words += [word] if _find(word) is not UNKNOWN else word.split()
    return words


def unknown_text(names: list[str]) -> str:
    """One sentence about names nobody knows, with a guess where one is close."""
    from difflib import get_close_matches  # only needed once somebody has mistyped

    guesses = []
    for name in names:
        near = get_close_matches(name.upper(), TABLE, 1, 0.75)
        guesses.append(f"{name} (did you mean {near[0]}?)" if near else name)
    return "there is no output selector " + ", ".join(guesses)


def csv_text(selection: Selection, outcome: Outcome) -> str:
    """One line of titles while headers are on, one line of values."""
    columns = [selector for block in selection or _own_columns(outcome)
               for selector in block]
    text = ""
    if outcome.options.headers:
        text = ",".join(" ".join(column.titles) or " " for column in columns) + "\n"
    # A value that is not there leaves a comma and a blank behind, and then the last
    # character of the line is dropped: netperf's way, seen with RESULT_BRAND.
    cells = [column.text(outcome) for column in columns]
    line = "".join(", " if cell is None else f"{cell}," for cell in cells)
    return f"{text}{line[:-1]}\n"


def keyval_text(selection: Selection, outcome: Outcome) -> str:
    """One ``NAME=value`` line for each selector that has a value."""
    lines = []
    for block in selection or _own_columns(outcome):
        for selector in block:
            value = selector.text(outcome)
            if value is not None and selector.name:
                lines.append(f"{selector.name}={value}\n")
    return "".join(lines)


def human_text(selection: Selection, outcome: Outcome) -> str:
    """Blocks of columns with four lines of titles each while headers are on."""
    return "\n".join(_block_text(block, outcome)
                     for block in selection or _own_columns(outcome))


def _block_text(block: list[Selector], outcome: Outcome) -> str:
    rows: list[list[str]] = [[] for _ in range(TITLE_LINES + 1)]
    for selector in block:
        value = selector.text(outcome)
        # netperf counts the end mark of a value, not that of a title.
        longest = max(len(title) for title in [*selector.titles, ""])
        width = max(longest, 0 if value is None else len(value) + 1) + 1
        titles = selector.titles + [""] * (TITLE_LINES - len(selector.titles))
        for row, cell in zip(rows, [*titles, value or ""]):
            row.append(f"{cell:<{width}}")
    wanted = rows if outcome.options.headers else rows[-1:]
    return "".join("".join(row) + "\n" for row in wanted)


def _looks_like_names(argument: str) -> bool:
    """Whether an argument is a list of names rather than a file."""
    first = argument.replace(";", ",").split(",")[0].strip()
    return "," in argument or ";" in argument or _find(first) is not UNKNOWN


def _read_file(name: str) -> tuple[Selection, list[str]]:
    """Blocks from a file, one a line.

    What nobody knows, and an empty line, is the blank column OUTPUT_NONE there, in every
    form and without an end of the program.
    """
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            lines = file.read(MAX_FILE_CHARACTERS).replace(";", "\n").splitlines()
    except OSError as exc:
        raise no_selector_file(name, exc.errno or 0) from None
    blank = TABLE["OUTPUT_NONE"]
    unknown: list[str] = []
    blocks: Selection = []
    for line in lines:
        words = _words(line)
        found = [_find(word) for word in words]
        unknown += [word for word, selector in zip(words, found) if selector is UNKNOWN]
        blocks.append([blank if selector is UNKNOWN else selector for selector in found]
                      or [blank])
    return blocks, unknown
