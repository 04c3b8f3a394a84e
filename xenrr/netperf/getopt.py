"""Command lines read the way netperf's C library reads them.

Letters stand alone or together (``-jv2``), a value is attached or the next argument, words
that belong to no option are skipped, ``--`` ends the list. netperf adds two forms of its
own: options whose value may be missing. Long options are ours.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["FLAG", "NUMBER_IF_NEXT", "VALUE", "WORD_IF_NEXT", "Mistake", "Scanner",
           "leading_integer", "split_pair"]

FLAG = "flag"
VALUE = "value"
# -c and -C: the next argument is the value if it starts with a digit.
NUMBER_IF_NEXT = "number if next"
# -k, -o and -O of a test: the next argument is the value unless it starts with a dash.
WORD_IF_NEXT = "word if next"

# int() refuses some thousands of digits; no level or switch has more than these.
MAX_DIGITS = 18


class Mistake:
    """An option that does not exist, or one without its value, in getopt's words.

    ``is_long`` tells our own long options from netperf's letters.
    """

    def __init__(self, text: str, is_long: bool) -> None:
        self.text = text
        self.is_long = is_long


class Scanner:
    """One pass over a list of arguments.

    Args:
        program: Name in front of the messages.
        args: What follows the program's name.
        letters: Kind of every one-letter option.
        names: Kind of every long option, without the dashes.

    Attributes:
        rest: What follows ``--``, once all options have been taken.
    """

    def __init__(self, program: str, args: Sequence[str], letters: Mapping[str, str],
                 names: Mapping[str, str]) -> None:
        self._program = program
        self._todo = list(args)
        self._letters = letters
        self._names = names
        self.rest: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, str | None] | Mistake]:
        """Pairs of option and value; a ``Mistake`` takes the place of a pair."""
        while self._todo:
            word = self._todo.pop(0)
            if word == "--":
                self.rest = self._todo
                return
            if word.startswith("--"):
                yield self._long(word[2:])
            elif word.startswith("-") and word != "-":
                yield from self._cluster(word[1:])

    def _cluster(self, cluster: str) -> Iterator[tuple[str, str | None] | Mistake]:
        while cluster:
            letter, cluster = cluster[0], cluster[1:]
            kind = self._letters.get(letter)
            if kind is None:
                yield Mistake(f"{self._program}: invalid option -- '{letter}'", False)
            elif kind == FLAG:
                yield letter, None
            elif kind == VALUE and not cluster and not self._todo:
                yield Mistake(f"{self._program}: option requires an argument -- '{letter}'",
                              False)
            elif kind == NUMBER_IF_NEXT and cluster and not cluster[0].isdigit():
                yield letter, None
            else:
                yield letter, cluster or self._next_if(kind)
                cluster = ""

    def _long(self, word: str) -> tuple[str, str | None] | Mistake:
        name, equals, attached = word.partition("=")
        kind = self._names.get(name)
        if kind is None:
            from difflib import get_close_matches  # only once somebody has mistyped

            near = get_close_matches(name, list(self._names), 1, 0.5)
            meant = f"\n{self._program}: did you mean --{near[0]}?" if near else ""
            return Mistake(f"{self._program}: unrecognized option '--{name}'{meant}", True)
        if equals and kind == FLAG:
            return Mistake(f"{self._program}: option '--{name}' doesn't allow an argument",
                           True)
        if equals:
            return name, attached
        if kind == VALUE and not self._todo:
            return Mistake(f"{self._program}: option '--{name}' requires an argument", True)
        return name, self._next_if(kind)

    def _next_if(self, kind: str) -> str | None:
        if not self._todo or kind == FLAG:
            return None
        following = self._todo[0]
        if (kind == VALUE or (kind == NUMBER_IF_NEXT and following[:1].isdigit())
                or (kind == WORD_IF_NEXT and not following.startswith("-"))):
            return self._todo.pop(0)
        return None


def split_pair(text: str, copy: bool) -> tuple[str | None, str | None]:
    """The two halves of ``a,b``; ``a,`` and ``,b`` leave the other one alone.

    Args:
        text: As typed.
        copy: Whether one value without a comma stands for both halves.
    """
    first, comma, second = text.partition(",")
    if not comma:
        second = first if copy else ""
    return first or None, second or None


def leading_integer(text: str) -> int:
    """What C's atoi() makes of a text: the number it starts with, else 0."""
    word = text.strip()
    sign = word[:1] if word[:1] in ("-", "+") else ""
    digits = word[len(sign):]
    digits = digits[:len(digits) - len(digits.lstrip("0123456789"))]
    return int(sign + digits[:MAX_DIGITS]) if digits else 0
