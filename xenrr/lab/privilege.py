"""As root or in a user namespace: where a lab can be made, and how to get there.

Making a network namespace takes a right that root has, and that everybody has inside a user
namespace of their own, if the system allows those. There the lab also gets a PID namespace:
whatever it leaves running ends with its first process, even after a SIGKILL.

The calls go through ctypes: ``os.unshare`` is from Python 3.12 on, ``mount(2)`` and
``prctl(2)`` it has never had, and unshare(1) of util-linux swallows the signals that are
meant for the program it starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

from xenrr.errors import LabError

__all__ = ["die_with_parent", "enter_user_namespace", "is_root", "own_user_namespace",
           "prepare_inside"]

# linux/sched.h, linux/mount.h, linux/prctl.h
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x10000000, 0x20000000, 0x40000000)
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
PR_SET_PDEATHSIG = 1
CAP_SYS_ADMIN, CAP_NET_ADMIN = 21, 12


def is_root() -> bool:
    """Whether this process may make namespaces without a user namespace of its own."""
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text()
        rights = int(status.split("CapEff:")[1].split()[0], 16)
        return os.geteuid() == 0 and all(
            rights >> right & 1 for right in (CAP_SYS_ADMIN, CAP_NET_ADMIN))
    return False


def own_user_namespace() -> str:
    """Which user namespace this process is in."""
    return os.readlink("/proc/self/ns/user")


def enter_user_namespace() -> None:
    """Give this process a user, mount, network and PID namespace; its children live there.

    The process must have one thread. Its next child is the first process of the new PID
    namespace, and root there.

    Raises:
        LabError: The system does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID)
        # Without this the kernel refuses a map of groups (user_namespaces(7)).
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {user} 1")
        _write("/proc/self/gid_map", f"0 {group} 1")
    except OSError as exc:
        raise LabError(
            f"a lab without root needs user namespaces, and this system refuses: {exc}; "
            "they may be off (sysctl user.max_user_namespaces, "
            "kernel.apparmor_restrict_unprivileged_userns) or this is a container; "
            "root can make a lab without them") from exc


def prepare_inside() -> int:
    """Make ``/proc`` and ``/run/netns`` our own, as the first process in new namespaces.

    Returns:
        This process's id as it is seen outside.
    """
    # This /proc is still the one of the PID namespace outside.
    outside = int(os.readlink("/proc/self"))
    _mount("none", "/", MS_REC | MS_PRIVATE)
    if os.path.isdir("/run/netns"):
        _mount("tmpfs", "/run/netns", 0, "tmpfs")
    else:
        _cover_run()
    _mount("proc", "/proc", 0, "proc")
    return outside


def _cover_run() -> None:
    """Make ``/run`` writable: a new one, with everything of the old one mounted into it."""
    old = {name: os.open(f"/run/{name}", os.O_PATH) for name in os.listdir("/run")}
    _mount("tmpfs", "/run", 0, "tmpfs")
    for name, descriptor in old.items():
        source, target = f"/proc/self/fd/{descriptor}", Path("/run", name)
        if os.path.isdir(source):
            target.mkdir()
        else:
            target.touch()
        # What cannot be mounted is missed by those who look for it, and no part of a lab.
        with contextlib.suppress(OSError):
            _mount(source, str(target), MS_BIND | MS_REC)
        os.close(descriptor)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send a signal to this process when its parent ends."""
    _call("prctl", PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _mount(source: str, target: str, flags: int, kind: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode() or None,
          ctypes.c_ulong(flags), None)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
