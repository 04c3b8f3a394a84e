"""What TCP says of a connection; nothing where the system does not tell."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from xenrr.lean import socket

__all__ = ["mss_of", "tcp_info_of"]

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


def mss_of(sock: socket.socket) -> int:
    """Maximum segment size of a TCP connection in bytes, -1 where there is none."""
    option = getattr(socket, "TCP_MAXSEG", None)
    if option is None or sock.type != socket.SOCK_STREAM:
        return -1
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option)
    except OSError:
        return -1


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
