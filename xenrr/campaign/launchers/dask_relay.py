"""A program on a dask worker, with its streams here; ``DaskLauncher`` starts this module.

What comes on standard input goes to the program's, what it writes comes out here, and its exit
code is this one's; ``ssh`` does the same for a host. It needs dask.distributed on this side;
the worker needs nothing of xenrr.

Everything goes through the scheduler (``Client.run``), because that is the one connection that
any user of a cluster has; workers on Kubernetes are reached no other way. It takes no thread of
the worker's pool either. Queues would need a name that both ends agree on, actors a direct
connection.

Nothing stays behind: the program ends with its standard input, and a worker that has not been
asked for output for ``SILENCE_S`` ends it, because then nobody is here any more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import uuid
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["main"]

Result = TypeVar("Result")

CONNECT_LIMIT_S = 5.0
# One question waits so long for output, and the answer may be late by so much.
POLL_S, ANSWER_LIMIT_S = 2.0, 20.0
SILENCE_S = 8.0
INPUT_BYTES = 1 << 16
# Of what the program has written and nobody has fetched.
MAX_WAITING_BYTES = 16 << 20
LOST = 255


# ---- on the worker: sent there as they are, so each has all it needs inside ----

async def name_of(dask_worker: Any) -> str:
    """What a worker is called."""
    return str(dask_worker.name)


async def start(key: str, words: list[str], silence_s: float, most_bytes: int,
                dask_worker: Any) -> str:
    """Start a program; an empty text, or why it does not start."""
    import asyncio
    import contextlib
    import os
    import signal
    import sys
    import time
    from types import SimpleNamespace

    try:
        process = await asyncio.create_subprocess_exec(
            words[0] or sys.executable, *words[1:], stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True)
    except OSError as exc:
        return f"{words[0]}: {exc.strerror or exc}"
    one = SimpleNamespace(process=process, output=bytearray(), errors=bytearray(),
                          news=asyncio.Event(), asked_s=time.monotonic(), tasks=[], code=None)

    async def keep(stream: Any, into: bytearray) -> None:
        while data := await stream.read(1 << 16):
            into += data
            one.news.set()
            while len(into) > most_bytes:
                await asyncio.sleep(0.05)

    async def watch() -> None:
        await asyncio.gather(keep(process.stdout, one.output),
                             keep(process.stderr, one.errors))
        one.code = await process.wait()
        one.news.set()

    async def guard() -> None:
        while one.code is None and time.monotonic() - one.asked_s < silence_s:
            await asyncio.sleep(0.5)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if one.code is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
                await asyncio.sleep(1)
        # A last answer may still be asked for.
        await asyncio.sleep(silence_s)
        dask_worker.__dict__.get("xenrr_programs", {}).pop(key, None)

    one.tasks = [asyncio.ensure_future(watch()), asyncio.ensure_future(guard())]
    dask_worker.__dict__.setdefault("xenrr_programs", {})[key] = one
    return ""


async def write(key: str, data: bytes, dask_worker: Any) -> None:
    """Pass on what it is to read; nothing is the end."""
    import contextlib

    one = dask_worker.__dict__.get("xenrr_programs", {}).get(key)
    if one is None:
        return
    with contextlib.suppress(ConnectionError, RuntimeError):
        if data:
            one.process.stdin.write(data)
            await one.process.stdin.drain()
        else:
            one.process.stdin.close()


async def read(key: str, limit_s: float, dask_worker: Any
               ) -> tuple[bytes, bytes, int | None] | None:
    """What it has written, and its exit code when it has ended; None for no such program."""
    import asyncio
    import contextlib
    import time

    one = dask_worker.__dict__.get("xenrr_programs", {}).get(key)
    if one is None:
        return None
    one.asked_s = time.monotonic()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(one.news.wait(), limit_s)
    one.news.clear()
    code = one.code
    found = bytes(one.output), bytes(one.errors), code
    one.output.clear()
    one.errors.clear()
    return found


async def finish(key: str, number: int, dask_worker: Any) -> None:
    """Send a signal to it and what it started."""
    import contextlib
    import os

    one = dask_worker.__dict__.get("xenrr_programs", {}).get(key)
    if one is not None and one.code is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(one.process.pid, number)


# ---- here ----

class _Lost(Exception):
    """The relay has to end; the text says why."""


class _Relay:
    def __init__(self, client: Any, worker: str) -> None:
        self._client = client
        self._worker = worker
        self._key = uuid.uuid4().hex

    async def call(self, function: Any, *words: object) -> Any:
        """Run a function on the worker."""
        try:
            answers = await asyncio.wait_for(
                self._client.run(function, self._key, *words, workers=[self._worker]),
                ANSWER_LIMIT_S)
        except asyncio.TimeoutError:
            raise _Lost(f"worker {self._worker} does not answer") from None
        except (OSError, ValueError, RuntimeError, KeyError) as exc:
            # distributed's own errors of lost connections are OSErrors.
            raise _Lost(f"worker {self._worker} has gone: {exc}") from None
        if self._worker not in answers:
            raise _Lost(f"worker {self._worker} has gone")
        return answers[self._worker]

    async def run(self, words: list[str]) -> int:
        """Start the program and be its streams until it ends."""
        said = await self.call(start, words, SILENCE_S, MAX_WAITING_BYTES)
        if said:
            raise _Lost(said)
        feeding = asyncio.ensure_future(self._feed())
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        stopping = asyncio.ensure_future(self._end_when(ending))
        try:
            return await self._drain(feeding)
        finally:
            for task in (feeding, stopping):
                task.cancel()
            await asyncio.gather(feeding, stopping, return_exceptions=True)

    async def _drain(self, feeding: asyncio.Future[None]) -> int:
        while True:
            answer = await self.call(read, POLL_S)
            if answer is None:
                raise _Lost(f"worker {self._worker} was started anew")
            output, errors, code = answer
            _put(1, output)
            _put(2, errors)
            if code is not None:
                return int(code) if code >= 0 else 128 - int(code)
            if feeding.done() and (failure := feeding.exception()) is not None:
                raise failure

    async def _feed(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while data := await reader.read(INPUT_BYTES):
            await self.call(write, data)
        await self.call(write, b"")

    async def _end_when(self, ending: asyncio.Event) -> None:
        await ending.wait()
        await self.call(finish, signal.SIGTERM)
        await asyncio.sleep(1)
        await self.call(finish, signal.SIGKILL)


def _put(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view):]


async def _find_worker(client: Any, args: argparse.Namespace) -> str:
    """Address of the worker that is wanted; waits for one that is still to come.

    Raises:
        _Lost: It does not come.
    """
    give_up_s = asyncio.get_running_loop().time() + CONNECT_LIMIT_S
    while True:
        names: dict[str, str] = await _within(client.run(name_of), "its workers")
        if args.worker:
            for address, name in names.items():
                if args.worker in (name, address):
                    return address
            why = f"there is no worker {args.worker}; there are {_listed(names.values())}"
        else:
            free = sorted((address for address, name in names.items()
                           if not {name, address} & set(args.taken)),
                          key=lambda address: (len(names[address]), names[address], address))
            if args.place < len(free):
                return str(free[args.place])
            why = (f"this is number {args.place + 1} of the machines that want a worker of "
                   f"their own, and the cluster has {len(free)} for them; worker = \"NAME\" "
                   "puts several on one")
        if asyncio.get_running_loop().time() > give_up_s:
            raise _Lost(why)
        await asyncio.sleep(0.5)


def _listed(names: Any) -> str:
    found = sorted(names)
    return ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else ""
                                    ) if found else "none"


async def _within(work: Awaitable[Result], what: str) -> Result:
    try:
        return await asyncio.wait_for(work, ANSWER_LIMIT_S)
    except asyncio.TimeoutError:
        raise _Lost(f"the scheduler does not tell {what}") from None
    except (OSError, RuntimeError) as exc:
        raise _Lost(f"the scheduler does not tell {what}: {exc}") from None


async def _relay(args: argparse.Namespace) -> int:
    from distributed import Client

    # Before the first connection is tried and after the last one is closed it may talk.
    try:
        client = await asyncio.wait_for(Client(
            args.scheduler, asynchronous=True, set_as_default=False,
            timeout=CONNECT_LIMIT_S), CONNECT_LIMIT_S + 5)
    except (OSError, asyncio.TimeoutError, ValueError) as exc:
        raise _Lost(f"no dask scheduler answers at {args.scheduler}"
                    + (f": {exc}" if isinstance(exc, ValueError) else "")) from None
    try:
        worker = await _find_worker(client, args)
        return await _Relay(client, worker).run(args.words)
    finally:
        with contextlib.suppress(asyncio.TimeoutError, OSError, RuntimeError):
            await asyncio.wait_for(client.close(), 2)


def main() -> int:
    """Relay as the command line says.

    Returns:
        The program's exit code, 255 when it could not be relayed.
    """
    import logging

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scheduler", required=True)
    parser.add_argument("--worker", default="")
    parser.add_argument("--place", type=int, default=0)
    parser.add_argument("--taken", action="append", default=[])
    parser.add_argument("words", nargs="+")
    args = parser.parse_args()
    # Whoever started this shows the last line of what it says, and that is to be ours.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(_relay(args))
    except _Lost as exc:
        print(f"dask: {exc}", file=sys.stderr)
        return LOST


if __name__ == "__main__":
    sys.exit(main())
