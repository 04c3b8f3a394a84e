"""``xenrr install-shims DIR``: commands called ``netperf`` and ``netserver``.

Scripts find their peer by name: they start ``netperf``, and end it with ``pkill netperf`` or
``killall netserver``. So the name of the process has to be the word too, and Linux takes it
from the file that was started: the first line of a shim names this Python, the kernel keeps
the shim's name. Where such a line cannot hold the interpreter's path, a shell starts it, and
the shim then gives its process the name itself.

A shim does not copy xenrr: it names the Python and the xenrr that made it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import sysconfig
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

import xenrr
from xenrr.cli.screen import Screen
from xenrr.errors import CommandError

__all__ = ["InstallShimsCommand", "shim_text"]

PROGRAMS = {"netperf": "client", "netserver": "server"}
# A file with this line is ours to replace.
MARK = "# Written by xenrr install-shims; it may be replaced by the next one."
# "#!" and the path together: Linux cut the line after 127 bytes up to 5.0, later after 255.
LONGEST_FIRST_LINE = 127
FAILED, USAGE = 1, 2


class InstallShimsCommand:
    """Put commands called netperf and netserver into a folder."""

    name = "install-shims"

    def prepare_parser(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", metavar="DIR", help="made where it is missing")
        parser.add_argument("--force", action="store_true",
                            help="replace programs that xenrr has not written")
        parser.add_argument("--json", action="store_true", help="print the paths as JSON")

    def run(self, args: Namespace) -> int:
        folder = Path(args.folder).expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / name for name in PROGRAMS]
        # All or none: a netperf of ours beside a foreign netserver would confuse.
        for path in paths:
            check_replaceable(path, args.force)
        for path in paths:
            write_program(path, shim_text(path.name))
        if args.json:
            print(json.dumps({"shims": [str(path) for path in paths]}))
            return 0
        for path in paths:
            print(path)
        if str(folder) not in os.environ.get("PATH", "").split(os.pathsep):
            Screen().talk("To have them found before others of the same name:")
            print(f"export PATH={shlex.quote(str(folder))}:$PATH", file=sys.stderr)
        return 0


def shim_text(name: str, python: str = "", root: Path | None = None) -> str:
    """What the file of one command holds.

    Args:
        name: ``netperf`` or ``netserver``.
        python: Path of the interpreter; empty for the one that runs this.
        root: Folder that holds the package; ``None`` for where this one lies.

    Returns:
        A program in Python, or in both shell and Python.
    """
    python = python or sys.executable
    root = root or Path(xenrr.__file__).resolve().parent.parent
    if needs_shell(python):
        # Shell sees a quoted exec and runs it; Python sees a string and passes it by. The
        # path is quoted for the shell, and no ''' may end Python's string too early.
        start = ["#!/bin/sh", MARK, "''':'", f'exec {_quoted(python)} "$0" "$@"', "'''"]
        # In this case the kernel has kept the interpreter's name.
        naming = ["try:", '    with open("/proc/self/comm", "w") as comm:',
                  f'        comm.write("{name}")', "except OSError:", "    pass"]
    else:
        start, naming = [f"#!{python}", MARK], []
    lines = [*start, "import sys"]
    # Python puts the shim's own folder first, which has nothing for us. A package folder that
    # Python knows anyway must not come before its standard library.
    if _is_known(root):
        lines.append("del sys.path[0]")
    else:
        lines.append(f"sys.path[0] = {str(root)!r}")
    lines += [*naming, f"from xenrr.{PROGRAMS[name]} import main", "sys.exit(main())"]
    return "\n".join(lines) + "\n"


def needs_shell(python: str) -> bool:
    """Whether the first line of a script cannot name this interpreter.

    The kernel ends the path at a blank, and cuts a long line.
    """
    return (len(os.fsencode(python)) + 2 > LONGEST_FIRST_LINE
            or any(character.isspace() for character in python))


def _quoted(text: str) -> str:
    """A word for the shell, in double quotes, since single ones would be Python's."""
    escaped = "".join(f"\\{character}" if character in '\\"$`' else character
                      for character in text)
    return f'"{escaped}"'


def _is_known(root: Path) -> bool:
    """Whether this Python has the folder on its path without being told."""
    known = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return any(Path(path).resolve() == root for path in known if path)


def check_replaceable(path: Path, force: bool) -> None:
    """Refuse to destroy what somebody else put there.

    Raises:
        CommandError: The file is foreign and ``force`` is not set, or it is a folder.
    """
    if path.is_dir() and not path.is_symlink():
        raise CommandError(f"{path} is a folder", FAILED)
    if force or not os.path.lexists(path):
        return
    if not path.is_symlink():
        with contextlib.suppress(OSError), path.open("rb") as file:
            if MARK.encode() in file.read(4096):
                return
    raise CommandError(f"{path} is there already and xenrr has not written it; "
                       "--force replaces it, another DIR leaves it alone", FAILED)


def write_program(path: Path, text: str) -> None:
    """Write an executable file; whoever starts it meanwhile gets the old or the new one."""
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(draft, 0o755)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
