"""Ctrl-C and SIGTERM while a command measures."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xenrr.session.sender import Sender

__all__ = ["Interrupt"]


class Interrupt:
    """Lets Ctrl-C and SIGTERM end the running test, so that its results are not lost.

    Attributes:
        sender: Whose test to end; while there is none, or none runs, the command ends.
        seen: Whether a signal has arrived.
    """

    def __init__(self) -> None:
        self.sender: Sender | None = None
        self.seen = False
        self._held = False
        self._old: dict[int, Any] = {}

    def hold(self) -> None:
        """From here on a signal ends a running test and nothing else; ``seen`` tells."""
        self._held = True

    def release(self) -> None:
        """What was measured is safe: a signal may end the command again."""
        self._held = False

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        ends_a_test = self.sender is not None and self.sender.stop()
        if not ends_a_test and not self._held:
            raise KeyboardInterrupt
