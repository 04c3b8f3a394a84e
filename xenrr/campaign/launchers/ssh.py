"""Processes on other machines, through the system's ssh with its own config and keys.

Nothing has to be installed there but Python: the guest core goes over the same connection as
a zip file, in front of the first message. It is kept in a file that has no name any more
when the agent begins, so that nothing of it is left however the agent ends.
"""

from __future__ import annotations

import functools
import io
import shlex
import zipfile
from collections.abc import Sequence
from pathlib import Path

import xenrr
from xenrr.campaign.launchers.base import Launch
from xenrr.campaign.spec import Machine

__all__ = ["GUEST_CORE", "SshLauncher", "guest_core_zip"]

GUEST_CORE = ("__init__.py", "errors.py", "frozen.py", "lean.py", "units.py", "agent.py",
              "wire", "engine", "cpu", "stats/__init__.py", "stats/histogram.py", "results",
              "session")
# Its standard input begins with the length of the zip in ten digits. Read from the descriptor
# itself: a buffered reader would take messages along that are not for it.
BOOT = """\
import os, sys, tempfile
def take(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            sys.exit(1)
        data += piece
    return data
data = take(int(take(10)))
handle, path = tempfile.mkstemp(prefix="xrr-", suffix=".zip")
os.write(handle, data)
open_path = "/proc/self/fd/%d" % handle
if os.path.exists(open_path):
    os.unlink(path)
    path = open_path
else:
    import atexit
    atexit.register(os.unlink, path)
sys.path.insert(0, path)
sys.argv = ["xenrr.agent"]
from xenrr.agent import main
sys.exit(main())
"""
# No question is asked that nobody could answer, and a machine that is gone is noticed.
OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
           "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
           # A control master that outlives us would be something left running.
           "-o", "ControlMaster=no")


class SshLauncher:
    """Starts a process through ``ssh``."""

    same_clock = False

    def agent(self, machine: Machine) -> Launch:
        """An agent from the guest core that is sent along."""
        core = guest_core_zip()
        return Launch(self._words(machine, [machine.python, "-u", "-c", BOOT]),
                      preamble=b"%010d" % len(core) + core)

    def program(self, machine: Machine, words: Sequence[str]) -> Launch:
        """Any program; without a terminal, so a program ends when it writes to nobody."""
        return Launch(self._words(machine, words))

    def _words(self, machine: Machine, words: Sequence[str]) -> tuple[str, ...]:
        account = ["-l", machine.account] if machine.account else []
        # One word: ssh would join several with blanks and a shell would take them apart.
        return ("ssh", *OPTIONS, *machine.ssh, *account, "--", machine.facts.address,
                shlex.join(words))


@functools.lru_cache(maxsize=1)
def guest_core_zip() -> bytes:
    """The part of xenrr that an agent needs, as a zip file that Python can import from."""
    top = Path(xenrr.__file__).resolve().parent
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in GUEST_CORE:
            path = top / name
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                archive.write(file, f"xenrr/{file.relative_to(top)}")
    return stream.getvalue()
