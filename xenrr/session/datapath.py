"""An engine at work on a thread of its own, and how it is made to stop.

The loop on the thread owns the data connection while it runs and never waits for the GIL
(house rules of ``engine.base``). Whoever started it holds two pipes: one byte into the stop
pipe asks the loop to end, and the report pipe carries interim records out. A record of
zeros says that the loop is over, so one descriptor in a selector or an event loop is all
that has to be watched. (Closing the pipe could not say it: the thread may have a table of
descriptors of its own.)

A loop that sits in a blocking receive does not see the stop pipe. ``release`` shuts the
socket down for reading, which wakes it without a signal and without a timer in the timed
part; ``release(whole=True)`` also fails a peer that keeps on sending.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Mapping, Sequence

from xenrr.engine.base import (
    INTERIM_RECORD,
    TICK_NS,
    AnySpec,
    ConnectSpec,
    Engine,
    Interim,
    LoopSpec,
    StreamSpec,
    Tally,
)
from xenrr.frozen import replace
from xenrr.lean import Any, Union, socket

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    # A single flow starts without them.
    from xenrr.engine.flows import FlowsSpec, FlowsTally

__all__ = ["RELEASE_AFTER_S", "AnyWork", "DataSockets", "LoopThread", "start_thread",
           "two_pipes"]

# What an engine is given: one connection, those of many flows, or none where it makes its
# own; and what it is to do with them.
DataSockets = Union[socket.socket, Sequence[socket.socket], None]
AnyWork = Union[AnySpec, "FlowsSpec"]

# The last record of a data phase.
OVER = bytes(INTERIM_RECORD.size)
# How long the thread waits before it tries again to write it into a full pipe.
FULL_PIPE_S = 0.01

# A running loop looks at the stop pipe at every tick. One that has not ended two ticks
# after it was asked to is blocked and has to be released.
RELEASE_AFTER_S = 2 * TICK_NS / 1e9


def _thread_usage() -> dict[str, int]:
    """Switches and CPU time of the calling thread so far; empty where nobody counts."""
    try:
        import resource

        used = resource.getrusage(resource.RUSAGE_THREAD)
    except (ImportError, AttributeError, OSError, ValueError):
        return {}
    return {"voluntary_switches": used.ru_nvcsw, "involuntary_switches": used.ru_nivcsw,
            "user_us": round(used.ru_utime * 1e6), "system_us": round(used.ru_stime * 1e6)}


def two_pipes() -> tuple[int, int, int, int]:
    """Read and write end of each; where there is only room for one pipe, none is left open.

    Raises:
        OSError: There are no more descriptors.
    """
    first = os.pipe()
    try:
        return (*first, *os.pipe())
    except OSError:
        for descriptor in first:
            os.close(descriptor)
        raise


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        OSError: There are no more of them (EAGAIN); Python has a ``RuntimeError`` for it.
    """
    try:
        thread.start()
    except RuntimeError as exc:
        raise OSError(errno.EAGAIN, "this machine has no more threads") from exc


