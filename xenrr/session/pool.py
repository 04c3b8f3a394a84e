"""Where round trips of a target run: on a thread of their own, or many on one.

A blocking loop on a thread of its own is the fastest for one connection, and for as many as
there are processors. With more of them each turn costs a switch of threads, and one thread
that waits for all of them at once does more: a pool (``engine.flows``). So a session begins
with a loop of its own; when there are more sessions than processors, new ones go to a pool
and those that run move there, each between two of its transactions. A loop that waits for a
slow sender moves when that sender has said something, or never: it costs nobody anything.

A pool reads whom to serve from one pipe and tells who has left through another. Neither end
may wait for the other's pipe to have room, so what does not fit is written later.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol, cast

from xenrr.engine.base import MAX_PIECE_BYTES, Buffers, Ended, Engine, LoopSpec, Tally
from xenrr.engine.flows import DROP, JOIN_RECORD, LEAVE_RECORD, FlowsEngine, Join
from xenrr.errors import EngineUnavailable
from xenrr.frozen import replace
from xenrr.session.datapath import LoopThread, start_thread, two_pipes
from xenrr.session.sockets import room_for_descriptors

__all__ = ["Alone", "Pools", "Promise", "Stay", "Work", "can_pool", "check_poller",
           "processors"]

# A pool that serves nobody for this long ends; the next one is there within a millisecond.
IDLE_S = 10.0
# Whoever is told to end and has been dropped from everything ends within microseconds.
END_LIMIT_S = 2.0
# One write of whole records that a pipe takes whole or not at all (PIPE_BUF, POSIX: 512 or
# more; Linux 4096).
WRITE_BYTES = select.PIPE_BUF // JOIN_RECORD.size * JOIN_RECORD.size
READ_BYTES = 512 * LEAVE_RECORD.size


def processors() -> int:
    """How many this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def check_poller(engine: Engine, wanted: str) -> str:
    """The poller that an engine will use.

    Raises:
        EngineUnavailable: The one that is wanted does not work here.
    """
    offered = cast(FlowsEngine, engine).pollers()
    if wanted == "auto":
        return offered[0]
    if wanted not in offered:
        raise EngineUnavailable(f"the {engine.name} engine cannot wait by {wanted} here; it "
                                f"has {', '.join(offered)}")
    return wanted


def can_pool(spec: LoopSpec) -> bool:
    """Whether a pool does the same as a loop of its own would."""
    return (not spec.pace.burst and not spec.spin and not spec.plain_write
            and spec.buffers == Buffers()
            and max(spec.request_bytes, spec.response_bytes) <= MAX_PIECE_BYTES)


class Work(Protocol):
    """The data phase of one test under way at a target.

    Attributes:
        over: Done when it has ended.
    """

    over: asyncio.Future[None]

    def stop(self) -> None:
        """Ask it to end."""

    def release(self, *, whole: bool) -> None:
        """Wake it where it is blocked; it has been asked to end."""

    def result(self) -> Tally:
        """What it did; where it has not ended, it is made to."""

    @property
    def where(self) -> str:
        """How it waited, for the log: empty for a blocking loop."""


class Alone:
    """A data phase on a thread of its own.

    Args:
        engine, data, spec, cpu: See ``LoopThread``.
        silent_end: End after so many interims in a row without data; 0 for never.
    """

    where = ""

    def __init__(
        self, engine: Engine, data: socket.socket, spec: object, cpu: int,
        silent_end: int = 0,
    ) -> None:
        self._thread = LoopThread(engine, data, spec, cpu)  # type: ignore[arg-type]
        self._loop = asyncio.get_running_loop()
        self._silent_end = silent_end
        self._silent = 0
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._thread.start()
        self._report_fd = self._thread.report_fd
        self._loop.add_reader(self._report_fd, self._watch)

    def stop(self) -> None:
        """See ``Work``."""
        self._thread.stop()

    def release(self, *, whole: bool) -> None:
        """See ``Work``."""
        self._thread.release(whole=whole)

    def result(self) -> Tally:
        """See ``Work``; raises what the engine did."""
        if not self.over.done():
            self._loop.remove_reader(self._report_fd)
            self._thread.stop()
            self._thread.release(whole=True)
        try:
            return self._thread.result()
        finally:
            _set_done(self.over)

    def _watch(self) -> None:
        for interim in self._thread.read_interims():
            self._silent = 0 if interim.interval_bytes else self._silent + 1
        if self._silent_end and self._silent >= self._silent_end:
            self._thread.stop()
        if self._thread.over:
            self._loop.remove_reader(self._report_fd)
            _set_done(self.over)


