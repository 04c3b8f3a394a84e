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

The counts of context switches and interrupts stand behind the CPUs in the same file.

A reading costs what the kernel takes to write the whole file, interrupt counters included:
about 100 µs with 2 CPUs, 40 µs of it in Python. It happens before and after a test, never in
it.
"""

from __future__ import annotations

import itertools
import os

from xenrr.cpu.usage import CpuShare, CpuUsage
from xenrr.frozen import replace
from xenrr.lean import NamedTuple

__all__ = ["PROC_STAT", "ProcStatMeter", "Reading", "Ticks", "read_stat", "read_ticks",
           "usage_between"]

PROC_STAT = "/proc/stat"
CPU = b"cpu"
USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL = range(8)
# Columns that add up to all of the time; guest and guest nice are inside the first two.
ADDING_UP = 8
LEAST_COLUMNS = 4
MAX_COUNTER = 2**64
# Some thousand CPUs, whose lines come first. Behind them a line counts every interrupt, and
# behind that stand the context switches: so many chunks more are read for them.
MAX_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
MORE_CHUNKS = 4

# Counters by the number of the CPU; -1 is all of them together, where none is told apart.
Ticks = dict[int, tuple[int, ...]]
ALL = -1


class Reading(NamedTuple):
    """What /proc/stat said at one time; -1 for a count that it does not have."""

    ticks: Ticks
    context_switches: int = -1
    interrupts: int = -1


class ProcStatMeter:
    """Utilisation between ``start`` and ``stop``; both may be called again and again.

    Args:
        path: File to read.
    """

    def __init__(self, path: str = PROC_STAT) -> None:
        self._path = path
        self._before: Reading | None = None

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
        return replace(
            usage_between(before.ticks, after.ticks),
            context_switches=_counted(before.context_switches, after.context_switches),
            interrupts=_counted(before.interrupts, after.interrupts))

    def _read(self) -> Reading | None:
        try:
            return read_stat(self._path)
        except (OSError, ValueError):
            return None


def read_ticks(path: str = PROC_STAT) -> Ticks:
    """The counters of every CPU that is online; see ``read_stat``."""
    return read_stat(path).ticks


def read_stat(path: str = PROC_STAT) -> Reading:
    """The counters of every CPU that is online, and those of the host.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no /proc/stat.
    """
    text = _read_text(path)
    ticks: Ticks = {}
    # Behind the last end of line stands nothing, or half a line.
    for line in itertools.takewhile(lambda line: line.startswith(CPU), text.split(b"\n")[:-1]):
        name, *columns = line.split()
        numbers = tuple(map(int, columns[:ADDING_UP]))
        if len(numbers) < LEAST_COLUMNS or not all(0 <= n < MAX_COUNTER for n in numbers):
            raise ValueError(f"{path} has a line that counts no ticks: {line[:80]!r}")
        ticks[int(name[len(CPU):]) if name != CPU else ALL] = numbers
    if not ticks:
        raise ValueError(f"{path} has no line of a CPU")
    if len(ticks) > 1:
        ticks.pop(ALL, None)
    return Reading(ticks, _count(text, b"ctxt"), _count(text, b"intr"))


def _read_text(path: str) -> bytes:
    """The file up to its context switches, or less where that is far."""
    text, more = b"", 0
    with open(path, "rb", buffering=0) as file:
        while len(text) < MAX_BYTES:
            chunk = file.read(CHUNK_BYTES)
            text += chunk or b""
            last = text[text.rfind(b"\n", 0, -1) + 1:][:len(CPU)]
            behind = not CPU.startswith(last)
            more += behind
            if not chunk or more > MORE_CHUNKS or (behind and _count(text, b"ctxt") >= 0):
                break
    return text


def _count(text: bytes, name: bytes) -> int:
    """First number of a line that is there as a whole, -1 where none is."""
    begin = text.find(b"\n%s " % name)
    # The counts of single interrupts behind the sum may be cut off: only the sum is wanted.
    number, end, _ = text[begin + len(name) + 2:][:32].replace(b"\n", b" ").partition(b" ")
    if begin < 0 or not end or not number.isdigit():
        return -1
    return int(number) if int(number) < MAX_COUNTER else -1


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
    told_steal = all(len(ticks[cpu]) > STEAL for ticks in (before, after) for cpu in shared)
    per_cpu = []
    for cpu in shared:
        spent = [_progress(*pair) for pair in zip(before[cpu], after[cpu])]
        spent += [0] * (ADDING_UP - len(spent))
        total = sum(spent)
        busy[cpu] = 100.0 * (total - spent[IDLE]) / total if total else 0.0
        shares = [100.0 * ticks / total if total else 0.0 for ticks in spent]
        if not total:
            shares[IDLE] = 100.0
        sums = [sum(pair) for pair in zip(sums, shares)]
        if not told_steal:
            shares[STEAL] = -1.0
        per_cpu.append(CpuShare(cpu, *shares))
    share = [one / len(shared) for one in sums]
    peak = max(shared, key=lambda cpu: busy[cpu])
    return CpuUsage(
        percent=sum(busy.values()) / len(shared), user=share[USER], system=share[SYSTEM],
        iowait=share[IOWAIT], irq=share[IRQ], softirq=share[SOFTIRQ],
        steal=share[STEAL] if told_steal else -1.0, cpus=cpus, method="S",
        peak_percent=busy[peak] if peak != ALL else -1.0, peak_cpu=peak,
        nice=share[NICE], idle=share[IDLE],
        per_cpu=() if shared == [ALL] else tuple(per_cpu))


def _counted(before: int, after: int) -> int:
    return _progress(before, after) if before >= 0 <= after else -1


def _progress(before: int, after: int) -> int:
    """Ticks between two values of a counter that may have overflowed at 32 bits."""
    if after >= before:
        return after - before
    overflowed = after - before + 2**32
    return overflowed if before < 2**32 and overflowed < 2**31 else 0
