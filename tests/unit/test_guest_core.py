"""The guest core runs from a copied folder, with the standard library and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from peers import LOOPBACK, ROOT, free_port, running_server, stop_cleanly

# No site-packages, no environment variables, no user folder.
ALONE = [sys.executable, "-S", "-E", "-s"]
GUEST_CORE = ("__init__.py", "errors.py", "frozen.py", "lean.py", "units.py", "wire",
              "engine", "cpu", "stats/__init__.py", "stats/histogram.py", "results", "session",
              "netperf", "server.py", "client.py", "agent.py")


@pytest.fixture(scope="module")
def guest(tmp_path_factory) -> Path:
    """A folder that holds the guest core's Python files, nothing compiled."""
    folder = tmp_path_factory.mktemp("guest")
    for name in GUEST_CORE:
        source = ROOT / "xenrr" / name
        target = folder / "xenrr" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(
                "*.so", "*.c", "*.h", "__pycache__"))
        elif source.exists():
            shutil.copy(source, target)
    return folder


def python(guest: Path, program: str) -> str:
    done = subprocess.run([*ALONE, "-c", program], cwd=guest, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_programs_load(guest):
    python(guest, "import xenrr.server, xenrr.client")


def test_a_sender_loads_nothing_heavy(guest):
    heavy = {"argparse", "asyncio", "json", "logging", "msgpack", "multiprocessing", "numpy",
             "pathlib", "rich", "subprocess", "uvloop"}
    loaded = python(guest, "import xenrr.client, sys; print(*sys.modules)").split()
    assert "xenrr.client" in loaded
    assert set(loaded) & heavy == set()


def test_the_package_itself_loads_nothing(guest):
    loaded = python(guest, "import xenrr, sys; print(*sys.modules)").split()
    assert [name for name in loaded if name.startswith("xenrr.")] == []


def test_public_names_resolve(guest):
    python(guest, "import xenrr\nfor name in xenrr.__all__: getattr(xenrr, name)")


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_two_copies_measure_each_other(guest, monkeypatch, test):
    monkeypatch.chdir(guest)
    port = free_port()
    with running_server([*ALONE, "-m", "xenrr.server", "-D", "-p", str(port)], port) as server:
        done = subprocess.run(
            [*ALONE, "-m", "xenrr.client", "-H", LOOPBACK, "-p", str(port), "-t", test,
             "-l", "1", "-P", "0", "-v", "0"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        assert float(done.stdout) > 0
        stop_cleanly(server)
