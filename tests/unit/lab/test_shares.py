from __future__ import annotations

import subprocess
import sys

import pytest

from xenrr.lab.plan import Share
from xenrr.lab.shares import CpuGroups, find_groups, make_share, member_ids, remove_shares
from xenrr.lab.spec import CpuShare

HOST = Share("xrr-x-a", ("a",), CpuShare(0.35, 2900))
GUEST = Share("xrr-x-a/xrr-x-g", ("g",), CpuShare(2.0, 100_000))


@pytest.mark.parametrize(("line", "control", "version"), [
    ("cgroup {0} cgroup rw,relatime,cpu 0 0", None, 1),
    ("cgroup {0} cgroup rw,cpu,cpuacct 0 0", None, 1),
    ("cgroup {0} cgroup rw,cpuacct 0 0", None, None),
    ("cgroup2 {0} cgroup2 rw 0 0", "cpuset cpu io", 2),
    ("cgroup2 {0} cgroup2 rw 0 0", "cpuset io", None),
    ("cgroup2 {0} cgroup2 rw 0 0", None, None),
    ("tmpfs {0} tmpfs rw 0 0", "cpu", None),
])
def test_which_tree_has_the_cpu_controller(tmp_path, line, control, version):
    if control is not None:
        (tmp_path / "cgroup.subtree_control").write_text(f"{control}\n")
    mounts = f"proc /proc proc rw 0 0\n{line.format(tmp_path)}\n"
    assert find_groups(mounts) == (
        None if version is None else CpuGroups(str(tmp_path), version))


def test_a_tree_that_cannot_be_written_to_is_none():
    assert find_groups("cgroup /proc/sys cgroup rw,cpu 0 0\n") is None or (
        find_groups("cgroup /nowhere cgroup rw,cpu 0 0\n") is None)
    assert find_groups("cgroup /nowhere cgroup rw,cpu 0 0\n") is None


@pytest.mark.parametrize(("version", "files"), [
    (1, {"cpu.cfs_period_us": "2900", "cpu.cfs_quota_us": "1015"}),
    (2, {"cpu.max": "1015 2900", "cgroup.subtree_control": "+cpu"}),
])
def test_what_is_written(tmp_path, version, files):
    groups = CpuGroups(str(tmp_path), version)
    folders = make_share(groups, HOST)
    assert folders == [str(tmp_path / "xrr-x-a"), str(tmp_path / "xrr-x-a/own")]
    assert {path.name: path.read_text() for path in (tmp_path / "xrr-x-a").iterdir()
            if path.is_file()} == files
    assert make_share(groups, GUEST)[1] == str(tmp_path / "xrr-x-a/xrr-x-g/own")


def test_members_and_removal(tmp_path):
    inner = tmp_path / "a" / "own"
    inner.mkdir(parents=True)
    (inner / "cgroup.procs").write_text("12\n34\n")
    assert member_ids([str(inner), str(tmp_path / "gone")]) == {12, 34}
    (inner / "cgroup.procs").unlink()
    assert remove_shares([str(tmp_path / "a"), str(inner), str(tmp_path / "gone")]) == []
    assert not (tmp_path / "a").exists()


def test_a_cgroup_that_stays_is_told(tmp_path, monkeypatch):
    from xenrr.lab import shares

    monkeypatch.setattr(shares, "REMOVE_LIMIT_S", 0.0)
    busy = tmp_path / "busy"
    (busy / "child").mkdir(parents=True)
    assert remove_shares([str(busy)]) == [str(busy)]


def test_rights_are_read_from_the_kernel():
    done = subprocess.run([sys.executable, "-c", "from xenrr.lab.privilege import is_root; "
                           "print(is_root())"], capture_output=True, text=True, check=True)
    assert done.stdout in ("True\n", "False\n")
