from __future__ import annotations

import re
import subprocess
import sys

import pytest
from peers import LOOPBACK, ROOT, clean_environment

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def example(name, *words):
    done = subprocess.run([sys.executable, str(ROOT / "examples" / name), *words], timeout=60,
                          capture_output=True, encoding="utf-8",
                          env=clean_environment(PYTHONIOENCODING="utf-8"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_measure(xenrr_server):
    shown = example("measure.py", LOOPBACK, "--port", str(xenrr_server.port),
                    "--duration", "1")
    assert int(re.match(r"(\d+) transactions/s", shown).group(1)) > 0
    assert re.search(r"p50 [\d.]+ µs\np99 [\d.]+ µs\np99.9 [\d.]+ µs", shown)


def test_async_pair():
    shown = example("async_pair.py", "1")
    assert len(re.findall(r"^[1-9]\d* transactions/s$", shown, re.MULTILINE)) == 2
    assert "p99 of both" in shown


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_has_a_test_and_public_names_only(name):
    source = (ROOT / "examples" / name).read_text()
    assert not re.search(r"xenrr\._|from xenrr\.|import xenrr\.", source)
    assert f"def test_{name[:-3]}(" in (ROOT / "tests/unit/test_examples.py").read_text()
