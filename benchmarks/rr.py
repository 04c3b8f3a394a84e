"""One flow: xenrr, real netperf and the bare system calls, side by side.

``python -m benchmarks.rr`` runs the figures of round trips; name ids to run some (``P1``,
``P5``, ``client``, ...). ``twin`` is every test of netperf: xenrr at both ends, at the
target and at the sender, each beside netperf at both ends. Everything is bound to one
processor, or in some figures of P3 each end to its own: placement outweighs every tool. A
figure whose peer or second processor is missing is reported as such, never as met.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.paired import Ratio, paired_ratio

ROOT = Path(__file__).resolve().parent.parent
Measure = Callable[[], float]


@dataclass(frozen=True)
class Figure:
    """One ratio to report.

    ``target`` is the least it must reach, from the project's own targets; ``apart`` puts the
    two ends on two processors.
    """

    id: str
    what: str
    target: float
    test: str
    a: str
    b: str
    apart: bool = False


FIGURES = (
    Figure("P1", "TCP_RR, xenrr at both ends / netperf", 1.02, "TCP_RR", "xx", "nn"),
    Figure("P1", "TCP_RR, xenrr at both ends / C floor", 0.98, "TCP_RR", "xx", "floor"),
    Figure("P2", "UDP_RR, xenrr at both ends / netperf", 1.12, "UDP_RR", "xx", "nn"),
    Figure("P2", "UDP_RR, xenrr at both ends / C floor", 0.98, "UDP_RR", "xx", "floor"),
    Figure("P3", "TCP_RR, two cores, spinning / netperf", 6.5, "TCP_RR", "ss", "nn", True),
    Figure("P3", "UDP_RR, two cores, spinning / netperf", 8.0, "UDP_RR", "ss", "nn", True),
    Figure("P3", "TCP_RR, two cores, spinning / C floor", 0.97, "TCP_RR", "ss", "floor", True),
    Figure("P3", "UDP_RR, two cores, spinning / C floor", 0.97, "UDP_RR", "ss", "floor", True),
    Figure("P3", "TCP_RR, one core, spinning / blocking", 0.98, "TCP_RR", "ss", "xx"),
    Figure("P3", "UDP_RR, one core, spinning / blocking", 0.98, "UDP_RR", "ss", "xx"),
    Figure("P5", "TCP_RR, pure engine at both ends / netperf", 0.92, "TCP_RR", "pp", "nn"),
    Figure("P5", "UDP_RR, pure engine at both ends / netperf", 0.90, "UDP_RR", "pp", "nn"),
    Figure("server", "TCP_RR, netperf: xenrr.server / netserver", 1.0, "TCP_RR", "nx", "nn"),
    Figure("server", "UDP_RR, netperf: xenrr.server / netserver", 1.0, "UDP_RR", "nx", "nn"),
    Figure("client", "TCP_RR, netserver: xenrr.client / netperf", 1.0, "TCP_RR", "xn", "nn"),
    Figure("client", "UDP_RR, netserver: xenrr.client / netperf", 1.0, "UDP_RR", "xn", "nn"),
)

# What a test needs beside its name. UDP_STREAM: what arrived, not what was sent.
OPTIONS = {
    "TCP_SENDFILE": ("-F", "{file}"),
    "UDP_STREAM": ("--", "-R", "1", "-m", "1000", "-o", "THROUGHPUT"),
}
TWIN_TESTS = ("TCP_RR", "UDP_RR", "TCP_CRR", "TCP_CC", "TCP_STREAM", "TCP_MAERTS",
              "TCP_SENDFILE", "UDP_STREAM")
TWINS = tuple(
    Figure("twin", f"{test}, {what} / netperf at both", 1.0, test, ends, "nn")
    for test in TWIN_TESTS
    for ends, what in (("xx", "xenrr at both ends"), ("nx", "xenrr.server"),
                       ("xn", "xenrr.client")))


class Bench:
    """Servers of one session and the measures against them.

    Args:
        cpu: Where everything runs.
        other: Where the servers of figures with two processors run, ``None`` for nowhere.
        seconds: Length of a run.
        floor: The C program, ``None`` without a compiler.
        file: Something to send.
    """

    def __init__(
        self, cpu: int, other: int | None, seconds: int, floor: str | None, file: str,
    ) -> None:
        self.cpu = cpu
        self.other = other
        self.file = file
        self.seconds = seconds
        self.floor = floor
        self.ports: dict[tuple[str, bool], int] = {}

    def pinned(self, *command: str, apart: bool = False) -> list[str]:
        """A command bound to the session's processor, or to the other one."""
        return ["taskset", "-c", str(self.other if apart else self.cpu), *command]

    def measure(self, ends: str, test: str, apart: bool) -> Measure | None:
        """How to run one side of a figure; ``None`` where the peer is missing.

        Args:
            ends: Client and server: ``x`` xenrr, ``s`` xenrr spinning, ``p`` xenrr's pure
                engine, ``n`` netperf; or ``floor``.
            test: Its name; the floor does ``TCP_RR`` and ``UDP_RR``.
            apart: Whether the server runs on the other processor.
        """
        if ends == "floor":
            if self.floor is None or (apart and self.other is None):
                return None
            return _rate_of(self.pinned(
                self.floor, test[:3].lower(), str(self.seconds), str(self.cpu),
                *([str(self.other)] if apart else [])))
        if (ends[1], apart) not in self.ports:
            return None
        if ends[0] == "n" and not shutil.which("netperf"):
            return None
        client = {
            "n": ["netperf"],
            "x": [sys.executable, "-m", "xenrr.client", "--engine", "hot"],
            "s": [sys.executable, "-m", "xenrr.client", "--engine", "hot", "--spin"],
            "p": [sys.executable, "-m", "xenrr.client", "--engine", "pure"],
        }[ends[0]]
        return _rate_of(self.pinned(
            *client, "-H", "127.0.0.1", "-p", str(self.ports[ends[1], apart]), "-t", test,
            "-l", str(self.seconds), "-P", "0", "-v", "0",
            *(word.format(file=self.file) for word in OPTIONS.get(test, ()))))


