"""One data phase as it is watched from the sender's own thread.

The loop runs on a thread of its own. This one hands out interim results, sees the target
disappear, gives up a test that does not move, and wakes a loop that is asked to end while
it is blocked.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping, Sequence

from xenrr.engine.base import Ended, Engine, Interim, Tally
from xenrr.results.record import SECOND_NS, InterimPoint
from xenrr.session.control import ControlConnection
from xenrr.session.dataend import DataEnd
from xenrr.session.datapath import RELEASE_AFTER_S, AnyWork, DataSockets, LoopThread
from xenrr.session.shapes import Shape

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.engine.flows import FlowsTally

__all__ = ["DataPhase"]

# A counted test has no end of its own: this long without progress and it is given up.
STALL_LIMIT_S = 60.0
# How often a watched test is looked at when nothing happens.
LOOK_S = 0.1

# A loop that waits for a time may wake up late, and its own time begins then. To be released at
# what would have been its end cuts off a response that is on its way, or the last of the test.
LATE_START_S = 2.0

TakeInterim = Callable[[InterimPoint], None]


class DataPhase:
    """Runs a data phase and watches it.

    Args:
        engine: What runs it.
        end: The data connection, or the first one of many.
        controls: Watched for the target's end: when all of them have ended, so has it.
        on_interim: Takes interim results that were asked for.
        sockets, work: What the engine is given instead of what ``end`` says.

    Attributes:
        interims: Those that came.
        error: Why it was given up, else empty.
        given_up: How it ended then.
        started_epoch_s: Wall-clock time of its start.
        stop_asked: Whether ``stop`` was called.
        thread_usage: See ``LoopThread.usage``; empty before the end.
        flows: See ``LoopThread.flows``.
    """

    def __init__(
        self, engine: Engine, end: DataEnd, controls: Sequence[ControlConnection],
        on_interim: TakeInterim | None, sockets: DataSockets = None,
        work: AnyWork | None = None,
    ) -> None:
        spec = end.spec
        self._controls = {control.sock.fileno(): control for control in controls}
        self._on_interim = on_interim
        self._wanted = spec.interim_s > 0
        self._shape = end.shape
        self._duration_s = spec.duration_s
        if work is None:
            sockets, work = end.engine_socket, end.engine_spec()
        self._loop = LoopThread(engine, sockets, work, spec.local.cpu)
        self.interims: list[InterimPoint] = []
        self.error = ""
        self.given_up: Ended | None = None
        self.started_epoch_s = 0.0
        self.stop_asked = False
        self.thread_usage: Mapping[str, int] = {}
        self.flows: FlowsTally | None = None

    def stop(self) -> None:
        """End it early; safe in a signal handler and from any thread."""
        self.stop_asked = True
        self._loop.stop()

    def run(self, at_ns: int = 0, conditions: bool = True) -> Tally:
        """Start the loop, watch it to its end, hand out what it did.

        Args:
            at_ns: Monotonic time of the first request, 0 for at once.
            conditions: Whether ``thread_usage`` is wanted.
        """
        wait_s = max(at_ns - time.monotonic_ns(), 0) / SECOND_NS
        self.started_epoch_s = time.time() + wait_s
        self._loop.start(at_ns, conditions)
        try:
            if self.stop_asked:
                self._loop.stop()
            self._watch(wait_s, LATE_START_S if at_ns else 0.0)
        except BaseException:
            self._loop.stop()
            self._loop.release(whole=True)
            raise
        finally:
            tally = self._loop.result()
            self.thread_usage = self._loop.usage
            self.flows = self._loop.flows
        return tally

    def _watch(self, wait_s: float, late_s: float) -> None:
        waiter = select.poll()
        waiter.register(self._loop.report_fd, select.POLLIN)
        alive = len(self._controls)
        for control_fd in self._controls:
            waiter.register(control_fd, select.POLLIN)
        begun_s = progress_s = time.monotonic() + wait_s
        end_s = (begun_s + self._duration_s + late_s if self._duration_s is not None
                 else None)
        stopped_s = None
        while True:
            ready = {descriptor for descriptor, _ in waiter.poll(LOOK_S * 1000)}
            if self._loop.report_fd in ready:
                for interim in self._loop.read_interims():
                    if interim.interval_transactions or interim.interval_bytes:
                        progress_s = time.monotonic()
                    self._keep(interim)
                if self._loop.over:
                    return
            now_s = time.monotonic()
            for control_fd in ready & self._controls.keys():
                # Either the results, early, or the peer is gone. Both end the watching.
                waiter.unregister(control_fd)
                alive -= self._controls[control_fd].peer_has_gone()
                if not alive:
                    self._give_up(Ended.PEER, "the peer closed the control connection during "
                                              "the test")
            if self.stop_asked or self.error:
                stopped_s = stopped_s or now_s
            elif end_s is None and now_s - progress_s > STALL_LIMIT_S:
                self._give_up(Ended.LOST, f"no response for {STALL_LIMIT_S:g} s")
            elif end_s is not None and now_s > end_s:
                stopped_s = end_s
            if stopped_s is not None:
                self._release(now_s - stopped_s)

    def _release(self, late_s: float) -> None:
        whole = late_s > 10 * RELEASE_AFTER_S
        # A loop that sends is not woken by an end of file, and the last data still has to
        # be waited for on this socket.
        if whole or (late_s > RELEASE_AFTER_S and self._shape is not Shape.SENDS):
            self._loop.release(whole=whole)

    def _give_up(self, ended: Ended, why: str) -> None:
        self.given_up = ended
        self.error = why
        self._loop.stop()

    def _keep(self, interim: Interim) -> None:
        if not self._wanted:
            return
        point = InterimPoint(
            end_ns=interim.elapsed_ns, interval_ns=interim.interval_ns,
            transactions=interim.interval_transactions, bytes=interim.interval_bytes,
            p50_ns=interim.p50_ns, p99_ns=interim.p99_ns, max_ns=interim.max_ns,
            at_epoch_s=self.started_epoch_s + interim.elapsed_ns / SECOND_NS)
        self.interims.append(point)
        if self._on_interim is not None:
            self._on_interim(point)
