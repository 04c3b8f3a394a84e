"""Facts about the machine a run was made on, as short texts.

They go into every record, so that a number can be judged years later. Each one is read
where it stands in the system; what is missing, denied or unreadable leaves its key out.
A guest sees far less than its host, and that must never stop a measurement.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable

__all__ = ["collect_host_facts", "load_average"]

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
        ``xen_domid``, ``xen_uuid``, ``xen_version``, ``hypervisor``, ``container``,
        ``cpu_quota`` (CPUs that the own control group may use).
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


def load_average(root: str | os.PathLike[str] = "/") -> str:
    """Processes that wanted to run, over 1, 5 and 15 minutes; empty where unknown."""
    try:
        return _load_average(os.fspath(root))
    except OSError:
        return ""


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

    A container in Dom0 sees no /proc/xen, but the features in sysfs; and only a guest of
    kind HVM has firmware tables, in which its toolstack names it.

    Source: sysfs-hypervisor-xen in the kernel's ABI documents; guest_type came with Linux
    4.13, /proc/xen is older than both and says "control_d" in Dom0 only. The bit is that of
    Xen's public/features.h.
    """
    if "control_d" in _read_or_empty(root, "proc/xen/capabilities"):
        return "Dom0"
    if _read_or_empty(root, "sys/hypervisor/type") == "xen":
        features = _read_or_empty(root, "sys/hypervisor/properties/features")
        known = re.fullmatch("[0-9a-fA-F]{1,16}", features)
        if known and int(features, 16) >> FEATURE_DOM0 & 1:
            return "Dom0"
        kind = _read_or_empty(root, "sys/hypervisor/guest_type")
        return f"DomU {kind if kind in ('PV', 'PVH', 'HVM') else _hvm(root)}".strip()
    if os.path.exists(os.path.join(root, "proc/xen/capabilities")):
        return f"DomU {_hvm(root)}".strip()
    return "no"


def _hvm(root: str) -> str:
    named = _read_or_empty(root, "sys/class/dmi/id/product_name").startswith("HVM domU")
    return "HVM" if named else ""


def _xen_domid(root: str) -> str:
    """Dom0 is 0; a guest of kind HVM or PVH reads its number in a CPUID leaf, as root.

    Source: XEN_HVM_CPUID_DOMID_PRESENT in Xen's public/arch-x86/cpuid.h; cpuid(4).
    """
    role = _xen(root)
    if role == "Dom0":
        return "0"
    if not role.startswith("DomU"):
        return ""
    descriptor = os.open(os.path.join(root, "dev/cpu/0/cpuid"), os.O_RDONLY)
    try:
        leaf = os.pread(descriptor, 16, CPUID_XEN_HVM)
    finally:
        os.close(descriptor)
    flags, domid = (int.from_bytes(leaf[at:at + 4], "little") for at in (0, 8))
    return str(domid) if len(leaf) == 16 and flags & CPUID_DOMID_PRESENT else ""


def _xen_uuid(root: str) -> str:
    # "<denied>" where the hypervisor does not tell.
    uuid = _read(root, "sys/hypervisor/uuid")
    return uuid if re.fullmatch("[0-9a-fA-F-]{36}", uuid) else ""


def _xen_version(root: str) -> str:
    if _read(root, "sys/hypervisor/type") != "xen":
        return ""
    extra = _read_or_empty(root, "sys/hypervisor/version/extra")
    numbers = [_read(root, f"sys/hypervisor/version/{part}") for part in ("major", "minor")]
    return ".".join(numbers) + (extra if len(extra) < MAX_EXTRA else "")


def _container(root: str) -> str:
    """What kind of container this is as far as it shows, empty outside of one."""
    named = _read_or_empty(root, "run/systemd/container")
    if named:
        return named
    for name, sign in (("docker", ".dockerenv"), ("podman", "run/.containerenv")):
        if os.path.exists(os.path.join(root, sign)):
            return name
    # Only the container's own root may read this.
    for entry in _read_or_empty(root, "proc/1/environ").split("\0"):
        if entry.startswith("container="):
            return entry.partition("=")[2]
    groups = _read_or_empty(root, "proc/1/cgroup")
    return next((name for name in CONTAINERS if f"/{name}" in groups), "")


def _cpu_quota(root: str) -> str:
    """CPUs' worth of time that the top of the visible control groups allows."""
    limit = _read_or_empty(root, "sys/fs/cgroup/cpu.max").split()
    if len(limit) != 2:
        limit = [_read_or_empty(root, f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us")
                 for name in ("quota", "period")]
    if limit[0] in ("max", "-1", ""):
        return ""
    return f"{int(limit[0]) / max(int(limit[1]), 1):g}"


def _hypervisor(root: str) -> str:
    """Whose virtual machine this is as far as it shows, empty on bare metal."""
    kind = _read_or_empty(root, "sys/hypervisor/type")
    if kind:
        return kind
    vendor = _read_or_empty(root, "sys/class/dmi/id/sys_vendor")
    if vendor.startswith(VIRTUAL_VENDORS):
        return vendor
    return "unnamed" if "hypervisor" in _fields(root, "proc/cpuinfo")["flags"].split() else ""


# Bit XENFEAT_dom0; the leaf and the flag; distributions append their own to a version.
FEATURE_DOM0 = 11
CPUID_XEN_HVM, CPUID_DOMID_PRESENT = 0x40000004, 1 << 4
MAX_EXTRA = 40
CONTAINERS = ("docker", "lxc", "kubepods", "libpod", "machine.slice/systemd-nspawn")
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
    "xen_domid": _xen_domid,
    "xen_uuid": _xen_uuid,
    "xen_version": _xen_version,
    "hypervisor": _hypervisor,
    "container": _container,
    "cpu_quota": _cpu_quota,
}
