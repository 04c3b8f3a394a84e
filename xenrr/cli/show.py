"""``xenrr show FILE``: what was measured, how well it is known, what to doubt."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from xenrr.cli.screen import Screen
from xenrr.cli.summary import group_runs, show_group
from xenrr.errors import ResultFormatError
from xenrr.results.campaign import HEADER
from xenrr.results.store import Contents, read_file

__all__ = ["ShowCommand", "read_runs"]


class ShowCommand:
    """Show what is in a .xrr file."""

    name = "show"

    def prepare_parser(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="a .xrr file")
        parser.add_argument("--json", action="store_true",
                            help="print the records and the summary as JSON")

    def run(self, args: Namespace) -> int:
        screen = Screen()
        contents = read_runs(args.file, screen)
        groups = group_runs(contents.runs)
        if args.json:
            print(json.dumps({"runs": [run.to_plain() for run in contents.runs],
                              "summary": [group.to_plain() for group in groups],
                              "complaint": contents.complaint}))
            return 0
        for group in groups:
            show_group(screen, group)
        return 0


def read_runs(path: str, screen: Screen) -> Contents:
    """Read a file; say aloud what is wrong with it.

    Raises:
        ResultFormatError: There is no run in it, or it is no such file.
        OSError: It cannot be read.
    """
    contents = read_file(path)
    if contents.complaint:
        screen.talk(f"{contents.complaint}; that much is shown.")
    if not contents.runs and any(kind == HEADER for kind, _ in contents.others):
        raise ResultFormatError(f"{path} holds a campaign; xenrr campaign table shows it")
    if contents.unknown:
        screen.talk(f"{path}: {contents.unknown} records are of kinds this xenrr does not "
                    "know; they are left out.")
    if not contents.runs:
        raise ResultFormatError(f"there is no run in {path}")
    return contents
