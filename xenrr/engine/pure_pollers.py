"""Waiting for many descriptors, in Python: epoll where there is one, else poll."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Sequence
from contextlib import suppress

from xenrr.errors import EngineUnavailable

__all__ = ["READABLE", "WRITABLE", "Poller", "choose_poller", "pollers"]

# epoll and poll name their events by the same numbers. What is neither of the two (an
# error, a hang-up) is found out by reading.
READABLE, WRITABLE = select.POLLIN, select.POLLOUT
# Descriptors that select() can wait for.
SELECT_LIMIT = 1024


def pollers() -> Sequence[str]:
    """Those of ``flows.POLLERS`` that Python has here, the fastest first."""
    return ("epoll", "poll") if hasattr(select, "epoll") else ("poll",)


def choose_poller(wanted: str) -> str:
    """The poller that runs when ``wanted`` is asked for.

    Raises:
        EngineUnavailable: It does not work here.
    """
    there = pollers()
    if wanted == "auto":
        return there[0]
    if wanted not in there:
        raise EngineUnavailable(f"the Python engine has no poller {wanted!r} here; it has "
                                f"{', '.join(there)}")
    return wanted


class Poller:
    """Tells which of many descriptors are ready. Level-triggered: until they are not.

    Args:
        name: ``epoll`` or ``poll``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._epoll = select.epoll() if name == "epoll" else None
        self._poll = self._epoll or select.poll()
        # How often the same descriptor was added: poll() forgets the first, epoll refuses.
        self._watched: set[int] = set()

    def add(self, fd: int, events: int = READABLE) -> None:
        """Watch a descriptor.

        Raises:
            OSError: It is none, or is watched already.
        """
        if fd in self._watched:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.fstat(fd)    # poll() takes any number
        self._poll.register(fd, events)
        self._watched.add(fd)

    def change(self, fd: int, events: int) -> None:
        """Watch it for something else."""
        self._poll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Watch it no more."""
        self._watched.discard(fd)
        with suppress(OSError):     # closed under us: epoll has forgotten it
            self._poll.unregister(fd)

    def wait(self, timeout_ns: int | None, exact: bool = False) -> list[tuple[int, int]]:
        """Descriptors that are ready, and for what.

        Args:
            timeout_ns: Wait no longer; ``None`` for ever.
            exact: Come back in time. Python's epoll and poll wait whole milliseconds, so
                the rest is waited for by select() on the epoll descriptor, where that one
                is not too high, and else not at all: the caller comes again.
        """
        if timeout_ns is None:
            return self._poll.poll()
        if exact:
            if self._epoll is not None and self._epoll.fileno() < SELECT_LIMIT:
                if timeout_ns > 0:
                    select.select((self._epoll,), (), (), timeout_ns / 1e9)
                return self._epoll.poll(0)
            timeout_ms = max(timeout_ns, 0) // 1_000_000
        else:
            timeout_ms = -(-max(timeout_ns, 0) // 1_000_000)
        if self._epoll is not None:
            return self._epoll.poll(timeout_ms / 1000)
        return self._poll.poll(timeout_ms)

    def close(self) -> None:
        """Give back the descriptor."""
        if self._epoll is not None:
            self._epoll.close()
