"""SIGINT and SIGALRM while a test runs: end it early, print everything, exit 0.

Scripts end netperf with ``pkill -ALRM``, people with Ctrl-C. Outside the data phase there
is nothing to print yet, and the signal ends the program as it ends any other; so does a
second Ctrl-C for somebody who does not want to wait for the results.
"""

from __future__ import annotations

import os
import threading
from types import FrameType, TracebackType

from xenrr.lean import signal

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Interrupts", "die_of"]


SIGNALS = (signal.SIGINT, signal.SIGALRM)


def die_of(number: int) -> None:
    """End this process by a signal, so that whoever started it sees which."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class Interrupts:
    """Handles the two signals while it is entered.

    Attributes:
        asked: Whether somebody wanted the test to end.
    """

    def __init__(self) -> None:
        self.asked = False
        self._stop: Callable[[], object] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        # Python allows handlers only there; a library call from another thread has none.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def running(self, stop: Callable[[], object]) -> None:
        """The data phase begins; ``stop`` ends it."""
        self._stop = stop
        if self.asked:
            stop()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stop is None:
            # A shell starts background jobs with SIGINT ignored; that stays so until there
            # is something to print.
            if self._before[number] != signal.SIG_IGN:
                die_of(number)
        elif self.asked and number == signal.SIGINT:
            die_of(number)
        else:
            self.asked = True
            self._stop()
