"""The end of a program, as an exception: what it says on each stream, and its exit code."""

from __future__ import annotations

from xenrr.errors import CommandError

__all__ = ["CODE_FAILED", "CODE_LOST", "Ending", "bad_level"]

CODE_FAILED = 1
# netperf leaves with exit(-1) in many places.
CODE_LOST = 255


class Ending(CommandError):
    """The program has to end now.

    Args:
        exit_code: With this.
        out: What goes to stdout first, line ends included.
        err: The same for stderr.
    """

    def __init__(self, exit_code: int, out: str = "", err: str = "") -> None:
        super().__init__(err, exit_code)
        self.out = out
        self.err = err


def bad_level() -> Ending:
    """-I with something else than 95 or 99."""
    return Ending(CODE_LOST, "Only 95% and 99% confidence level is supported\n")
