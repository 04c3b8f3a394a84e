"""One TCP or UDP ping-pong in Python, both ends on one processor: the least it could do.

A read, a write, and at the sender a clock reading that is stored away; nothing is counted,
looked at or waited for beside that. Python parses the arguments of these faster than those of
recv and send. It prints the rate.

Usage: rr.py tcp|udp SECONDS CPU
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time


def join_pair(kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection on loopback."""
    near, far = (socket.socket(socket.AF_INET, kind) for _ in range(2))
    far.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_DGRAM:
        near.bind(("127.0.0.1", 0))
        near.connect(far.getsockname())
        far.connect(near.getsockname())
        return near, far
    far.listen(1)
    near.connect(far.getsockname())
    accepted, _ = far.accept()
    far.close()
    for end in (near, accepted):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, accepted


def answer(far: socket.socket) -> None:
    """The far end, until it is ended."""
    read, write, fd = os.read, os.write, far.fileno()
    while True:
        byte = read(fd, 1)
        if not byte:
            return
        write(fd, byte)


def main(argv: list[str]) -> int:
    """Run it for up to a minute."""
    kind = socket.SOCK_DGRAM if argv[0] == "udp" else socket.SOCK_STREAM
    seconds = min(60.0, float(argv[1]))
    os.sched_setaffinity(0, {int(argv[2])})
    near, far = join_pair(kind)
    child = os.fork()
    if not child:
        signal.alarm(90)
        near.close()
        answer(far)
        os._exit(0)
    far.close()
    read, write, clock = os.read, os.write, time.monotonic_ns
    fd, byte = near.fileno(), bytes(1)
    times: list[int] = []
    keep = times.append
    try:
        now = start = clock()
        end = start + int(seconds * 1e9)
        while now < end:
            write(fd, byte)
            read(fd, 1)
            now = clock()
            keep(now)
    finally:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    print(len(times) * 1e9 / (now - start))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
