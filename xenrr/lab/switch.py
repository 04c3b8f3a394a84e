"""A learning switch in userspace that delays frames and keeps a line rate.

The kernel has netem for this, where it is compiled in; this program needs nothing but packet
sockets. It imports the standard library only and runs as a file of its own::

    python switch.py [--folder F] [--until-eof] DEVICE,DELAY_NS,RATE_BPS,LIMIT_BYTES ...

A frame crosses two cables, that of the port it comes in at and that of the port it leaves by.
On each it waits until the line is free, takes its bits divided by the rate, then the delay.
The times are computed from one another and not from the clock, so that a late wake-up delays
its frame and adds nothing to those behind it; a frame is never early.

A line carries more than a frame: check sequence, preamble and gap, 24 bytes, and no frame
of less than 64 bytes (IEEE 802.3, clauses 3 and 4). tbf counts the bare frame.

Sleeping is done by select() on an epoll descriptor: epoll itself sleeps in whole
milliseconds, select() alone knows no descriptor past 1023.

The program ends when it is asked to (SIGTERM), when its devices have gone, when the lab's
folder has gone, and with ``--until-eof`` when whoever holds the other end of its standard
input has. It then writes what it counted to stderr, as one line of JSON.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import heapq
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from types import FrameType

__all__ = ["Fabric", "line_bytes", "main"]

# linux/if_ether.h, linux/if_packet.h
ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
# struct virtio_net_hdr: flags, kind of segment, header length, segment size, where the
# checksum is to be put. It travels in front of each frame, so that a checksum that the sender
# left to its card is made by the receiver's side; without it TCP drops the frames.
VNET_BYTES = 10
MAX_FRAME_BYTES = VNET_BYTES + 14 + 65536 + 64

BUFFER_BYTES = 4 << 20
# Frames in flight; at 1500 bytes they are 100 MB, which is a line of 1 Gbit/s for 0.8 s.
MAX_HELD_FRAMES = 1 << 16
MAX_LEARNED = 1 << 14
LOOK_AROUND_S = 0.5
GONE = {errno.ENETDOWN, errno.ENODEV, errno.ENXIO}


def line_bytes(frame: bytes) -> int:
    """Bytes that a frame takes on the line.

    Args:
        frame: With its virtio header, which is not on the line.
    """
    length = len(frame) - VNET_BYTES
    segment = int.from_bytes(frame[4:6], sys.byteorder)
    if frame[1] == 0 or segment == 0:
        return max(length + 4, 64) + 20
    header = int.from_bytes(frame[2:4], sys.byteorder)
    count = -(-(length - header) // segment)
    return length + (count - 1) * header + count * 24


class Cable:
    """One port's cable, each direction with the time from which its line is free."""

    def __init__(self, delay_ns: int, rate_bps: float, limit_bytes: int) -> None:
        self.delay_ns = delay_ns
        self.ns_per_byte = 8e9 / rate_bps if rate_bps else 0.0
        # Bytes that wait for a line are time that a frame has to wait.
        self.limit_ns = limit_bytes * self.ns_per_byte
        self.free_ns = [0, 0]


class Fabric:
    """When each frame arrives where: no sockets, no clock.

    Args:
        cables: One for each port.

    Attributes:
        forwarded: Frames that were handed out, counted once for each port.
        dropped: Frames that a full line, or too many frames in flight, made us lose.
        learned: The port of each address that a frame came from.
    """

    def __init__(self, cables: Sequence[Cable]) -> None:
        self.cables = cables
        self.forwarded = 0
        self.dropped = 0
        self.learned: dict[bytes, int] = {}
        self._events: list[tuple[int, int, int, bool, bytes]] = []
        self._count = 0

    def arrive(self, now_ns: int, port: int, frame: bytes) -> None:
        """A frame enters the cable of a port at the far end."""
        if len(frame) < VNET_BYTES + 14 or len(self._events) >= MAX_HELD_FRAMES:
            self.dropped += 1
            return
        self._cross(now_ns, port, 0, frame)

    def _cross(self, now_ns: int, port: int, direction: int, frame: bytes) -> None:
        cable = self.cables[port]
        if cable.ns_per_byte:
            start_ns = max(now_ns, cable.free_ns[direction])
            if start_ns - now_ns > cable.limit_ns:
                self.dropped += 1
                return
            now_ns = start_ns + int(line_bytes(frame) * cable.ns_per_byte)
            cable.free_ns[direction] = now_ns
        self._count += 1
        heapq.heappush(self._events, (now_ns + cable.delay_ns, self._count, port,
                                      direction == 1, frame))

    def next_ns(self) -> int | None:
        """When something happens next; ``None`` while no frame is in flight."""
        return self._events[0][0] if self._events else None

    def leave(self, now_ns: int) -> list[tuple[int, bytes]]:
        """Frames that have reached the far end of their last cable, with their port."""
        out: list[tuple[int, bytes]] = []
        events = self._events
        while events and events[0][0] <= now_ns:
            due_ns, _, port, is_last, frame = heapq.heappop(events)
            if is_last:
                self.forwarded += 1
                out.append((port, frame))
            else:
                for other in self._ways(port, frame):
                    self._cross(due_ns, other, 1, frame)
        return out

    def _ways(self, port: int, frame: bytes) -> Sequence[int]:
        source = frame[VNET_BYTES + 6:VNET_BYTES + 12]
        if not source[0] & 1 and (source in self.learned or len(self.learned) < MAX_LEARNED):
            self.learned[source] = port
        way = self.learned.get(frame[VNET_BYTES:VNET_BYTES + 6])
        if way is None:  # a group, or somebody who has not sent anything yet
            return [other for other in range(len(self.cables)) if other != port]
        return () if way == port else (way,)


