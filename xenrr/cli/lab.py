"""``xenrr lab``: hosts with their Dom0 and DomUs, emulated on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xenrr import units
from xenrr.cli.screen import Screen
from xenrr.errors import CommandError, LabError
from xenrr.lab import bed, hold
from xenrr.lab.plan import command_lines, plan_lab
from xenrr.lab.privilege import is_root
from xenrr.lab.spec import LabSpec, PathSpec, check_lab_name, load_lab
from xenrr.lab.state import Entry, Runtime, runtime_folder

__all__ = ["LabCommand"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130
MOST_SHOWN = 40


class LabCommand:
    """Make a test bed on this machine: hosts with Dom0 and DomUs as network namespaces."""

    name = "lab"
    takes_command = True

    def prepare_parser(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="action", required=True)
        up = actions.add_parser("up", help="make a lab that stays until it is taken down")
        run = actions.add_parser(
            "run", help="make a lab, run a command, take the lab down whatever happens",
            usage="xenrr lab run [options] FILE -- COMMAND")
        for one in (up, run):
            one.add_argument("file", metavar="FILE", help="the declaration, in TOML")
            one.add_argument("--name", default="", help="name of the lab instead of the file's")
            one.add_argument("--user-namespace", action="store_true",
                             help="do as if without root: a lab in a user namespace")
            one.add_argument("--dry-run", action="store_true",
                             help="print the commands and run none")
        up.add_argument("--json", action="store_true", help="print the lab as JSON")
        run.add_argument("--on", default="", metavar="MACHINE",
                         help="run the command in this machine, not outside of all of them")
        enter = actions.add_parser("exec", help="run a command in a machine of a lab",
                                   usage="xenrr lab exec [options] MACHINE -- COMMAND")
        enter.add_argument("machine", metavar="MACHINE", help="its name, or LAB/MACHINE")
        enter.add_argument("--lab", default=os.environ.get("XENRR_LAB", ""),
                           help="name of the lab, if there is more than one")
        down = actions.add_parser("down", help="take labs down, and what killed ones left")
        down.add_argument("what", nargs="?", default="", metavar="FILE",
                          help="the declaration or the name of one; without it all")
        down.add_argument("--json", action="store_true", help="print what was done as JSON")
        shown = actions.add_parser("list", help="show the labs there are")
        shown.add_argument("lab", nargs="?", default="", help="show this one's machines")
        shown.add_argument("--json", action="store_true", help="print them as JSON")

    def run(self, args: Namespace) -> int:
        words: list[str] | None = args.after_dashes
        takes = args.action in ("run", "exec")
        if takes and not words and not getattr(args, "dry_run", False):
            raise CommandError(f"{args.action} needs a command after --", USAGE)
        if words is not None and not takes:
            raise CommandError(f"{args.action} takes no command", USAGE)
        if getattr(args, "name", ""):
            check_lab_name(args.name)
        actions = {"up": _up, "run": _run, "exec": _exec, "down": _down, "list": _list}
        return actions[args.action](args, words or [])


def _up(args: Namespace, _: Sequence[str]) -> int:
    spec = load_lab(args.file)
    if args.dry_run:
        return _dry_run(spec, args.name)
    screen = Screen()
    runtime, mode = _prepare(spec, args)
    entry, took_s = hold.bring_up(runtime, spec, mode, args.name)
    if args.json:
        print(json.dumps(_plain(entry)))
        return 0
    _show_made(screen, spec, entry, took_s)
    _show_use(screen, entry)
    return 0


def _run(args: Namespace, words: Sequence[str]) -> int:
    spec = load_lab(args.file)
    if args.dry_run:
        return _dry_run(spec, args.name)
    if args.on and args.on not in {machine.name for machine in spec.machines()}:
        raise CommandError(f"--on: {args.file} has no machine {args.on}", USAGE)
    screen = Screen()
    runtime, mode = _prepare(spec, args)

    # All of it is talk: stdout is the command's.
    def show(entry: Entry, took_s: float) -> None:
        screen.talk(_made_text(spec, entry, took_s))
        for note in entry.record.notes:
            screen.talk(f"note: {note}")

    def show_lost(lost: int) -> None:
        if lost:
            screen.talk(_lost_text(lost))

    return hold.run_in_lab(runtime, spec, mode, words, args.on, args.name, show, show_lost)


def _lost_text(lost: int) -> str:
    return f"its userspace switches lost {lost} frame{'s' * (lost > 1)}"


def _prepare(spec: LabSpec, args: Namespace) -> tuple[Runtime, str]:
    """Where labs are remembered, and how this one will be made."""
    bed.check_programs(spec)
    return Runtime(runtime_folder()), (
        "user" if args.user_namespace or not is_root() else "root")


def _dry_run(spec: LabSpec, name: str) -> int:
    for step in plan_lab(spec, name or spec.name).steps():
        for line in command_lines(step):
            print(line)
    return 0


def _exec(args: Namespace, words: Sequence[str]) -> int:
    entry, machine = bed.find_machine(Runtime(runtime_folder()), args.machine, args.lab)
    command = bed.enter_words(entry, machine, words)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp(command[0], command)


def _down(args: Namespace, _: Sequence[str]) -> int:
    screen = Screen()
    runtime = Runtime(runtime_folder())
    code = 0
    done: dict[str, Any] = {"down": [], "kept": [], "lost_frames": 0}
    with runtime.locked():
        chosen = [entry for entry in runtime.entries() if _is_meant(entry, args.what)]
        if args.what and not chosen:
            raise LabError(f"there is no lab {args.what}")
        for entry in chosen:
            state = entry.state()
            if state in ("running", "being made"):
                screen.talk(f"{entry.record.lab} is {state} by process "
                            f"{entry.record.holder}; it goes when that ends")
                code = FAILED if args.what else code
                done["kept"].append(entry.record.lab)
                continue
            lost = bed.sweep(entry)
            done["down"].append(entry.record.lab)
            done["lost_frames"] += lost
            if not args.json:
                screen.result(f"{entry.record.lab} is down ({state} before, "
                              f"{len(entry.record.machines)} machines)")
                if lost:
                    screen.result(_lost_text(lost))
        if not chosen:
            screen.talk("there is no lab")
    if args.json:
        print(json.dumps(done))
    return code


def _is_meant(entry: Entry, what: str) -> bool:
    return not what or what == entry.record.lab or os.path.abspath(what) == entry.record.file


def _list(args: Namespace, _: Sequence[str]) -> int:
    screen = Screen()
    entries = Runtime(runtime_folder()).entries()
    if args.lab:
        entries = [entry for entry in entries if entry.record.lab == args.lab]
        if not entries:
            raise LabError(f"there is no lab {args.lab}")
    if args.json:
        print(json.dumps({"labs": [_plain(entry) for entry in entries]}))
        return 0
    if not entries:
        screen.talk("there is no lab; xenrr lab up FILE makes one")
        return 0
    rows = [("lab", "state", "made", "as", "machines", "declared in")]
    for entry in entries:
        record = entry.record
        age = units.format_duration(max(round(time.time() - record.made_s), 0))
        rows.append((record.lab, entry.state(), f"{age} ago", _mode_text(record.mode),
                     str(len(record.machines)), _short(record.file)))
    _show_rows(screen, rows)
    if args.lab:
        screen.result()
        _show_machines(screen, entries[0], most=len(entries[0].record.machines))
    if any(entry.state() == "left over" for entry in entries):
        screen.talk("xenrr lab down removes what is left over")
    return 0


def _plain(entry: Entry) -> dict[str, Any]:
    record = entry.record
    return {"lab": record.lab, "state": entry.state(), "kind": record.kind,
            "mode": record.mode, "holder": record.holder, "file": record.file,
            "made_s": record.made_s, "notes": record.notes,
            "machines": [{"name": name, **facts, "cpus": record.pins.get(name),
                          "cgroup": record.groups.get(name)}
                         for name, facts in record.machines.items()]}


def _mode_text(mode: str) -> str:
    return "root" if mode == "root" else "user namespace"


def _short(file: str) -> str:
    with contextlib.suppress(ValueError):
        return str(Path(file).relative_to(Path.cwd()))
    return file


def _made_text(spec: LabSpec, entry: Entry, took_s: float) -> str:
    record = entry.record
    count = len(record.machines)
    hosts = len(spec.hosts)
    how = "as root" if record.mode == "root" else "without root, in a user namespace"
    return (f"lab {record.lab}: {count} machine{'s' * (count > 1)} on {hosts} "
            f"host{'s' * (hosts > 1)}, made {how} in {units.format_duration(took_s)}. "
            "It is emulated: what is measured in it says nothing about real machines.")


def _show_made(screen: Screen, spec: LabSpec, entry: Entry, took_s: float) -> None:
    for line in screen.wrapped(_made_text(spec, entry, took_s)):
        screen.result(line, "bold")
    for line in _cable_texts(spec, screen.unicode):
        screen.result(f"  {line}")
    screen.result()
    _show_machines(screen, entry, MOST_SHOWN)
    for note in entry.record.notes:
        for line in screen.wrapped(f"note: {note}"):
            screen.result(line, "yellow")


def _cable_texts(spec: LabSpec, unicode: bool) -> Iterator[str]:
    """Each kind of cable once, and who has it."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for host in spec.hosts:
        if len(spec.hosts) > 1:
            by = "a userspace switch" if spec.wire_in_userspace() else "a bridge"
            kinds.setdefault((by, _cable_text(host.link, by, unicode)), []).append(host.name)
        by = "a userspace switch" if spec.host_in_userspace(host) else "a bridge"
        for guest in host.guests:
            kinds.setdefault((by, _cable_text(guest.vif, by, unicode)), []).append(guest.name)
    for (by, text), names in kinds.items():
        some = names if len(names) <= 4 else [*names[:2], f"{len(names) - 3} more", names[-1]]
        yield f"{', '.join(some)}: {text}, to {by}"


