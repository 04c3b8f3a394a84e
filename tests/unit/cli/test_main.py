from __future__ import annotations

import os
import subprocess
import sys

import pytest
from peers import ROOT, clean_environment

from xenrr import __main__ as program
from xenrr import cli
from xenrr.errors import CommandError, ConnectionLost, RemoteProtocolError, SpecError


class Failing:
    """Fails as it is told."""

    name = "fail"

    def __init__(self, error):
        self.error = error

    def prepare_parser(self, parser):
        pass

    def run(self, args):
        raise self.error


@pytest.mark.parametrize(("error", "exit_code"), [
    (ConnectionLost("gone"), 1), (OSError("broken"), 1), (SpecError("nonsense"), 2),
    (RemoteProtocolError("garbage"), 3), (CommandError("so be it", 7), 7),
])
def test_an_error_is_one_sentence_and_an_exit_code(monkeypatch, capsys, error, exit_code):
    monkeypatch.setattr(cli, "COMMANDS", (Failing(error),))
    assert cli.main(["fail"]) == exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"xenrr fail: {error}\n"


def test_interrupted(monkeypatch):
    monkeypatch.setattr(cli, "COMMANDS", (Failing(KeyboardInterrupt()),))
    assert cli.main(["fail"]) == 130


class Interrupted:
    """Somebody presses Ctrl-C while a module is looked for."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "xenrr.cli":
            raise KeyboardInterrupt


def test_interrupted_before_there_is_anything_to_interrupt(monkeypatch, capfd):
    monkeypatch.delitem(sys.modules, "xenrr.cli")
    monkeypatch.delattr("xenrr.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    assert program.main() == 130
    assert capfd.readouterr() == ("", "")


def test_an_unknown_command_says_what_was_meant(capsys):
    assert cli.main(["dmeo"]) == 2
    assert capsys.readouterr().err == "xenrr: no command 'dmeo'; did you mean demo?\n"
    assert cli.main(["fly"]) == 2
    assert capsys.readouterr().err == (
        f"xenrr: no command 'fly'; there is {', '.join(c.name for c in cli.COMMANDS)}\n")


def test_without_a_command_there_is_help(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(command.name in shown for command in cli.COMMANDS)


@pytest.mark.parametrize("words", [["demo", "--duration", "0"], ["demo", "--engine", "warm"],
                                   ["demo", "extra"], ["--nonsense"]])
def test_wrong_usage(words):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2


@pytest.mark.parametrize(("words", "complaint"), [
    ("demo --duration 0",
     "xenrr demo: error: argument --duration: has to be above 0 and at most an hour, got 0"),
    ("demo --duration -1",
     "xenrr demo: error: argument --duration: has to be above 0 and at most an hour, got -1"),
    ("demo --duration long",
     "xenrr demo: error: argument --duration: 'long' is not a time; try 10, 10s or 1m30s"),
    ("campaign run file --duration 90000", "xenrr campaign run: error: argument --duration: "
     "has to be above 0 and at most a day, got 90000"),
    ("campaign run file --max-skew x", "xenrr campaign run: error: argument --max-skew: 'x' is "
     "not a time; try 10, 10s or 1m30s"),
])
def test_a_time_that_cannot_be_is_told_with_its_option(capsys, words, complaint):
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == complaint


class Echoing:
    """Prints what it got."""

    name = "echo"
    takes_command = True

    def prepare_parser(self, parser):
        parser.add_argument("word", nargs="?")

    def run(self, args):
        print(args.word, args.after_dashes)
        return 0


@pytest.mark.parametrize(("words", "shown"), [
    (["echo"], "None None"), (["echo", "a"], "a None"), (["echo", "--"], "None []"),
    (["echo", "a", "--", "b", "--", "-c"], "a ['b', '--', '-c']"),
])
def test_what_follows_two_dashes_is_the_commands(monkeypatch, capsys, words, shown):
    monkeypatch.setattr(cli, "COMMANDS", (Echoing(),))
    assert cli.main(words) == 0
    assert capsys.readouterr().out == f"{shown}\n"


def test_two_dashes_are_argparses_elsewhere(monkeypatch):
    monkeypatch.setattr(cli, "COMMANDS", (Failing(ConnectionLost("never")),))
    with pytest.raises(SystemExit) as ended:
        cli.main(["fail", "--", "x"])
    assert ended.value.code == 2


@pytest.mark.parametrize(("words", "complaint"), [
    ("run there --spni",
     "xenrr run: error: unrecognized arguments: --spni (did you mean --spin?)"),
    ("run there --flwos=3 x",
     "xenrr run: error: unrecognized arguments: --flwos=3 x (did you mean --flows?)"),
    ("run there then", "xenrr run: error: unrecognized arguments: then"),
    ("campaign run file --dyr-run",
     "xenrr campaign run: error: unrecognized arguments: --dyr-run (did you mean --dry-run?)"),
    ("--nonsense run there", "xenrr: error: unrecognized arguments: --nonsense"),
])
def test_an_unknown_option_is_one_of_its_command(capsys, words, complaint):
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == complaint


@pytest.mark.parametrize(("words", "complaint"), [
    ("--flows -1", "xenrr run: the number of flows has to lie between 1 and 65536, got -1"),
    ("--rate -5", "xenrr run: error: argument --rate: '-5' is not a rate above 0"),
    ("--repeat -2", "xenrr run: --repeat: from 1 to 1000, got -2"),
])
def test_a_number_below_0_is_told_as_what_it_is(capsys, words, complaint):
    try:
        code = cli.main(["run", "there", "-4", *words.split()])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert capsys.readouterr().err.splitlines()[-1] == complaint


def errors_with_output_to(descriptor: int) -> str:
    """What a command complains of that fails with code 1 for where its output goes."""
    done = subprocess.run(
        [sys.executable, "-m", "xenrr", "campaign", "run", "examples/table1-lab.toml",
         "--dry-run"], cwd=ROOT, stdout=descriptor, stderr=subprocess.PIPE, text=True,
        timeout=60, env=clean_environment(PYTHONUNBUFFERED=""))
    assert done.returncode == 1
    return done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk here")
def test_a_full_disk_behind_standard_output_is_said():
    with open("/dev/full", "w") as full:
        assert errors_with_output_to(full.fileno()) == (
            "xenrr campaign: standard output: No space left on device\n")


def test_who_stops_reading_is_told_nothing():
    theirs, ours = os.pipe()
    os.close(theirs)
    try:
        assert errors_with_output_to(ours) == ""
    finally:
        os.close(ours)
