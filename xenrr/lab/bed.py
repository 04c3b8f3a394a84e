"""Making a lab, running something in it, and removing it without a trace.

Commands go to ``ip -batch`` and ``tc -batch``: one call creates all namespaces and cables, one
more for each namespace sets up what is inside. pyroute2 0.9.7, a netlink library, was tried
with the same plans, alternating on a busy machine with two cores; medians in s of 5, 3 and 1:

    =====================  ====  =====  =====
    machines               12    99     999
    =====================  ====  =====  =====
    ip -batch, in a row    0.26  2.3    -
    the same, 4 at a time  0.14  2.0    22
    pyroute2               0.88  14     175
    =====================  ====  =====  =====

So it is no dependency: it is slower, and a plan of command lines is also what can be read.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

from xenrr.errors import LabError
from xenrr.lab import shares, switch
from xenrr.lab.plan import Batch, Plan, Switch, hosts_text, plan_lab, switch_words
from xenrr.lab.privilege import own_user_namespace
from xenrr.lab.spec import LabSpec
from xenrr.lab.state import Entry, Record, Runtime

__all__ = ["Stop", "build", "check_programs", "enter_words", "find_machine", "find_tool",
           "make_record", "reserve", "sweep", "sweep_leftovers", "wait_for_processes"]

NETNS_FOLDER = "/run/netns"
# Debian keeps ip and tc where only root's PATH leads.
MORE_PATH = "/usr/sbin:/sbin"
BATCH_LIMIT_S = 300.0
SWITCH_START_LIMIT_S = 20.0
TERM_LIMIT_S = 1.0
KILL_LIMIT_S = 5.0
MAX_LABS_OF_A_NAME = 1000


class Stop:
    """SIGINT, SIGTERM and SIGHUP as something to look at between two steps.

    A lab is taken down by the code that made it, so no signal may cut that code short.

    Attributes:
        number: The first signal that came; 0 while there is none.
    """

    def __init__(self) -> None:
        self.number = 0
        self.count = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._old[number] = signal.signal(number, self._see)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _see(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        self.count += 1

    def check(self) -> None:
        """Leave what is being made.

        Raises:
            KeyboardInterrupt: A signal has come.
        """
        if self.number:
            raise KeyboardInterrupt


@functools.lru_cache
def find_tool(name: str) -> str:
    """Path of a program of the system.

    Raises:
        LabError: It is not here.
    """
    path = f"{os.environ.get('PATH', '')}:{MORE_PATH}"
    found = shutil.which(name, path=path)
    if found is None:
        package = "iproute2" if name in ("ip", "tc") else "util-linux"
        raise LabError(f"a lab needs the program {name} (Debian: apt install {package})")
    return found


def check_programs(spec: LabSpec) -> None:
    """See that the programs a lab needs are here before anything is made.

    Raises:
        LabError: One is not, or this is no Linux.
    """
    if not sys.platform.startswith("linux"):
        raise LabError("a lab is made of Linux's network namespaces; this is another system")
    for name in ("ip", "tc", "mount", "sh"):
        find_tool(name)
    if any(host.cpu.pin or any(guest.cpu.pin for guest in host.guests) for host in spec.hosts):
        find_tool("taskset")


def make_record(spec: LabSpec, plan: Plan, kind: str, mode: str, holder: int) -> Record:
    """What the runtime folder will say about a lab."""
    machines = {machine.name: {"host": machine.host, "domain": machine.domain,
                               "address": machine.address,
                               "namespace": plan.places[machine.name]}
                for machine in spec.machines()}
    return Record(plan.lab, os.path.abspath(spec.file) if spec.file else "", kind, mode, holder,
                  own_user_namespace(), list(plan.namespaces), machines)


def reserve(runtime: Runtime, spec: LabSpec, kind: str, mode: str, holder: int,
            name: str = "") -> tuple[Entry, Plan]:
    """Find a name for a lab and record it, before anything is made.

    Args:
        runtime: The folder of all labs.
        spec: What will be made.
        kind: ``up`` takes the declared name or fails; ``run`` takes the next that is free.
        mode: ``root`` or ``user``.
        holder: The process responsible, as seen from outside.
        name: Instead of the declared name.

    Raises:
        LabError: The name is taken.
    """
    base = name or spec.name
    with runtime.locked():
        sweep_leftovers(runtime)
        for number in range(1, MAX_LABS_OF_A_NAME):
            lab = base if number == 1 else f"{base}-{number}"
            plan = plan_lab(spec, lab)
            taken = (runtime.folder / lab).exists() or any(
                os.path.exists(f"{NETNS_FOLDER}/{name}") for name in plan.namespaces)
            if not taken:
                record = make_record(spec, plan, kind, mode, holder)
                return runtime.reserve(record), plan
            if kind == "up":
                raise LabError(f"there is a lab {lab} already; take it down (xenrr lab down "
                               f"{lab}) or give this one another --name")
    raise LabError(f"there are {MAX_LABS_OF_A_NAME} labs called {base}")


def build(entry: Entry, spec: LabSpec, plan: Plan, stop: Stop) -> list[subprocess.Popen[bytes]]:
    """Make everything that a plan says; whoever calls sweeps, also after an error.

    Args:
        entry: The lab's folder, held by this process.
        spec: The declaration.
        plan: Its plan.
        stop: Ends it between two commands.

    Returns:
        The userspace switches.

    Raises:
        LabError: A command failed; the message has it, and what it said.
        KeyboardInterrupt: A signal came.
    """
    entry.hosts.write_text(hosts_text(spec))
    entry.hosts.chmod(0o644)
    _run_batch(plan.names)
    stop.check()
    _run_batches(plan.inside, stop)
    _make_shares(entry.record, plan)
    _keep_pins(entry.record, plan)
    entry.save()
    stop.check()
    switches = [_start_switch(entry, one) for one in plan.switches]
    for one, process in zip(plan.switches, switches):
        _wait_for_switch(entry, one, process)
    stop.check()
    entry.record.ready = True
    entry.save()
    return switches


def _run_batches(batches: Sequence[Batch], stop: Stop) -> None:
    # Processes start and end beside one another; inside the kernel one lock serves all.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        def one(batch: Batch) -> None:
            stop.check()
            _run_batch(batch)

        jobs = [pool.submit(one, batch) for batch in batches]
        try:
            for job in jobs:
                job.result()
        finally:
            for job in jobs:
                job.cancel()


def _run_batch(batch: Batch) -> None:
    where = ["-n", batch.namespace] if batch.namespace else []
    done = subprocess.run(
        [find_tool(batch.program), *where, "-batch", "-"], text=True, capture_output=True,
        input="\n".join(batch.lines) + "\n", timeout=BATCH_LIMIT_S, start_new_session=True)
    if done.returncode == 0:
        return
    # "Command failed -:3" names the line that went wrong.
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    line = said[-1].rpartition(":")[2]
    command = batch.lines[int(line) - 1] if line.isdigit() and (
        0 < int(line) <= len(batch.lines)) else "-batch"
    words = " ".join([batch.program, *where, command])
    raise LabError(f"{words}: {said[0]}")


def _make_shares(record: Record, plan: Plan) -> None:
    if not plan.shares:
        return
    groups = shares.find_groups() if record.mode == "root" else None
    for share in plan.shares:
        what = f"{share.cpu.quota:g} CPU for {', '.join(share.machines)}"
        if groups is None:
            reason = ("a user namespace cannot set quotas" if record.mode == "user" else
                      "there is no cgroup with the cpu controller to write to")
            record.notes.append(f"not limited to {what}: {reason}")
            continue
        try:
            folders = shares.make_share(groups, share)
        except OSError as exc:
            record.notes.append(f"not limited to {what}: {exc}")
            continue
        record.folders += folders
        record.groups.update(dict.fromkeys(share.machines, folders[-1]))


def _keep_pins(record: Record, plan: Plan) -> None:
    here = os.sched_getaffinity(0)
    for machine, pin in plan.pins.items():
        if here.issuperset(pin):
            record.pins[machine] = list(pin)
        else:
            record.notes.append(f"{machine} is not bound to CPU {_listed(pin)}: there is "
                                f"{_listed(sorted(here))} here")


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


def _log_name(namespace: str) -> str:
    return f"switch-{namespace}.log"


def _start_switch(entry: Entry, one: Switch) -> subprocess.Popen[bytes]:
    """Start a switch; it ends with its lab's folder, or with us where the lab does."""
    words = [sys.executable, "-I", "-S", switch.__file__, "--folder", str(entry.folder)]
    is_run = entry.record.kind == "run"
    if is_run:
        words.insert(4, "--until-eof")
    words = _in_namespace(one.namespace, [*words, *switch_words(one)])
    with (entry.folder / _log_name(one.namespace)).open("wb") as log:
        return subprocess.Popen(
            words, stdin=subprocess.PIPE if is_run else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=log, start_new_session=True, cwd="/")


