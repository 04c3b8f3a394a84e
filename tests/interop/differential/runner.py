"""Runs a command line on netperf and on xenrr, against either server.

A client that has not ended after ``LIMIT_S`` is killed, which its exit code -9 tells.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from interop.differential.cases import FILES, Case
from interop.differential.shape import SETTINGS, Shown, tidy
from peers import clean_environment, find_program, free_port

LIMIT_S = 40.0
REAL, OURS = "netperf", "xenrr"
PAIRINGS = ((REAL, REAL), (OURS, OURS), (REAL, OURS), (OURS, REAL))


@dataclass(frozen=True)
class Stage:
    """What cases are run with.

    Attributes:
        shims: Folder of the ``netperf`` and ``netserver`` that are xenrr.
        files: Folder with the files that cases name.
        ports: Control port of each server by the name of its maker.
        sink: Port on 127.0.0.1 that takes bytes and datagrams and answers nothing.
        echo: Port on 127.0.0.1 that sends back what it gets.
    """

    shims: Path
    files: Path
    ports: Mapping[str, int]
    sink: int
    echo: int


def program_of(maker: str, name: str, stage: Stage) -> str:
    if maker == OURS:
        return str(stage.shims / name)
    found = find_program(name)
    assert found is not None
    return found


def run_pairings(case: Case, stage: Stage) -> dict[tuple[str, str], Shown]:
    """Run a case in every pairing of client and server, all at the same time."""
    pairings = [pair for pair in PAIRINGS if case.program == "netperf" or pair[0] == pair[1]]
    with ThreadPoolExecutor(len(pairings)) as pool:
        return dict(zip(pairings, pool.map(lambda pair: run(case, stage, *pair), pairings)))


def run(case: Case, stage: Stage, client: str, server: str) -> Shown:
    """One run of a case."""
    data, data2 = unmistakable_port(case), unmistakable_port(case)
    names = {"port": stage.ports[server], "data": data, "data2": data2, "dir": stage.files,
             "sink": stage.sink, "echo": stage.echo}
    words = shlex.split(case.line.format(**names))
    if not case.bare and case.program == "netperf":
        words = ["-H", case.host, "-p", str(stage.ports[server]), *words]
    program = program_of(client, case.program, stage)
    environment = clean_environment(**dict(case.environment))
    # argv[0] is in some of the messages, so both are called by the bare name.
    with subprocess.Popen([case.program, *words], executable=program,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace",
                          cwd=stage.files, env=environment) as process:
        give_up = threading.Timer(LIMIT_S, process.kill)
        give_up.start()
        start = ""
        if case.interrupt is not None:
            start = until_interim(process)
            process.send_signal(case.interrupt)
        rest, err = process.communicate()
        out = start + rest
        give_up.cancel()
    replace = [(str(names[name]), name.upper()) for name in ("port", "data", "data2", "dir",
                                                             "sink", "echo")]
    return Shown(tidy(out, replace), tidy(err, replace), process.returncode)


def unmistakable_port(case: Case) -> int:
    """A free port that is no other number of the case: ports get names in what is shown."""
    while str(port := free_port("127.0.0.2")) in SETTINGS or str(port) in case.line:
        pass
    return port


def until_interim(process: subprocess.Popen[str]) -> str:
    """What a client prints until its first interim result is there, or until its end."""
    assert process.stdout is not None
    lines = []
    for line in iter(process.stdout.readline, ""):
        lines.append(line)
        if line.startswith(("Interim result:", "NETPERF_ENDING")):
            break
    return "".join(lines)


def write_files(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text)


@contextlib.contextmanager
def running_far_end(echo: bool) -> Iterator[int]:
    """A TCP and UDP server on one port of 127.0.0.1, for tests without a control connection.

    Args:
        echo: Whether it sends back what it gets.

    Yields:
        The port.
    """
    port = free_port()
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", port)) as listener, \
            socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", port))
        listener.settimeout(0.1)
        datagrams.settimeout(0.1)

        def accept() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError, socket.timeout):
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(LIMIT_S)
                while chunk := connection.recv(1 << 18):
                    if echo:
                        connection.sendall(chunk)

        def answer() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    chunk, peer = datagrams.recvfrom(1 << 16)
                    if echo:
                        datagrams.sendto(chunk, peer)

        threads = [threading.Thread(target=target) for target in (accept, answer)]
        for thread in threads:
            thread.start()
        try:
            yield port
        finally:
            stop.set()
            for thread in threads:
                thread.join()
