"""A host of which nothing is known: CPU method U."""

from __future__ import annotations

import os

from xenrr.cpu.usage import CpuUsage

__all__ = ["NoMeter"]


class NoMeter:
    """Measures nothing and says so.

    Args:
        cpus: Number of CPUs where the system does not tell it.
    """

    def __init__(self, cpus: int | None = None) -> None:
        self._cpus = os.cpu_count() or cpus or 1

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> CpuUsage:
        """Utilisation -1, as netperf prints it."""
        return CpuUsage(percent=-1.0, cpus=self._cpus)
