"""Socket options of a data connection, the same list for both ends and all shapes of tests.

What the system refuses is left as it is, and the record says so where it has a field for
it: netperf goes on likewise, and a test without the wish is worth more than none.
"""

from __future__ import annotations

import struct
import sys

from xenrr.engine.base import SocketOption
from xenrr.frozen import dataclass
from xenrr.lean import socket
from xenrr.results.record import TestSpec

__all__ = ["BUSY_POLL_REFUSED", "FAILED", "UNSUPPORTED", "DataOptions", "apply_options",
           "keep_accepted", "may_busy_poll", "sender_options"]

# netperf's words for a priority or type of service that is not in effect.
FAILED, UNSUPPORTED = -2, -3
BUSY_POLL_REFUSED = (
    "this system does not let us busy-poll (on Linux it takes CAP_NET_ADMIN to go above "
    "net.core.busy_read); the data socket goes without")
# netserver's backlog, which is also what it gives TCP_FASTOPEN and TCP_DEFER_ACCEPT.
BACKLOG = 5

# Linux's numbers for what Python's socket module does not name (include/uapi/linux/in.h,
# in6.h, tcp.h, asm-generic/socket.h); the last is another one on PA-RISC and SPARC.
IP_MTU_DISCOVER = getattr(socket, "IP_MTU_DISCOVER", 10)
IPV6_MTU_DISCOVER = 23
PMTUDISC_DO = 2
TCP_FASTOPEN = getattr(socket, "TCP_FASTOPEN", 23)
TCP_FASTOPEN_CONNECT = 30
SO_MAX_PACING_RATE = 47
SO_BUSY_POLL = 46


