"""``xenrr compare A B``: what changed, by how much, and whether anybody can tell."""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from xenrr.cli.drawing import SHOWN_PERCENTS
from xenrr.cli.screen import Screen
from xenrr.cli.show import read_runs
from xenrr.cli.summary import Group, group_runs, show_doubts
from xenrr.errors import SpecError

if TYPE_CHECKING:
    from xenrr.stats.compare import Comparison

__all__ = ["CompareCommand"]

# A change of this size is what advice is given for.
ADVISED_CHANGE = 0.05
# Columns that the table needs with all that is in it.
WIDE = 66
# A factor as large as this is none that anybody reads in percent.
MOST_SHOWN = 10.0
STYLES = {"faster": "green", "slower": "red", "cannot tell": ""}


class CompareCommand:
    """Compare two .xrr files, test by test."""

    name = "compare"

    def prepare_parser(self, parser: ArgumentParser) -> None:
        parser.add_argument("before", help="a .xrr file")
        parser.add_argument("after", help="the other one")
        parser.add_argument("--paired", action="store_true",
                            help="run i of one was made beside run i of the other")
        parser.add_argument("--json", action="store_true", help="print the comparison as JSON")

    def run(self, args: Namespace) -> int:
        screen = Screen()
        before, after = (
            {group.key: group for group in group_runs(read_runs(path, screen).runs)}
            for path in (args.before, args.after))
        pairs = [(before[key], after[key]) for key in before if key in after]
        if not pairs:
            # One test each: it is clear what is meant, and what differs stands above it.
            pairs = list(zip(before.values(), after.values()))
            if (len(before), len(after)) != (1, 1) or pairs[0][0].unit != pairs[0][1].unit:
                raise SpecError(
                    "the two files have no test in common: "
                    f"{_names(before.values())} there, {_names(after.values())} here")
        found = [(*pair, list(comparisons(*pair, args.paired))) for pair in pairs]
        if args.json:
            print(json.dumps([_plain(*each) for each in found]))
        else:
            for each in found:
                show_comparison(screen, *each)
        for path, groups, other in ((args.before, before, after),
                                    (args.after, after, before)):
            alone = [group for key, group in groups.items() if key not in other]
            if alone and len(alone) < len(groups):
                screen.talk(f"Only in {path}: {_names(alone)}.")
        return 0


def comparisons(
    before: Group, after: Group, paired: bool
) -> Iterator[tuple[str, Comparison]]:
    """The main result and each percentile that is shown, B against A.

    Raises:
        SpecError: There are as many pairs as nobody can make.
    """
    from xenrr.stats.compare import compare, compare_percentiles

    try:
        rates = before.results(), after.results()
        if all(rates):
            yield "rate", compare(*rates, paired=paired)
        latencies = before.histograms(), after.histograms()
        for percent in SHOWN_PERCENTS if all(latencies) else ():
            yield f"p{percent:g}", compare_percentiles(*latencies, percent, paired=paired)
    except ValueError as exc:
        raise SpecError(f"{before.name}: {exc}") from exc


def show_comparison(screen: Screen, before: Group, after: Group,
                    found: list[tuple[str, Comparison]]) -> None:
    """One test: a line for each quantity, then what to do about "cannot tell"."""
    screen.result()
    name = before.name if before.key == after.key else f"{before.name} against {after.name}"
    for line in screen.wrapped(f"{name}  {len(before.runs)} runs against {len(after.runs)}"):
        screen.result(line, "bold")
    wide = screen.width >= WIDE
    screen.result(f"         change        95 % interval      {'  effect' * wide}  verdict")
    for what, each in found:
        effect = f" {_effect(each.effect):>8}" if wide else ""
        screen.result(f"  {what:<5}  {_change(each.ratio):>7}  {_change(each.low):>9} to "
                      f"{_change(each.high):<9}{effect}  {each.verdict}",
                      STYLES[each.verdict])
    for line in screen.wrapped(_advice(before, after, found), indent=2):
        screen.result(f"  {line}")
    for name, group in (("before", before), ("after", after)):
        doubts = group.doubts()
        if doubts:
            screen.result(f"  {name}:")
            show_doubts(screen, doubts)


def _advice(before: Group, after: Group, found: list[tuple[str, Comparison]]) -> str:
    from xenrr.stats.compare import (
        CANNOT_TELL,
        LEAST_REPEATS,
        MOST_REPEATS,
        repeats_to_find,
    )

    if not found:
        return "Nothing was measured on one of the two sides."
    least = min(len(before.runs), len(after.runs))
    if least < LEAST_REPEATS:
        return (f"{least} run{'s' * (least > 1)} a side cannot be told apart; make at least "
                f"{LEAST_REPEATS} (xenrr run --repeat).")
    rate = found[0][1]
    if rate.verdict != CANNOT_TELL:
        return ""
    spreads = [_spread(group.results()) for group in (before, after)]
    needed = repeats_to_find(ADVISED_CHANGE, math.hypot(*spreads) / math.sqrt(2))
    change = f"A change of {100 * ADVISED_CHANGE:g} %"
    if needed >= MOST_REPEATS:
        return f"{change} is not found in runs that differ so much from each other."
    return f"{change} is found in 9 cases of 10 with {needed} runs a side."


def _spread(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) / mean


def _change(ratio: float) -> str:
    if math.isinf(ratio) or ratio == 0:
        return "?"
    if ratio >= MOST_SHOWN:
        return f"{ratio:.0f} x" if ratio < 1e5 else f"{ratio:.0e} x"
    return f"{100 * (ratio - 1):+.1f} %"


def _effect(effect: float) -> str:
    return "?" if math.isinf(effect) else f"{effect:+.1f}"


def _names(groups: Iterable[Group]) -> str:
    return ", ".join(group.name for group in groups)


def _plain(before: Group, after: Group,
           found: list[tuple[str, Comparison]]) -> dict[str, object]:
    def finite(each: Comparison) -> dict[str, object]:
        return {name: None if isinstance(value, float) and math.isinf(value) else value
                for name, value in asdict(each).items()}

    return {"test": before.name, "before": before.to_plain(), "after": after.to_plain(),
            "comparisons": {what: finite(each) for what, each in found}}
