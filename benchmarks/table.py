"""The figures as text for a terminal, as a page's table, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.figures import Outcome, verdict
from benchmarks.paired import Ratio

__all__ = ["HEAD", "line", "markdown", "plain", "put_into", "summary"]

WIDTH = 52
HEAD = (f"{'id':<9} {'what':<{WIDTH}} ratio   95 % interval     A/A          a          b  "
        "must be     ")
# Marks in a page, between which its table is.
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
# What the columns a and b are in.
UNITS = {"rate": "/s or Mbit/s", "p99_ns": "µs", "p999_ns": "µs", "seconds": "ms",
         "instructions": "instructions", "kilobytes": "MB"}
SCALES = {"p99_ns": 1e-3, "p999_ns": 1e-3, "seconds": 1e3, "kilobytes": 1e-3}


def line(outcome: Outcome) -> str:
    """One row for a terminal."""
    row, ratio = outcome.row, outcome.ratio
    head = f"{row.id:<9} {row.what:<{WIDTH}}"
    if ratio is None:
        return f"{head} {verdict(outcome)}"
    a, b = (_short(value, row.value) for value in (ratio.a, ratio.b))
    return (f"{head} {ratio.median:5.3f}  [{ratio.low:5.3f}, {ratio.high:5.3f}]  "
            f"{_noise(ratio):>5} {a:>10} {b:>10}  {row.bound or ''!s:<11} "
            f"{verdict(outcome)}").rstrip()


def markdown(outcomes: Iterable[Outcome], facts: Sequence[str]) -> str:
    """The table of a page, below the facts about the machine."""
    rows = ["| id | what | ratio | 95 % interval | A/A | a | b | must be | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for outcome in outcomes:
        row, ratio = outcome.row, outcome.ratio
        if ratio is None:
            rows.append(f"| {row.id} | {row.what} | | | | | | {row.bound or ''} | "
                        f"{verdict(outcome)} |")
            continue
        rows.append(
            f"| {row.id} | {row.what} | {ratio.median:.3f} | {ratio.low:.3f} to "
            f"{ratio.high:.3f} | {_noise(ratio)} | {_short(ratio.a, row.value)} | "
            f"{_short(ratio.b, row.value)} | {row.bound or ''} | {verdict(outcome)} |")
    return "\n".join([f"{' · '.join(facts)}", "", *rows]) + "\n"


def put_into(page: str, table: str) -> str:
    """A page with another table between its marks; the table alone where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return table
    return f"{before}{begin}\n\n{table}\n{end}{after}"


def plain(outcome: Outcome) -> dict[str, object]:
    """A row as JSON-ready values."""
    row, ratio = outcome.row, outcome.ratio
    return {"id": row.id, "what": row.what, "value": row.value,
            "bound": str(row.bound) if row.bound else None, "verdict": verdict(outcome),
            "floor": outcome.ceiling.median if outcome.ceiling else None,
            **(ratio.to_plain() if ratio else {})}


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many were met, missed, and not measured."""
    bounded = [verdict(outcome) for outcome in outcomes if outcome.row.bound]
    met = bounded.count("met")
    missed = sum(text.startswith("missed") for text in bounded)
    return f"{met} met, {missed} missed, {len(bounded) - met - missed} not measured"


def _noise(ratio: Ratio) -> str:
    return "" if ratio.noise is None else f"{ratio.noise:.3f}"


def _short(value: float, kind: str) -> str:
    scaled = value * SCALES.get(kind, 1.0)
    text = f"{scaled:.0f}" if scaled >= 1000 else f"{scaled:.1f}"
    unit = UNITS[kind] if kind in SCALES else ""
    return f"{text} {unit}".rstrip()
