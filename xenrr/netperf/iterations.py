"""Repeating a test until its mean is known well enough (-i, -I and -r).

The rate and the CPU utilisation of both ends have to be known that well; with -r the rate
alone.

Source: netperf 2.7.0 src/netlib.c, calculate_confidence() and display_confidence();
send_omni_inner() and the loops of the older tests, which differ in where they stop.
"""

from __future__ import annotations

from collections.abc import Sequence

from xenrr.lean import NamedTuple
from xenrr.netperf.confidence import relative_width
from xenrr.netperf.options import ClientOptions
from xenrr.netperf.output_units import throughput, unit_of
from xenrr.results.record import Run

__all__ = ["Widths", "another", "warning", "widths_of"]

# Older code, and what it makes of -i: TCP_CC runs once, the other one time less.
ONCE, ONE_LESS = "TCP_CC", "TCP_SENDFILE"


class Widths(NamedTuple):
    """Confidence reached, each as a share of its mean; 0.0 for CPUs nobody measured."""

    rate: float
    local_cpu: float = 0.0
    remote_cpu: float = 0.0

    def missed(self, options: ClientOptions) -> bool:
        """Whether this is wider than what was asked for."""
        worst = self.rate if options.result_only else max(self)
        return worst > options.confidence_width


def widths_of(options: ClientOptions, runs: Sequence[Run]) -> Widths | None:
    """What some iterations have reached.

    Returns:
        ``None`` when confidence was not asked for, is not computed in this test, or cannot
        be told from fewer than two iterations.
    """
    if options.max_iterations == 1 or len(runs) < 2 or runs[0].spec.test == ONCE:
        return None
    level = options.confidence_level
    unit = unit_of(options.unit, runs[0].spec)

    def of_cpu(end: str) -> float:
        usages = [getattr(run, f"{end}_cpu") for run in runs]
        shares = [usage.percent for usage in usages if usage is not None]
        # An idle CPU in every iteration is as certain as can be.
        return relative_width(shares, level) if len(shares) == len(runs) and any(
            shares) else 0.0

    return Widths(relative_width([throughput(unit, run) for run in runs], level),
                  of_cpu("local"), of_cpu("remote"))


def another(options: ClientOptions, runs: Sequence[Run]) -> bool:
    """Whether netperf would run one more iteration after these, at least one."""
    test, done = runs[0].spec.test, len(runs)
    if options.max_iterations == 1 or test == ONCE:
        return False
    if done < options.min_iterations:
        return True
    most = options.max_iterations - (1 if test == ONE_LESS else 0)
    widths = widths_of(options, runs)
    return done < most and (widths is None or widths.missed(options))


def warning(widths: Widths) -> str:
    """The block above the table when the width asked for was not reached."""
    return ("!!! WARNING\n"
            "!!! Desired confidence was not achieved within the specified iterations.\n"
            "!!! This implies that there was variability in the test environment that\n"
            "!!! must be investigated before going further.\n"
            f"!!! Confidence intervals: Throughput      : {100 * widths.rate:4.3f}%\n"
            f"!!!                       Local CPU util  : {100 * widths.local_cpu:4.3f}%\n"
            f"!!!                       Remote CPU util : {100 * widths.remote_cpu:4.3f}%\n\n")
