"""Numbers and distributions as text, for a terminal of any width. Pure functions."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

from xenrr.stats.histogram import Histogram, lowest_equivalent

__all__ = ["SHOWN_PERCENTS", "chart_rows", "count_text", "duration_text", "fit",
           "percent_texts"]

SHOWN_PERCENTS = (50.0, 90.0, 99.0, 99.9)
BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII_BLOCKS = " .:#"
CHART_HEIGHT = 6
WIDEST_CHART = 72
# A distribution narrower than this factor is drawn in a window of it: noise is not shape.
NARROWEST_RANGE = 4.0


def duration_text(duration_ns: float, unicode: bool = True) -> str:
    """A time with three digits and its unit, such as ``18.2 µs``.

    Args:
        duration_ns: In ns.
        unicode: Whether ``µ`` can be shown.
    """
    for unit_ns, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs" if unicode else "us")):
        # 999.5 of a unit would round to four digits: that is 1.00 of the next.
        if duration_ns >= 0.9995 * unit_ns:
            value = duration_ns / unit_ns
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{duration_ns:.0f} ns"


def count_text(count: float) -> str:
    """A whole number in groups of three, such as ``52 134``."""
    return f"{count:,.0f}".replace(",", " ")


def percent_texts(histogram: Histogram, unicode: bool = True) -> list[str]:
    """The percentiles a person looks at first, and the maximum."""
    values_ns = histogram.percentiles(SHOWN_PERCENTS)
    texts = [f"p{percent:g} {duration_text(value_ns, unicode)}"
             for percent, value_ns in zip(SHOWN_PERCENTS, values_ns)]
    return [*texts, f"max {duration_text(histogram.max_ns, unicode)}"]


def fit(items: Iterable[str], width: int, gap: str = "   ") -> list[str]:
    """Lay items out in as many lines as a width in columns needs.

    Only an item that is longer than a line is cut, between two words.
    """
    lines: list[str] = []
    for item in items:
        if len(item) > width:
            lines += textwrap.wrap(item, max(width, 10), subsequent_indent="  ",
                                   break_on_hyphens=False, break_long_words=False)
        elif lines and len(lines[-1]) + len(gap) + len(item) <= width:
            lines[-1] += gap + item
        else:
            lines.append(item)
    return lines


def chart_rows(histogram: Histogram, width: int, unicode: bool = True) -> list[str]:
    """A distribution as columns over a logarithmic axis of time.

    Heights are linear in the number of transactions; a column that holds any is at least
    the smallest mark, so that a single stall is seen.

    Args:
        histogram: What to draw.
        width: Columns of the terminal there are for it.
        unicode: Whether block characters and ``µ`` can be shown.

    Returns:
        Lines from the top down, the last one names the times; none while it is empty.
    """
    if histogram.max_ns == 0:
        return []
    columns = max(8, min(width, WIDEST_CHART))
    low, high = _range(histogram)
    scale = columns / math.log(high / low)

    def column(value_ns: float) -> int:
        return min(max(int(math.log(max(value_ns, low) / low) * scale), 0), columns - 1)

    counts = [0] * columns
    for index, count in histogram.buckets():
        counts[column(lowest_equivalent(index))] += count
    rows = _bars(counts, BLOCKS if unicode else ASCII_BLOCKS)
    ticks = [(column(tick_ns), _tick_text(tick_ns, unicode)) for tick_ns in _ticks(low, high)]
    return [*rows, _axis(ticks, columns)]


def _range(histogram: Histogram) -> tuple[float, float]:
    low = float(max(histogram.min_ns, 1))
    high = histogram.max_ns * 1.001
    missing = NARROWEST_RANGE / (high / low)
    if missing > 1:
        low, high = low / math.sqrt(missing), high * math.sqrt(missing)
    return low, high


def _bars(counts: Sequence[int], blocks: str) -> list[str]:
    steps = len(blocks) - 1
    top = max(counts)
    heights = [math.ceil(count * CHART_HEIGHT * steps / top) for count in counts]
    return [
        "".join(blocks[min(max(height - base, 0), steps)] for height in heights).rstrip()
        for base in range((CHART_HEIGHT - 1) * steps, -1, -steps)
    ]


def _ticks(low_ns: float, high_ns: float) -> list[float]:
    """Round times (1, 2, 5 and their tenfolds) within a range, powers of ten first."""
    decades = range(math.floor(math.log10(low_ns)), math.ceil(math.log10(high_ns)) + 1)
    ticks = (lead * 10.0**decade for lead in (1, 2, 5) for decade in decades)
    return [tick for tick in ticks if low_ns <= tick < high_ns]


def _tick_text(tick_ns: float, unicode: bool) -> str:
    number, unit = duration_text(tick_ns, unicode).split()
    return f"{float(number):g} {unit}"


def _axis(ticks: Iterable[tuple[int, str]], columns: int) -> str:
    """Labels at their columns; one that would touch an earlier one is left out."""
    line = [" "] * columns
    for place, label in ticks:
        text = f"|{label}"
        around = line[max(place - 1, 0):place + len(text) + 1]
        if place + len(text) <= columns and not "".join(around).strip():
            line[place:place + len(text)] = text
    return "".join(line).rstrip()
