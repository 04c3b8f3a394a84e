"""What a command writes: results on stdout, talk and the live line on stderr.

rich draws where it is installed and stderr is a terminal; everywhere else there are plain
lines. Both respect NO_COLOR and TERM=dumb.
"""

from __future__ import annotations

import contextlib
import locale
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from xenrr.cli.drawing import count_text, duration_text
from xenrr.results.record import SECOND_NS, InterimPoint

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Screen"]

# Without a terminal a line for each interval would fill a log.
PLAIN_LINE_EVERY_NS = 2 * SECOND_NS


class Screen:
    """Where a command's lines go, and what can be shown there.

    Attributes:
        unicode: Whether stdout shows more than ASCII.
        width: Columns of a line on stdout.
    """

    def __init__(self) -> None:
        encoding = (getattr(sys.stdout, "encoding", None)
                    or locale.getpreferredencoding(False))
        self.unicode = encoding.lower().replace("-", "") == "utf8"
        self.width = shutil.get_terminal_size((80, 24)).columns
        self._out = _rich_console(stderr=False)
        self._talk = _rich_console(stderr=True)

    @property
    def live_console(self) -> Console | None:
        """rich's console for what is drawn over, ``None`` where plain lines are due."""
        return self._talk

    def result(self, text: str = "", style: str = "") -> None:
        """One line of a result.

        Args:
            text: The line, without its end.
            style: What rich calls a style (``bold``, ``cyan``); nothing on plain output.
        """
        if self._out is None:
            print(text)
        else:
            self._out.print(text, style=style or None, markup=False, highlight=False,
                            no_wrap=True, overflow="ignore", crop=False)

    def talk(self, text: str) -> None:
        """A sentence for the person who waits; never part of a result."""
        for line in self.wrapped(text):
            print(line, file=sys.stderr, flush=True)

    def wrapped(self, text: str, indent: int = 0) -> list[str]:
        """Cut a text into lines for this width, less an indent in columns."""
        return textwrap.wrap(text, max(self.width - indent, 10), break_on_hyphens=False)

    @contextlib.contextmanager
    def live(self, name: str, duration_s: float) -> Iterator[Callable[[InterimPoint], None]]:
        """A live line for as long as one test runs.

        Args:
            name: Of the test.
            duration_s: How long it will run, in s.

        Yields:
            A function that shows the interval that just ended.
        """
        if self._talk is None:
            yield self._plain_live(name, duration_s)
            return
        from rich.progress import BarColumn, Progress, TextColumn

        # No refresh thread: it would wake up beside the loop that is being timed.
        progress = Progress(
            TextColumn("{task.description}"),
            *([BarColumn(bar_width=None)] if self.width >= 60 else []),
            TextColumn("{task.fields[state]}"), console=self._talk, auto_refresh=False,
            transient=True, expand=True)
        with progress:
            task = progress.add_task(name, total=duration_s, state="starting")

            def show(point: InterimPoint) -> None:
                progress.update(task, completed=point.end_ns / SECOND_NS, refresh=True,
                                state=self.state_text(point, duration_s))

            progress.refresh()
            yield show

    def _plain_live(self, name: str, duration_s: float) -> Callable[[InterimPoint], None]:
        next_ns = PLAIN_LINE_EVERY_NS

        def show(point: InterimPoint) -> None:
            nonlocal next_ns
            if point.end_ns >= next_ns:
                next_ns += PLAIN_LINE_EVERY_NS
                self.talk(f"{name} {self.state_text(point, duration_s).rstrip()}")

        return show

    def state_text(self, point: InterimPoint, duration_s: float) -> str:
        """Time left, rate and p99 of an interval."""
        left_s = max(duration_s - point.end_ns / SECOND_NS, 0.0)
        rate = f"{count_text(point.rate_tps)}/s"
        # Nothing may have come back in an interval.
        p99 = f"p99 {duration_text(point.p99_ns, self.unicode) if point.transactions else '-'}"
        left = " left" if self.width >= 60 else ""
        return f"{left_s:4.1f} s{left}  {rate:>9}  {p99:<11}"


def _rich_console(stderr: bool) -> Console | None:
    """rich's console for a stream that is a terminal it can draw on."""
    stream = sys.stderr if stderr else sys.stdout
    # Python has none at all for a descriptor that was closed when it started.
    if (stream is None or not stream.isatty()
            or os.environ.get("TERM", "dumb") in ("dumb", "unknown")):
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(stderr=stderr)
