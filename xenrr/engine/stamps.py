"""Time stamps that the kernel takes of packets, and its clock beside ours.

Linux notes when it hands a packet to the device and when it receives one (SO_TIMESTAMPING,
software stamps: they need no hardware, but the driver has to take part when it sends). The
first comes back through the socket's error queue, the second beside the data.

Stamps are of CLOCK_REALTIME, round trips of CLOCK_MONOTONIC. Both are one counter in the
kernel, and what lies between them is a number of nanoseconds that is constant until somebody
sets the time of day: slewing moves both. So every reading of one clock between two of the
other says where that number lies, and all readings together say it far more closely than a
single one can.

Source: Documentation/networking/timestamping.rst and include/uapi/linux/net_tstamp.h,
errqueue.h of Linux.
"""

from __future__ import annotations

import errno
import os
import socket as socket_module
import struct
import sys
import time
from collections.abc import Iterable
from socket import MSG_DONTWAIT, SOL_SOCKET, socket
from time import monotonic_ns

__all__ = ["CONTROL_BYTES", "MAX_STAMPS", "Offset", "disable_stamps", "drop_stamps",
           "enable_stamps", "next_sent_stamp", "prepare_stamps", "stamp_of"]

# asm-generic/socket.h; two architectures number their options otherwise.
SO_TIMESTAMPING = {"parisc": 0x4020, "parisc64": 0x4020, "sparc": 0x23,
                   "sparc64": 0x23}.get(os.uname().machine, 37)
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE = 1 << 1, 1 << 3, 1 << 4
# Numbered by what was sent, and without a copy of it: that one is not for everybody to
# have (net.core.tstamp_allow_data), and it takes room in the receive buffer.
OPT_ID, OPT_TSONLY = 1 << 7, 1 << 11
WANTED = TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY
# struct scm_timestamping: three struct timespec, of which the first is the software stamp.
TIMESPECS = {24: struct.Struct("=ll"), 48: struct.Struct("=qq")}
# struct sock_extended_err, in a message of IP_RECVERR or IPV6_RECVERR.
EXTENDED_ERROR = struct.Struct("=I4B2I")
RECEIVED_ERRORS = ((socket_module.IPPROTO_IP, 11), (socket_module.IPPROTO_IPV6, 25))
ORIGIN_TIMESTAMPING, STAMP_SENT = 4, 0
MSG_ERRQUEUE = getattr(socket_module, "MSG_ERRQUEUE", 0)
# Room for both of these, and for what other options of the socket add.
CONTROL_BYTES = 256
# As many are read at one go. More than two for a request come only from other uses.
MAX_STAMPS = 64

# How long to wait for the kernel to begin, and how often to look.
PREPARE_S, LOOK_AGAIN_S = 1.0, 0.001

# Two clocks that read further apart than they can are no sign that one was set: processors
# may differ by that much.
SLACK_NS = 1000
LOOKS = 64


def prepare_stamps(sock: socket) -> None:
    """Have the kernel stamp what arrives at a socket, which need not be connected yet.

    With the first socket that asks, the kernel changes its code while it runs, in the
    background: on a busy machine tens of milliseconds go by before the first packet is
    stamped. So this sends itself datagrams until one is, for ``PREPARE_S`` at most.

    Raises:
        OSError: EOPNOTSUPP: this system does not do that.
    """
    _set(sock, RX_SOFTWARE | SOFTWARE)
    give_up_s = time.monotonic() + PREPARE_S
    try:
        with socket(socket_module.AF_INET, socket_module.SOCK_DGRAM) as own:
            own.bind(("127.0.0.1", 0))
            own.connect(own.getsockname())
            own.settimeout(PREPARE_S)
            _set(own, RX_SOFTWARE | SOFTWARE)
            while time.monotonic() < give_up_s:
                own.send(b"?")
                if stamp_of(own.recvmsg(1, CONTROL_BYTES)[1]):
                    return
                time.sleep(LOOK_AGAIN_S)
    except OSError:     # no loopback here: the first round trips have to tell
        return


