"""Sockets of both ends: families, addresses, and what the kernel says about them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

__all__ = ["ANY_ADDRESS", "address_text", "buffer_sizes", "congestion_of", "family_of",
           "mss_of", "nodelay_of", "tcp_info_of", "wire_family"]

ANY_ADDRESS = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}

# struct tcp_info of Linux (include/uapi/linux/tcp.h) up to tcpi_total_retrans: eight bytes,
# of which two hold bit fields, then 32-bit words. Later kernels append to it.
TCP_INFO_BYTES = ("tcpi_state", "tcpi_ca_state", "tcpi_retransmits", "tcpi_probes",
                  "tcpi_backoff", "tcpi_options")
TCP_INFO_WORDS = (
    "tcpi_rto", "tcpi_ato", "tcpi_snd_mss", "tcpi_rcv_mss", "tcpi_unacked", "tcpi_sacked",
    "tcpi_lost", "tcpi_retrans", "tcpi_fackets", "tcpi_last_data_sent", "tcpi_last_ack_sent",
    "tcpi_last_data_recv", "tcpi_last_ack_recv", "tcpi_pmtu", "tcpi_rcv_ssthresh", "tcpi_rtt",
    "tcpi_rttvar", "tcpi_snd_ssthresh", "tcpi_snd_cwnd", "tcpi_advmss", "tcpi_reordering",
    "tcpi_rcv_rtt", "tcpi_rcv_space", "tcpi_total_retrans")
TCP_INFO = struct.Struct(f"=6B2x{len(TCP_INFO_WORDS)}I")


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


def buffer_sizes(sock: socket.socket) -> tuple[int, int]:
    """SO_SNDBUF and SO_RCVBUF in bytes as they are now."""
    return (sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))


def nodelay_of(sock: socket.socket) -> bool:
    """Whether TCP_NODELAY is on; never for UDP."""
    return sock.type == socket.SOCK_STREAM and bool(
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def mss_of(sock: socket.socket) -> int:
    """Maximum segment size of a TCP connection in bytes, -1 where there is none."""
    option = getattr(socket, "TCP_MAXSEG", None)
    if option is None or sock.type != socket.SOCK_STREAM:
        return -1
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option)
    except OSError:
        return -1


def congestion_of(sock: socket.socket) -> str:
    """Name of the congestion control that a TCP socket uses, empty where unknown."""
    option = getattr(socket, "TCP_CONGESTION", None)
    if option is None or sock.type != socket.SOCK_STREAM:
        return ""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option, 16).split(b"\0")[0].decode("ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def tcp_info_of(sock: socket.socket) -> Mapping[str, int]:
    """TCP_INFO by the names of its fields; empty where the system has none."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None or sock.type != socket.SOCK_STREAM:
        return {}
    try:
        raw = sock.getsockopt(socket.IPPROTO_TCP, option, TCP_INFO.size)
    except OSError:
        return {}
    if len(raw) < TCP_INFO.size:
        return {}
    return dict(zip(TCP_INFO_BYTES + TCP_INFO_WORDS, TCP_INFO.unpack(raw)))