def _wait_for_switch(entry: Entry, one: Switch, process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    timer = threading.Timer(SWITCH_START_LIMIT_S, process.kill)
    timer.start()
    try:
        said = process.stdout.readline()
    finally:
        timer.cancel()
        process.stdout.close()
    if said != b"ready\n":
        process.kill()
        process.wait()
        log = (entry.folder / _log_name(one.namespace)).read_text(errors="replace").strip()
        raise LabError(f"the switch in {one.namespace} did not start: "
                       f"{log.splitlines()[-1] if log else 'it said nothing'}")
    # Only now: with a third of a CPU its start took seconds.
    if group := entry.record.groups.get(one.machine):
        Path(group, "cgroup.procs").write_text(str(process.pid))
    if pin := entry.record.pins.get(one.machine):
        os.sched_setaffinity(process.pid, pin)


def enter_words(entry: Entry, machine: str, words: Sequence[str]) -> list[str]:
    """The command that runs another one in a machine of a lab.

    There it has the machine's devices, its share of the CPU, and the names of all machines
    in ``/etc/hosts``.

    Args:
        entry: The lab.
        machine: Name of one of its machines.
        words: The command.

    Raises:
        LabError: There is no such machine, or the lab cannot be entered from here.
    """
    record = entry.record
    if machine not in record.machines:
        raise LabError(f"lab {record.lab} has no machine {machine}; it has "
                       f"{', '.join(list(record.machines)[:20])}")
    hosts = ["sh", "-c", 'if [ -e /etc/hosts ]; then mount --bind "$1" /etc/hosts || exit 125; '
             'fi; shift; exec "$@"', "xenrr lab", str(entry.hosts), *words]
    inner = _in_share(record, machine,
                      _in_namespace(record.machines[machine]["namespace"], hosts))
    if record.user_namespace == own_user_namespace():
        return inner
    if record.mode != "user":
        raise LabError(f"lab {record.lab} was made in another user namespace")
    return [find_tool("nsenter"), "-t", str(record.holder), "-U", "--preserve-credentials",
            "-m", "-n", "-p", f"--wd={os.getcwd()}", "--", *inner]


def _in_namespace(namespace: str, words: Sequence[str]) -> list[str]:
    return [find_tool("ip"), "netns", "exec", namespace, *words]


def _in_share(record: Record, machine: str, words: Sequence[str]) -> list[str]:
    inner = list(words)
    if pin := record.pins.get(machine):
        inner = [find_tool("taskset"), "-c", _listed(pin), *inner]
    if group := record.groups.get(machine):
        inner = ["sh", "-c", 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"', "xenrr lab",
                 group, *inner]
    return inner


def find_machine(runtime: Runtime, name: str, lab: str = "") -> tuple[Entry, str]:
    """The lab that has a machine.

    Args:
        runtime: The folder of all labs.
        name: ``MACHINE`` or ``LAB/MACHINE``.
        lab: Name of the lab, if it is known.

    Raises:
        LabError: There is none, or more than one.
    """
    before, slash, machine = name.rpartition("/")
    lab = before if slash else lab
    usable = [entry for entry in runtime.entries() if entry.state() in ("up", "running")]
    if lab:
        usable = [entry for entry in usable if entry.record.lab == lab]
        if not usable:
            raise LabError(f"there is no lab {lab} up")
        return usable[0], machine
    having = [entry for entry in usable if machine in entry.record.machines]
    if len(having) == 1:
        return having[0], machine
    if having:
        names = ", ".join(f"{entry.record.lab}/{machine}" for entry in having)
        raise LabError(f"more than one lab has a machine {machine}: {names}")
    labs = ", ".join(entry.record.lab for entry in usable)
    raise LabError(f"no lab that is up has a machine {machine}; "
                   + (f"up: {labs}" if labs else "none is up (xenrr lab up FILE)"))


def sweep_leftovers(runtime: Runtime) -> list[str]:
    """Remove what killed commands left behind; call it ``locked``.

    Returns:
        Names of the labs that were removed.
    """
    swept = []
    for entry in runtime.entries():
        if entry.state() == "left over":
            with contextlib.suppress(LabError):
                sweep(entry)
                swept.append(entry.record.lab)
    return swept


def sweep(entry: Entry) -> int:
    """Remove a lab: its processes, its namespaces, its cgroups, its folder.

    Returns:
        How many frames its userspace switches have lost.

    Raises:
        LabError: Something could not be removed; the folder stays, so that it is not
            forgotten.
    """
    record = entry.record
    if record.user_namespace == own_user_namespace():
        names = _existing(record.namespaces)
        _end_processes(record, names)
        for name in _remove_namespaces(names):
            raise LabError(f"namespace {name} could not be removed")
        for folder in shares.remove_shares(record.folders):
            raise LabError(f"cgroup {folder} could not be removed")
    elif record.mode == "user":
        _end_holder(entry)
    else:
        raise LabError(f"lab {record.lab} was made in another user namespace")
    lost = _lost_frames(entry)
    entry.remove()
    return lost


def _lost_frames(entry: Entry) -> int:
    """What the switches wrote when they ended; one that was killed wrote nothing."""
    lost = 0
    for log in entry.folder.glob(_log_name("*")):
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError, TypeError):
            counts = json.loads(log.read_text(errors="replace").splitlines()[-1])
            lost += sum(counts[name] for name in ("dropped", "unsent", "overrun"))
    return lost


