"""CPU quotas: cgroup v1 or v2, whichever has the cpu controller here.

Quotas take real root; in a user namespace there are none, and a lab says so. Binding to CPUs
needs no right and works everywhere (``taskset``).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xenrr.lab.plan import Share

__all__ = ["CpuGroups", "find_groups", "make_share", "member_ids", "remove_shares"]

REMOVE_LIMIT_S = 2.0


@dataclass(frozen=True)
class CpuGroups:
    """Where this system keeps CPU quotas.

    Attributes:
        folder: The top of the tree.
        version: 1 or 2.
    """

    folder: str
    version: int


def find_groups(mounts: str | None = None) -> CpuGroups | None:
    """The tree with the cpu controller, ``None`` where there is none that we may change.

    Args:
        mounts: Text in the form of ``/proc/self/mounts``, which is read without it.
    """
    if mounts is None:
        mounts = Path("/proc/self/mounts").read_text()
    for line in mounts.splitlines():
        _, folder, kind, options = line.split()[:4]
        if kind == "cgroup" and "cpu" in options.split(","):
            version = 1
        elif kind == "cgroup2" and "cpu" in _words(folder, "cgroup.subtree_control"):
            version = 2
        else:
            continue
        if os.access(folder, os.W_OK):
            return CpuGroups(folder, version)
    return None


def _words(folder: str, name: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(folder, name).read_text().split()
    return []


def make_share(groups: CpuGroups, share: Share) -> list[str]:
    """Create a quota's cgroup, and one without limits inside it for those who share it.

    Processes are in the inner one: in version 2 a cgroup with processes of its own cannot
    pass the controller on to the cgroup of a guest.

    Returns:
        The two folders; who writes a process id into ``cgroup.procs`` of the second puts it in.

    Raises:
        OSError: The kernel refuses, for instance a guest more than its host has.
    """
    folder = Path(groups.folder, share.group)
    inner = folder / "own"
    folder.mkdir(exist_ok=True)
    quota_us = round(share.cpu.quota * share.cpu.period_us)
    if groups.version == 1:
        (folder / "cpu.cfs_period_us").write_text(str(share.cpu.period_us))
        (folder / "cpu.cfs_quota_us").write_text(str(quota_us))
    else:
        (folder / "cpu.max").write_text(f"{quota_us} {share.cpu.period_us}")
        (folder / "cgroup.subtree_control").write_text("+cpu")
    inner.mkdir(exist_ok=True)
    return [str(folder), str(inner)]


def member_ids(folders: Iterable[str]) -> set[int]:
    """Ids of the processes in some cgroups."""
    return {int(word) for folder in folders for word in _words(folder, "cgroup.procs")}


def remove_shares(folders: Sequence[str]) -> list[str]:
    """Remove cgroups, guests' before their hosts'.

    Returns:
        Those that are still there: a process in them has not ended.
    """
    give_up_s = time.monotonic() + REMOVE_LIMIT_S
    left = sorted(folders, key=len, reverse=True)
    while left:
        left = [folder for folder in left if not _removed(folder)]
        if not left or time.monotonic() > give_up_s:
            break
        time.sleep(0.02)
    return left


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
