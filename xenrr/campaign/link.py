"""The coordinator's end of one agent: start it, know its clock, talk, end it.

Every wait has a limit. An agent that has gone, or that does not answer in time, is a
``LinkLost`` with what it last wrote to stderr; its process group is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from xenrr.campaign.launchers.base import Launch
from xenrr.errors import RemoteProtocolError, XenrrError
from xenrr.lab.privilege import die_with_parent
from xenrr.session.frames import FrameReader, Message, encode_frame

__all__ = ["AgentFailed", "AgentLink", "Clock", "LinkLost", "best_clock",
           "end_process", "start_process"]

READ_BYTES = 1 << 16
ERROR_BYTES = 4000
ROUND_TRIPS = 8
QUIT_LIMIT_S = 1.0
TERM_LIMIT_S = 1.0
# What is killed is gone as soon as a busy machine comes to it, but may hang in the kernel.
KILL_LIMIT_S = 10.0
# What was in its pipes; somebody else may hold them open.
PIPES_LIMIT_S = 1.0


class LinkLost(XenrrError):
    """An agent has gone or does not answer."""

    code = "agent-lost"


class Clock:
    """What is known of another machine's monotonic clock.

    Attributes:
        offset_ns: Its reading less ours, at the same instant.
        uncertainty_ns: How wrong that can be, in either direction.
    """

    def __init__(self, offset_ns: int = 0, uncertainty_ns: int = 0) -> None:
        self.offset_ns = offset_ns
        self.uncertainty_ns = uncertainty_ns


def best_clock(samples: Iterable[tuple[int, int, int]]) -> Clock:
    """The offset from the fastest of several round trips.

    Args:
        samples: For each: sent and received on our clock, and the reading in between on the
            other, all in ns.

    Raises:
        ValueError: There are none.
    """
    sent_ns, received_ns, there_ns = min(samples, key=lambda each: each[1] - each[0])
    return Clock(there_ns - (sent_ns + received_ns) // 2,
                 (received_ns - sent_ns + 1) // 2)


async def start_process(launch: Launch, **more: Any) -> asyncio.subprocess.Process:
    """Start what a launcher said, in a process group of its own that dies with us.

    Raises:
        LinkLost: It cannot be started.
    """
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(
        *launch.words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, **launch.environment},
        # Ctrl-C is for the coordinator, which then ends all others in order.
        start_new_session=True, preexec_fn=_end_with_us, **more))
    try:
        await asyncio.wait({starting})
    except asyncio.CancelledError:
        # asyncio would leave one that is only half started running, and its pipes open.
        await _to_the_end(_end_started(starting))
        raise
    try:
        return starting.result()
    except OSError as exc:
        raise LinkLost(f"{launch.words[0]}: {exc.strerror or exc}") from exc


async def _end_started(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    with contextlib.suppress(OSError):
        await end_process(await starting)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do it, however often we are cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})


def _end_with_us() -> None:
    with contextlib.suppress(OSError):
        die_with_parent(signal.SIGKILL)


async def end_process(process: asyncio.subprocess.Process, patience_s: float = 0.0) -> None:
    """End a process and its group: wait, then SIGTERM, then SIGKILL."""
    for number, limit_s in ((0, patience_s), (signal.SIGTERM, TERM_LIMIT_S),
                            (signal.SIGKILL, KILL_LIMIT_S)):
        if process.returncode is not None:
            return
        if number:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), max(limit_s, 0.001))


class AgentLink:
    """One agent, from its start to its end.

    Args:
        name: Of the machine, for messages.
        launch: How it is started.
        on_interim: Told each interim result as it comes.
    """

    def __init__(self, name: str, launch: Launch,
                 on_interim: Callable[[Message], None] | None = None) -> None:
        self.name = name
        self.clock = Clock()
        self.hello: Message = {}
        self._launch = launch
        self._on_interim = on_interim
        self._process: asyncio.subprocess.Process | None = None
        self._said: asyncio.Queue[Message | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._errors = bytearray()
        self._complaint = ""

    @property
    def pid(self) -> int:
        """Its process here; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended, as far as is known."""
        return (self._process is not None and self._process.returncode is None
                and not self._complaint)

    async def open(self, limit_s: float, same_clock: bool) -> None:
        """Start it and get to know it.

        Raises:
            LinkLost: It did not come up within the limit.
        """
        self._process = await start_process(self._launch)
        self._tasks = [asyncio.ensure_future(self._read()),
                       asyncio.ensure_future(self._read_errors())]
        if self._launch.preamble:
            self._write(self._launch.preamble)
        self.say("hello")
        self.hello = await self.hear(("hello",), limit_s, "come up")
        if not same_clock:
            await self.read_clock(limit_s)

    async def read_clock(self, limit_s: float) -> None:
        """Estimate its clock anew.

        Raises:
            LinkLost: It does not answer.
        """
        samples = []
        for token in range(ROUND_TRIPS):
            sent_ns = time.monotonic_ns()
            self.say("time", token=token)
            answer = await self.hear(("time",), limit_s, "tell its time")
            samples.append((sent_ns, int(answer["arrived_ns"]), int(answer["now_ns"])))
        self.clock = best_clock(samples)

    def say(self, kind: str, **fields: object) -> None:
        """Send a message; one to an agent that has gone is lost, and ``hear`` will tell."""
        self._write(encode_frame(kind, **fields))

    def _write(self, data: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                self._process.stdin.write(data)

    async def hear(self, kinds: tuple[str, ...], limit_s: float, what: str) -> Message:
        """The next message of one of these kinds, or ``failed``; others are passed over.

        Args:
            kinds: Those waited for.
            limit_s: For how long, in s.
            what: What it is to do, for the error.

        Raises:
            LinkLost: It has gone, said ``failed``, or the time is over.
        """
        give_up_s = time.monotonic() + limit_s
        while True:
            left_s = give_up_s - time.monotonic()
            try:
                message = await asyncio.wait_for(self._said.get(), max(left_s, 0.001))
            except asyncio.TimeoutError:
                raise LinkLost(f"did not {what} within {limit_s:g} s") from None
            if message is None:
                self._said.put_nowait(None)  # for whoever asks next
                raise LinkLost(self._lost_text())
            if message["kind"] in kinds:
                return message
            if message["kind"] == "failed":
                raise AgentFailed(str(message.get("text", "")), str(message.get("code", "")))

    def forget(self) -> None:
        """Drop what was said and not heard, before something new is asked."""
        waiting: list[Message | None] = []
        while not self._said.empty():
            waiting.append(self._said.get_nowait())
        if None in waiting:
            self._said.put_nowait(None)

    async def close(self, patience_s: float = QUIT_LIMIT_S) -> None:
        """End it: ask, then insist."""
        process = self._process
        if process is None:
            return
        self.say("quit")
        if process.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                process.stdin.close()
        await end_process(process, patience_s)
        # To their end, or the pipes would stay open.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PIPES_LIMIT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        frames = FrameReader()
        try:
            while data := await self._process.stdout.read(READ_BYTES):
                arrived_ns = time.monotonic_ns()
                for message in frames.feed(data):
                    if message["kind"] == "interim":
                        if self._on_interim is not None:
                            self._on_interim(message)
                        continue
                    message["arrived_ns"] = arrived_ns
                    self._said.put_nowait(message)
            self._complaint = "ended"
        except RemoteProtocolError as exc:
            self._complaint = f"sent {exc}"
        except OSError as exc:
            self._complaint = f"could not be read: {exc}"
        # What it wrote to stderr says why, and may still be on its way.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._tasks[1]), 0.5)
        self._said.put_nowait(None)

    async def _read_errors(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(READ_BYTES):
            self._errors += data
            del self._errors[:-ERROR_BYTES]

    def _lost_text(self) -> str:
        lines = [line for line in self._errors.decode(errors="replace").splitlines()
                 if line.strip()]
        return f"its agent {self._complaint}" + (f": {lines[-1].strip()}" if lines else "")


class AgentFailed(LinkLost):
    """An agent lives and says that it cannot do what it was asked.

    Args:
        message: What it said.
        reason: The ``code`` of its error.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
