"""What DUMP_TCP_INFO in the environment makes netperf write to stderr after a TCP test.

flent reads it as pairs of a name and a number; the name that is spelt differently is
netperf's.

Source: netperf 2.7.0 src/nettest_omni.c, dump_tcp_info().
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["tcp_info_text"]

LINES = (
    (("tcpi_rto", "tcpi_rto"), ("tcpi_ato", "tcpi_ato"), ("tcpi_pmtu", "tcpi_pmtu"),
     ("tcpi_rcv_ssthresh", "tcpi_rcv_ssthresh")),
    (("tcpi_rtt", "tcpi_rtt"), ("tcpi_rttvar", "tcpi_rttvar"),
     ("tcpi_snd_ssthresh", "tcpi_snd_ssthresh"), ("tpci_snd_cwnd", "tcpi_snd_cwnd")),
    (("tcpi_reordering", "tcpi_reordering"), ("tcpi_total_retrans", "tcpi_total_retrans")),
)
SIGN = 1 << 31


def tcp_info_text(tcp_info: Mapping[str, int]) -> str:
    """Three lines; empty when the system told nothing.

    Args:
        tcp_info: ``Run.tcp_info``: TCP_INFO by the kernel's names.
    """
    if not tcp_info:
        return ""
    return "".join(
        " ".join(f"{shown} {_signed(tcp_info.get(name, 0))}" for shown, name in line) + "\n"
        for line in LINES)


def _signed(value: int) -> int:
    """A 32-bit word as %d of C shows it: an unlimited ssthresh comes out as that."""
    return (value & 0xFFFFFFFF ^ SIGN) - SIGN