class LoopThread:
    """Runs one data phase; start it, watch ``report_fd`` until ``over``, read ``result``.

    Args:
        engine: What runs it.
        sock: The data connection, connected and blocking, or what else the engine is given
            for this kind of data phase. It stays the caller's.
        spec: What to do.
        cpu: CPU to bind the thread to, -1 for any. One that this machine does not have or
            may not use is passed over, as in netperf.

    Attributes:
        over: Whether it has ended.
        flows: What each of many flows did, ``None`` before ``result`` and of other phases.
        usage: What the thread used in the data phase: voluntary and involuntary switches,
            time in user and system mode in µs; empty where the system does not tell or was
            not asked.
    """

    def __init__(
        self, engine: Engine, sock: DataSockets, spec: AnyWork, cpu: int = -1
    ) -> None:
        self._engine = engine
        self._sock = sock
        self._flows_spec: FlowsSpec | None = None
        if isinstance(spec, (LoopSpec, ConnectSpec, StreamSpec)):
            self._spec: AnySpec = replace(spec, own_thread=True)
        else:
            self._flows_spec = spec
            self._spec = replace(spec.rounds, own_thread=True)
        self.flows: FlowsTally | None = None
        self._cpu = cpu
        self._asks_usage = False
        self.over = False
        self._abandoned = False
        self.usage: Mapping[str, int] = {}
        self._tally: Tally | None = None
        self._error: BaseException | None = None
        self._partial = b""
        self._stop_read, self._stop_write, self.report_fd, self._report_write = two_pipes()
        for descriptor in (self.report_fd, self._report_write, self._stop_write):
            os.set_blocking(descriptor, False)
        self._thread = threading.Thread(target=self._work, name="xenrr-loop", daemon=True)

    def start(self, at_ns: int = 0, usage: bool = False) -> None:
        """Begin the data phase.

        Args:
            at_ns: Monotonic time that the loop waits for, ready to send; 0 for no wait.
            usage: Whether to ask the system what the thread uses.

        Raises:
            OSError: This machine has no more threads.
        """
        if at_ns and isinstance(self._spec, (LoopSpec, ConnectSpec)):
            self._spec = replace(self._spec, start_at_ns=at_ns)
        self._asks_usage = usage
        try:
            start_thread(self._thread)
        except OSError:
            self._close()
            raise

    def read_interims(self) -> list[Interim]:
        """Interim results that have come in; sets ``over`` when the loop has ended."""
        try:
            data = os.read(self.report_fd, 64 * INTERIM_RECORD.size)
        except BlockingIOError:
            return []
        data = self._partial + data
        whole = len(data) - len(data) % INTERIM_RECORD.size
        self._partial = data[whole:]
        interims = [Interim(*fields) for fields in INTERIM_RECORD.iter_unpack(data[:whole])]
        if interims and not interims[-1].elapsed_ns:
            self.over = True
            interims.pop()
        return interims

    def stop(self) -> None:
        """Ask the loop to end at its next look; safe in a signal handler and when over."""
        try:
            os.write(self._stop_write, b"x")
        except OSError:  # full (asked often) or closed (already over)
            return

    def release(self, *, whole: bool = False) -> None:
        """Wake a loop that is blocked in a receive (``whole``: or in a send)."""
        # Where the engine makes its own, none of them blocks for long; and of many flows
        # none blocks at all.
        if isinstance(self._sock, socket.socket):
            with contextlib.suppress(OSError):  # not connected any more: then nothing blocks
                self._sock.shutdown(socket.SHUT_RDWR if whole else socket.SHUT_RD)

    def result(self) -> Tally:
        """What the data phase did; waits for the thread and frees the pipes.

        Raises:
            BaseException: Whatever the engine raised.
        """
        self._abandoned = True
        self._thread.join()
        self._close()
        if self._error is not None:
            raise self._error
        assert self._tally is not None
        return self._tally

    def _close(self) -> None:
        descriptors = (self.report_fd, self._report_write, self._stop_read, self._stop_write)
        # A late stop() must not write into whatever gets these numbers next.
        self.report_fd = self._report_write = self._stop_read = self._stop_write = -1
        for descriptor in descriptors:
            os.close(descriptor)

    def _work(self) -> None:
        try:
            self._bind()
            before = _thread_usage() if self._asks_usage else {}
            self._tally = self._run()
            if before:
                after = _thread_usage()
                self.usage = {name: after[name] - before[name] for name in before}
        except BaseException as exc:  # carried over to the thread that asked
            self._error = exc
        finally:
            self._say_over()

    def _run(self) -> Tally:
        if self._flows_spec is None:
            assert self._sock is None or isinstance(self._sock, socket.socket)
            return self._engine.run(
                self._sock, self._spec, self._stop_read, self._report_write)
        assert isinstance(self._sock, Sequence) and isinstance(self._spec, LoopSpec)
        self._wait_until(self._spec.start_at_ns)
        engine: Any = self._engine  # one that does flows, or their spec would not be here
        self.flows = flows = engine.run_flows(
            self._sock, replace(self._flows_spec, rounds=self._spec), self._stop_read,
            self._report_write)
        total: Tally = flows.total
        return total

    def _wait_until(self, at_ns: int) -> None:
        """Many flows wait here: a loop of them has more to prepare than one of one flow."""
        waiter = select.poll()
        waiter.register(self._stop_read, select.POLLIN)
        while (left_ns := at_ns - time.monotonic_ns()) > 0:
            if left_ns < 2_000_000:
                time.sleep(left_ns / 1e9)
            elif waiter.poll(min(left_ns, TICK_NS) // 1_000_000 - 1):
                return  # and the loop sees it at once

    def _bind(self) -> None:
        if self._cpu < 0 or not hasattr(os, "sched_setaffinity"):
            return
        with contextlib.suppress(OSError, ValueError):
            os.sched_setaffinity(0, {self._cpu})  # 0 is the calling thread, not the process

    def _say_over(self) -> None:
        while not self._abandoned:
            try:
                os.write(self._report_write, OVER)
                return
            except BlockingIOError:
                time.sleep(FULL_PIPE_S)