def _rate_of(command: list[str]) -> Measure:
    def run() -> float:
        done = subprocess.run(command, check=True, capture_output=True, text=True,
                              cwd=ROOT, timeout=120)
        return float(done.stdout.split()[0])

    return run


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def _server(
    bench: Bench, key: str, command: list[str], apart: bool = False,
) -> Iterator[None]:
    port = _free_port()
    process = subprocess.Popen(bench.pinned(*command, "-p", str(port), apart=apart),
                               cwd=ROOT,
                               stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        bench.ports[key, apart] = port
        yield
    finally:
        process.terminate()
        process.wait(10)


def _build_floor(folder: str) -> str | None:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    program = str(Path(folder) / "rr_floor")
    subprocess.run([compiler, "-O2", "-o", program, str(ROOT / "benchmarks/rr_floor.c")],
                   check=True, timeout=120)
    return program


def _report(figure: Figure, ratio: Ratio | None) -> str:
    if ratio is None:
        return (f"{figure.id:<7} {figure.what:<46} not measured: a peer, a compiler or a "
                "processor is missing")
    verdict = "met" if ratio.median >= figure.target else "missed"
    return (f"{figure.id:<7} {figure.what:<46} {ratio.median:5.3f} "
            f"[{ratio.low:5.3f}, {ratio.high:5.3f}]  A/A {ratio.noise:5.3f}  "
            f"{ratio.a_rate:9.0f} {ratio.b_rate:9.0f}  >= {figure.target:4.2f} {verdict}")


def main(argv: list[str] | None = None) -> int:
    """Run the figures and print one table."""
    parser = argparse.ArgumentParser(prog="benchmarks.rr", description=__doc__)
    parser.add_argument("ids", nargs="*", help="which figures (default: all)")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of each figure (7)")
    parser.add_argument("--seconds", type=int, default=1, help="length of each run in s (1)")
    parser.add_argument("--cpu", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file too")
    args = parser.parse_args(argv)
    known = {figure.id for figure in (*FIGURES, *TWINS)}
    if set(args.ids) - known:
        parser.error(f"ids are {', '.join(sorted(known))}")
    rows: list[dict[str, object]] = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        file = Path(folder) / "data"
        file.write_bytes(bytes(1 << 20))
        other = next(iter(sorted(os.sched_getaffinity(0) - {args.cpu})), None)
        bench = Bench(args.cpu, other, args.seconds, _build_floor(folder), str(file))
        xenrr = [sys.executable, "-m", "xenrr.server", "-D", "--engine"]
        stack.enter_context(_server(bench, "x", [*xenrr, "hot"]))
        stack.enter_context(_server(bench, "p", [*xenrr, "pure"]))
        stack.enter_context(_server(bench, "s", [*xenrr, "hot", "--spin"]))
        if shutil.which("netserver"):
            stack.enter_context(_server(bench, "n", ["netserver", "-D", "-N"]))
        if other is not None:
            stack.enter_context(_server(bench, "s", [*xenrr, "hot", "--spin"], apart=True))
            if shutil.which("netserver"):
                stack.enter_context(_server(bench, "n", ["netserver", "-D", "-N"], apart=True))
        for figure in (*FIGURES, *TWINS):
            if figure.id not in (args.ids or [each.id for each in FIGURES]):
                continue
            a, b = (bench.measure(ends, figure.test, figure.apart)
                    for ends in (figure.a, figure.b))
            ratio = paired_ratio(a, b, args.pairs) if a and b else None
            print(_report(figure, ratio), flush=True)
            rows.append({"id": figure.id, "what": figure.what, "target": figure.target,
                         **(ratio.to_plain() if ratio else {})})
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
