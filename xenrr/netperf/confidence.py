"""How well a mean is known after some iterations: the statistics behind -i and -I.

netperf's way, kept for comparison: the width is relative to the mean, and it is looked at
after every iteration, which makes it a little too optimistic.

Source: netperf 2.7.0 src/netlib.c, calculate_confidence().
"""

from __future__ import annotations

import math

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_ITERATIONS", "MIN_ITERATIONS", "relative_width"]

MIN_ITERATIONS = 3
MAX_ITERATIONS = 30

# Student's t, two-sided, for 1 to 29 degrees of freedom.
STUDENT_T = {
    95: (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
         2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
         2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045),
    99: (63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169,
         3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845,
         2.831, 2.819, 2.807, 2.797, 2.787, 2.779, 2.771, 2.763, 2.756),
}


def relative_width(values: Sequence[float], level_percent: int) -> float:
    """Full width of the interval that holds the true mean, as a share of the mean.

    Args:
        values: Result of each iteration, at most ``MAX_ITERATIONS``.
        level_percent: 95 or 99.

    Returns:
        0.05 for plus or minus 2.5 %; infinite while there are fewer than two values or
        their mean is 0.
    """
    count = len(values)
    mean = sum(values) / count if count else 0.0
    if count < 2 or mean == 0:
        return math.inf
    variance = sum((value - mean) ** 2 for value in values) / count
    t_value = STUDENT_T[level_percent][count - 2]
    return 2.0 * t_value * math.sqrt(variance / (count - 1)) / mean
