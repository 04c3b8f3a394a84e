"""What a person is shown of runs: the number, how well it is known, and what to doubt.

Runs of the same test are one group: repeats. One run alone is drawn as a distribution;
several get intervals over the repeats as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from xenrr.cli.conditions import condition_lines
from xenrr.cli.drawing import (
    SHOWN_PERCENTS,
    chart_rows,
    count_text,
    duration_text,
    fit,
    percent_texts,
)
from xenrr.cli.flow_lines import flow_texts, flows_text, repeat_texts, schedule_lines
from xenrr.cli.parts import part_rows, parts_of
from xenrr.cli.screen import Screen
from xenrr.results.record import Run, TestSpec
from xenrr.stats.histogram import Histogram

if TYPE_CHECKING:
    # What judges results needs numpy, which a guest that only runs the demo may not have.
    from xenrr.checks.doubts import Doubt
    from xenrr.stats.interval import Interval

__all__ = ["Group", "group_runs", "interval_text", "show_group", "show_run", "spec_text"]

SHOWN_DOUBTS = 8
# Behind the headings of the conditions.
INDENT = " " * 14


@dataclass(frozen=True)
class Group:
    """Repeats of one test.

    Attributes:
        name: The test in a few words.
        key: What has to be alike for two groups to be the same test.
        runs: At least one, in the order they were made.
    """

    name: str
    key: TestSpec
    runs: tuple[Run, ...]

    @property
    def unit(self) -> str:
        """Of the main result."""
        return "Mbit/s" if self.runs[0].spec.is_one_way else "transactions/s"

    def results(self) -> list[float]:
        """Main result of each run in ``unit``, those without any left out."""
        return [value for value in map(main_result, self.runs) if value > 0]

    def histograms(self) -> list[Histogram]:
        """Latencies of each run that has some."""
        return [run.latency_ns for run in self.runs if any(run.latency_ns.counts)]

    def doubts(self) -> list[Doubt]:
        """About each run and about the repeats; alike ones are told once, for all."""
        from xenrr.checks.doubts import doubts_of, doubts_of_repeats

        runs = len(self.runs)
        each = [doubts_of(run) for run in self.runs]
        if runs == 1:
            return each[0]
        # One run may have the same doubt about both of its ends.
        found: dict[str, list[Doubt]] = {}
        for doubts in each:
            for code, doubt in {doubt.code: doubt for doubt in doubts}.items():
                found.setdefault(code, []).append(doubt)
        told = [replace(alike[-1], text=f"in {len(alike)} of {runs} runs, the last time: "
                                        f"{alike[-1].text}")
                for alike in found.values()]
        return [*told, *doubts_of_repeats(self.results())]

    def to_plain(self) -> dict[str, object]:
        """Intervals and doubts as JSON-ready values; the runs are told elsewhere."""
        from xenrr.stats.interval import mean_interval

        results, histograms = self.results(), self.histograms()
        plain: dict[str, object] = {
            "test": self.name, "repeats": len(self.runs), "unit": self.unit,
            "doubts": [asdict(doubt) for doubt in self.doubts()]}
        parts = parts_of(self.runs)
        if parts:
            plain["parts"] = {part.name: part.to_plain() for part in parts}
            plain["undecomposed"] = sum(run.undecomposed for run in self.runs)
        if results:
            plain["result"] = _plain(mean_interval(results))
        if histograms:
            plain["latency_ns"] = {
                f"p{percent:g}": _plain(latency_interval(histograms, percent))
                for percent in SHOWN_PERCENTS}
        return plain


def main_result(run: Run) -> float:
    """Transactions per second, or the Mbit/s that arrived in a one-way test."""
    if not run.spec.is_one_way:
        return run.rate_tps
    arrived = run.bytes_received or max(run.target_tally.bytes_received, 0)
    return arrived * 8e-6 / run.elapsed_s if run.elapsed_ns else 0.0


def spec_text(spec: TestSpec) -> str:
    """A test in a few words, such as ``TCP_RR 1/1400, burst 16``."""
    text = spec.test
    if spec.test == "OMNI":
        text = f"OMNI {spec.protocol} {spec.direction}{', connecting' * spec.connecting}"
    if spec.is_one_way:
        if spec.local.send_bytes > 0:
            text += f" {spec.local.send_bytes}"
    elif spec.direction == "rr":
        text += f" {spec.request_bytes}/{spec.response_bytes}"
    text += f", burst {spec.burst}" if spec.burst else ""
    text += ", spinning" if spec.spin else ""
    text += flows_text(spec)
    text += ", decomposed" if spec.decompose else ""
    return text + (f", busy poll {spec.busy_poll_us} µs" if spec.busy_poll_us >= 0 else "")


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs that differ in nothing but when and for how long, in order of the first."""
    groups: dict[TestSpec, list[Run]] = {}
    for run in runs:
        key = replace(run.spec, duration_s=1.0, transactions=None, limit_bytes=None,
                      interim_s=0.0, wait_s=0.0)
        groups.setdefault(key, []).append(run)
    return [Group(spec_text(key), key, tuple(each)) for key, each in groups.items()]


