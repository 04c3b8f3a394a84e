"""argparse as the commands need it.

It tells of a mistyped option at the end of the whole line, under the usage of the program,
and takes a number below 0 for an option where there are options such as ``-4``, so that it
says of ``--flows -1`` that an argument is missing.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from xenrr.netperf.option_values import guess

__all__ = ["Parser"]


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