def enable_stamps(sock: socket) -> bytes:
    """Have the kernel stamp what this socket sends and receives from now on.

    Returns:
        What ``disable_stamps`` wants back.

    Raises:
        OSError: EOPNOTSUPP: this system does not do that.
    """
    return _set(sock, WANTED)


def _set(sock: socket, flags: int) -> bytes:
    try:
        if not sys.platform.startswith("linux"):
            raise OSError(errno.EOPNOTSUPP, "not Linux")
        before = sock.getsockopt(SOL_SOCKET, SO_TIMESTAMPING, 4)
        sock.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, flags)
    except OSError as exc:
        raise OSError(errno.EOPNOTSUPP, f"no time stamps of packets: {exc}") from exc
    return before


def disable_stamps(sock: socket, before: bytes) -> None:
    """End it, and leave no stamp behind: one in the queue makes poll() say "error"."""
    sock.setsockopt(SOL_SOCKET, SO_TIMESTAMPING, before)
    drop_stamps(sock)


def drop_stamps(sock: socket) -> None:
    """Throw away what is in the error queue."""
    for _ in range(MAX_STAMPS):
        if next_sent_stamp(sock) is None:
            break


def next_sent_stamp(sock: socket) -> tuple[int, int] | None:
    """The oldest stamp of something sent: its number and time in ns of CLOCK_REALTIME.

    The number is that of the last byte that went with one send (TCP) or of the datagram,
    modulo 2**32. 0 for the time: there was something else in the error queue. ``None``: it
    is empty.
    """
    try:
        control = sock.recvmsg(0, CONTROL_BYTES, MSG_ERRQUEUE | MSG_DONTWAIT)[1]
    except BlockingIOError:
        return None
    for level, kind, data in control:
        if (level, kind) in RECEIVED_ERRORS and len(data) >= EXTENDED_ERROR.size:
            told = EXTENDED_ERROR.unpack_from(data)
            if told[0] == errno.ENOMSG and told[1] == ORIGIN_TIMESTAMPING and (
                    told[5] == STAMP_SENT):
                return told[6], stamp_of(control)
    return 0, 0


def stamp_of(control: Iterable[tuple[int, int, bytes]]) -> int:
    """The software stamp among what came beside a message, in ns; 0 if there is none."""
    for level, kind, data in control:
        if level == SOL_SOCKET and kind == SO_TIMESTAMPING and len(data) in TIMESPECS:
            seconds, nanoseconds = TIMESPECS[len(data)].unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return 0


class Offset:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, as closely as it is known.

    Attributes:
        ns: The middle of where it can lie.
    """

    def __init__(self) -> None:
        self.ns = 0
        self._restart()

    def look(self, before_ns: int, real_ns: int, after_ns: int) -> bool:
        """Take a reading of CLOCK_REALTIME between two of CLOCK_MONOTONIC.

        Returns:
            Whether the time of day was left alone since the last one.
        """
        low, high = real_ns - after_ns, real_ns - before_ns
        if low > self._high + SLACK_NS or high < self._low - SLACK_NS:
            self._restart()
            return False
        if low <= self._high and high >= self._low:
            low, high = max(low, self._low), min(high, self._high)
        self._keep(low, high)
        return True

    def _restart(self) -> None:
        self._low, self._high = -(1 << 63), 1 << 63
        for _ in range(LOOKS):
            before_ns = monotonic_ns()
            real_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            after_ns = monotonic_ns()
            low = max(self._low, real_ns - after_ns)
            high = min(self._high, real_ns - before_ns)
            # It can be set at this very moment too.
            if low > high:
                low, high = real_ns - after_ns, real_ns - before_ns
            self._keep(low, high)

    def _keep(self, low: int, high: int) -> None:
        self._low, self._high = low, high
        self.ns = (low + high) // 2
