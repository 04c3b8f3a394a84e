"""``xenrr demo``: two tests on this machine, then the study's experiments in a lab on it."""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import IO

from xenrr.cli.demo_campaign import show_campaign
from xenrr.cli.interrupt import Interrupt
from xenrr.cli.parser import seconds_up_to
from xenrr.cli.screen import Screen
from xenrr.cli.summary import show_run
from xenrr.engine.load import load_engine
from xenrr.errors import CommandError, EngineUnavailable
from xenrr.results.record import Run, TestSpec

__all__ = ["DemoCommand"]

HOST = "127.0.0.1"
TESTS = ("TCP_RR", "UDP_RR")
INTERIM_S = 0.25
# Below the range that clients get their ports from: while the server is not there yet, a
# connection to such a port could be given the same one and meet itself.
PORTS = range(12865, 12965)
START_LIMIT_S = 15.0
START_TRIES = 5
STOP_LIMIT_S = 5.0
FAILED, INTERRUPTED = 1, 130


class DemoCommand:
    """Measure TCP_RR and UDP_RR on this machine, without any set-up."""

    name = "demo"

    def prepare_parser(self, parser: ArgumentParser) -> None:
        parser.add_argument("--duration", type=seconds_up_to(3600, "an hour"), default=10.0,
                            metavar="S",
                            help="length of each of the two tests in s (default 10)")
        parser.add_argument("--engine", choices=("auto", "hot", "pure"), default="auto",
                            help="hot is C, pure is Python, auto the best there is")
        parser.add_argument("--no-lab", dest="lab", action="store_false",
                            help="without the experiments in an emulated test bed")
        parser.add_argument("--json", action="store_true",
                            help="print the records of the two tests as JSON, and no lab")

    def run(self, args: Namespace) -> int:
        from xenrr.session.sender import open_sender

        screen = Screen()
        engine = load_engine(args.engine).name
        screen.talk(f"xenrr measures {' and '.join(TESTS)} on this machine over loopback, "
                    f"{args.duration:g} s each.")
        if engine == "pure" and args.engine == "auto":
            screen.talk(why_pure())
        runs: list[Run] = []
        with Interrupt() as interrupt, running_server(engine) as port, \
                open_sender(HOST, port, engine=engine) as sender:
            interrupt.sender = sender
            for test in TESTS:
                spec = TestSpec(test, duration_s=args.duration, interim_s=INTERIM_S)
                with screen.live(test, args.duration) as show:
                    run = sender.run(spec, on_interim=show)
                runs.append(run)
                if not args.json:
                    show_run(screen, run)
                if interrupt.seen or run.error:
                    break
        if args.json:
            print(json.dumps({"runs": [run.to_plain() for run in runs]}))
        else:
            show_end(screen, runs[-1])
        if interrupt.seen:
            screen.talk("Interrupted; what was measured until then is above.")
            return INTERRUPTED
        if runs[-1].error:
            return FAILED
        return show_campaign(screen) if args.lab and not args.json else 0


def why_pure() -> str:
    """Why the C engine does not run here, in one sentence."""
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        return "no C compiler: the pure Python engine runs (Debian: apt install gcc)"
    try:
        load_engine("hot")
    except EngineUnavailable as exc:
        return f"the pure Python engine runs: {exc}"
    return "the pure Python engine runs, as XENRR_ENGINE in the environment asks"


def free_ports() -> Iterator[int]:
    """Ports that the server can perhaps have, netperf's own first.

    Raises:
        CommandError: There are no more.
    """
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        yield port
    raise CommandError(f"no port between {PORTS[0]} and {PORTS[-1]} is free", FAILED)


@contextlib.contextmanager
def running_server(engine: str) -> Iterator[int]:
    """Our own server on loopback, as a process of its own; ended whatever happens.

    A port that was free can be somebody else's a moment later, for instance that of another
    demo. So it is the server that says when it listens, and it is given another one if it
    ends instead.

    Yields:
        The port of its control connection.

    Raises:
        CommandError: It does not start.
    """
    said = ""
    for _, port in zip(range(START_TRIES), free_ports()):
        with tempfile.TemporaryFile() as errors, start_server(engine, port, errors) as server:
            try:
                if says_it_listens(server):
                    yield port
                    return
            finally:
                server.terminate()
                try:
                    server.wait(STOP_LIMIT_S)
                except subprocess.TimeoutExpired:
                    server.kill()
            errors.seek(0)
            said = " ".join(errors.read().decode("utf-8", "replace").split())
    raise CommandError(f"the server did not start: {said or 'it said nothing'}", FAILED)


def start_server(engine: str, port: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start our own server; ``errors`` is its stderr."""
    command = [sys.executable, "-m", "xenrr.server", "-D", "-4", "-L", HOST, "-p", str(port),
               "--engine", engine]
    # A session of its own: Ctrl-C is for the sender, which then ends the server.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=errors, start_new_session=True)


def says_it_listens(server: subprocess.Popen[bytes]) -> bool:
    """Whether a server that was just started got its port; waits until it is known."""
    assert server.stdout is not None
    if not select.select([server.stdout], [], [], START_LIMIT_S)[0]:
        return False
    return server.stdout.readline().startswith(b"Starting netserver")


def show_end(screen: Screen, run: Run) -> None:
    """Engine, host, and what can be done next."""
    facts = {"engine": "C" if run.engine == "hot" else "pure Python", **run.host}
    key_width = max(len(key) for key in facts)
    screen.result()
    for key, value in facts.items():
        name = key.replace("_", " ")
        for line in screen.wrapped(value, indent=key_width + 4):
            screen.result(f"  {name:<{key_width}}  {line}")
            name = ""
    screen.result()
    screen.talk("Next: python -m xenrr.server (or netserver) on another machine, then "
                "python -m xenrr.client -H that-machine -t TCP_RR here.")
