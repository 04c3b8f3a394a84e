"""How often the scheduler held this process back: CPU quotas of its control groups.

A quota is a share of every period of 100 ms, say. A group that has used its share is stopped
until the next period begins, and a round trip that meets the stop takes up to a period more.
Any group above may have a quota too, and each counts on its own, so all of them are read and
the counts are added. cgroup v1 keeps ``nr_throttled`` and ``throttled_time`` (ns), v2
``nr_throttled`` and ``throttled_usec``, both in ``cpu.stat``.

Source: Linux Documentation/scheduler/sched-bwc.rst, admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os

from xenrr.frozen import dataclass

__all__ = ["Throttling", "read_throttling"]

READ_BYTES = 16384
# Nobody nests groups deeper; a path from /proc is not taken at its word.
MOST_LEVELS = 32
MOUNTS = "sys/fs/cgroup"


@dataclass(frozen=True)
class Throttling:
    """Counts over all groups of this process.

    Attributes:
        periods: In which a group with a quota had something to run.
        throttled: Of them, those in which it was stopped.
        throttled_us: For how long in all, over all CPUs.
    """

    periods: int = 0
    throttled: int = 0
    throttled_us: int = 0

    def since(self, before: Throttling) -> Throttling:
        """What came to pass since another reading."""
        return Throttling(max(self.periods - before.periods, 0),
                          max(self.throttled - before.throttled, 0),
                          max(self.throttled_us - before.throttled_us, 0))


def read_throttling(root: str | os.PathLike[str] = "/") -> Throttling | None:
    """Add up what the groups of this process count.

    Args:
        root: Where ``/proc`` and ``/sys`` hang; another folder in tests.

    Returns:
        The sums, ``None`` where no group counts anything: no cgroups, or no CPU controller.
    """
    for folder, path in _places(os.fspath(root)):
        found = [counts for level in _levels(path)
                 if (counts := _counts(os.path.join(folder, level))) is not None]
        if found:
            return Throttling(*(sum(each) for each in zip(*found)))
    return None


def _places(root: str) -> list[tuple[str, str]]:
    """Where the hierarchy with the CPU controller may be mounted, and our group in it."""
    # "ip netns exec" mounts a /sys of its own, without control groups in it. Whoever started
    # us from outside still has them.
    above = os.path.join(root, "proc", str(os.getppid()), "root", MOUNTS)
    return [*_places_in(os.path.join(root, MOUNTS), root), *_places_in(above, root)]


def _places_in(mounts: str, root: str) -> list[tuple[str, str]]:
    places = []
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            places += [(os.path.join(mounts, name), path) for name in (controllers, "cpu")]
        elif number == "0" and not controllers:
            # Beside v1 hierarchies the unified one has a folder of its own.
            places += [(mounts, path), (os.path.join(mounts, "unified"), path)]
    return places


def _levels(path: str) -> list[str]:
    """A group and all above it, as relative paths.

    In a container the path may be the host's, which is not there: then the top of what is
    mounted is the container's own group, and it is always the last of the list.
    """
    parts = [part for part in path.split("/") if part and part != ".."][:MOST_LEVELS]
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _counts(folder: str) -> tuple[int, int, int] | None:
    values: dict[str, int] = {}
    for line in _read(os.path.join(folder, "cpu.stat")).splitlines():
        name, _, number = line.partition(" ")
        if number.strip().isdigit():
            values[name] = int(number)
    if "nr_throttled" not in values:
        return None
    stopped_us = values.get("throttled_usec", values.get("throttled_time", 0) // 1000)
    return values.get("nr_periods", 0), values["nr_throttled"], stopped_us


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(descriptor, READ_BYTES).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
