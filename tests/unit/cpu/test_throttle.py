from __future__ import annotations

import os
from pathlib import Path

import pytest

from xenrr.cpu.throttle import MOUNTS, Throttling, read_throttling

V2 = "usage_usec 5\nnr_periods 40\nnr_throttled 3\nthrottled_usec 2500\n"
V1 = "nr_periods 40\nnr_throttled 3\nthrottled_time 2500999\n"
FREE = "usage_usec 5\nuser_usec 3\nsystem_usec 2\n"
FOUND = Throttling(40, 3, 2500)


def tree(root: Path, groups: str, mounts: str = MOUNTS, **stats: str) -> Path:
    """``/proc/self/cgroup`` and ``cpu.stat`` files; in a name ``__`` stands for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in stats.items():
        folder = root / mounts / name.replace("__", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.stat").write_text(text)
    return root


@pytest.mark.parametrize(("groups", "stats"), [
    ("0::/user.slice/a.scope\n", {"user.slice__a.scope": V2}),
    ("0::/user.slice/a.scope\n", {"user.slice__a.scope": FREE, "user.slice": V2, "": FREE}),
    ("0::/\n", {"": V2}),
    ("0::/docker/0123\n", {"": V2}),       # a container that sees the host's path
    ("0::/../../elsewhere\n", {"elsewhere": V2}),
    ("4:cpu,cpuacct:/a\n0::/b\n", {"cpu,cpuacct__a": V1}),
    ("4:cpu,cpuacct:/a\n0::/b\n", {"cpu__a": V1}),
    ("2:cpuacct:/\n1:cpu:/\n", {"cpu": V1}),
    ("4:cpuset:/x\n0::/b\n", {"unified__b": V2}),
])
def test_where_it_is_counted(tmp_path, groups, stats):
    assert read_throttling(tree(tmp_path, groups, **stats)) == FOUND


def test_a_namespace_whose_sys_has_no_control_groups(tmp_path):
    above = f"proc/{os.getppid()}/root/{MOUNTS}"
    root = tree(tmp_path, "1:cpu:/xrr-a/own\n", above, **{"cpu__xrr-a": V1})
    assert read_throttling(root) == FOUND


def test_groups_above_count_as_well(tmp_path):
    tree(tmp_path, "0::/a/b\n", a__b=V2, a=V2)
    assert read_throttling(tmp_path) == Throttling(80, 6, 5000)


@pytest.mark.parametrize(("groups", "stats"), [
    ("0::/a\n", {}), ("0::/a\n", {"a": FREE}), ("0::/a\n", {"a": "nr_throttled many\n"}),
    ("nonsense", {}), ("", {})])
def test_where_nobody_counts(tmp_path, groups, stats):
    assert read_throttling(tree(tmp_path, groups, **stats)) is None


def test_no_proc_at_all(tmp_path):
    assert read_throttling(tmp_path) is None


def test_a_path_without_end_is_not_followed(tmp_path):
    tree(tmp_path, "0::" + "/a" * 1500 + "\n", **{"": V2})
    assert read_throttling(tmp_path) == FOUND


def test_what_came_to_pass_between_two_readings():
    assert Throttling(50, 5, 3000).since(FOUND) == Throttling(10, 2, 500)
    assert FOUND.since(Throttling(50, 5, 3000)) == Throttling()  # moved to another group


def test_this_machine():
    found = read_throttling()
    assert found is None or found.throttled <= found.periods or found.periods == 0
