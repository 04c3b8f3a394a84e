"""CPU utilisation of a Linux host, from two readings of /proc/stat.

A line ``cpuN`` counts clock ticks of one CPU since it started, by what it did: user, nice,
system, idle, iowait, irq, softirq, steal, guest, guest nice. Kernels before 2.6 stop after
idle, steal came with 2.6.11; what a kernel does not tell is 0, and no steal time is -1.

The rules are those of netperf 2.7 (src/netcpu_procstat.c): every CPU counts the same, idle
is the fourth column alone (so waiting for a disk and time stolen by the hypervisor both
count as busy), user is the first column without nice, and a CPU without a single tick
counts as idle. Three things are done better:

* Time of guests is inside user and nice already, and is not counted a second time.
* CPUs are paired by their number, not by their line: one that went offline or came online
  between the readings is left out, and there may be any number of them.
* iowait and even idle can step back by a tick or two. That is no progress, not the overflow
  that netperf takes it for. Counters of 32-bit kernels do overflow.

A reading costs what the kernel takes to write the whole file, interrupt counters included:
about 100 µs with 2 CPUs, 40 µs of it in Python. It happens before and after a test, never in
it.
"""

from __future__ import annotations

import itertools
import os

from xenrr.cpu.usage import CpuUsage

__all__ = ["PROC_STAT", "ProcStatMeter", "Ticks", "read_ticks", "usage_between"]

PROC_STAT = "/proc/stat"
CPU = b"cpu"
USER, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL = 0, 2, 3, 4, 5, 6, 7
# Columns that add up to all of the time; guest and guest nice are inside the first two.
ADDING_UP = 8
LEAST_COLUMNS = 4
MAX_COUNTER = 2**64
# Some thousand CPUs; the lines of CPUs come first, and reading ends behind them.
MAX_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 64 * 1024

# Counters by the number of the CPU; -1 is all of them together, where none is told apart.
Ticks = dict[int, tuple[int, ...]]
ALL = -1


class ProcStatMeter:
    """Utilisation between ``start`` and ``stop``; both may be called again and again.

    Args:
        path: File to read.
    """

    def __init__(self, path: str = PROC_STAT) -> None:
        self._path = path
        self._before: Ticks | None = None

    def start(self) -> None:
        """Read once; what cannot be read shows in the result of ``stop``."""
        self._before = self._read()

    def stop(self) -> CpuUsage:
        """Read again.

        Returns:
            The usage since ``start``; of method ``U`` if one of the readings failed.
        """
        before, self._before = self._before, None
        after = self._read()
        if before is None or after is None:
            return CpuUsage(percent=-1.0, cpus=os.cpu_count() or 1)
        return usage_between(before, after)

    def _read(self) -> Ticks | None:
        try:
            return read_ticks(self._path)
        except (OSError, ValueError):
            return None


def read_ticks(path: str = PROC_STAT) -> Ticks:
    """The counters of every CPU that is online.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no /proc/stat.
    """
    ticks: Ticks = {}
    for line in _cpu_lines(path):
        name, *columns = line.split()
        numbers = tuple(map(int, columns[:ADDING_UP]))
        if len(numbers) < LEAST_COLUMNS or not all(0 <= n < MAX_COUNTER for n in numbers):
            raise ValueError(f"{path} has a line that counts no ticks: {line[:80]!r}")
        ticks[int(name[len(CPU):]) if name != CPU else ALL] = numbers
    if not ticks:
        raise ValueError(f"{path} has no line of a CPU")
    if len(ticks) > 1:
        ticks.pop(ALL, None)
    return ticks


def _cpu_lines(path: str) -> list[bytes]:
    """The lines at the beginning that start with ``cpu``."""
    text = b""
    with open(path, "rb", buffering=0) as file:
        while len(text) < MAX_BYTES:
            chunk = file.read(CHUNK_BYTES)
            text += chunk or b""
            last = text[text.rfind(b"\n", 0, -1) + 1:][:len(CPU)]
            if not chunk or not CPU.startswith(last):
                break
    # Behind the last end of line stands nothing, or half a line.
    return list(itertools.takewhile(lambda line: line.startswith(CPU), text.split(b"\n")[:-1]))


def usage_between(before: Ticks, after: Ticks) -> CpuUsage:
    """What the CPUs did between two readings.

    CPUs that are not in both are left out.
    """
    shared = sorted(set(before) & set(after))
    cpus = len(shared) if shared != [ALL] else os.cpu_count() or 1
    if not shared:
        return CpuUsage(percent=-1.0, cpus=os.cpu_count() or 1)
    sums = [0.0] * ADDING_UP
    busy: dict[int, float] = {}
    for cpu in shared:
        spent = [_progress(*pair) for pair in zip(before[cpu], after[cpu])]
        spent += [0] * (ADDING_UP - len(spent))
        total = sum(spent)
        busy[cpu] = 100.0 * (total - spent[IDLE]) / total if total else 0.0
        for column, ticks in enumerate(spent):
            sums[column] += 100.0 * ticks / total if total else 0.0
    share = [one / len(shared) for one in sums]
    peak = max(shared, key=lambda cpu: busy[cpu])
    told_steal = all(len(ticks[cpu]) > STEAL for ticks in (before, after) for cpu in shared)
    return CpuUsage(
        percent=sum(busy.values()) / len(shared), user=share[USER], system=share[SYSTEM],
        iowait=share[IOWAIT], irq=share[IRQ], softirq=share[SOFTIRQ],
        steal=share[STEAL] if told_steal else -1.0, cpus=cpus, method="S",
        peak_percent=busy[peak] if peak != ALL else -1.0, peak_cpu=peak)


def _progress(before: int, after: int) -> int:
    """Ticks between two values of a counter that may have overflowed at 32 bits."""
    if after >= before:
        return after - before
    overflowed = after - before + 2**32
    return overflowed if before < 2**32 and overflowed < 2**31 else 0
