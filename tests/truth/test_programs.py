"""What the programs tell of a stall: the open loop sees it, and the closed one does not.

The kernel stalls a whole server, and the test notes when. Requests that were meant to leave
in between have waited until it went on, which is arithmetic.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest
from peers import LOOPBACK, Server, clean_environment, running_xenrr_server
from truth.responder import MS
from truth.test_latency import count_above

from xenrr.results.record import SECOND_NS, Run

RATE_TPS, STALL_S, LIMIT_S, LENGTH_S = 200, 0.5, 0.1, 1.6
# A program begins within this, or it is tried again with more.
BEGIN_S = 0.5
ATTEMPTS = 6
PROGRAMS = {
    "client": ("-m", "xenrr.client", "-H", LOOPBACK, "--json"),
    "run": ("-m", "xenrr", "run", LOOPBACK, "--json"),
}


def stall(server: Server) -> tuple[float, float]:
    """Stop a server for a while; from when to when it certainly did nothing."""
    os.kill(server.process.pid, signal.SIGSTOP)
    os.waitpid(server.process.pid, os.WUNTRACED)  # until all its threads have stopped
    begun_s = time.time()
    time.sleep(STALL_S)
    ended_s = time.time()
    os.kill(server.process.pid, signal.SIGCONT)
    return begun_s, ended_s


def stalled(server: Server, words: Sequence[str]) -> tuple[Run, float]:
    """A run with a stall that lies within it, and how long that was in s."""
    for attempt in range(ATTEMPTS):
        with subprocess.Popen(
                [sys.executable, *words, "-p", str(server.port), "-l", str(LENGTH_S)],
                stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
            time.sleep(BEGIN_S * (1 + attempt / 2))
            begun_s, ended_s = stall(server)
            out, _ = process.communicate(timeout=30)
        plain = json.loads(out)
        run = Run.from_plain(plain.get("runs", [plain])[0])
        # What it delayed has to be answered before the end, and before it counts as lost.
        if (run.started_epoch_s < begun_s and ended_s - begun_s < run.spec.loss_timeout_s - 0.1
                and ended_s + 0.2 < run.started_epoch_s + run.elapsed_s):
            return run, ended_s - begun_s
    pytest.fail("no stall lay within a test")


@pytest.mark.parametrize(("program", "words"), [
    ("client", ("-t", "TCP_RR")), ("run", ("-t", "UDP_RR", "--flows", "4"))], ids=str)
def test_a_program_tells_of_a_stall_what_it_delayed(program, words):
    with running_xenrr_server() as server:
        run, stall_s = stalled(server, (*PROGRAMS[program], *words, "--rate", str(RATE_TPS)))
        assert not run.error and run.lost == 0
        assert run.requests_sent <= RATE_TPS * run.elapsed_s + run.spec.flows
        # What was meant to leave in all of it but its last tenth of a second.
        delayed = int(RATE_TPS * (stall_s - LIMIT_S))
        assert count_above(run.latency_ns, int(LIMIT_S * SECOND_NS) - MS) >= delayed - 1
        assert run.latency_ns.percentile(90) > LIMIT_S * SECOND_NS
        # The same stall in a closed loop is one sample of each flow; a machine that has
        # other work may stall a little as well.
        run, _ = stalled(server, (*PROGRAMS[program], *words))
        seen = count_above(run.latency_ns, int(LIMIT_S * SECOND_NS))
        assert run.spec.flows <= seen < delayed // 2
