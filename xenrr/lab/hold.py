"""Who is responsible for a lab: a command that runs in it, nobody, or a process that waits.

As root a lab that is ``up`` is held by the kernel alone: names in ``/run/netns``. In a user
namespace it ends with its last process, so there a process stays and waits for ``down``; it is
the first process of a PID namespace, and all that was ever started in the lab ends with it.

A command that runs in a lab of its own takes it down whatever happens to the command. As root
even if it is killed itself: a keeper, forked before anything is made, waits for its end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from xenrr.errors import LabError
from xenrr.lab import bed
from xenrr.lab.plan import Plan
from xenrr.lab.privilege import (
    die_with_parent,
    enter_user_namespace,
    prepare_inside,
)
from xenrr.lab.spec import LabSpec
from xenrr.lab.state import Entry, Runtime

__all__ = ["bring_up", "run_in_lab"]

STOP_LIMIT_S = 10.0
MAX_ANSWER_BYTES = 1 << 16
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Shown = Callable[[Entry, float], None]
Ended = Callable[[int], None]


def bring_up(runtime: Runtime, spec: LabSpec, mode: str, name: str = "") -> tuple[Entry, float]:
    """Make a lab that stays.

    Args:
        runtime: The folder of all labs.
        spec: What to make.
        mode: ``root`` or ``user``.
        name: Instead of the declared name.

    Returns:
        The lab, and how long making it took in s.

    Raises:
        LabError: It cannot be made; nothing is left of it.
        KeyboardInterrupt: A signal came; nothing is left of it.
    """
    if mode == "user":
        return _bring_up_inside(runtime, spec, name)
    with bed.Stop() as stop:
        entry, plan = bed.reserve(runtime, spec, "up", mode, os.getpid(), name)
        took_s = _build_or_sweep(entry, spec, plan, stop)
        entry.release()
        return entry, took_s


def _build_or_sweep(entry: Entry, spec: LabSpec, plan: Plan, stop: bed.Stop) -> float:
    begin_s = time.monotonic()
    try:
        bed.build(entry, spec, plan, stop)
    except BaseException:
        bed.sweep(entry)
        raise
    return time.monotonic() - begin_s


def _bring_up_inside(runtime: Runtime, spec: LabSpec, name: str) -> tuple[Entry, float]:
    """Leave a process behind that holds the lab, and wait until it has made it."""
    reader, writer = os.pipe()
    enter_user_namespace()
    sys.stdout.flush()
    sys.stderr.flush()
    holder = os.fork()
    if holder == 0:
        os.close(reader)
        os._exit(_hold(runtime, spec, name, writer))
    os.close(writer)
    with bed.Stop() as stop, open(reader, "rb") as answers:
        # It tells what became of it, or ends; a signal is for it to undo what it has made.
        answer = b""
        told = False
        while not answer.endswith(b"\n") and len(answer) < MAX_ANSWER_BYTES:
            piece = answers.read1(MAX_ANSWER_BYTES)
            if not piece:
                break
            answer += piece
            if stop.number and not told:
                os.kill(holder, signal.SIGTERM)
                told = True
    words = answer.decode(errors="replace").split(maxsplit=2)
    if words[:1] == ["up"]:
        entry = runtime.find(words[2].strip())
        if entry is not None:
            return entry, float(words[1])
    os.waitpid(holder, 0)
    if stop.number:
        raise KeyboardInterrupt
    raise LabError(answer.decode(errors="replace").partition(" ")[2].strip()
                   or "the process that holds the lab ended")


def _hold(runtime: Runtime, spec: LabSpec, name: str, writer: int) -> int:
    """Make a lab and keep it until somebody ends this process.

    Returns:
        An exit code.
    """
    os.setsid()
    # Whatever loses its parent in the lab is our child, and nobody else would take its end.
    with bed.Stop() as stop:
        try:
            entry, plan = bed.reserve(runtime, spec, "up", "user", prepare_inside(), name)
            took_s = _build_or_sweep(entry, spec, plan, stop)
        except (LabError, OSError, subprocess.SubprocessError, KeyboardInterrupt) as exc:
            _say(writer, f"error {' '.join(str(exc).split())}\n")
            return 1
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with open(os.devnull, "r+b", buffering=0) as nothing:
            for descriptor in (0, 1, 2):
                os.dup2(nothing.fileno(), descriptor)
        _say(writer, f"up {took_s:.6f} {entry.record.lab}\n")
        os.close(writer)
        os.chdir("/")
        while not stop.number and entry.folder.is_dir():
            time.sleep(0.2)
        with contextlib.suppress(LabError):
            bed.sweep(entry)
    return 0


def _say(writer: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(writer, text.encode()[:MAX_ANSWER_BYTES])


def run_in_lab(runtime: Runtime, spec: LabSpec, mode: str, words: Sequence[str],
               machine: str = "", name: str = "", on_made: Shown | None = None,
               on_end: Ended | None = None) -> int:
    """Make a lab, run a command, remove the lab, whatever happens.

    Args:
        runtime: The folder of all labs.
        spec: What to make.
        mode: ``root`` or ``user``.
        words: The command.
        machine: Where it runs; empty for outside of all machines, from where it reaches them
            with ``xenrr lab exec``.
        name: Instead of the declared name.
        on_made: Told the lab, and how long making it took in s.
        on_end: Told how many frames its userspace switches have lost.

    Returns:
        The command's exit code, 128 and the signal's number if a signal ended it.

    Raises:
        LabError: It cannot be made; nothing is left of it.
        KeyboardInterrupt: A signal came before the command was started.
    """
    in_foreground = _in_foreground
    holder = os.getpid()
    if mode == "user":
        # Inside, the terminal's process group has no number to compare with.
        was_in_foreground = _in_foreground()
        enter_user_namespace()
        sys.stdout.flush()
        sys.stderr.flush()
        inside = os.fork()
        if inside:
            return _wait_for_inside(inside)
        die_with_parent(signal.SIGKILL)
        holder = prepare_inside()

        def in_foreground() -> bool:
            return was_in_foreground

    with bed.Stop() as stop:
        entry, plan = bed.reserve(runtime, spec, "run", mode, holder, name)
        with _kept(runtime, entry) if mode == "root" else contextlib.nullcontext():
            return _run_and_sweep(runtime, spec, entry, plan, machine, words, stop,
                                  in_foreground, on_made, on_end)


def _run_and_sweep(runtime: Runtime, spec: LabSpec, entry: Entry, plan: Plan, machine: str,
                   words: Sequence[str], stop: bed.Stop, in_foreground: Callable[[], bool],
                   on_made: Shown | None, on_end: Ended | None) -> int:
    try:
        begin_s = time.monotonic()
        switches = bed.build(entry, spec, plan, stop)
        if on_made is not None:
            on_made(entry, time.monotonic() - begin_s)
        code = _run_command(runtime, entry, machine, words, stop, in_foreground)
        del switches  # until here their standard input has been open
        return code
    finally:
        lost = bed.sweep(entry)
        if on_end is not None:
            on_end(lost)


@contextlib.contextmanager
def _kept(runtime: Runtime, entry: Entry) -> Iterator[None]:
    """Have a lab taken down even if this process is killed."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    keeper = os.fork()
    if keeper == 0:
        try:
            _keep(runtime, entry, reader)
        finally:
            os._exit(0)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(keeper, 0)


