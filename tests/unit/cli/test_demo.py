from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from peers import clean_environment, read_all

from xenrr.cli import demo
from xenrr.errors import CommandError
from xenrr.results.record import Run


def start_demo(*options, lab=False, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "xenrr", "demo", *([] if lab else ["--no-lab"]), *options],
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8",
           "env": clean_environment(PYTHONIOENCODING="utf-8"), **more})


def children_of(pid):
    """Process ids of the children of a process."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        if int(fields[1]) == pid:
            found.append(int(entry.parent.name))
    return found


def test_both_tests_are_measured_and_drawn():
    with start_demo("--duration", "1", "--engine", "pure") as process:
        shown, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    for test in ("TCP_RR", "UDP_RR"):
        assert re.search(rf"^{test}  [1-9][\d ]* transactions/s$", shown, re.MULTILINE)
    assert len(re.findall(r"p50 [\d.]+ .s   p90 .*p99 .*p99.9 ", shown)) == 2
    assert "█" in shown
    assert re.search(r"^  engine +pure Python$", shown, re.MULTILINE)
    assert "\x1b" not in shown + talk


def test_ascii_without_a_unicode_locale():
    with start_demo("--duration", "1", env=clean_environment(PYTHONIOENCODING="ascii"),
                    encoding="ascii") as process:
        shown, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    assert "#" in shown


def test_records_as_json():
    # Long enough for a response on a busy machine.
    with start_demo("--duration", "1", "--json") as process:
        shown, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    runs = [Run.from_plain(plain) for plain in json.loads(shown)["runs"]]
    assert [run.spec.test for run in runs] == ["TCP_RR", "UDP_RR"]
    for run in runs:
        assert run.requests_sent == run.transactions + run.in_flight + run.lost
        assert run.latency_ns.total == run.transactions > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_shows_what_was_measured_and_leaves_nothing_behind(number):
    with start_demo("--duration", "60") as process:
        assert process.stderr is not None
        seen = ""
        while "TCP_RR 5" not in seen:  # the live line: seconds left
            seen = process.stderr.readline()
            assert seen, "the demo ended early"
        servers = children_of(process.pid)
        process.send_signal(number)
        shown, talk = process.communicate(timeout=30)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk
    assert re.search(r"^TCP_RR  [1-9][\d ]* transactions/s$", shown, re.MULTILINE)
    assert "UDP_RR" not in shown
    assert servers
    assert not any(Path(f"/proc/{pid}").exists() for pid in servers)


@pytest.mark.parametrize("changes", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_narrow_terminal(changes):
    master, slave = pty.openpty()
    environment = clean_environment(**{"TERM": "xterm", "COLUMNS": "40", "LINES": "20",
                                       "PYTHONIOENCODING": "utf-8", **changes})
    if not changes:
        environment.pop("NO_COLOR", None)
    with start_demo("--duration", "0.6", stdout=slave, stderr=slave,
                    env=environment) as process:
        os.close(slave)
        raw = read_all(master)
    os.close(master)
    assert process.returncode == 0, raw
    assert ("\x1b[" in raw) == ("TERM" not in changes)
    assert bool(re.search(r"\x1b\[[\d;]*3[16]m", raw)) == (not changes)
    for line in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", raw).splitlines():
        assert len(line) <= 40, line


def test_what_keeps_the_lab_from_being_made_is_one_sentence(tmp_path):
    # No ip, no tc: as on a system without iproute2.
    with start_demo("--duration", "0.3", lab=True,
                    env=clean_environment(PATH=str(tmp_path), COLUMNS="300",
                                          XENRR_RUNTIME_DIR=str(tmp_path / "r"))) as process:
        shown, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    assert "Traceback" not in talk
    if not any(Path(folder, "ip").exists() for folder in ("/usr/sbin", "/sbin")):
        assert "left out: a lab needs the program ip" in talk
    assert "UDP_RR" in shown


@pytest.mark.lab
def test_the_demo_ends_with_the_study_s_table(tmp_path):
    with start_demo("--duration", "0.3", lab=True, env=clean_environment(
            COLUMNS="100", PYTHONIOENCODING="utf-8",
            XENRR_RUNTIME_DIR=str(tmp_path / "r"))) as process:
        shown, talk = process.communicate(timeout=110)
    assert process.returncode == 0, talk
    assert re.search(r"^ +12 +11 +8 +6$", shown, re.MULTILINE), talk
    assert re.search(r"^  D0.1 +[\d ]+ \| 2 298 ", shown, re.MULTILINE)
    assert "order: tau" in shown
    assert not [path for path in (tmp_path / "r/lab").iterdir() if path.name != ".lock"]


def test_a_server_that_does_not_start_is_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(CommandError, match="the server did not start"), \
            demo.running_server("pure"):
        pass


def test_a_port_that_was_taken_meanwhile_is_passed_over(monkeypatch):
    with socket.create_server((demo.HOST, 0)) as other:
        taken = other.getsockname()[1]
        free = next(demo.free_ports())
        monkeypatch.setattr(demo, "free_ports", lambda: iter([taken, free]))
        with demo.running_server("pure") as port:
            assert port == free


def test_no_free_port(monkeypatch):
    monkeypatch.setattr(demo, "PORTS", range(1, 2))
    monkeypatch.setattr(demo, "HOST", "192.0.2.1")  # not an address of this machine
    with pytest.raises(CommandError, match="between 1 and 1 is free"):
        next(demo.free_ports())