class Stay:
    """The flows of one test in a pool, until the last of them has left; made by ``Pool``.

    Attributes:
        over: See ``Work``.
        flows: How many there were.
        early: How many of them ended by an error.
    """

    def __init__(self, pool: Pool, first_id: int, flows: int) -> None:
        self._pool = pool
        self._first_id = first_id
        self._left = flows
        self._started_ns = self._ended_ns = 0
        self._sums = [0] * 6
        self._ended, self._errno = Ended.STOPPED, 0
        self.flows = flows
        self.early = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """See ``Work``."""
        if not self.over.done():
            self._pool.drop(range(self._first_id, self._first_id + self.flows))

    def release(self, *, whole: bool) -> None:
        """See ``Work``: a pool blocks nowhere."""

    def result(self) -> Tally:
        """See ``Work``."""
        if not self.over.done():
            self.stop()
            self._pool.wait_for(self, END_LIMIT_S)
            _set_done(self.over)
        transactions, received, sent, recv_calls, send_calls, malformed = self._sums
        return Tally(
            ended=self._ended, errno=self._errno, started_ns=self._started_ns,
            elapsed_ns=max(self._ended_ns - self._started_ns, 0), transactions=transactions,
            bytes_received=received, bytes_sent=sent, recv_calls=recv_calls,
            send_calls=send_calls, malformed=malformed)

    @property
    def where(self) -> str:
        """See ``Work``."""
        return f"a pool of {self._pool.poller}"

    def leave(self, ended: int, number: int, started_ns: int, elapsed_ns: int,
              *counts: int) -> None:
        """One flow has left, with the fields of a ``Leave``."""
        if started_ns:
            self._started_ns = min(self._started_ns or started_ns, started_ns)
            self._ended_ns = max(self._ended_ns, started_ns + elapsed_ns)
        for place, count in enumerate(counts[:6]):
            self._sums[place] += count
        self._ended = Ended(ended)
        if self._ended is Ended.ERROR:
            self.early += 1
            self._errno = number
        self._left -= 1
        if not self._left:
            _set_done(self.over)

    def lost(self) -> None:
        """The pool has ended with flows in it."""
        self._left, self._ended, self._errno = 0, Ended.ERROR, errno.EIO
        _set_done(self.over)


