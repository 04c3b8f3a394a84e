"""``python -m benchmarks``: xenrr beside its peers and the bare system calls.

Without ids it runs every figure, in under a quarter of an hour; with some (``P1``, ``P4b``,
``twin``, ...) those alone. Only ratios taken side by side mean something: the rates in the
last columns are of this machine and this hour. A figure whose peer, compiler or second
processor is missing is reported as such, never as met.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path

import xenrr
from benchmarks.bed import Bed
from benchmarks.figures import FEWEST, PAIRS, Outcome, chosen, ids, measure_group
from benchmarks.table import HEAD, line, markdown, plain, put_into, summary

__all__ = ["main"]


def facts(cpu: int, other: int | None, pairs: int, seconds: float) -> list[str]:
    """What a reader of the table has to know of how it came about."""
    model = next((text.partition(":")[2].strip() for text in _cpuinfo()
                  if text.startswith("model name")), platform.machine())
    return [f"xenrr {xenrr.__version__}", f"Python {platform.python_version()}",
            f"{platform.system()} {platform.release()}", model,
            f"processors {cpu}" + ("" if other is None else f" and {other}"),
            f"{max(pairs, PAIRS)} pairs or more of {seconds:g} s",
            f"load {os.getloadavg()[0]:.2f} before",
            datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")]


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def main(argv: list[str] | None = None) -> int:
    """Run the figures and print one table.

    Returns:
        0, also where a target is missed or a peer is missing; 1 where something failed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID",
                        help=f"which figures (default: all): {', '.join(ids())}")
    parser.add_argument("--pairs", type=int, default=FEWEST, metavar="N",
                        help=f"rounds of each figure at least ({PAIRS}, and more where they "
                             "decide)")
    parser.add_argument("--seconds", type=float, default=0.4,
                        help="length of each run in s (0.4; one-way tests and many flows 1)")
    parser.add_argument("--cpu", type=int, default=min(os.sched_getaffinity(0)),
                        help="the processor to bind to")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file too")
    parser.add_argument("--markdown", metavar="FILE",
                        help="write the table of a page too, into its place in that page")
    args = parser.parse_args(argv)
    if set(args.ids) - set(ids()):
        parser.error(f"ids are {', '.join(ids())}")
    if args.pairs < FEWEST or not 0.1 <= args.seconds <= 60:
        parser.error(f"an interval needs {FEWEST} pairs or more, and a run 0.1 to 60 s")
    other = next(iter(sorted(os.sched_getaffinity(0) - {args.cpu})), None)
    told = facts(args.cpu, other, args.pairs, args.seconds)
    print(" · ".join(told))
    print(HEAD)
    started = time.monotonic()
    outcomes: list[Outcome] = []
    with Bed(args.cpu, other, args.seconds) as bed:
        for group in chosen(args.ids):
            for outcome in measure_group(bed, group, args.pairs):
                outcomes.append(outcome)
                print(line(outcome), flush=True)
    took_s = time.monotonic() - started
    told.append(f"took {took_s:.0f} s")
    print(f"{summary(outcomes)}; {took_s:.0f} s")
    if args.json:
        Path(args.json).write_text(json.dumps(
            {"facts": told, "figures": [plain(each) for each in outcomes]}, indent=1) + "\n")
    if args.markdown:
        page = Path(args.markdown)
        page.write_text(put_into(page.read_text() if page.exists() else "",
                                 markdown(outcomes, told)))
    return 1 if any(each.failed for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
