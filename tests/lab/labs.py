"""Labs for tests: each with a name and a runtime folder of its own, swept at the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from peers import ROOT, clean_environment

LIMIT_S = 100.0


def inodes_of(lab):
    """What tells a lab's network namespaces from others."""
    names = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    found = set()
    for name in names:
        if name.startswith(f"xrr-{lab}"):
            with contextlib.suppress(FileNotFoundError):    # it has just been taken down
                found.add(os.stat(f"/run/netns/{name}").st_ino)
    return found


def processes_of(namespace_inodes):
    """Ids of processes in some network namespaces."""
    found = []
    for word in os.listdir("/proc"):
        if word.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{word}/ns/net").st_ino in namespace_inodes:
                    found.append(int(word))
    return found


class Labs:
    """The ``xenrr lab`` command, and what it left on this machine.

    Args:
        folder: Runtime folder.
        prefix: Command in front of it, such as one that gives up root.
        python: Interpreter and its options.
    """

    def __init__(self, folder: Path, prefix: Sequence[str] = (),
                 python: Sequence[str] = (sys.executable,), **environment: str) -> None:
        self.folder = folder
        # Short, because the test's part of the name is behind it: a lab's name has 24 places.
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.inner = [*python, "-m", "xenrr", "lab"]
        self.words = [*prefix, *self.inner]
        self.more: list[str] = []
        self.environment = clean_environment(XENRR_RUNTIME_DIR=str(folder), COLUMNS="200",
                                             **environment)
        self.python = python[0]
        self.cwd = str(ROOT)

    def call(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*self.words, *words], env=self.environment, cwd=self.cwd,
                              capture_output=True, text=True, timeout=LIMIT_S)
        if code is not None:
            assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*self.words, *words], env=self.environment, cwd=self.cwd,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True)

    def up(self, file: str, *words: str) -> dict:
        return json.loads(self.call("up", file, "--name", self.name, "--json", *words).stdout)

    def inside(self, machine: str, *words: str) -> str:
        return self.call("exec", "--lab", self.name, machine, "--", *words).stdout

    def listed(self) -> dict[str, str]:
        plain = json.loads(self.call("list", "--json").stdout)
        return {lab["lab"]: lab["state"] for lab in plain["labs"]}

    def traces(self) -> list[str]:
        """Everything on this machine that has this lab's name or is in its namespaces."""
        found = [f"process {number}" for number in processes_of(inodes_of(self.name))]
        for folder in ("/run/netns", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"):
            with contextlib.suppress(OSError):
                found += [f"{folder}/{name}" for name in os.listdir(folder)
                          if name.startswith(f"xrr-{self.name}")]
        labs = self.folder / "lab"
        if labs.is_dir():
            found += [str(path) for path in labs.iterdir() if path.name != ".lock"]
        return found


def wait_for(condition, what: str, limit_s: float = 30.0) -> None:
    give_up_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_s, f"waited {limit_s} s for {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def swept(labs: Labs) -> Iterator[Labs]:
    """Take everything down at the end, whatever the test did."""
    try:
        yield labs
    finally:
        labs.call("down", code=None)
        # Of a run that was killed, its keeper may be taking down the rest just now.
        wait_for(lambda: not labs.traces(), "the lab to be gone")


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process that a failed test left."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.communicate()
