"""The command: what it prints, how it ends, and what is left when it is killed."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import uuid

import pytest
from campaigns import all_gone
from peers import clean_environment, read_all
from rich.console import Console

from xenrr.campaign.plan import plan_campaign
from xenrr.campaign.spec import make_campaign
from xenrr.cli.campaign_view import View
from xenrr.cli.screen import Screen
from xenrr.lab.document import parse_document
from xenrr.results.campaign import read_campaign

TEXT = """\
name = "few"
duration = 1
repeats = 2
interim = 0.1
engine = "pure"
[target]
machine = "sink"
[[machine]]
name = "sink"
[[machine]]
name = "s"
count = 2
"""
LIMIT_S = 60


class Command:
    """The command in a folder of its own; its processes carry a mark."""

    def __init__(self, folder):
        self.folder = folder
        self.mark = uuid.uuid4().hex
        (folder / "few.toml").write_text(TEXT)

    def start(self, *words):
        return subprocess.Popen(
            [sys.executable, "-m", "xenrr", "campaign", *words], cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", env=clean_environment(XENRR_TEST=self.mark, COLUMNS="100",
                                                    PYTHONIOENCODING="utf-8"))

    def call(self, *words, code=0):
        with self.start(*words) as process:
            shown, talk = process.communicate(timeout=LIMIT_S)
        assert process.returncode == code, (shown, talk)
        assert "Traceback" not in talk
        assert all_gone(self.mark)
        return shown, talk


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path)


def until(process, kind):
    """Read events up to the first of a kind."""
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == kind:
            return event
    raise AssertionError(f"ended before {kind}: {process.stderr.read()}")


def test_plain_lines_a_table_and_a_file(command):
    shown, talk = command.call("run", "few.toml")
    assert "few: all, repeat 1 (round 1 of 2)" in talk
    assert re.search(r"/s in all, skew [\d.]+ .s, window [01]\.\d\d s", talk)
    assert "All of it is in few.xrr" in talk
    assert re.search(r"^  s1 +[\d ]+ ±\d+%$", shown, re.MULTILINE)
    assert re.search(r"^  total +[\d ]+$", shown, re.MULTILINE)
    assert "\x1b" not in shown + talk
    again, _ = command.call("table", "few.xrr")
    assert again == shown
    plain = json.loads(command.call("table", "few.xrr", "--json")[0])
    assert [column["experiment"] for column in plain["columns"]] == ["all"]


def test_other_commands_say_what_the_file_is(command):
    command.call("run", "few.toml", "--repeats", "1")
    with subprocess.Popen([sys.executable, "-m", "xenrr", "show", "few.xrr"],
                          cwd=command.folder, stderr=subprocess.PIPE, text=True,
                          env=clean_environment()) as process:
        _, talk = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "holds a campaign; xenrr campaign table shows it" in talk


def test_a_terminal_gets_one_table_that_is_drawn_over(command):
    master, slave = pty.openpty()
    environment = clean_environment(TERM="xterm", COLUMNS="80", LINES="24", NO_COLOR="1",
                                    PYTHONIOENCODING="utf-8")
    with subprocess.Popen([sys.executable, "-m", "xenrr", "campaign", "run", "few.toml",
                           "--duration", "1.5"], cwd=command.folder, stdin=slave, stdout=slave,
                          stderr=slave, env=environment) as process:
        os.close(slave)
        raw = read_all(master)
    os.close(master)
    assert process.returncode == 0, raw
    assert "few: all, repeat 2 (round 2 of 2)" in raw
    for name in ("s1", "s2"):
        assert re.search(rf"{name} +\d\.\d s +[\d ]+", raw), raw
    assert "all|2: " in raw  # a line for each round stays above the table
    assert "\x1b[" in raw


def test_more_senders_than_lines(monkeypatch):
    """What is wrong is shown first, and the last row is of all of them."""
    spec = make_campaign(parse_document(
        '[target]\nmachine = "t"\n[[machine]]\nname = "t"\n[[machine]]\nname = "s"\n'
        "count = 30\n", "c.toml"))
    view = View(Screen(), spec, plan_campaign(spec))
    senders = [f"s{number}" for number in range(1, 31)]
    view.tell({"event": "round", "round": 1, "of": 1, "key": "all|1", "experiment": "all",
               "cell": "", "repeat": 1, "attempt": 1, "senders": senders})
    view.tell({"event": "ready", "machine": "s1"})
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(view._table(12))
    shown = console.export_text().splitlines()
    assert len(shown) <= 11
    assert "1 of 30 ready" in shown[-1]
    for sender in senders[:-1]:
        view.tell({"event": "interim", "machine": sender, "end_s": 1.0, "rate_tps": 100.0,
                   "p99_ns": 0})
    view.tell({"event": "failed", "machine": "s30", "text": "its agent ended"})
    console.print(view._table(12))
    shown = console.export_text().splitlines()
    assert "s30" in shown[2] and "its agent ended" in shown[2]
    assert re.search(r"^all +23 not shown +2 900", shown[-1])


def test_events_as_json(command):
    shown, _ = command.call("run", "few.toml", "--json", "--repeats", "1", "--save", "x.xrr")
    events = [json.loads(line) for line in shown.splitlines()]
    kinds = [event["event"] for event in events if event["event"] != "interim"]
    assert kinds == ["round", "target", "ready", "ready", "go", "record", "record",
                     "round over", "end", "table"]


def test_results_are_added_to_on_purpose_only(command):
    command.call("run", "few.toml", "--repeats", "1")
    _, talk = command.call("run", "few.toml", "--repeats", "1", code=2)
    assert "--resume measures what is missing" in talk
    _, talk = command.call("run", "few.toml", "--resume", code=2)
    assert "holds another campaign" in talk  # two repeats now
    _, talk = command.call("run", "few.toml", "--repeats", "1", "--resume")
    assert "0 are missing" in talk


def test_killed_and_resumed(command):
    with command.start("run", "few.toml", "--json", "--duration", "1") as process:
        until(process, "round over")
        until(process, "interim")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=LIMIT_S)
    assert all_gone(command.mark)
    path = command.folder / "few.xrr"
    assert read_campaign(str(path)).missing() == ["all|2"]
    # As if it had been in the middle of writing, too.
    with path.open("ab") as file:
        file.write(b"\x93\xa8campaign")
    shown, talk = command.call("run", "few.toml", "--resume", "--duration", "1", "--json")
    assert "what was whole is kept" in talk
    rounds = [json.loads(line)["key"] for line in shown.splitlines()
              if json.loads(line)["event"] == "round"]
    assert rounds == ["all|2"]
    assert read_campaign(str(path)).missing() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(command, number):
    with command.start("run", "few.toml", "--json", "--duration", "30") as process:
        # Whoever is stopped before its first request has no run.
        begun = set()
        while len(begun) < 2:
            begun.add(until(process, "interim")["machine"])
        process.send_signal(number)
        shown, talk = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk
    assert all_gone(command.mark)
    assert json.loads(shown.splitlines()[-1])["event"] == "table"
    contents = read_campaign(str(command.folder / "few.xrr"))
    assert [run.run.ended for run in contents.runs] == ["stopped", "stopped"]


@pytest.mark.parametrize(("words", "said"), [
    (["run", "nowhere.toml"], "No such file"), (["table", "few.toml"], "no xrr file"),
    (["run", "few.toml", "--repeats", "0"], "repeats: from 1"),
    (["run", "few.toml", "--duration", "0"], "above 0")])
def test_what_cannot_be_done_is_one_sentence(command, words, said):
    with command.start(*words) as process:
        _, talk = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (1, 2)
    assert said in talk
    assert "Traceback" not in talk
    assert os.listdir(command.folder) == ["few.toml"]


def test_nothing_is_kept_when_asked(command):
    shown, talk = command.call("run", "few.toml", "--discard", "--repeats", "1")
    assert "total" in shown
    assert ".xrr" not in talk
    assert os.listdir(command.folder) == ["few.toml"]
    _, talk = command.call("run", "few.toml", "--discard", "--resume", code=2)
    assert "--resume needs a file" in talk
