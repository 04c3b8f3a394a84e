"""A campaign's tables as lines for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from xenrr.cli.drawing import count_text, duration_text
from xenrr.cli.screen import Screen
from xenrr.report.tables import CampaignTable, Column, Entry

__all__ = ["show_table"]

GAP = "  "


def show_table(screen: Screen, table: CampaignTable) -> None:
    """Print all that a campaign's file says."""
    emulated = ", emulated" if table.emulated else ""
    screen.result(f"campaign {table.campaign}: transactions/s to {table.target}{emulated}",
                  "bold")
    if not table.columns:
        screen.result("  no round is complete")
    else:
        if any(column.compared for column in table.columns):
            _wrapped(screen, "Measured | published, and below each as a ratio to the mean of "
                             "the DomUs on the target's own host.")
        screen.result()
        for columns in _fitting(screen, table.columns):
            _rates(screen, table, columns)
        _fairness(screen, table)
        _isolation(screen, table)
        _conditions(screen, table)
    if table.study:
        _wrapped(screen, "Published: Antonioli and Fernandes, 2006, Itanium 2 hosts under Xen "
                         "on Fast Ethernet. Orders and ratios can be compared, levels not.")
    if table.emulated:
        _wrapped(screen, f"Emulated (lab {table.emulated}): it says nothing about real "
                         "machines.")
    if table.missing:
        some = ", ".join(table.missing[:8])
        more = f" and {len(table.missing) - 8} more" if len(table.missing) > 8 else ""
        _wrapped(screen, f"Missing: {some}{more}", "yellow")
    for failure in table.failures[-8:]:
        _wrapped(screen, f"failed: {failure}", "yellow")


def _wrapped(screen: Screen, text: str, style: str = "") -> None:
    for line in screen.wrapped(text):
        screen.result(line, style)


def _fitting(screen: Screen, columns: Sequence[Column], first: int = 12, each: int = 19
             ) -> Iterator[list[Column]]:
    """As many experiments beside one another as the width has room for."""
    group: list[Column] = []
    used = first
    for column in columns:
        width = max(each, len(column.name) + 2)
        if group and used + width > screen.width:
            yield group
            group, used = [], first
        group.append(column)
        used += width
    yield group


def _rates(screen: Screen, table: CampaignTable, columns: Sequence[Column]) -> None:
    entries = [{entry.machine: entry for entry in column.entries} for column in columns]
    rows = [["", *(column.name for column in columns)]]
    for machine in table.machines:
        found = [each.get(machine.name) for each in entries]
        if any(found):
            rows.append([machine.name, *(_rate_cell(entry) for entry in found)])
            if any(entry and not math.isnan(entry.to_own_host) for entry in found):
                rows.append(["", *(_ratio_cell(entry) for entry in found)])
    rows.append(["total", *(_count(column.total_tps) for column in columns)])
    if any(column.compared for column in columns):
        rows.append(["published", *(_totals_cell(column) for column in columns)])
    _grid(screen, rows)
    screen.result()


def _totals_cell(column: Column) -> str:
    """Totals of the machines that the study has numbers of."""
    known = [entry for entry in column.entries if not math.isnan(entry.published_tps)]
    return "-" if not known else _pair(_count(sum(entry.rate_tps for entry in known)),
                                       _count(sum(entry.published_tps for entry in known)))


def _rate_cell(entry: Entry | None) -> str:
    if entry is None:
        return "-"
    measured = _count(entry.rate_tps)
    if math.isfinite(entry.half_width_tps) and entry.rate_tps:
        measured += f" ±{100 * entry.half_width_tps / entry.rate_tps:.0f}%"
    return _pair(measured, _count(entry.published_tps))


def _ratio_cell(entry: Entry | None) -> str:
    if entry is None or math.isnan(entry.to_own_host):
        return ""
    return _pair(_two(entry.to_own_host), _two(entry.published_to_own_host))


def _fairness(screen: Screen, table: CampaignTable) -> None:
    columns = [column for column in table.columns if column.fairness]
    for group in _fitting(screen, columns, 18, 25) if columns else ():
        names = list(dict.fromkeys(each.among for column in group for each in column.fairness))
        rows = [["Jain, max/min", *(column.name for column in group)]]
        for among in names:
            cells = []
            for column in group:
                each = next((one for one in column.fairness if one.among == among), None)
                cells.append("-" if each is None else _pair(
                    f"{each.jain:.3f} {_two(each.max_over_min)}",
                    "" if math.isnan(each.published_jain) else
                    f"{each.published_jain:.3f} {_two(each.published_max_over_min)}"))
            rows.append([among, *cells])
        if any(column.compared > 1 for column in group):
            rows.append(["order: tau", *(_two(column.tau) for column in group)])
        _grid(screen, rows)
        screen.result()


def _isolation(screen: Screen, table: CampaignTable) -> None:
    columns = [column for column in table.columns
               if not all(math.isnan(entry.loss) for entry in column.entries)]
    for group in _fitting(screen, columns, 18, 8) if columns else ():
        losses = [{entry.machine: entry.loss for entry in column.entries} for column in group]
        rows = [["lost against alone", *(column.name for column in group)]]
        for machine in table.machines:
            found = [each.get(machine.name, math.nan) for each in losses]
            if not all(map(math.isnan, found)):
                rows.append([machine.name, *("-" if math.isnan(loss) else f"{loss:.0%}"
                                             for loss in found)])
        _grid(screen, rows)
        screen.result()


def _conditions(screen: Screen, table: CampaignTable) -> None:
    unicode = screen.unicode
    for column in table.columns:
        p99s = [entry.p99_ns for entry in column.entries if entry.p99_ns]
        words = [f"{column.repeats} repeat{'s' * (column.repeats != 1)}",
                 f"window {column.window_s:.2f} s",
                 f"skew {duration_text(column.middle_skew_ns, unicode)} (worst "
                 f"{duration_text(column.worst_skew_ns, unicode)})"]
        if p99s:
            words.append(f"p99 {duration_text(min(p99s), unicode)} to "
                         f"{duration_text(max(p99s), unicode)}")
        if column.target_count >= 0:
            words.append(f"senders and target counted {count_text(column.sender_count)} and "
                         f"{count_text(column.target_count)} transactions")
        _wrapped(screen, f"{column.name}: {', '.join(words)}")
        for doubt in column.doubts:
            _wrapped(screen, f"  doubt: {doubt}", "yellow")


def _pair(measured: str, published: str) -> str:
    return f"{measured} | {published}" if published else measured


def _count(rate_tps: float) -> str:
    return "" if math.isnan(rate_tps) else count_text(rate_tps)


def _two(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.2f}" if value < 99.5 else f"{value:.0f}"


def _grid(screen: Screen, rows: Sequence[Sequence[str]]) -> None:
    plus = "±" if screen.unicode else "+-"
    texts = [[cell.replace("±", plus) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in texts) for place in range(len(texts[0]))]
    for number, row in enumerate(texts):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                            zip(row[1:], widths[1:]))]
        screen.result(f"  {GAP.join(cells)}".rstrip(), "" if number else "bold")
