from __future__ import annotations

import pytest

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
