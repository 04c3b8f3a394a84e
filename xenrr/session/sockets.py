"""Sockets of both ends: families, addresses, and what the kernel says about them."""

from __future__ import annotations

import contextlib
import os

from xenrr.errors import SpecError
from xenrr.lean import Any, socket

__all__ = ["ANY_ADDRESS", "address_text", "buffer_sizes", "congestion_of", "family_of",
           "host_of", "look_up", "nodelay_of", "raise_descriptor_limit",
           "room_for_descriptors", "wire_family"]

# Descriptors that are left for what else a process opens.
SPARE_DESCRIPTORS = 32

ANY_ADDRESS: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def family_of(number: int) -> int:
    """Address family of netperf's number for it: 4, 6, or 0 for any."""
    return {4: socket.AF_INET, 6: socket.AF_INET6}.get(number, socket.AF_UNSPEC)


def look_up(host: str, port: int | str | None, family: int, kind: int) -> list[Any]:
    """What ``getaddrinfo`` finds.

    Raises:
        socket.gaierror: Nothing, or it cannot be a name.
        SpecError: There is no such port; the C library would take another one.
    """
    if isinstance(port, int) and not 0 <= port <= 65535:
        raise SpecError(f"a port has to lie between 0 and 65535, got {port}")
    try:
        # A text is encoded as IDNA, which takes tables of Unicode; bytes are taken as they are.
        name = host.encode("ascii") if host.isascii() else host
        return socket.getaddrinfo(name, port, family, kind)
    except ValueError as exc:  # a label that is empty or too long, or a NUL in the name
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from exc


def wire_family(family: int) -> int:
    """netperf's number (4 or 6) of an address family of the system."""
    return 6 if family == socket.AF_INET6 else 4


def address_text(address: tuple[object, ...]) -> str:
    """Host and port of a socket address, ``[::1]:5`` for IPv6."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def host_of(text: str) -> str:
    """The host in what ``address_text`` made."""
    return text.rpartition(":")[0].strip("[]")


def room_for_descriptors(wanted: int) -> int:
    """How many descriptors can be opened now, at most as many as are wanted.

    The soft limit of this process is raised for them as far as the hard one allows.
    """
    in_use = _descriptors_in_use()
    limit = raise_descriptor_limit(in_use + wanted + SPARE_DESCRIPTORS)
    if limit is None:  # then opening them shows what goes
        return wanted
    room = max(0, min(wanted, limit - in_use - SPARE_DESCRIPTORS))
    _widen_table(in_use + room)
    return room


def raise_descriptor_limit(needed: int) -> int | None:
    """Let this process have so many descriptors, as far as its hard limit allows.

    Returns:
        How many it may have now, at most as many as are needed or as it could have before;
        ``None`` where nobody knows.
    """
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return needed
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        return max(soft, raised)
    except (ImportError, OSError, ValueError):
        return None


def _widen_table(descriptors: int) -> None:
    """Make the table of descriptors as large as it will have to be, in one step.

    Linux doubles it each time it is full, and where threads share it each time takes 10 ms
    and more (it waits until no processor reads the old one): a third of the time in which a
    thousand connections are made.
    """
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, descriptors))


def _descriptors_in_use() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:  # then the lowest free number, which is near enough
        number = os.dup(0)
        os.close(number)
        return number


def buffer_sizes(sock: socket.socket) -> tuple[int, int]:
    """SO_SNDBUF and SO_RCVBUF in bytes as they are now."""
    return (sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))


def nodelay_of(sock: socket.socket) -> bool:
    """Whether TCP_NODELAY is on; never for UDP."""
    return sock.type == socket.SOCK_STREAM and bool(
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def congestion_of(sock: socket.socket) -> str:
    """Name of the congestion control that a TCP socket uses, empty where unknown."""
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is None or sock.type != socket.SOCK_STREAM:
        return ""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option, 16).split(b"\0")[0].decode("ascii")
    except (OSError, UnicodeDecodeError):
        return ""