def latency_interval(histograms: Sequence[Histogram], percent: float) -> Interval:
    """A percentile with its interval: over repeats, or by order statistics in one run."""
    from xenrr.stats.interval import order_interval, percentile_interval

    if len(histograms) == 1 and 0 < percent < 100:
        return order_interval(histograms[0], percent)
    return percentile_interval(histograms, percent)


def interval_text(interval: Interval, screen: Screen) -> str:
    """How well an estimate is known, such as ``±0.8 %``; empty when nobody can say."""
    half = interval.relative_half_width
    if math.isinf(half):
        return ""
    return f"{'±' if screen.unicode else '+/-'}{100 * half:.2g} %"


def show_run(screen: Screen, run: Run) -> None:
    """Rate, percentiles and shape of one run."""
    screen.result()
    if run.spec.is_one_way:
        headline = f"{count_text(main_result(run))} Mbit/s"
        facts = [f"{count_text(run.bytes_sent + run.bytes_received)} bytes in "
                 f"{run.elapsed_s:.2f} s"]
    else:
        headline = f"{count_text(run.rate_tps)} transactions/s"
        facts = [f"{count_text(run.transactions)} in {run.elapsed_s:.2f} s",
                 f"{run.spec.request_bytes}-byte request, "
                 f"{run.spec.response_bytes}-byte response",
                 f"mean {duration_text(run.latency_ns.mean(), screen.unicode)}"]
    screen.result(f"{run.spec.test}  {headline}", "bold")
    if run.lost:
        facts.append(f"{count_text(run.lost)} lost")
    facts += flow_texts(run)
    lines = schedule_lines(run, screen.unicode)
    _show_shape(screen, facts, run.latency_ns, lines)
    if run.error:
        screen.result(f"  {run.error}", "bold red")


def show_group(screen: Screen, group: Group) -> None:
    """A group with intervals over its repeats, and its doubts."""
    results, histograms = group.results(), group.histograms()
    if len(group.runs) == 1:
        show_run(screen, group.runs[0])
    else:
        _show_repeats(screen, group, results, histograms)
    for row in part_rows(group.runs, screen.unicode):
        screen.result(f"  {row}")
    show_conditions(screen, group)
    show_doubts(screen, group.doubts())


def show_conditions(screen: Screen, group: Group) -> None:
    """Hosts, path and load, below the number they belong to; --json has all of it."""
    for heading, items in condition_lines(group.runs, screen.unicode):
        first, *rest = fit(items, screen.width - 14, ", ")
        screen.result(f"  {heading:<12}{first}", "dim")
        for line in rest:
            screen.result(f"{INDENT}{line}", "dim")


def show_doubts(screen: Screen, doubts: Sequence[Doubt]) -> None:
    """A line for each doubt, below the number it concerns."""
    for doubt in doubts[:SHOWN_DOUBTS]:
        first, *rest = screen.wrapped(str(doubt), indent=4)
        screen.result(f"  ! {first}", "yellow")
        for line in rest:
            screen.result(f"    {line}", "yellow")
    if len(doubts) > SHOWN_DOUBTS:
        screen.result(f"  ! and {len(doubts) - SHOWN_DOUBTS} more doubts (--json has them)",
                      "yellow")


def _show_repeats(screen: Screen, group: Group, results: list[float],
                  histograms: list[Histogram]) -> None:
    from xenrr.stats.interval import mean_interval

    screen.result()
    if results:
        mean = mean_interval(results)
        known = interval_text(mean, screen)
        screen.result(f"{group.name}  {count_text(mean.estimate)} {group.unit}"
                      f"{f'  {known} (95 %)' if known else ''}", "bold")
        facts = [f"{len(group.runs)} repeats", f"lowest {count_text(min(results))}",
                 f"highest {count_text(max(results))}"]
    else:
        screen.result(f"{group.name}  no result", "bold red")
        facts = [f"{len(group.runs)} repeats"]
    facts += repeat_texts(group.runs, screen.unicode)
    for line in fit(facts, screen.width - 2):
        screen.result(f"  {line}")
    for percent in SHOWN_PERCENTS if histograms else ():
        interval = latency_interval(histograms, percent)
        text = f"  p{percent:<5g} {duration_text(interval.estimate, screen.unicode):>8}"
        if not math.isinf(interval.high):
            text += (f"   {duration_text(interval.low, screen.unicode)} to "
                     f"{duration_text(interval.high, screen.unicode)}")
        screen.result(text)
    merged = Histogram()
    for histogram in histograms:
        merged.merge(histogram)
    for row in chart_rows(merged, screen.width - 4, screen.unicode):
        screen.result(f"  {row}", "cyan")


def _show_shape(
    screen: Screen, facts: Sequence[str], latency_ns: Histogram,
    lines: Sequence[Sequence[str]] = (),
) -> None:
    for items in (facts, *(lines or [percent_texts(latency_ns, screen.unicode)])):
        for line in fit(items, screen.width - 2):
            screen.result(f"  {line}")
    for row in chart_rows(latency_ns, screen.width - 4, screen.unicode):
        screen.result(f"  {row}", "cyan")


def _plain(interval: Interval) -> dict[str, object]:
    """JSON knows no infinity: a bound nobody knows is null."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(interval).items()}