def _cable_text(cable: PathSpec, by: str, unicode: bool) -> str:
    words = []
    if cable.rate_bps:
        kind = "tbf" if by == "a bridge" else "line"
        words.append(f"{kind} of {_rate_text(cable.rate_bps)}")
    if cable.delay_ns:
        text = units.format_latency(cable.delay_ns)
        words.append(f"{text if unicode else text.replace('µ', 'u')} one way")
    return " and ".join(words) or "no limit"


def _rate_text(rate_bps: float) -> str:
    for factor, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if rate_bps >= factor:
            return f"{rate_bps / factor:g} {unit}"
    return f"{rate_bps:g} bit/s"


def _show_machines(screen: Screen, entry: Entry, most: int) -> None:
    record = entry.record
    rows = [("machine", "host", "domain", "address", "namespace", "CPU")]
    for name, facts in list(record.machines.items())[:most]:
        cpus = record.pins.get(name)
        words = [f"on {','.join(map(str, cpus))}"] if cpus else []
        words += ["quota"] if name in record.groups else []
        rows.append((name, facts["host"], facts["domain"], facts["address"],
                     facts["namespace"], ", ".join(words)))
    _show_rows(screen, rows)
    if len(record.machines) > most:
        screen.result(f"  and {len(record.machines) - most} more: xenrr lab list {record.lab}")


def _show_rows(screen: Screen, rows: Sequence[Sequence[str]]) -> None:
    columns = [place for place in range(len(rows[0])) if any(row[place] for row in rows[1:])]
    widths = {place: max(len(row[place]) for row in rows) for place in columns}
    for number, row in enumerate(rows):
        line = "  ".join(row[place].ljust(widths[place]) for place in columns).rstrip()
        screen.result(f"  {line}", "" if number else "bold")


def _show_use(screen: Screen, entry: Entry) -> None:
    record = entry.record
    names = list(record.machines)
    one, other = names[0], names[-1]
    python = shlex.quote(Path(sys.executable).name)
    screen.talk("")
    screen.talk("Use it:")
    # Commands are for copying: they are not wrapped.
    for line in (f"xenrr lab exec {one} -- {python} -m xenrr.server",
                 f"xenrr lab exec {other} -- {python} -m xenrr.client -H {one} -t TCP_RR",
                 f"xenrr lab down {record.lab}"):
        print(f"  {line}", file=sys.stderr)
