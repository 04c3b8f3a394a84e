"""A target whose service times are known, because it times itself.

Run as a program of its own, so that nothing of the measuring process is in its times. Each
flow is answered one request after the other by a thread of its own: it reads a request, looks
at the clock, waits as long as its distribution says, looks at the clock again, answers. What
it notes are the two times of every request, so it does not matter how exactly it waits.

Times are CLOCK_MONOTONIC in ns, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MS = 1_000_000
LIMIT_S = 60.0
# At most this many requests are noted a flow: a bound, not a rule.
MOST = 1_000_000


def constant(draw: random.Random) -> float:
    return 8 * MS


def exponential(draw: random.Random) -> float:
    return draw.expovariate(1 / (8 * MS))


def bimodal(draw: random.Random) -> float:
    return 40 * MS if draw.random() < 0.05 else 6 * MS


def spread(draw: random.Random) -> float:
    """From nothing to some ms, most of them below the cost of the way."""
    return draw.lognormvariate(9, 2.5)


def none(draw: random.Random) -> float:
    return 0


SERVICES = {each.__name__: each for each in (constant, exponential, bimodal, spread, none)}


@dataclass(frozen=True)
class Log:
    """What the responder noted of one flow, in ns of CLOCK_MONOTONIC.

    Attributes:
        heard: When each request had been read.
        answered: When each response was about to be sent.
    """

    heard: list[int]
    answered: list[int]


@dataclass
class Responder:
    """A running responder.

    Attributes:
        ports: One a flow.
    """

    ports: list[int]
    process: subprocess.Popen[str]
    logs: list[Log] = field(default_factory=list)

    def end(self) -> list[Log]:
        """End it; what it noted, in the order of its ports."""
        output, _ = self.process.communicate("", timeout=LIMIT_S)
        assert self.process.returncode == 0
        self.logs = [Log(*each) for each in json.loads(output)]
        return self.logs


@contextlib.contextmanager
def running_responder(service: str, flows: int, datagram: bool, *, stall_after_ms: int = 0,
                      seed: int = 1) -> Iterator[Responder]:
    """A responder in a process of its own.

    Args:
        service: A name of ``SERVICES``.
        flows: How many, each on a port of its own.
        datagram: UDP, not TCP.
        stall_after_ms: The first request that comes so long after the first of all waits a
            second longer; 0 for none.
        seed: Of the service times.
    """
    words = [service, str(flows), str(int(datagram)), str(stall_after_ms), str(seed)]
    with subprocess.Popen([sys.executable, "-S", "-E", __file__, *words],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        try:
            assert process.stdout is not None
            yield Responder(json.loads(process.stdout.readline()), process)
        finally:
            process.kill()


def pause_until(due_ns: int) -> None:
    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns / 1e9)


def serve(receive: Callable[[], bytes], send: Callable[[bytes], object], log: Log,
          service: Callable[[random.Random], float], draw: random.Random,
          stall_after_ns: int) -> None:
    """Answer until the other end, or this process, ends."""
    stall_ns = 0
    clock = time.monotonic_ns
    with contextlib.suppress(OSError):
        while (request := receive()) and len(log.heard) < MOST:
            heard_ns = clock()
            log.heard.append(heard_ns)
            wait_ns = int(service(draw))
            if stall_after_ns and not stall_ns and (
                    heard_ns - log.heard[0] >= stall_after_ns):
                stall_ns = 1_000 * MS
                wait_ns += stall_ns
            if wait_ns > 10_000:
                pause_until(heard_ns + wait_ns)
            log.answered.append(clock())
            send(request)


def main(service: str, flows: str, datagram: str, stall_after_ms: str, seed: str) -> None:
    kind = socket.SOCK_DGRAM if int(datagram) else socket.SOCK_STREAM
    socks, logs = [], []
    for number in range(int(flows)):
        sock = socket.socket(socket.AF_INET, kind)
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen(1)
        log = Log([], [])
        rest = (log, SERVICES[service], random.Random(f"{seed} {number}"),
                int(stall_after_ms) * MS)

        def run(sock: socket.socket = sock, rest: tuple = rest) -> None:
            line = sock
            with contextlib.suppress(OSError):
                if sock.type == socket.SOCK_STREAM:
                    line, _ = sock.accept()
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                else:  # who speaks first is the peer
                    line.connect(line.recvfrom(1, socket.MSG_PEEK)[1])
                serve(lambda: line.recv(1), line.send, *rest)

        threading.Thread(target=run, daemon=True).start()
        socks.append(sock)
        logs.append(log)
    print(json.dumps([sock.getsockname()[1] for sock in socks]), flush=True)
    sys.stdin.read()
    # A flow that is still being answered may be between its two notes.
    print(json.dumps([[log.heard, log.answered] for log in logs]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
