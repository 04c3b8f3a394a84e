"""One TCP or UDP ping-pong in Python, both ends on one processor: the least it could do.

A read, a write, and at the sender a clock reading that is stored away; nothing is counted,
looked at or waited for beside that. Those of an unbuffered file have one argument each and
are faster than recv and send, and up to Python 3.11 than os.read and os.write. It prints the
rate.

Usage: rr.py tcp|udp SECONDS CPU
"""

from __future__ import annotations

import io
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
    file = io.FileIO(far.fileno(), "r+", closefd=False)
    read, write, byte = file.readinto, file.write, bytearray(1)
    while read(byte):
        write(byte)


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
    file = io.FileIO(near.fileno(), "r+", closefd=False)
    read, write, clock = file.readinto, file.write, time.monotonic_ns
    byte = bytearray(1)
    times: list[int] = []
    keep = times.append
    try:
        now = start = clock()
        end = start + int(seconds * 1e9)
        while now < end:
            write(byte)
            read(byte)
            now = clock()
            keep(now)
    finally:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    print(len(times) * 1e9 / (now - start))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
