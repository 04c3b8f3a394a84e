"""What a plain run of round trips imports: start-up is most of a short test's time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Nothing of these is of use to a sender of round trips.
UNUSED = (
    "argparse", "ast", "asyncio", "bz2", "concurrent.futures", "ctypes", "dataclasses", "email",
    "encodings.idna", "hashlib", "importlib.metadata", "inspect", "json", "logging", "lzma",
    "msgpack", "numpy", "random", "rich", "selectors", "shutil", "socket", "subprocess",
    "tempfile", "typing", "uvloop", "xenrr.campaign", "xenrr.checks", "xenrr.cli",
    "xenrr.cpu.meter", "xenrr.engine.flows", "xenrr.engine.pure", "xenrr.engine.shared",
    "xenrr.lab", "xenrr.netperf.classic_options", "xenrr.netperf.confidence",
    "xenrr.netperf.fill_file", "xenrr.netperf.histogram_text", "xenrr.netperf.interim",
    "xenrr.netperf.iterations", "xenrr.netperf.latency", "xenrr.netperf.selectors",
    "xenrr.netperf.serve", "xenrr.netperf.stream_tables", "xenrr.netperf.tcp_info_text",
    "xenrr.results.hostfacts", "xenrr.results.pathfacts", "xenrr.session.branches",
    "xenrr.session.conditions", "xenrr.session.details", "xenrr.session.target")
PROGRAM = """
import sys
before = set(sys.modules)
from xenrr.client import main
code = main(sys.argv[1:])
print(*sorted(set(sys.modules) - before), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.c_engine
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_a_plain_run_imports_only_what_it_uses(xenrr_server, test):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "-H", "127.0.0.1", "-p", str(xenrr_server.port),
         "-t", test, "-l", "-1", "--engine", "hot"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    imported = done.stderr.split()
    assert "xenrr.session.sender" in imported
    assert not sorted(set(UNUSED) & set(imported))
