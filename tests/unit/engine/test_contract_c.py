"""What only the engine in C can break."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest
from engines import Running, check_accounts, run_both, sender_spec, target_spec

from xenrr.engine import base, flows, hot, hot_flows, pure_common
from xenrr.engine.base import ConnectSpec, Ended, LoopSpec, Role, StreamSpec
from xenrr.engine.load import load_engine
from xenrr.engine.shared import load_shared
from xenrr.stats import histogram


def test_numbers_in_c_are_those_in_python():
    text = Path(base.__file__).with_name("rr_loop.h").read_text()
    numbers = {name: int(value) for name, value in
               re.findall(r"^#define RR_(\w+) (?:INT64_C\()?(\d+)\)?$", text, re.MULTILINE)}
    assert numbers == {
        "TICK_NS": base.TICK_NS,
        "SLOW_ROUND_TRIP_NS": base.SLOW_ROUND_TRIP_NS,
        "TARGET_POLL": base.TARGET_POLL,
        "SPIN_NS": base.SPIN_NS,
        "STAMPS_GRACE": base.STAMPS_GRACE,
        "STAMPS_GRACE_NS": base.STAMPS_GRACE_NS,
        "MAX_SILENCES": LoopSpec.MAX_SILENCES,
        "MAX_STRAYS": pure_common.MAX_STRAYS,
        "HEAD_BYTES": base.HEAD_BYTES,
        "IDLE_CONNECTION_NS": ConnectSpec.IDLE_CONNECTION_NS,
        "MAX_OPTIONS": ConnectSpec.MAX_OPTIONS,
        "MAX_RING_BYTES": base.MAX_RING_BYTES,
        "PAGE_BYTES": pure_common.PAGE_BYTES,
        "CHUNK_BYTES": pure_common.CHUNK_BYTES,
        "TAKE_BYTES": 1 << 16,
        "MAX_FLOWS": flows.MAX_FLOWS,
        "MAX_IN_FLIGHT": flows.MAX_IN_FLIGHT,
        "SUB_BUCKET_BITS": histogram.SUB_BUCKET_BITS,
        "HIGHEST_NS": histogram.HIGHEST_NS,
        "COUNTS": histogram.COUNTS_LENGTH,
        "NAME_BYTES": hot.BLOCK.size - 16,
        "LAYOUT": hot.LAYOUT,
    }
    names = " ".join(hot.SPEC_FIELDS + hot.TALLY_FIELDS + hot.BLOCK_FIELDS)
    assert crc32(names.encode()) & 0x7FFFFFFF == hot.LAYOUT
    values = {name: int(value) for name, value in
              re.findall(r"^    RR_(\w+) = (\d+)\b", text, re.MULTILINE)}
    assert {item.name: values.pop(item.name) for item in Ended} == {
        item.name: item.value for item in Ended}
    assert {item.name: values.pop(item.name) for item in Role} == {
        item.name: item.value for item in Role}
    assert [values.pop(name) for name in ("ROUND_TRIPS", "CONNECTIONS", "STREAM")] == [
        hot.KINDS[spec] for spec in (LoopSpec, ConnectSpec, StreamSpec)]
    assert [values.pop(name) for name in ("FLOWS", "POOL")] == [
        hot_flows.FLOWS, hot_flows.POOL]
    assert [values.pop(name) for name in ("DISTRIBUTION", "FLOW", "POLLER_RAN")] == [
        hot.DISTRIBUTION, hot_flows.FLOW, hot_flows.POLLER_RAN]
    assert [values.pop(name.upper()) for name in flows.POLLERS] == [*range(4)]
    assert values == {"DONE": 0, "INTERRUPTED": 1}


def test_structs_in_c_have_the_fields_python_packs():
    text = Path(base.__file__).with_name("rr_loop.h").read_text()
    structs = {name: re.findall(r"^    int64_t (\w+);$", body, re.MULTILINE)
               for name, body in re.findall(r"^struct (\w+) \{$(.*?)^\};$", text,
                                            re.MULTILINE | re.DOTALL)}
    assert structs["rr_spec"] == [*hot.SPEC_FIELDS]
    tally = [*hot.TALLY_FIELDS]
    assert tally[1] == "errno"
    tally[1] = "saved_errno"    # errno is a macro
    assert structs["rr_tally"] == tally


@pytest.mark.c_engine
def test_the_shared_object_is_the_same_engine(connect):
    engine = hot.HotEngine(load_shared())
    assert (engine.name, engine.loaded_as) == ("hot", "ctypes")
    spec = sender_spec(transactions=2000, burst=3)
    sent, answered = run_both((engine, engine), connect(False), spec)
    assert (sent.transactions, answered.transactions) == (2000, 2000)
    check_accounts(sent, spec)


@pytest.mark.c_engine
def test_the_loop_runs_without_the_gil(connect):
    """Two loops that answer each other in one process need each other to go on."""
    engine = load_engine("hot")
    spec = sender_spec(transactions=1000)
    sent, _ = run_both((engine, engine), connect(False), spec)
    assert sent.transactions == 1000


@pytest.mark.c_engine
def test_a_python_without_a_gil_stays_without():
    """It gets its GIL back, with a warning, from an extension that does not forgo it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import sys\n"
         "has_gil = getattr(sys, '_is_gil_enabled', lambda: True)\n"
         "before = has_gil()\n"
         "from xenrr.engine import _hot\n"
         "assert has_gil() == before"],
        cwd=Path(base.__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.c_engine
def test_many_loops_at_once_keep_their_accounts_apart(connect):
    engine = load_engine("hot")
    specs = [sender_spec(transactions=200 + number, burst=number) for number in range(8)]
    runs = []
    for spec in specs:
        near, far = connect(False)
        runs.append((Running(engine, far, target_spec(transactions=spec.transactions)),
                     Running(engine, near, spec)))
    for spec, (answering, sending) in zip(specs, runs):
        tally = sending.tally()
        assert tally.transactions == answering.tally().transactions == spec.transactions
        check_accounts(tally, spec)
