"""One sender in the hands of a coordinator: prepare, report ready, wait for GO, measure.

The coordinator speaks first; each ``kind`` it sends, and what comes back:

============ ================================================ ==========================
``hello``    nothing                                          ``hello``: who is here
``time``     ``token``                                        ``time``: the clock here
``prepare``  ``target``, ``port``, ``spec``, ``engine``, ...  ``ready``, or ``failed``
``go``       ``at_ns`` on the clock here, ``early_ns``        ``interim`` ..., ``record``
                                                              with ``started_ns``, or
                                                              ``failed``
``stop``     nothing                                          the ``record`` so far
``serve``    ``port``, ``host``, ``engine``                   ``serving``, or ``failed``
``quit``     nothing                                          the end of the stream
============ ================================================ ==========================

The clock is the monotonic one in ns. "Ready" means: the data connection stands, and the
next thing on it is the first request. ``early_ns`` before GO the loop is started; it waits for
GO itself, in C where there is C, so that no Python stands between GO and the first request.
Nothing is written at that moment either: a dozen answers that a coordinator on the same
machine has to read would keep the last senders from starting.

An agent that loses its coordinator (end of its input) stops what runs and ends: nothing is left
behind on a machine that nobody watches.

``serve`` makes a target of it as well, which ends with the agent: what a campaign starts on a
machine is one process with one owner.

The main thread measures, a second one reads, so that ``time`` is answered at once and
``stop`` arrives in the middle of a test.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import BinaryIO

from xenrr import __version__
from xenrr.errors import RemoteProtocolError, XenrrError
from xenrr.results.record import InterimPoint, spec_from_plain
from xenrr.session.frames import FrameReader, Message, encode_frame
from xenrr.session.sender import Sender, open_sender

__all__ = ["Agent"]

READ_BYTES = 1 << 16
# A coordinator that has seen "ready" says GO within this time or is gone.
GO_LIMIT_S = 120.0
# And GO is at most so far away then.
MAX_LEAD_S = 600.0
# What comes of fields that are missing, or not what they should be.
NONSENSE = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


class Agent:
    """Serves one coordinator over a pair of streams.

    Args:
        input_stream: Unbuffered or not, read with ``read1`` semantics through its
            descriptor.
        output_stream: Likewise, written whole frame by whole frame.
    """

    def __init__(self, input_stream: BinaryIO, output_stream: BinaryIO) -> None:
        self._input = input_stream.fileno()
        self._output = output_stream.fileno()
        self._writing = threading.Lock()
        self._work: queue.Queue[Message] = queue.Queue()
        self._go: queue.Queue[tuple[int, int] | None] = queue.Queue()
        self._sender: Sender | None = None
        self._over = False
        self._serving = False

    def serve(self) -> int:
        """Serve until ``quit`` or the end of the input.

        Returns:
            0, or 1 when the coordinator sent what is no message.
        """
        reader = threading.Thread(target=self._read, name="xenrr-agent-reader", daemon=True)
        reader.start()
        code = 0
        while True:
            message = self._work.get()
            kind = message["kind"]
            if kind == "quit":
                if self._serving:
                    # Engines still answer senders on threads that Python would wait for.
                    os._exit(code)
                return code
            if kind == "broken":
                self._say("failed", code="protocol-remote", text=message["text"])
                return 1
            try:
                if kind == "serve":
                    self._serve_target(message)
                else:
                    self._measure(message)
            except (XenrrError, OSError) as exc:
                self._say("failed", code=getattr(exc, "code", "os"), text=str(exc))
            except NONSENSE as exc:
                self._say("failed", code="protocol-remote",
                          text=f"a {kind} message that makes no sense: {exc!r}")

    def _measure(self, message: Message) -> None:
        self._go = queue.Queue()
        spec = spec_from_plain(message["spec"])
        with open_sender(
            str(message["target"]), int(message["port"]),
            family=int(message.get("family", 0)), passphrase=message.get("passphrase"),
            local_host=message.get("local_host"), engine=str(message.get("engine", "auto")),
            timeout_s=float(message.get("timeout_s", 10.0)),
        ) as sender:
            self._sender = sender
            try:
                run = sender.run(spec, on_start=self._wait_for_go,
                                 on_interim=self._interim, patience_s=GO_LIMIT_S)
            finally:
                self._sender = None
        self._say("record", run=run.to_plain(), started_ns=sender.started_ns)

    def _serve_target(self, message: Message) -> None:
        from xenrr.session.eventloop import run
        from xenrr.session.target import TargetPolicy, TargetServer, open_listeners

        if self._serving:
            raise RemoteProtocolError("it serves already")
        policy = TargetPolicy(host=message.get("host"), port=int(message["port"]),
                              engine=str(message.get("engine", "auto")))
        server = TargetServer(policy, open_listeners(policy),
                              lambda line: self._say("served", text=line))

        async def serve() -> None:
            import asyncio

            async with server:
                await asyncio.Event().wait()

        self._serving = True
        threading.Thread(target=lambda: run(serve()), name="xenrr-agent-target",
                         daemon=True).start()
        self._say("serving", port=server.port, engine=server.engine_name)

    def _wait_for_go(self) -> int:
        """Runs on the main thread between the connection and the first request.

        Returns:
            When the first request is to leave.
        """
        self._say("ready")
        try:
            go = self._go.get(timeout=GO_LIMIT_S)
            if go is not None:
                at_ns, early_ns = go
                wait_s = (at_ns - early_ns - time.monotonic_ns()) / 1e9
                if wait_s > MAX_LEAD_S:
                    raise RemoteProtocolError(f"GO is {wait_s:.0f} s away")
                # What comes meanwhile can only be a stop.
                go = self._go.get(timeout=max(wait_s, 0.0))
        except queue.Empty:
            if go is None:
                raise RemoteProtocolError(f"no GO within {GO_LIMIT_S:g} s") from None
            return go[0]
        raise RemoteProtocolError("called off before it began")

    def _interim(self, point: InterimPoint) -> None:
        self._say("interim", end_ns=point.end_ns, interval_ns=point.interval_ns,
                  transactions=point.transactions, bytes=point.bytes, p50_ns=point.p50_ns,
                  p99_ns=point.p99_ns, max_ns=point.max_ns)

    def _read(self) -> None:
        frames = FrameReader()
        try:
            while not self._over:
                data = os.read(self._input, READ_BYTES)
                if not data:
                    break
                for message in frames.feed(data):
                    self._take(message)
        except RemoteProtocolError as exc:
            self._end("broken", str(exc))
        except NONSENSE as exc:
            # Of a message that this thread reads itself, and nobody else would notice.
            self._end("broken", f"a message that makes no sense: {exc!r}")
        except OSError:  # the pipe is gone, and so is the coordinator
            self._end("quit")
        else:
            self._end("quit")

    def _take(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "time":
            self._say("time", token=message.get("token"), now_ns=time.monotonic_ns())
        elif kind == "hello":
            self._hello()
        elif kind in ("prepare", "serve"):
            self._work.put(message)
        elif kind == "go":
            self._go.put((int(message["at_ns"]), int(message.get("early_ns", 0))))
        elif kind == "stop":
            self._stop()
        elif kind == "quit":
            self._end("quit")
        else:
            raise RemoteProtocolError(f"a message of kind {kind!r}")

    def _hello(self) -> None:
        from xenrr.results.hostfacts import collect_host_facts

        self._say("hello", xenrr=__version__, python=sys.version.split()[0], pid=os.getpid(),
                  now_ns=time.monotonic_ns(), host=collect_host_facts())

    def _stop(self) -> None:
        self._go.put(None)
        sender = self._sender
        if sender is not None:
            sender.stop()

    def _end(self, kind: str, text: str = "") -> None:
        self._over = True
        self._stop()
        self._work.put({"kind": kind, "text": text})

    def _say(self, kind: str, **fields: object) -> None:
        data = memoryview(encode_frame(kind, **fields))
        try:
            with self._writing:
                while data:
                    data = data[os.write(self._output, data):]
        except OSError:  # nobody listens any more; the reader sees the same and ends us
            return
