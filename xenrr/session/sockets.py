"""Sockets of both ends: families, options, and what the kernel made of them."""

from __future__ import annotations

import socket

from xenrr.results.record import SocketFacts

__all__ = ["ANY_ADDRESS", "address_text", "apply_options", "buffer_sizes", "family_of",
           "mss_of", "socket_facts", "wire_family"]

ANY_ADDRESS = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def family_of(number: int) -> socket.AddressFamily:
    """Address family of netperf's number for it: 4, 6, or 0 for any."""
    return {4: socket.AF_INET, 6: socket.AF_INET6}.get(number, socket.AF_UNSPEC)


def wire_family(family: int) -> int:
    """netperf's number (4 or 6) of an address family of the system."""
    return 6 if family == socket.AF_INET6 else 4


def address_text(address: tuple[object, ...]) -> str:
    """Host and port of a socket address, ``[::1]:5`` for IPv6."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def apply_options(
    sock: socket.socket, *, send_buffer: int, receive_buffer: int, nodelay: bool
) -> None:
    """Set what a test asked of its data connection.

    Buffers of 0 or less stay as they are: 2.4.0 to 2.4.3 send 0 for "default", and taking
    that literally shrinks them to the kernel's minimum (fact sheet, trap 2).
    """
    if send_buffer > 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    if receive_buffer > 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if nodelay and sock.type == socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def buffer_sizes(sock: socket.socket) -> tuple[int, int]:
    """SO_SNDBUF and SO_RCVBUF in bytes as they are now."""
    return (sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))


def mss_of(sock: socket.socket) -> int:
    """Maximum segment size of a TCP connection in bytes, -1 where there is none."""
    option = getattr(socket, "TCP_MAXSEG", None)
    if option is None or sock.type != socket.SOCK_STREAM:
        return -1
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option)
    except OSError:
        return -1


def socket_facts(sock: socket.socket, start: tuple[int, int], mss: int) -> SocketFacts:
    """How a data connection was set up.

    Args:
        sock: Still open.
        start: Its ``buffer_sizes`` right after it was made.
        mss: Its ``mss_of`` while it was connected.
    """
    send_end, receive_end = buffer_sizes(sock)
    nodelay = sock.type == socket.SOCK_STREAM and bool(
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return SocketFacts(send_buffer=start[0], receive_buffer=start[1], send_buffer_end=send_end,
                       receive_buffer_end=receive_end, nodelay=nodelay, mss=mss)