class Ports:
    """The sockets of a switch."""

    def __init__(self, devices: Sequence[str]) -> None:
        self.sockets = [_packet_socket(device) for device in devices]
        self.alive = len(self.sockets)
        self.unsent = 0
        self.poller = select.epoll()
        self.numbers = {sock.fileno(): number for number, sock in enumerate(self.sockets)}
        for descriptor in self.numbers:
            self.poller.register(descriptor, select.EPOLLIN)

    def receive(self, descriptor: int) -> bytes:
        """One frame; empty when there is none, or the device has gone."""
        try:
            return self.sockets[self.numbers[descriptor]].recv(MAX_FRAME_BYTES)
        except BlockingIOError:
            return b""
        except OSError as exc:
            self._lost(descriptor, exc)
            return b""

    def send(self, number: int, frame: bytes) -> None:
        """Hand a frame to a device; one that does not take it loses it, as a card would."""
        sock = self.sockets[number]
        try:
            sock.send(frame)
        except (BlockingIOError, InterruptedError):
            self.unsent += 1
        except OSError as exc:
            self.unsent += 1
            if exc.errno != errno.ENOBUFS:
                self._lost(sock.fileno(), exc)

    def _lost(self, descriptor: int, error: OSError) -> None:
        if error.errno not in GONE:
            # A frame that the device refuses (too long, odd header) is that frame's end only.
            return
        if descriptor in self.numbers:
            del self.numbers[descriptor]
            self.poller.unregister(descriptor)
            self.alive -= 1

    def overrun(self) -> int:
        """Frames that came faster than they were taken, since the last call."""
        lost = 0
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                stats = sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
                lost += int.from_bytes(stats[4:8], sys.byteorder)
        return lost


def _packet_socket(device: str) -> socket.socket:
    # Protocol 0 receives nothing: between socket() and bind() it would be everything.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for force, name in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_BYTES)
        except PermissionError:  # in a user namespace
            sock.setsockopt(socket.SOL_SOCKET, name, BUFFER_BYTES)
    sock.bind((device, ETH_P_ALL))
    return sock


class Stop:
    """Whether the switch has been asked to end."""

    def __init__(self, folder: str, until_eof: bool) -> None:
        self.folder = folder
        self.seen = False
        self.input = 0 if until_eof else -1
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._see)

    def _see(self, number: int, frame: FrameType | None) -> None:
        self.seen = True

    def look_around(self) -> None:
        """See whether the lab is still there."""
        if self.folder and not os.path.isdir(self.folder):
            self.seen = True


def forward(fabric: Fabric, ports: Ports, stop: Stop) -> None:
    """Forward frames until there is nothing more to do."""
    clock_ns = time.monotonic_ns
    poller = ports.poller
    look_ns = 0
    if stop.input >= 0:
        poller.register(stop.input, select.EPOLLIN)
    while not stop.seen and ports.alive:
        now_ns = clock_ns()
        if now_ns >= look_ns:
            stop.look_around()
            look_ns = now_ns + int(LOOK_AROUND_S * 1e9)
        due_ns = fabric.next_ns()
        wait_s = LOOK_AROUND_S if due_ns is None else min(
            (due_ns - now_ns) / 1e9, LOOK_AROUND_S)
        if wait_s > 0 and not select.select([poller], (), (), wait_s)[0]:
            ready: list[tuple[int, int]] = []
        else:
            ready = poller.poll(0)
        for descriptor, _ in ready:
            if descriptor == stop.input:
                stop.seen = True
                continue
            frame = ports.receive(descriptor)
            if frame:
                fabric.arrive(clock_ns(), ports.numbers[descriptor], frame)
        for number, frame in fabric.leave(clock_ns()):
            ports.send(number, frame)


def parse_port(word: str) -> tuple[str, Cable]:
    """Device and cable from ``DEVICE,DELAY_NS,RATE_BPS,LIMIT_BYTES``.

    Raises:
        ValueError: It is something else.
    """
    device, delay_ns, rate_bps, limit_bytes = word.split(",")
    return device, Cable(int(delay_ns), float(rate_bps), int(limit_bytes))


def main(argv: Sequence[str]) -> int:
    """Run a switch; see the module's documentation for the words.

    Returns:
        0 after it was asked to end, 1 when a port cannot be opened, 2 for wrong words.
    """
    words = list(argv)
    until_eof = "--until-eof" in words
    if until_eof:
        words.remove("--until-eof")
    folder = ""
    if words[:1] == ["--folder"]:
        folder, words = words[1], words[2:]
    try:
        pairs = [parse_port(word) for word in words]
    except ValueError:
        print("a port is DEVICE,DELAY_NS,RATE_BPS,LIMIT_BYTES", file=sys.stderr)
        return 2
    stop = Stop(folder, until_eof)
    # A sleep ends up to 50 µs late otherwise (proc(5), timerslack_ns).
    with contextlib.suppress(OSError), open("/proc/self/timerslack_ns", "w") as slack:
        slack.write("1")
    try:
        ports = Ports([device for device, _ in pairs])
    except OSError as exc:
        print(f"the switch cannot open a port: {exc}", file=sys.stderr)
        return 1
    fabric = Fabric([cable for _, cable in pairs])
    print("ready", flush=True)
    # Nothing in the loop makes a circle of references; a collection would be a late frame.
    gc.disable()
    forward(fabric, ports, stop)
    print(json.dumps({"forwarded": fabric.forwarded, "dropped": fabric.dropped,
                      "unsent": ports.unsent, "overrun": ports.overrun()}), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
