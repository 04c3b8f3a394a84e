"""Round-trip times: netperf's latency numbers, and the percentiles it does not give.

netperf times whole microseconds and cuts its percentiles, taken from a histogram of 1 to
10 % resolution, to integers. Ours come from nanoseconds with three significant digits and
are cut to the same integers where netperf has the name; names of our own keep decimals.
"""

from __future__ import annotations

from xenrr.errors import SpecError
from xenrr.netperf.options import KEYVAL
from xenrr.netperf.outcome import Outcome

__all__ = ["DEFAULT_PERCENTS", "parse_percents", "percent_of_selector", "percentile_lines"]

DEFAULT_PERCENTS = (50.0, 90.0, 99.0, 99.9, 99.99)
# Names without a point, as others write them: P999 is 99.9, P9999 is 99.99.
SHORT_NAMES = {"P999": 99.9, "P9999": 99.99}


def percent_of_selector(name: str) -> float | None:
    """The percentile that a selector such as ``P99.9_LATENCY`` asks for.

    Returns:
        0 to 100, or ``None`` when the name is none of this kind.
    """
    if not name.startswith("P") or not name.endswith("_LATENCY"):
        return None
    middle = name[1:-len("_LATENCY")]
    if f"P{middle}" in SHORT_NAMES:
        return SHORT_NAMES[f"P{middle}"]
    digits = middle.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()) or float(middle) > 100:
        return None
    return float(middle)


def parse_percents(text: str) -> tuple[float, ...]:
    """A list such as ``50,99.9``, each from 0 to 100.

    Raises:
        SpecError: It is something else.
    """
    percents = []
    for word in text.split(","):
        percent = percent_of_selector(f"P{word.strip()}_LATENCY")
        if percent is None or f"P{word.strip()}" in SHORT_NAMES:
            raise SpecError(f"--percentiles: {word!r} is not a number from 0 to 100")
        percents.append(percent)
    return tuple(percents)


def percentile_lines(outcome: Outcome, percents: tuple[float, ...]) -> str:
    """Extra lines for ``--percentiles``: exact minimum and maximum around the percentiles.

    One ``NAME=value`` line each in keyval form, else a line of titles (while headers are
    on) and a line of values, all in µs.
    """
    latency_ns = outcome.latency_ns
    names = [f"P{percent:g}" for percent in percents]
    values = [latency_ns.min_ns, *latency_ns.percentiles(percents), latency_ns.max_ns]
    titles = ["MIN", *names, "MAX"]
    shown = [f"{value / 1000:.3f}" for value in values]
    if outcome.options.form == KEYVAL:
        return "".join(f"LATENCY_{title}_USEC={value}\n"
                       for title, value in zip(titles, shown))
    widths = [max(len(title), len(value)) for title, value in zip(titles, shown)]
    line = "  ".join(f"{value:>{width}}" for value, width in zip(shown, widths))
    if not outcome.options.headers:
        return f"{line}\n"
    head = "  ".join(f"{title:>{width}}" for title, width in zip(titles, widths))
    what = "Time of a call" if outcome.run.spec.is_one_way else "Round-trip latency"
    return f"{what}, usec\n{head}\n{line}\n"
