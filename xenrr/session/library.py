"""What ``import xenrr`` offers: measure once, hold a connection, be a target.

The sender itself blocks (``session.sender``); here it is given a worker thread, so that an
asyncio program can run many of them at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from xenrr.results.record import InterimPoint, Run, TestSpec
from xenrr.session.sender import Sender, open_sender
from xenrr.session.target import DEFAULT_PORT, TargetPolicy, TargetServer, open_listeners

__all__ = ["AsyncSender", "connect", "measure", "serve"]

Result = TypeVar("Result")


def measure(
    target: str, test: str = "TCP_RR", *, port: int = DEFAULT_PORT, family: int = 0,
    passphrase: str | None = None, engine: str = "auto", timeout_s: float = 10.0,
    on_interim: Callable[[InterimPoint], None] | None = None, **spec: Any,
) -> Run:
    """Connect, run one test, close.

    Args:
        target: Host name or address of a netserver or xenrr.server.
        test: ``TCP_RR``, ``UDP_RR``, ``TCP_CRR``, ``TCP_CC``, ``TCP_STREAM``,
            ``TCP_MAERTS``, ``TCP_SENDFILE``, ``UDP_STREAM``, or ``OMNI`` with a
            ``direction``, a ``protocol`` and ``connecting``.
        port, family, passphrase, engine, timeout_s: See ``open_sender``.
        on_interim: Called with each interim result; goes with ``interim_s``.
        spec: Any other field of ``TestSpec``, such as ``duration_s=10``.

    Raises:
        XenrrError: See ``open_sender`` and ``Sender.run``.
        OSError: Likewise.
        TypeError: ``TestSpec`` has no such field.
    """
    asked = TestSpec(test, **spec)
    with open_sender(target, port, family=family, passphrase=passphrase, engine=engine,
                     timeout_s=timeout_s, no_control=asked.no_control) as sender:
        return sender.run(asked, on_interim=on_interim)


class AsyncSender:
    """A sender for asyncio programs; made by ``connect``, an async context manager."""

    def __init__(self, opener: Callable[[], Sender]) -> None:
        self._opener = opener
        self._sender: Sender | None = None

    async def __aenter__(self) -> AsyncSender:
        self._sender = await _in_thread(self._opener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await _in_thread(self.sender.close)

    @property
    def sender(self) -> Sender:
        """The blocking sender behind it.

        Raises:
            RuntimeError: Used outside its ``async with``.
        """
        if self._sender is None:
            raise RuntimeError("use xenrr.connect() in an `async with`")
        return self._sender

    async def run(
        self, spec: TestSpec, *, on_interim: Callable[[InterimPoint], None] | None = None
    ) -> Run:
        """Run one test; cancelling it ends the test early.

        Args:
            spec: The test.
            on_interim: Called on a worker thread with each interim result.

        Raises:
            XenrrError: See ``Sender.run``.
            OSError: Likewise.
        """
        work = asyncio.ensure_future(
            _in_thread(lambda: self.sender.run(spec, on_interim=on_interim)))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self.sender.stop()
            # The socket and the thread are ours until the loop has come back.
            await asyncio.wait({work})
            work.exception()
            raise


def connect(
    host: str, port: int = DEFAULT_PORT, *, family: int = 0, passphrase: str | None = None,
    engine: str = "auto", timeout_s: float = 10.0,
) -> AsyncSender:
    """A sender connected to ``host`` inside an ``async with``; see ``open_sender``."""
    return AsyncSender(lambda: open_sender(
        host, port, family=family, passphrase=passphrase, engine=engine, timeout_s=timeout_s))


def serve(
    host: str | None = None, port: int = DEFAULT_PORT, *, family: int = 0,
    passphrase: str | None = None, engine: str = "auto",
    log: Callable[[str], None] | None = None,
) -> TargetServer:
    """A target that serves inside an ``async with``.

    Args:
        host, port, family, passphrase, engine: See ``TargetPolicy``.
        log: Takes one line per finished test.

    Raises:
        OSError: The control port cannot be bound.
        EngineUnavailable: The engine asked for does not load here.
    """
    policy = TargetPolicy(host=host, port=port, family=family, passphrase=passphrase,
                          engine=engine)
    return TargetServer(policy, open_listeners(policy), log)


async def _in_thread(work: Callable[[], Result]) -> Result:
    """Run blocking work on a thread of its own.

    Not asyncio's shared executor: that one has a handful of threads, and senders that are
    to run at the same time would queue for them.
    """
    import threading

    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        try:
            outcome: tuple[Result | None, BaseException | None] = (work(), None)
        except BaseException as exc:
            outcome = (None, exc)
        loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=body, name="xenrr-sender", daemon=True).start()
    return await done