def _existing(names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Those namespaces that are there, with what tells them from others."""
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            status = os.stat(f"{NETNS_FOLDER}/{name}")
            found[name] = (status.st_dev, status.st_ino)
    return found


def _process_ids(record: Record, names: dict[str, tuple[int, int]]) -> set[int]:
    """Processes in a lab's namespaces or cgroups, but for this one."""
    inside = set(names.values())
    found = shares.member_ids(record.folders)
    for word in os.listdir("/proc"):
        if word.isdigit():
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{word}/ns/net")
                if (status.st_dev, status.st_ino) in inside:
                    found.add(int(word))
    return found - {os.getpid()}


def wait_for_processes(entry: Entry, limit_s: float) -> None:
    """Let what runs in a lab end by itself, for a while."""
    names = _existing(entry.record.namespaces)
    give_up_s = time.monotonic() + limit_s
    while _process_ids(entry.record, names) and time.monotonic() < give_up_s:
        time.sleep(0.1)


def _end_processes(record: Record, names: dict[str, tuple[int, int]]) -> None:
    for number, limit_s in ((signal.SIGTERM, TERM_LIMIT_S), (signal.SIGKILL, KILL_LIMIT_S)):
        give_up_s = time.monotonic() + limit_s
        told: set[int] = set()
        while ids := _process_ids(record, names):
            for process in ids - told if number == signal.SIGTERM else ids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            told |= ids
            if time.monotonic() > give_up_s:
                break
            time.sleep(0.02)
        else:
            return


def _remove_namespaces(names: Iterable[str]) -> list[str]:
    lines = [f"netns delete {name}" for name in names]
    if lines:
        # -force: one that has gone meanwhile does not keep the others.
        subprocess.run([find_tool("ip"), "-force", "-batch", "-"], text=True,
                       input="\n".join(lines) + "\n", capture_output=True,
                       timeout=BATCH_LIMIT_S, start_new_session=True)
    return sorted(_existing(names))


def _end_holder(entry: Entry) -> None:
    """End the first process of a lab in a user namespace, and the lab with it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        give_up_s = time.monotonic() + KILL_LIMIT_S
        if entry.is_held():
            with contextlib.suppress(ProcessLookupError):
                os.kill(entry.record.holder, number)
        while entry.is_held() and time.monotonic() < give_up_s:
            time.sleep(0.02)
    if entry.is_held():
        raise LabError(f"process {entry.record.holder} of lab {entry.record.lab} does not end")

