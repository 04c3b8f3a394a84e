"""Where the measurements are made: processors, servers, floors, and how one run is started.

Everything runs on loopback and is bound to processors: placement outweighs every tool.
Servers are started when they are first needed and ended with the bed, and every program has
a limit.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks import peers
from benchmarks.paired import Measure, Sample

__all__ = ["LIMIT_S", "NETPERF_LIMIT_S", "ROOT", "Bed", "Missing", "Talker", "Work", "end",
           "environment", "many_netperf", "need"]

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ROOT / "benchmarks/floors"
LIMIT_S = 120.0
# Many netperf are ended when enough was seen; this is for those that nobody ends.
NETPERF_LIMIT_S = 30
# How many of them are started at once.
BATCH = 8
# Transactions that tell how many a run of round trips takes.
FINDING = 5_000

# What a test needs beside its name. UDP_STREAM: what arrived, not what was sent.
OPTIONS = {
    "TCP_SENDFILE": ("-F", "{file}"),
    "UDP_STREAM": ("--", "-R", "1", "-m", "1000", "-o", "THROUGHPUT"),
}
# A length below a second is no length for netperf, but a count is. One-way tests count
# bytes in steps of a buffer, and their first ones are slow: they run for whole seconds.
COUNTED = {"TCP_RR", "UDP_RR", "TCP_CRR", "TCP_CC"}
# netperf's default sizes of sends and receives, from the kernel's socket buffers.
SEND_BYTES, RECEIVE_BYTES = 16384, 131072

# Exit code of a floor whose kernel lacks what it needs.
NOT_HERE = 3


class Missing(Exception):
    """A program, a compiler, a processor or a kernel's feature that is not here."""


@dataclass(frozen=True)
class Work:
    """What the participants of a group do.

    Attributes:
        test: Name of the test.
        place: ``one`` processor for both ends, each end on its own (``apart``), or both
            ends wherever they like on the two (``both``).
        flows: Connections at once.
        burst: Requests in flight beyond the first.
        send_bytes: Of each send of a one-way test, 0 for netperf's default.
        options: Of the client, beside these.
    """

    test: str = "TCP_RR"
    place: str = "one"
    flows: int = 1
    burst: int = 0
    send_bytes: int = 0
    options: tuple[str, ...] = ()


