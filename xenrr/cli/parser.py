"""argparse as the commands need it.

It tells of a mistyped option at the end of the whole line, under the usage of the program,
and takes a number below 0 for an option where there are options such as ``-4``, so that it
says of ``--flows -1`` that an argument is missing.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from xenrr.errors import SpecError
from xenrr.netperf.option_values import guess
from xenrr.units import parse_duration

__all__ = ["Parser", "argument", "seconds_up_to"]

Value = TypeVar("Value")


class Parser(ArgumentParser):
    """A parser, and those of its commands, which tell of a mistake with the usage it breaks."""

    def parse_known_args(  # type: ignore[override]
            self, args: Sequence[str] | None = None,
            namespace: Any = None) -> tuple[Namespace, list[str]]:
        # What tells argparse that -1 may be an option; -4 is known as one without it.
        self._has_negative_number_optionals.clear()
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = unknown[0].partition("=")[0]
            meant = guess(option, self._option_string_actions) if option[:2] == "--" else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return known, unknown


def argument(parse: Callable[[str, str], Value], option: str) -> Callable[[str], Value]:
    """argparse's kind of function from ours: it takes only its own errors."""

    def convert(text: str) -> Value:
        try:
            return parse(text, option)
        except SpecError as exc:
            # argparse puts the option's name before it as well.
            text = str(exc)
            said = f"{option}: "
            raise ArgumentTypeError(
                text[len(said):] if text.startswith(said) else text) from None

    return convert


def seconds_up_to(most_s: int, called: str) -> Callable[[str], float]:
    """For the length of something in s.

    Args:
        most_s: The longest that is taken.
        called: What people call that, such as ``an hour``.
    """
    convert = argument(parse_duration, "--duration")

    def seconds(text: str) -> float:
        value = convert(text)
        if not 0 < value <= most_s:
            raise ArgumentTypeError(f"has to be above 0 and at most {called}, got {text}")
        return value

    return seconds
