"""Facts about the machine a run was made on, as short texts.

They go into every record, so that a number can be judged years later. Each one is read
where it stands in the system; what is missing, denied or unreadable leaves its key out.
A guest sees far less than its host, and that must never stop a measurement.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

__all__ = ["collect_host_facts"]

# Few enough to stay far below 1 ms; the fastest of them is the cost without an interrupt.
CLOCK_READS = 200
# The first CPU's part of /proc/cpuinfo; a host with hundreds of CPUs has a megabyte of it.
READ_BYTES = 4096


def collect_host_facts(root: str | os.PathLike[str] = "/") -> dict[str, str]:
    """Describe this machine; takes less than a millisecond.

    Args:
        root: Where ``/proc`` and ``/sys`` hang; another folder in tests.

    Returns:
        Any of ``kernel``, ``machine``, ``python``, ``cpu_model``, ``cpus``,
        ``cpus_allowed``, ``governor``, ``clock_source``, ``clock_read_ns`` (of Python's
        clock, call included), ``clock_resolution_ns``, ``load_average``, ``xen``,
        ``hypervisor``.
    """
    facts: dict[str, str] = {}
    for key, find in FINDERS.items():
        try:
            value = find(os.fspath(root))
        # No such file, no right, no such system call, not a number: unknown here.
        except (OSError, ValueError, AttributeError, LookupError):
            continue
        if value:
            facts[key] = value
    return facts


def _read(root: str, path: str) -> str:
    descriptor = os.open(os.path.join(root, path), os.O_RDONLY)
    try:
        raw = os.read(descriptor, READ_BYTES)
    finally:
        os.close(descriptor)
    return raw.decode("utf-8", "replace").strip("\0 \n")


def _read_or_empty(root: str, path: str) -> str:
    try:
        return _read(root, path)
    except OSError:
        return ""


def _fields(root: str, path: str) -> dict[str, str]:
    """``name: value`` lines of a file in /proc, names in lower case, first one wins."""
    found: dict[str, str] = {}
    for line in _read(root, path).splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip().lower(), value.strip())
    return found


def _kernel(root: str) -> str:
    system = os.uname()
    return f"{system.sysname} {system.release}"


def _machine(root: str) -> str:
    return os.uname().machine


def _python(root: str) -> str:
    return f"{sys.implementation.name} {sys.version.split()[0]}"


def _cpu_model(root: str) -> str:
    # x86 and LoongArch say "model name", MIPS "cpu model", IA-64 "family", POWER "cpu";
    # Arm mostly none of them. x86 has a "cpu family" too, a bare number: not asked for.
    found = _fields(root, "proc/cpuinfo")
    names = ("model name", "cpu model", "family", "cpu")
    return next((found[name] for name in names if found.get(name)), "")


def _cpus(root: str) -> str:
    # A kernel CPU list such as "0-3,8".
    count = 0
    for part in _read(root, "sys/devices/system/cpu/online").split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return str(count)


def _cpus_allowed(root: str) -> str:
    return _fields(root, "proc/self/status")["cpus_allowed_list"]


def _governor(root: str) -> str:
    return _read(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def _clock_source(root: str) -> str:
    return _read(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")


def _clock_read_ns(root: str) -> str:
    now = time.monotonic_ns
    return str(min(-now() + now() for _ in range(CLOCK_READS)))


def _clock_resolution_ns(root: str) -> str:
    return f"{time.get_clock_info('monotonic').resolution * 1e9:.0f}"


def _load_average(root: str) -> str:
    return " ".join(_read(root, "proc/loadavg").split()[:3])


def _xen(root: str) -> str:
    """``Dom0``, ``DomU PV``, ``DomU HVM``, ``DomU PVH``, ``DomU`` or ``no``.

    Source: sysfs-hypervisor-xen in the kernel's ABI documents; guest_type came with Linux
    4.13, /proc/xen is older than both and says "control_d" in Dom0 only.
    """
    if "control_d" in _read_or_empty(root, "proc/xen/capabilities"):
        return "Dom0"
    if _read_or_empty(root, "sys/hypervisor/type") == "xen":
        return f"DomU {_read_or_empty(root, 'sys/hypervisor/guest_type')}".strip()
    return "DomU" if os.path.exists(os.path.join(root, "proc/xen/capabilities")) else "no"


def _hypervisor(root: str) -> str:
    """Whose virtual machine this is as far as it shows, empty on bare metal."""
    kind = _read_or_empty(root, "sys/hypervisor/type")
    if kind:
        return kind
    vendor = _read_or_empty(root, "sys/class/dmi/id/sys_vendor")
    if vendor.startswith(VIRTUAL_VENDORS):
        return vendor
    return "unnamed" if "hypervisor" in _fields(root, "proc/cpuinfo")["flags"].split() else ""


VIRTUAL_VENDORS = ("QEMU", "VMware", "Microsoft", "innotek", "Amazon EC2", "Google",
                   "Parallels", "Xen", "Bochs")

FINDERS: dict[str, Callable[[str], str]] = {
    "kernel": _kernel,
    "machine": _machine,
    "python": _python,
    "cpu_model": _cpu_model,
    "cpus": _cpus,
    "cpus_allowed": _cpus_allowed,
    "governor": _governor,
    "clock_source": _clock_source,
    "clock_read_ns": _clock_read_ns,
    "clock_resolution_ns": _clock_resolution_ns,
    "load_average": _load_average,
    "xen": _xen,
    "hypervisor": _hypervisor,
}