class Talker:
    """A program that answers each line with a line; a context manager that ends it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def ask(self, line: str, limit_s: float) -> str:
        """Its answer; empty where there is none in time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], limit_s)[0]:
            return ""
        return self._process.stdout.readline()

    def close(self) -> None:
        """End it."""
        end(self._process)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class Bed:
    """Processors and servers of one session.

    Args:
        cpu: Where everything runs.
        other: The processor of far ends that have one of their own, ``None`` for nowhere.
        seconds: Length of a run in s.
    """

    def __init__(self, cpu: int, other: int | None, seconds: float) -> None:
        self.cpu = cpu
        self.other = other
        self.seconds = seconds
        self._stack = contextlib.ExitStack()
        self._ports: dict[tuple[str, str], int] = {}
        self._floors: dict[str, str] = {}
        self._talkers: dict[Work, Talker] = {}

    def __enter__(self) -> Bed:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.file = self.folder / "data"
        self.file.write_bytes(bytes(1 << 20))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def bound(self, place: str, *command: str, far: bool = False) -> list[str]:
        """A command on the processors of a place.

        Raises:
            Missing: There is no second processor.
        """
        if place == "one":
            cpus = str(self.cpu)
        elif self.other is None:
            raise Missing("a second processor")
        elif place == "both":
            cpus = f"{self.cpu},{self.other}"
        else:
            cpus = str(self.other if far else self.cpu)
        return ["taskset", "-c", cpus, *command]

    def start(
        self, kind: str, place: str, prefix: Sequence[str] = (),
    ) -> tuple[int, subprocess.Popen[bytes]]:
        """Start a server that ends with the bed, if nobody ends it before.

        Args:
            kind: As in ``peers.server_command``.
            place: Where it runs.
            prefix: A program that runs the server, as valgrind does.

        Returns:
            Its port and its process.
        """
        port = free_port()
        words = peers.server_command(kind, port)
        need(words[0])
        process = subprocess.Popen(
            self.bound(place, *prefix, *words, far=True), cwd=ROOT, env=environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._stack.callback(end, process)
        listening(port, process, udp=kind == "sockperf-udp")
        return port, process

    def port(self, kind: str, place: str) -> int:
        """Where the bed's server of a kind listens; it is started when there is none."""
        if (kind, place) not in self._ports:
            self._ports[kind, place], _ = self.start(kind, place)
        return self._ports[kind, place]

    def talker(self, work: Work) -> Talker:
        """The bed's ``benchmarks.overhead`` for a test, started when it is first needed."""
        if work not in self._talkers:
            made = self._talkers[work] = Talker(self.bound(
                work.place, sys.executable, "-m", "benchmarks.overhead",
                str(self.port("x", work.place)), work.test, str(min(self.seconds, 1.0))))
            self._stack.callback(made.close)
        return self._talkers[work]

    def floor(self, name: str) -> str:
        """Path of a floor, built when it is first asked for.

        Raises:
            Missing: There is no C compiler.
        """
        if name not in self._floors:
            compiler = shlex.split(os.environ.get("CC", "cc"))
            need(compiler[0])
            program = self.folder / name
            done = subprocess.run(
                [*compiler, "-O2", "-o", str(program), str(FLOORS / f"{name}.c")],
                capture_output=True, text=True, timeout=LIMIT_S)
            if done.returncode:
                raise Missing(f"what {name}.c needs: {complaint(done.stderr)}")
            self._floors[name] = str(program)
        return self._floors[name]

    def bare_python(self) -> str:
        """This Python with nothing installed: no finder of an editable install starts first.

        Raises:
            Missing: It makes no environments.
        """
        folder = self.folder / "bare"
        if not folder.exists():
            done = subprocess.run(
                [sys.executable, "-m", "venv", "--without-pip", str(folder)],
                env=environment(), capture_output=True, text=True, timeout=LIMIT_S)
            if done.returncode:
                raise Missing(f"what makes an environment: {complaint(done.stderr)}")
        return str(folder / "bin/python")

    def run(self, command: list[str]) -> str:
        """What a command prints.

        Raises:
            peers.PeerOutput: It failed.
        """
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT,
                              env=environment(), stdin=subprocess.DEVNULL, timeout=LIMIT_S)
        if done.returncode:
            said = complaint(done.stderr) or complaint(done.stdout)
            raise peers.PeerOutput(f"exit code {done.returncode}: {said}")
        return done.stdout

    def rate(self, name: str, work: Work) -> Measure:
        """How one participant is run once.

        Args:
            name: Client and server, as in ``peers``: ``xx``, ``nx``, ...; ``floor``,
                ``yield``, ``epoll``, ``uring``, ``python`` (a floor in Python),
                ``sockperf``, ``qperf``, ``iperf3`` or ``neper``.
            work: What it does.

        Raises:
            Missing: It is not here.
        """
        special: dict[str, Callable[[str, Work], Measure]] = {
            "floor": self._floor, "yield": self._floor, "epoll": self._many,
            "uring": self._many, "python": self._python_floor, "sockperf": self._sockperf,
            "qperf": self._qperf, "iperf3": self._iperf3, "neper": self._neper}
        if name in special:
            return special[name](name, work)
        if work.flows > 1 and name[0] == "n":
            return self._many_netperf(work)
        return self._netperf(name, work)

    def client(self, name: str, work: Work, length: str) -> list[str]:
        """The command of a client that speaks netperf."""
        words = peers.client_command(name[0])
        need(words[0])
        kind = "N" if work.flows > 1 and name[1] == "n" else name[1]
        words += ["-H", "127.0.0.1", "-p", str(self.port(kind, work.place)), "-t", work.test,
                  "-l", length, "-P", "0", "-v", "0"]
        if work.flows > 1 and name[0] != "n":
            words += ["--flows", str(work.flows)]
        words += work.options
        own = [word.format(file=self.file) for word in OPTIONS.get(work.test, ())]
        after: list[str] = []
        if work.burst:
            after += ["-b", str(work.burst)]
        if work.send_bytes:
            after += ["-m", f"{work.send_bytes},{work.send_bytes}",
                      "-M", f"{work.send_bytes},{work.send_bytes}"]
        if name[0] != "n" and work.test in ("TCP_RR", "UDP_RR", "TCP_CRR"):
            after += ["-o", peers.LATENCY_SELECTORS]
        if after and "--" not in own:
            own.append("--")
        return self.bound(work.place, *words, *own, *after)

    def _netperf(self, name: str, work: Work) -> Measure:
        counted = self.seconds % 1 and work.test in COUNTED and work.flows == 1
        length = str(max(1, round(self.seconds)))
        if counted:
            # The run that finds the count warms everything up as well.
            few = self.client(name, work, str(-FINDING))
            rate = peers.parse_netperf(self.run(few))["rate"]
            length = str(-max(1, round(rate * self.seconds)))
        command = self.client(name, work, length)
        return lambda: peers.parse_netperf(self.run(command))

    def _many_netperf(self, work: Work) -> Measure:
        command = self.client("nn", work, str(NETPERF_LIMIT_S))
        seconds = 1.5 if work.flows <= 100 else 2.0

        def run() -> Sample:
            with many_netperf(command, work.flows, self.folder / "many") as (outputs, go):
                go()
                begin = time.time()
                time.sleep(seconds)
                end = time.time()
            return {"rate": peers.rate_in_common(
                (path.read_text() for path in outputs), begin, end)}

        return run

    def _floor(self, name: str, work: Work) -> Measure:
        words = {
            "TCP_RR": ["rr", "tcp"], "UDP_RR": ["rr", "udp"], "TCP_CRR": ["crr"],
            "TCP_STREAM": ["stream"], "TCP_MAERTS": ["stream"],
        }[work.test]
        seconds = max(1.0, self.seconds) if words[0] == "stream" else self.seconds
        command = [self.floor(words[0]), *words[1:], str(seconds), str(self.cpu)]
        if name == "yield":
            command.append(name)
        elif words[0] == "stream":
            command += [str(work.send_bytes or SEND_BYTES),
                        str(work.send_bytes or RECEIVE_BYTES)]
        elif work.place == "apart":
            if self.other is None:
                raise Missing("a second processor")
            command.append(str(self.other))
        return lambda: peers.parse_floor(self.run(command))

    def _python_floor(self, _: str, work: Work) -> Measure:
        command = [sys.executable, str(FLOORS / "rr.py"), work.test[:3].lower(),
                   str(self.seconds), str(self.cpu)]
        return lambda: peers.parse_floor(self.run(command))

    def _many(self, name: str, work: Work) -> Measure:
        command = self.bound(work.place, self.floor(f"many_{name}"), work.test[:3].lower(),
                             str(work.flows), str(max(1.0, self.seconds)))
        if subprocess.run(command, capture_output=True, timeout=LIMIT_S).returncode == NOT_HERE:
            raise Missing(f"what many_{name}.c needs of the kernel")
        return lambda: peers.parse_floor(self.run(command))

    def _sockperf(self, _: str, work: Work) -> Measure:
        need("sockperf")
        tcp = work.test == "TCP_RR"
        port = self.port("sockperf-tcp" if tcp else "sockperf-udp", work.place)
        # 14 bytes are its least.
        command = self.bound(
            work.place, "sockperf", "ping-pong", *(["--tcp"] if tcp else []), "-i",
            "127.0.0.1", "-p", str(port), "-t", "1", "-m", "14", "--full-rtt")
        return lambda: peers.parse_sockperf(self.run(command))

    def _qperf(self, _: str, work: Work) -> Measure:
        need("qperf")
        command = self.bound(
            work.place, "qperf", "-lp", str(self.port("qperf", work.place)), "-t", "1", "-m",
            "1", "-uu", "-e", "6", "127.0.0.1", f"{work.test[:3].lower()}_lat")
        return lambda: peers.parse_qperf(self.run(command))

    def _iperf3(self, _: str, work: Work) -> Measure:
        need("iperf3")
        command = self.bound(
            work.place, "iperf3", "-c", "127.0.0.1", "-p", str(self.port("iperf3", work.place)),
            "-t", "1", "-l", str(work.send_bytes or SEND_BYTES), "-J",
            *(["-R"] if work.test == "TCP_MAERTS" else []))
        return lambda: peers.parse_iperf3(self.run(command))

    def _neper(self, _: str, work: Work) -> Measure:
        program = f"{work.test[:3].lower()}_rr"
        if shutil.which(program) is None:
            raise Missing(f"neper's {program}")
        # In a folder of its own: it leaves a log there, whatever it is told.
        with tempfile.TemporaryDirectory() as folder:
            told = subprocess.run([program, "--help"], capture_output=True, text=True,
                                  cwd=folder, stdin=subprocess.DEVNULL, timeout=LIMIT_S)
        if "--suicide-length" not in told.stdout + told.stderr:
            raise Missing(f"neper's {program}, which the one on PATH is not,")

        def run(threads: int) -> Sample:
            control, data = free_port(), free_port()
            # A limit of its own for the case that nobody ends it; room for all flows to
            # connect at once, as both others have; and a byte each way, as theirs.
            command = self.bound(
                work.place, program, "-C", str(control), "-P", str(data), "-F",
                str(work.flows), "-T", str(threads), "-l", "1", "-Q", "1", "-R", "1",
                "--nolog", "--listen-backlog", str(max(128, work.flows)))
            server = subprocess.Popen(
                [*command, "-s", str(NETPERF_LIMIT_S)], cwd=ROOT, env=environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                # It serves whoever connects first, so it cannot be asked whether it is there.
                give_up = time.monotonic() + 10
                while not is_listened_on(control):
                    if time.monotonic() > give_up:
                        raise peers.PeerOutput(f"{program} does not listen")
                    time.sleep(0.01)
                return peers.parse_neper(self.run([*command, "-c", "-H", "127.0.0.1"]))
            finally:
                end(server)

        # Which of the two is faster depends on the number of flows and on the machine.
        tried = {threads: run(threads)["rate"] for threads in (1, 2)}
        return lambda: run(max(tried, key=lambda threads: tried[threads]))


@contextlib.contextmanager
def many_netperf(
    command: list[str], flows: int, folder: Path,
) -> Iterator[tuple[list[Path], Callable[[], None]]]:
    """Many netperf that run at the same time, with interim results in a file each.

    Those that run keep the others from starting, up to half a minute for a thousand on two
    processors. So each is stopped as soon as it is set up, and all go on together.

    Args:
        command: One of them, with ``-D`` still to come.
        flows: How many.
        folder: Where they write to; made anew.

    Returns:
        Once all are set up: their files, and what lets them go on.
    """
    place = command.index("netperf") + 1
    # A negative time makes it look at the clock after each transaction, as xenrr does. Else
    # it guesses from the rate so far, and that of one alone is no guess for one of many.
    words = [*command[:place], "-D", "-0.2", *command[place:]]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    outputs = [folder / str(number) for number in range(flows)]
    processes: list[subprocess.Popen[bytes]] = []

    def tell(number: signal.Signals) -> None:
        for process in processes:
            process.send_signal(number)

    with _ahead_of_others():
        try:
            for start in range(0, flows, BATCH):
                batch = []
                for path in outputs[start:start + BATCH]:
                    with path.open("w") as out:
                        batch.append(subprocess.Popen(
                            words, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL,
                            stdout=out, stderr=subprocess.STDOUT))
                processes += batch
                give_up = time.monotonic() + 5
                while batch and time.monotonic() < give_up:
                    time.sleep(0.002)
                    for process in [each for each in batch if _has_data_socket(each)]:
                        process.send_signal(signal.SIGSTOP)
                        batch.remove(process)
                for process in batch:
                    process.send_signal(signal.SIGSTOP)
            yield outputs, lambda: tell(signal.SIGCONT)
        finally:
            tell(signal.SIGKILL)
            for process in processes:
                process.wait(10)


@contextlib.contextmanager
def _ahead_of_others() -> Iterator[None]:
    """This process before all others, as far as it may, but not what it starts.

    Who has to end a thousand busy processes would else wait for its turn among them.
    """
    before = os.sched_getscheduler(0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, before, os.sched_param(0))


def _has_data_socket(process: subprocess.Popen[bytes]) -> bool:
    # The standard three, the control connection, the data connection.
    try:
        return len(os.listdir(f"/proc/{process.pid}/fd")) >= 5
    except OSError:
        return True


def need(program: str) -> None:
    """Raise ``Missing`` where a program is not installed."""
    if shutil.which(program) is None:
        raise Missing(program)


def environment() -> dict[str, str]:
    """What programs are run with: nothing that makes one of them slower than usual."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "XENRR_", "DUMP_"))}
    # Names hash alike in every run, so a start takes the same steps.
    return {**kept, "LC_ALL": "C", "PYTHONHASHSEED": "0"}


def complaint(text: str) -> str:
    """What a program said, in a line: its first, of a traceback the last."""
    lines = text.strip().splitlines()
    if not lines:
        return ""
    return lines[-1 if lines[0].startswith("Traceback") else 0][:120]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def is_listened_on(port: int) -> bool:
    """Whether somebody listens on a TCP port, without connecting to it."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            # Local address and state; 0A is TCP_LISTEN (Linux include/net/tcp_states.h).
            if re.search(rf" [0-9A-F]+:{port:04X} \S+ 0A ",
                         Path(f"/proc/net/{table}").read_text()):
                return True
    return False


def listening(port: int, process: subprocess.Popen[bytes], udp: bool = False) -> None:
    """Wait until a server answers."""
    for _ in range(300):
        if process.poll() is not None:
            raise peers.PeerOutput(f"{process.args!r} ended by itself")
        if udp:
            time.sleep(0.3)
            return
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise peers.PeerOutput(f"{process.args!r} does not listen")


def end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process that was started here; again does nothing."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)

