"""What DUMP_TCP_INFO in the environment makes netperf write to stderr after a TCP test.

flent reads it as pairs of a name and a number; the name that is spelt differently is
netperf's.

Source: netperf 2.7.0 src/nettest_omni.c, dump_tcp_info().
"""

from __future__ import annotations

from xenrr.results.record import Run

__all__ = ["tcp_info_text"]

LINES = (
    (("tcpi_rto", "tcpi_rto"), ("tcpi_ato", "tcpi_ato"), ("tcpi_pmtu", "tcpi_pmtu"),
     ("tcpi_rcv_ssthresh", "tcpi_rcv_ssthresh")),
    (("tcpi_rtt", "tcpi_rtt"), ("tcpi_rttvar", "tcpi_rttvar"),
     ("tcpi_snd_ssthresh", "tcpi_snd_ssthresh"), ("tpci_snd_cwnd", "tcpi_snd_cwnd")),
    (("tcpi_reordering", "tcpi_reordering"), ("tcpi_total_retrans", "tcpi_total_retrans")),
)
SIGN = 1 << 31


def tcp_info_text(run: Run) -> str:
    """Three lines about the connection of one iteration.

    Args:
        run: Its record.

    Returns:
        Empty where netperf has no connection left to ask (one for every transaction), where
        its older code does not ask, and where the system told nothing.
    """
    spec, told = run.spec, run.tcp_info
    if spec.connecting or spec.test == "TCP_SENDFILE" or not told:
        return ""
    return "".join(
        " ".join(f"{shown} {_signed(told.get(name, 0))}" for shown, name in line) + "\n"
        for line in LINES)


def _signed(value: int) -> int:
    """A 32-bit word as %d of C shows it: an unlimited ssthresh comes out as that."""
    return (value & 0xFFFFFFFF ^ SIGN) - SIGN
