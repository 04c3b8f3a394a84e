"""CPU utilisation of a host during a test, and what a unit of work cost it."""

from __future__ import annotations

from collections.abc import Mapping

from xenrr.frozen import dataclass

__all__ = ["METHODS", "CpuShare", "CpuUsage", "service_demand_us", "usage_from_plain"]

# netperf's numbers and letters for the way utilisation was measured (src/netcpu.h); the
# number travels, the letter is printed.
METHODS = "UIPTLRNKSCEMO"


@dataclass(frozen=True)
class CpuShare:
    """Where the time of one CPU went, in % of it; ``steal`` is -1 where nobody told."""

    cpu: int
    user: float = 0.0
    nice: float = 0.0
    system: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0
    irq: float = 0.0
    softirq: float = 0.0
    steal: float = -1.0


@dataclass(frozen=True)
class CpuUsage:
    """Shares of all CPUs of a host over one interval, in % of the host (0 to 100).

    Attributes:
        percent: Everything that was not idle, -1 where it was not measured.
        user, system, iowait, irq, softirq: Parts of it, 0 where they were not told. As
            netperf has it, ``user`` is without nice, which shows in ``percent`` only.
        steal: Time the hypervisor gave to others, -1 where nobody told.
        cpus: How many CPUs the shares were taken over.
        method: Letter of ``METHODS``; ``S`` is /proc/stat.
        peak_percent, peak_cpu: Busiest CPU and its utilisation, -1 where unknown.
        nice, idle: The two parts that netperf does not tell, -1 where unknown.
        context_switches, interrupts: Of the whole host over the interval, -1 where unknown.
        per_cpu: The same shares for each CPU, where they are known.
    """

    percent: float
    user: float = 0.0
    system: float = 0.0
    iowait: float = 0.0
    irq: float = 0.0
    softirq: float = 0.0
    steal: float = -1.0
    cpus: int = 1
    method: str = "U"
    peak_percent: float = -1.0
    peak_cpu: int = -1
    nice: float = -1.0
    idle: float = -1.0
    context_switches: int = -1
    interrupts: int = -1
    per_cpu: tuple[CpuShare, ...] = ()

    @property
    def percent_without_steal(self) -> float:
        """Everything that was not idle and not stolen either, -1 where unknown.

        netperf counts stolen time as work: a guest that waits for its host looks busy.
        """
        return max(self.percent - self.steal, 0.0) if self.percent >= 0 <= self.steal else -1.0


def usage_from_plain(plain: Mapping[str, object]) -> CpuUsage:
    """A usage from what ``dataclasses.asdict`` made of it.

    Raises:
        TypeError: It is damaged.
    """
    values = dict(plain)
    shares = values.get("per_cpu", ())
    if not isinstance(shares, (list, tuple)):
        raise TypeError("per_cpu is not a list")
    values["per_cpu"] = tuple(CpuShare(**share) for share in shares)
    return CpuUsage(**values)  # type: ignore[arg-type]


def service_demand_us(usage: CpuUsage, units_per_s: float) -> float:
    """CPU time that one unit of work costs a host.

    Args:
        usage: During the test.
        units_per_s: Transactions, or KB (1024 bytes), per second over the same time.

    Returns:
        Service demand in µs per unit; -1.0 where the utilisation is unknown.

    Raises:
        ValueError: ``units_per_s`` is not positive.

    Source: netperf 2.7 src/netlib.c, calc_service_demand_internal().
    """
    if units_per_s <= 0:
        raise ValueError("a service demand needs a positive rate")
    if usage.percent < 0:
        return -1.0
    return usage.percent * 10_000 * usage.cpus / units_per_s