@dataclass(frozen=True)
class DataOptions:
    """What is asked of one end's data socket; -1 and empty leave it to the system.

    ``fast_open`` and ``defer_accept`` mean something else at a listener, so ``listens`` says
    whether this is one.
    """

    listens: bool = False
    send_buffer: int = -1
    receive_buffer: int = -1
    nodelay: bool = False
    cork: bool = False
    keepalive: bool = False
    dontroute: bool = False
    priority: int = -1
    tos: int = -1
    congestion: str = ""
    max_segment: int = -1
    fast_open: bool = False
    defer_accept: bool = False
    dont_fragment: bool = False
    pacing_rate: int = -1
    multicast_ttl: int = -1
    debug: bool = False
    busy_poll: int = -1

    def wishes(self, family: int, datagram: bool) -> list[tuple[str, SocketOption]]:
        """The calls that these options are, each with the name of its field.

        All of them go before a connection is made.
        """
        level, tcp, ip = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP
        six = family == socket.AF_INET6
        wanted: list[tuple[str, int, str, int | bytes]] = []
        if self.send_buffer >= 0:
            wanted.append(("send_buffer", level, "SO_SNDBUF", self.send_buffer))
        if self.receive_buffer >= 0:
            wanted.append(("receive_buffer", level, "SO_RCVBUF", self.receive_buffer))
        if not datagram:
            wanted += self._of_tcp(tcp)
        for name, option in (("keepalive", "SO_KEEPALIVE"), ("dontroute", "SO_DONTROUTE"),
                             ("debug", "SO_DEBUG")):
            if getattr(self, name):
                wanted.append((name, level, option, 1))
        # 0 is what every socket has: netperf does not set it either.
        if self.tos > 0 and six:
            wanted.append(("tos", socket.IPPROTO_IPV6, "IPV6_TCLASS", self.tos))
        elif self.tos > 0:
            wanted.append(("tos", ip, "IP_TOS", self.tos))
        # Behind the type of service, which sets a priority of its own on the way.
        if self.priority >= 0:
            wanted.append(("priority", level, "SO_PRIORITY", self.priority))
        if self.multicast_ttl >= 0 and datagram and not six:
            wanted.append(("multicast_ttl", ip, "IP_MULTICAST_TTL", self.multicast_ttl))
        calls = [(name, SocketOption(where, getattr(socket, option), _value(value)))
                 for name, where, option, value in wanted if hasattr(socket, option)]
        if self.dont_fragment:
            place = (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if six else (ip, IP_MTU_DISCOVER)
            calls.append(("dont_fragment", SocketOption(*place, _value(PMTUDISC_DO))))
        if self.pacing_rate >= 0:
            calls.append(("pacing_rate", SocketOption(
                level, SO_MAX_PACING_RATE,
                struct.pack("=I", min(self.pacing_rate, 2**32 - 1)))))
        if self.busy_poll >= 0 and sys.platform.startswith("linux"):
            calls.append(("busy_poll", SocketOption(
                level, SO_BUSY_POLL, _value(self.busy_poll))))
        if self.fast_open and not datagram:
            number, value = TCP_FASTOPEN_CONNECT, 1
            if self.listens:
                number, value = TCP_FASTOPEN, BACKLOG
            calls.append(("fast_open", SocketOption(tcp, number, _value(value))))
        return calls

    def _of_tcp(self, tcp: int) -> list[tuple[str, int, str, int | bytes]]:
        wanted: list[tuple[str, int, str, int | bytes]] = []
        if self.nodelay:
            wanted.append(("nodelay", tcp, "TCP_NODELAY", 1))
        if self.max_segment >= 0:
            wanted.append(("max_segment", tcp, "TCP_MAXSEG", self.max_segment))
        if self.cork:
            wanted.append(("cork", tcp, "TCP_CORK", 1))
        if self.congestion:
            wanted.append(("congestion", tcp, "TCP_CONGESTION",
                           self.congestion.encode("ascii", "replace")[:15]))
        if self.defer_accept and self.listens:
            wanted.append(("defer_accept", tcp, "TCP_DEFER_ACCEPT", BACKLOG))
        return wanted


@dataclass(frozen=True)
class Applied:
    """What became of the options.

    Attributes:
        calls: Those that the system took.
        refused: Names of the fields that it did not.
        priority, tos, busy_poll: In effect, as ``SocketFacts`` has them.
    """

    calls: tuple[SocketOption, ...]
    refused: tuple[str, ...]
    priority: int
    tos: int
    busy_poll: int


def apply_options(sock: socket.socket, options: DataOptions) -> Applied:
    """Set what can be set; nothing here fails a test."""
    calls, refused = [], []
    for name, call in options.wishes(sock.family, sock.type == socket.SOCK_DGRAM):
        try:
            sock.setsockopt(*call)
        except OSError:
            refused.append(name)
        else:
            calls.append(call)
    return Applied(tuple(calls), tuple(refused),
                   _in_effect(sock, options.priority, "priority", calls, refused),
                   _in_effect(sock, options.tos, "tos", calls, refused),
                   _in_effect(sock, options.busy_poll, "busy_poll", calls, refused))


def may_busy_poll(busy_poll_us: int) -> bool:
    """Whether this system lets us poll its devices for so many µs."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        return apply_options(sock, DataOptions(busy_poll=busy_poll_us)).busy_poll >= 0
    finally:
        sock.close()


def keep_accepted(sock: socket.socket, options: DataOptions) -> None:
    """Set on an accepted connection what not every system lets it inherit."""
    if options.nodelay:
        apply_options(sock, DataOptions(nodelay=True))


def sender_options(spec: TestSpec) -> DataOptions:
    """The options that a test asks of the sender's end."""
    end = spec.local
    routing = spec.routing
    if routing is None:
        # netperf's own caution: a flood of datagrams stays on the link it was aimed at.
        routing = not (spec.is_datagram and spec.is_one_way)
    return DataOptions(
        send_buffer=end.send_buffer, receive_buffer=end.receive_buffer, nodelay=spec.nodelay,
        cork=spec.cork, keepalive=spec.keepalive, dontroute=not routing,
        priority=end.priority, tos=end.tos, congestion=end.congestion,
        max_segment=spec.max_segment, fast_open=spec.fast_open,
        dont_fragment=spec.dont_fragment, pacing_rate=spec.pacing_rate,
        multicast_ttl=spec.multicast_ttl, debug=spec.socket_debug,
        busy_poll=spec.busy_poll_us)


def _value(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else struct.pack("=i", value)


def _in_effect(
    sock: socket.socket, asked: int, name: str, calls: list[SocketOption], refused: list[str]
) -> int:
    if asked < 0 or (asked == 0 and name == "tos"):
        return asked
    if name in refused:
        return FAILED
    places = {"busy_poll": [(socket.SOL_SOCKET, SO_BUSY_POLL)],
              "priority": [(socket.SOL_SOCKET, getattr(socket, "SO_PRIORITY", -1))],
              "tos": [(socket.IPPROTO_IP, socket.IP_TOS),
                      (socket.IPPROTO_IPV6, getattr(socket, "IPV6_TCLASS", -1))]}[name]
    for place in places:
        if any(call[:2] == place for call in calls):
            return sock.getsockopt(*place)
    return UNSUPPORTED
