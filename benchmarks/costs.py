"""What a test costs beside time per transaction: start-up, instructions, memory.

Each function tells how one participant is run once, like ``Bed.rate``.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.bed import (
    LIMIT_S,
    NETPERF_LIMIT_S,
    ROOT,
    Bed,
    Missing,
    Work,
    end,
    environment,
    many_netperf,
    need,
)
from benchmarks.paired import Measure, Sample

__all__ = ["instructions", "memory", "overhead", "parse_callgrind", "parse_ends",
           "parse_parent", "parse_pss", "start_up", "zero_work"]

# Transactions of the two runs whose difference counts: what comes before the first and
# after the last one is in both, and hides in neither.
SHORT, LONG = 5_000, 65_000


def start_up(bed: Bed, name: str, work: Work) -> Measure:
    """Wall time of a whole program.

    Args:
        bed: Where.
        name: ``pass`` (Python that does nothing), ``version`` (of xenrr's client), ``first``
            (one transaction, with all that comes before and after it) or ``connect``
            (Python that connects to the server and does nothing else); each with
            `` copied`` of a Python with nothing installed, which finds xenrr in the
            working directory.
        work: Which test.
    """
    kind, _, where = name.partition(" ")
    python = bed.bare_python() if where else sys.executable
    # No name is looked up: that alone imports tables of Unicode.
    connect = "import socket, sys; socket.socket().connect(('127.0.0.1', int(sys.argv[1])))"
    words = {
        "pass": lambda: [sys.executable, "-c", "pass"],
        "version": lambda: [sys.executable, "-m", "xenrr.client", "-V"],
        "connect": lambda: [sys.executable, "-c", connect, str(bed.port("x", work.place))],
        "first": lambda: bed.client("xx", work, "-1"),
    }[kind]()
    command = [python if word == sys.executable else word for word in words]
    if kind != "first":
        command = bed.bound(work.place, *command)
    bed.run(command)
    return lambda: _seconds(bed, command)


def zero_work(bed: Bed, name: str, work: Work) -> Measure:
    """Wall time of many flows that make one transaction each.

    Args:
        bed: Where.
        name: ``xx`` or ``nn``; netperf as one process for each flow, started at once.
        work: How many flows.
    """
    command = bed.client(name, work, "-1")
    if name == "nn":
        each = shlex.join(command[command.index("netperf"):])
        command = bed.bound(work.place, "sh", "-c", f"n=0; while [ $n -lt {work.flows} ]; do "
                            f"n=$((n+1)); {each} >/dev/null & done; wait")
    return lambda: _seconds(bed, command)


def _seconds(bed: Bed, command: list[str]) -> Sample:
    start = time.monotonic()
    bed.run(command)
    return {"seconds": time.monotonic() - start}


def overhead(bed: Bed, name: str, work: Work) -> Measure:
    """Rate with and without what xenrr tells beside it, of one sender that stays open.

    Args:
        bed: Where.
        name: One of ``overhead.KINDS``.
        work: Which test.
    """
    return lambda: {"rate": peers.parse_rate(bed.talker(work).ask(name, LIMIT_S))}


def parse_callgrind(text: str) -> int:
    """Instructions that a file of callgrind's has counted, of all its parts."""
    found = re.findall(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    if not found:
        raise peers.PeerOutput("callgrind has counted nothing")
    return int(found[-1])


def instructions(bed: Bed, name: str, work: Work) -> Measure:
    """Instructions in user space per transaction.

    Args:
        bed: Where.
        name: ``client x``, ``client n``, ``client n -j``, ``client floor``, and the same of
            ``server``.
        work: Which test.
    """
    need("valgrind")
    end_kind, _, words = name.partition(" ")
    kind, *options = words.split()
    if kind == "floor":
        bed.floor("rr")
        return lambda: {"instructions": _floor_slope(bed, end_kind)}
    if kind == "n":
        need("netperf")
        need("netserver")

    out = bed.folder / "callgrind.out"
    # A netserver with a process for each test would have each write to the same file.
    served = "f" if kind == "n" else "x"

    def transact(transactions: int, grind: Sequence[str]) -> None:
        if end_kind == "server":
            port, process = bed.start(served, work.place, grind)
            run = ["netperf"] if kind == "n" else peers.client_command("x")
        else:
            port, process = bed.start(served, work.place)
            run = [*grind, *peers.client_command(kind), *options]
        try:
            bed.run(bed.bound(work.place, *run, "-H", "127.0.0.1", "-p", str(port), "-t",
                              work.test, "-l", str(-transactions), "-P", "0", "-v", "0"))
        finally:
            end(process)

    def count(transactions: int) -> int:
        out.unlink(missing_ok=True)
        transact(transactions, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"])
        return parse_callgrind(out.read_text())

    # The first run compiles the modules that it imports, and leaves them for all later ones.
    # In one of the two that are counted that would be thousands for each transaction.
    transact(1, [])
    return lambda: {"instructions": (count(LONG) - count(SHORT)) / (LONG - SHORT)}


def _floor_slope(bed: Bed, end_kind: str) -> float:
    """Instructions of one end of the floor, a process of its own, per transaction."""

    def count(transactions: int) -> int:
        with tempfile.TemporaryDirectory(dir=bed.folder) as folder:
            grind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/%p"]
            process = subprocess.Popen(
                bed.bound("one", *grind, bed.floor("rr"), "tcp", str(-transactions),
                          str(bed.cpu)),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(LIMIT_S)
            finally:
                end(process)
            return parse_ends(Path(folder), process.pid)[end_kind]

    return (count(LONG) - count(SHORT)) / (LONG - SHORT)


def parse_ends(folder: Path, pid: int) -> dict[str, int]:
    """Instructions of both ends of a floor, from what callgrind has left in a folder.

    Args:
        folder: A file for each process, whose name is its number; nothing else, since what
            was left there by another run would be taken for the server's.
        pid: The process of the client, which forks the server and waits for its end.

    Raises:
        peers.PeerOutput: They are not two, or one of them tells nothing.
    """
    counted = {path.name: parse_callgrind(path.read_text()) for path in folder.iterdir()}
    client = counted.pop(str(pid), None)
    if client is None or len(counted) != 1:
        raise peers.PeerOutput("callgrind has not counted the two ends of a floor")
    return {"client": client, "server": counted.popitem()[1]}


def parse_pss(text: str) -> int:
    """Proportional set size in kB, of a smaps_rollup."""
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise peers.PeerOutput(f"a Pss was expected, not {text[:200]!r}")
    return int(found[1])


def parse_parent(text: str) -> int:
    """Parent of a process, from its stat; the name before it may hold anything."""
    return int(text.rpartition(")")[2].split()[1])


def family(pid: int) -> list[int]:
    """A process and all that descend from it, as far as they are still there."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            children.setdefault(parse_parent(path.read_text()), []).append(
                int(path.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def memory(bed: Bed, name: str, work: Work) -> Measure:
    """Memory of a server at its fullest while many flows run.

    Args:
        bed: Where.
        name: ``xx`` or ``nn``.
        work: How many flows.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        raise Missing("smaps_rollup in /proc")

    def run() -> Sample:
        port, process = bed.start("N" if name == "nn" else "x", work.place)
        command = bed.client(name, work, str(NETPERF_LIMIT_S if name == "nn" else 1))
        command[command.index("-p") + 1] = str(port)
        most = 0
        try:
            if name == "nn":
                with many_netperf(command, work.flows, bed.folder / "many"):
                    most = _pss_of(family(process.pid))
            else:
                client = subprocess.Popen(
                    command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    give_up = time.monotonic() + LIMIT_S
                    while client.poll() is None and time.monotonic() < give_up:
                        most = max(most, _pss_of(family(process.pid)))
                        time.sleep(0.1)
                finally:
                    end(client)
                if client.returncode:
                    raise peers.PeerOutput(f"xenrr.client ended with {client.returncode}")
        finally:
            end(process)
        return {"kilobytes": most}

    return run


def _pss_of(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        # One that has just ended has none.
        with contextlib.suppress(OSError, peers.PeerOutput):
            total += parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return total