def _keep(runtime: Runtime, entry: Entry, reader: int) -> None:
    """Wait for the process that forked us to let go, and remove what it has left."""
    os.setsid()
    # The lab's lock stays: nobody takes it for left over while we are here. Nothing else does,
    # or whoever reads what the command writes would wait for us too.
    keep = {reader, entry.lock_fd}
    for word in os.listdir("/proc/self/fd"):
        if int(word) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(word))
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        if nothing != descriptor:
            os.dup2(nothing, descriptor)
    os.chdir("/")
    os.read(reader, 1)
    left = runtime.find(entry.record.lab)
    # Another lab may have its name already.
    if left is not None and (left.record.holder, left.record.made_s) == (
            entry.record.holder, entry.record.made_s):
        # The command was told to end (PR_SET_PDEATHSIG), and may have something to write.
        bed.wait_for_processes(left, STOP_LIMIT_S)
        bed.sweep(left)


def _run_command(runtime: Runtime, entry: Entry, machine: str, words: Sequence[str],
                 stop: bed.Stop, in_foreground: Callable[[], bool]) -> int:
    environment = {**os.environ, "XENRR_LAB": entry.record.lab,
                   "XENRR_RUNTIME_DIR": str(runtime.folder.parent)}
    stop.check()
    command = bed.enter_words(entry, machine, words) if machine else list(words)
    try:
        process = subprocess.Popen(command, env=environment, preexec_fn=_end_with_us)
    except FileNotFoundError as exc:
        raise LabError(f"there is no command {words[0]}") from exc
    told = 0
    kill_s = 0.0
    while True:
        try:
            code = process.wait(0.1)
            return code if code >= 0 else 128 - code
        except subprocess.TimeoutExpired:
            pass
        if stop.count > told:
            told = stop.count
            kill_s = kill_s or time.monotonic() + STOP_LIMIT_S
            # A terminal sends its Ctrl-C to the command as well.
            if stop.number != signal.SIGINT or not in_foreground():
                process.send_signal(stop.number)
        if kill_s and (stop.count > 2 or time.monotonic() > kill_s):
            process.kill()


def _end_with_us() -> None:
    die_with_parent(signal.SIGTERM)


def _in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _wait_for_inside(inside: int) -> int:
    """Pass signals on to the first process of a lab and wait for its end."""
    def pass_on(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT or not _in_foreground():
            with contextlib.suppress(ProcessLookupError):
                os.kill(inside, number)

    old = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        _, status = os.waitpid(inside, 0)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)
