"""What labs there are: a folder for each, so that no lab is forgotten by a crash.

The folder is there before the first namespace is, and goes when the last has gone. It holds

``record.json``  all names that the lab may have made, so that anybody can remove them;
``lock``         a file that the process responsible for the lab keeps locked. The kernel takes
                 the lock away however that process ends, so a lab that nobody holds and that
                 was not left up on purpose is a leftover;
``hosts``        the lab's ``/etc/hosts``, and what its switches wrote.

A lock on the folder of all labs keeps two commands from taking the same name, and a sweep
from taking a lab that is just being recorded.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xenrr.errors import LabError, SpecError

__all__ = ["Entry", "Record", "Runtime", "runtime_folder"]

RECORD, LOCK, HOSTS = "record.json", "lock", "hosts"
MAX_RECORD_BYTES = 4 << 20
SCHEMA = 1


@dataclass
class Record:
    """What has to be known about a lab to use it and to remove it.

    Attributes:
        lab: Its name.
        file: Where it was declared.
        kind: ``up`` if it stays, ``run`` if it lives as long as one command.
        mode: ``root``, or ``user`` in a user namespace.
        holder: The process responsible for it, as seen from outside; for ``up`` as root the
            one that made it, which has ended.
        user_namespace: Where its names are known.
        namespaces: Names of all its namespaces.
        machines: Of each machine, its host, domain, address and namespace.
        groups: For each machine with a quota, the cgroup to be in.
        folders: All cgroups.
        pins: CPUs that a machine's programs are bound to.
        notes: What was asked for and is not so here.
        ready: Whether it was made completely.
        made_s: When, in s since the epoch.
    """

    lab: str
    file: str
    kind: str
    mode: str
    holder: int
    user_namespace: str
    namespaces: list[str]
    machines: dict[str, dict[str, str]]
    groups: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    pins: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    ready: bool = False
    made_s: float = 0.0
    schema: int = SCHEMA


class Entry:
    """One lab's folder.

    Attributes:
        folder: Where it is.
        record: What it says.
    """

    def __init__(self, folder: Path, record: Record, lock: int | None = None) -> None:
        self.folder = folder
        self.record = record
        self._lock = lock

    def save(self) -> None:
        """Write the record; a reader sees the old one or the new one."""
        new = self.folder / f"{RECORD}.new"
        new.write_text(json.dumps(asdict(self.record)))
        new.replace(self.folder / RECORD)

    @property
    def hosts(self) -> Path:
        """The lab's ``/etc/hosts``."""
        return self.folder / HOSTS

    @property
    def lock_fd(self) -> int:
        """Descriptor of the lock, -1 when it is not ours."""
        return -1 if self._lock is None else self._lock

    def is_held(self) -> bool:
        """Whether the process responsible for the lab lives."""
        if self._lock is not None:
            return True
        try:
            descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def state(self) -> str:
        """``up``, ``running``, ``being made``, or ``left over``."""
        held = self.is_held()
        if not self.record.ready:
            return "being made" if held else "left over"
        if self.record.kind == "up":
            return "up" if held or self.record.mode == "root" else "left over"
        return "running" if held else "left over"

    def release(self) -> None:
        """Stop being responsible for the lab."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Remove the folder, after everything that it names has gone."""
        # Renamed first: what a half removed folder says would be half of the truth.
        gone = self.folder.with_name(f".{self.folder.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self.folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
        self.release()


class Runtime:
    """The folder of all labs of this user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else takes a name or sweeps meanwhile."""
        descriptor = _open_lock(self.folder / ".lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def reserve(self, record: Record) -> Entry:
        """Make a lab's folder and hold it; call it ``locked``.

        Raises:
            LabError: There is a lab of this name.
        """
        folder = self.folder / record.lab
        try:
            folder.mkdir(mode=0o755)
        except FileExistsError as exc:
            raise LabError(f"there is a lab {record.lab} already") from exc
        descriptor = _open_lock(folder / LOCK)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        record.made_s = time.time()
        entry = Entry(folder, record, descriptor)
        entry.save()
        return entry

    def entries(self) -> list[Entry]:
        """All labs, in the order of their names."""
        found = []
        for folder in sorted(self.folder.iterdir()):
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            record = _read_record(folder)
            if record is not None:
                found.append(Entry(folder, record))
        return found

    def find(self, lab: str) -> Entry | None:
        """The lab of this name."""
        return next((entry for entry in self.entries() if entry.record.lab == lab), None)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _read_record(folder: Path) -> Record | None:
    """``None`` for a folder without a record: it is just being made or removed."""
    try:
        with (folder / RECORD).open() as file:
            plain: Any = json.loads(file.read(MAX_RECORD_BYTES))
        if plain.get("schema") != SCHEMA:
            raise ValueError
        return Record(**plain)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as exc:
        raise SpecError("this record of a lab is damaged or from another xenrr; "
                        "remove its folder", str(folder / RECORD)) from exc


def runtime_folder() -> Path:
    """Folder of this user's labs: below ``XENRR_RUNTIME_DIR``, ``/run`` or ``/tmp``.

    Raises:
        LabError: It belongs to somebody else, who could make us remove what is not ours.
    """
    if given := os.environ.get("XENRR_RUNTIME_DIR"):
        top = Path(given)
    elif os.geteuid() == 0:
        top = Path("/run/xenrr")
    elif (session := os.environ.get("XDG_RUNTIME_DIR")) and os.access(session, os.W_OK):
        top = Path(session, "xenrr")
    else:
        top = Path(f"/tmp/xenrr-{os.geteuid()}")
    folder = top / "lab"
    for each in (top, folder):
        with contextlib.suppress(FileExistsError):
            each.mkdir(mode=0o755, parents=True)
        found = each.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or (
                found.st_mode & 0o022):
            raise LabError(f"{each} is no folder that only this user can write to; "
                           "XENRR_RUNTIME_DIR names another")
    return folder
