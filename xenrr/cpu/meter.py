"""Which way a host measures its CPU utilisation."""

from __future__ import annotations

from xenrr.cpu.none import NoMeter
from xenrr.cpu.procstat import PROC_STAT, ProcStatMeter, read_ticks
from xenrr.cpu.usage import CpuUsage
from xenrr.lean import Protocol

__all__ = ["CpuMeter", "load_meter"]


class CpuMeter(Protocol):
    """Measures one interval after another."""

    def start(self) -> None:
        """An interval begins."""

    def stop(self) -> CpuUsage:
        """It ends; what the host did meanwhile."""


def load_meter(cpus: int | None = None, path: str = PROC_STAT) -> CpuMeter:
    """The best meter that works here; ``CpuUsage.method`` says which one it was.

    Args:
        cpus: netperf's ``-n``: how many CPUs there are, used where the system does not tell.
            As in netperf that is never the case on Linux.
        path: What to read instead of /proc/stat.
    """
    try:
        read_ticks(path)
    except (OSError, ValueError):
        return NoMeter(cpus)
    return ProcStatMeter(path)
