"""Percentiles are those of the list of all samples, taken from outside the loop.

A library in front of the C library notes each reading of the clock, each send and each
receive. By the definition of a round trip, from just before its request is sent to just after
its response has arrived, the last reading before a send and the first one after the receive
are its two ends.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from peers import clean_environment
from truth.responder import running_responder
from truth.test_latency import percentile_of

from xenrr.stats.histogram import Histogram

HERE = Path(__file__).parent
TRANSACTIONS = 2000
RECEIVED, SENT = 0, 1  # as in clock.c


@pytest.fixture(scope="module")
def clock(tmp_path_factory) -> Path:
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "clock.c", "-ldl"],
                   check=True)
    return library


def samples_of(file: Path, started_ns: int) -> list[int]:
    """Every round trip in ns, where one request is in flight at a time."""
    entries = list(struct.iter_unpack("=qq", file.read_bytes()))
    thread = next(thread for thread, what in entries if what == started_ns)
    notes = [what for who, what in entries if who == thread]
    notes = notes[notes.index(started_ns):]
    begins = [before for before, what in zip(notes, notes[1:]) if what == SENT]
    ends = [after for what, after in zip(notes, notes[1:]) if what == RECEIVED]
    return [end - begin for begin, end in zip(begins, ends)]


@pytest.mark.c_engine
@pytest.mark.parametrize("datagram", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("engine", ["pure", "hot"])
def test_percentiles_are_those_of_the_sorted_list(clock, tmp_path, engine, datagram):
    with running_responder("spread", 1, datagram) as responder:
        done = subprocess.run(
            [sys.executable, HERE / "measure.py", engine, str(responder.ports[0]),
             str(int(datagram)), str(TRANSACTIONS)],
            env=clean_environment(LD_PRELOAD=str(clock), CLOCK_LOG=str(tmp_path / "log")),
            stdout=subprocess.PIPE, timeout=60, check=True)
    told = json.loads(done.stdout)
    samples = samples_of(tmp_path / "log", told["started_ns"])
    latency_ns = Histogram.from_plain(told["latency_ns"])
    assert told["transactions"] == len(samples) == TRANSACTIONS
    same = Histogram()
    same.record_many(samples)
    assert latency_ns == same
    samples.sort()
    for percent in (0, 1, 10, 50, 90, 99, 99.9, 99.99, 100):
        exact = percentile_of(samples, percent)
        assert exact <= latency_ns.percentile(percent) <= exact * 1.001
    assert latency_ns.mean() == sum(samples) / len(samples)