class Pool:
    """One thread that serves many flows.

    Args:
        engine: What runs it.
        poller: How it waits.
        on_end: Called when it has ended though nobody asked it to.

    Attributes:
        flows: How many are in it.
        failure: What the engine raised, if it did.
    """

    def __init__(
        self, engine: FlowsEngine, poller: str, on_end: Callable[[Pool], None]
    ) -> None:
        self._engine = engine
        self._on_end = on_end
        self.poller = poller
        self.flows = 0
        self.failure: BaseException | None = None
        self._stays: dict[int, Stay] = {}
        self._next_id = 1
        self._pending = bytearray()
        self._partial = b""
        self._loop = asyncio.get_running_loop()
        self._join_read, self._join_write, self._leave_read, self._leave_write = two_pipes()
        for descriptor in (self._join_read, self._join_write, self._leave_read):
            os.set_blocking(descriptor, False)
        self._thread = threading.Thread(target=self._work, name="xenrr-pool", daemon=True)
        try:
            start_thread(self._thread)
        except OSError:
            for descriptor in (self._join_read, self._join_write, self._leave_read,
                               self._leave_write):
                os.close(descriptor)
            raise
        self._loop.add_reader(self._leave_read, self._read)

    def admit(self, fds: Iterable[int], join: Join) -> Stay:
        """Let the flows of one test in.

        Args:
            fds: Their descriptors.
            join: What they all are; its id and descriptor do not matter.
        """
        records = [replace(join, id=self._next_id + place, fd=fd).pack()
                   for place, fd in enumerate(fds)]
        stay = Stay(self, self._next_id, len(records))
        self._stays.update(dict.fromkeys(
            range(self._next_id, self._next_id + len(records)), stay))
        self._next_id += len(records)
        self.flows += len(records)
        self._write(b"".join(records))
        return stay

    def drop(self, ids: Iterable[int]) -> None:
        """Make flows leave; those that have left already are passed over."""
        self._write(b"".join(JOIN_RECORD.pack(DROP, number, *[0] * 6, b"", 0)
                             for number in ids if number in self._stays))

    def wait_for(self, stay: Stay, limit_s: float) -> None:
        """Block until all flows of a test have left, or the limit has passed."""
        end_s = time.monotonic() + limit_s
        waiter = select.poll()
        while not stay.over.done() and (left_s := end_s - time.monotonic()) > 0:
            waiter.register(self._leave_read, select.POLLIN)
            if self._pending:
                waiter.register(self._join_write, select.POLLOUT)
            waiter.poll(left_s * 1000)
            if self._pending:
                self._flush()
                waiter.unregister(self._join_write)
            self._read()

    def close(self) -> None:
        """End it: flows that are still in it are dropped."""
        self._stop_watching()
        self._thread.join(END_LIMIT_S)
        if not self._thread.is_alive():
            self._read()
        self._close_read()

    def _work(self) -> None:
        try:
            self._engine.serve_flows(self._join_read, self._leave_write, self.poller)
        except BaseException as exc:  # shown by whoever sees the end of file
            self.failure = exc
        finally:
            os.close(self._join_read)
            os.close(self._leave_write)

    def _write(self, records: bytes) -> None:
        idle = not self._pending
        self._pending += records
        if idle:
            self._flush()

    def _flush(self) -> None:
        while self._pending and self._join_write >= 0:
            try:
                written = os.write(self._join_write, self._pending[:WRITE_BYTES])
            except BlockingIOError:
                self._loop.add_writer(self._join_write, self._flush)
                return
            except OSError:  # it has ended: the end of file tells
                break
            del self._pending[:written]
        self._pending.clear()
        if self._join_write >= 0:
            self._loop.remove_writer(self._join_write)

    def _read(self) -> None:
        while self._leave_read >= 0:
            try:
                data = os.read(self._leave_read, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._ended()
                return
            data = self._partial + data
            whole = len(data) - len(data) % LEAVE_RECORD.size
            self._partial = data[whole:]
            for number, *fields in LEAVE_RECORD.iter_unpack(data[:whole]):
                stay = self._stays.pop(number, None)
                if stay is not None:
                    self.flows -= 1
                    stay.leave(*fields)
            if len(data) < READ_BYTES:
                return

    def _ended(self) -> None:
        asked = self._join_write < 0
        self._stop_watching()
        self._close_read()
        for stay in dict.fromkeys(self._stays.values()):
            stay.lost()
        self._stays.clear()
        self.flows = 0
        if not asked:
            self._on_end(self)

    def _stop_watching(self) -> None:
        if self._join_write >= 0:
            self._loop.remove_writer(self._join_write)
            os.close(self._join_write)
            self._join_write = -1

    def _close_read(self) -> None:
        if self._leave_read >= 0:
            self._loop.remove_reader(self._leave_read)
            os.close(self._leave_read)
            self._leave_read = -1


class Movable:
    """Round trips that begin on a thread of their own and may move; made by ``Pools``."""

    def __init__(
        self, pools: Pools, engine: Engine, data: socket.socket, spec: LoopSpec
    ) -> None:
        self._pools = pools
        self._data = data
        self._spec = spec
        self._moving = self._stopped = False
        self._before: Tally | None = None
        self._error: BaseException | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._now: Alone | Stay = Alone(engine, data, spec, -1)
        self._now.over.add_done_callback(self._alone_ended)

    def move(self) -> None:
        """Go on in a pool, after the transaction that is under way."""
        self._moving = True
        self._now.stop()

    def stop(self) -> None:
        """See ``Work``."""
        self._stopped = True
        self._now.stop()

    def release(self, *, whole: bool) -> None:
        """See ``Work``."""
        self._now.release(whole=whole)

    def result(self) -> Tally:
        """See ``Work``."""
        self._stopped = True
        if self._error is not None:
            raise self._error
        if self._before is None or isinstance(self._now, Stay):
            after = self._now.result()
            before, self._before = self._before, after
            if before is not None:
                self._before = _together(before, after)
        _set_done(self.over)
        return self._before

    @property
    def where(self) -> str:
        """See ``Work``."""
        return f"moved to {self._now.where}" if isinstance(self._now, Stay) else ""

    def _alone_ended(self, _: object) -> None:
        if self._before is not None or self.over.done():
            return
        try:
            self._before = tally = self._now.result()
            if self._moving and not self._stopped and tally.ended is Ended.STOPPED:
                self._go_on(tally)
                return
        except BaseException as exc:  # raised where the result is asked for
            self._error = exc
        _set_done(self.over)

    def _go_on(self, tally: Tally) -> None:
        spec = self._spec
        left = spec.transactions - tally.transactions if spec.transactions else 0
        self._now = stay = self._pools.admit([self._data.fileno()], Join(
            0, 0, spec.datagram, spec.request_bytes, spec.response_bytes, left,
            tally.leftover_bytes))
        stay.over.add_done_callback(lambda _: _set_done(self.over))


class Promise:
    """Flows that are set aside for one sender; made by ``Pools``.

    Attributes:
        flows: How many.
    """

    def __init__(self, pools: Pools, flows: int) -> None:
        self._pools = pools
        self._awaited = self.flows = flows
        pools.room -= flows
        pools.awaited += flows

    def arrived(self) -> None:
        """Their descriptors are open: from now on they count among those in use."""
        self._pools.awaited -= self._awaited
        self._awaited = 0

    def end(self) -> None:
        """Give back what is set aside; again does nothing."""
        self.arrived()
        self._pools.room += self.flows
        self.flows = 0


class Pools:
    """All pools of a server, and who goes there.

    Args:
        engine: What runs them.
        poller: How they wait, or ``auto``.
        alone: So many sessions of round trips have a thread of their own, -1 for as many as
            there are processors.
        max_flows: Bound of the flows that senders of many have together.
        log: Takes a line when a pool fails.

    Attributes:
        room: How many flows may still be promised.
        awaited: How many are promised whose descriptors are not open yet.

    Raises:
        EngineUnavailable: The poller does not work here.
    """

    def __init__(
        self, engine: Engine, poller: str, alone: int, max_flows: int,
        log: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._poller = check_poller(engine, poller)
        self._limit = processors() if alone < 0 else alone
        self._most = max(1, processors() // 2)
        self.room = max_flows
        self.awaited = 0
        self._log = log
        self._pools: list[Pool] = []
        self._running = 0
        self._alone: list[Movable] = []
        self._idle_timer: asyncio.TimerHandle | None = None

    def begin(self, data: socket.socket, spec: LoopSpec) -> Work:
        """Begin round trips of one connection that ``can_pool``."""
        self._running += 1
        try:
            work: Stay | Movable
            if self._running > self._limit:
                # First the new one: where there is no room for a pool, nobody else has to go.
                work = self.admit([data.fileno()], _join_of(spec))
                while self._alone:
                    self._alone.pop().move()
            else:
                work = Movable(self, self._engine, data, spec)
                self._alone.append(work)
        except BaseException:
            self._running -= 1
            raise
        work.over.add_done_callback(lambda _: self._one_less(work))
        return work

    def admit(self, fds: Iterable[int], join: Join) -> Stay:
        """Put flows of one test into the pool that has the fewest."""
        empty = min(self._pools, key=lambda pool: pool.flows, default=None)
        if empty is None or (empty.flows and len(self._pools) < self._most):
            try:
                empty = Pool(cast(FlowsEngine, self._engine), self._poller, self._failed)
            except OSError:
                if empty is None:
                    raise
            else:
                self._pools.append(empty)
        stay = empty.admit(fds, join)
        stay.over.add_done_callback(lambda _: self._look_for_idle())
        return stay

    def promise(self, flows: int) -> tuple[int, Promise | None]:
        """How many flows a sender can have of those it asks for.

        Returns:
            That number, and where it is all of them, what was set aside for it.
        """
        # Those that others were promised and have not opened will need theirs as well.
        wanted = max(min(flows, self.room), 0)
        room = max(room_for_descriptors(self.awaited + wanted) - self.awaited, 0)
        return room, Promise(self, flows) if room == flows else None

    def close(self) -> None:
        """End all pools; no test is under way."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        while self._pools:
            self._pools.pop().close()

    def _one_less(self, work: Stay | Movable) -> None:
        self._running -= 1
        if isinstance(work, Movable):
            with contextlib.suppress(ValueError):  # it has moved
                self._alone.remove(work)

    def _look_for_idle(self) -> None:
        if self._idle_timer is None:
            self._idle_timer = asyncio.get_running_loop().call_later(
                IDLE_S, self._close_idle)

    def _close_idle(self) -> None:
        self._idle_timer = None
        for pool in [pool for pool in self._pools if not pool.flows]:
            self._pools.remove(pool)
            pool.close()

    def _failed(self, pool: Pool) -> None:
        if pool in self._pools:
            self._pools.remove(pool)
        self._log(f"a pool of {pool.poller} has ended: {pool.failure or 'nobody knows why'}")


def _join_of(spec: LoopSpec) -> Join:
    return Join(0, 0, spec.datagram, spec.request_bytes, spec.response_bytes,
                spec.transactions)


def _together(one: Tally, other: Tally) -> Tally:
    """One data phase in two pieces."""
    started_ns = one.started_ns or other.started_ns
    ended_ns = max(each.started_ns + each.elapsed_ns for each in (one, other))
    return replace(
        other, started_ns=started_ns, elapsed_ns=max(ended_ns - started_ns, 0),
        **{name: getattr(one, name) + getattr(other, name)
           for name in ("transactions", "bytes_received", "bytes_sent", "recv_calls",
                        "send_calls", "malformed")})


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
