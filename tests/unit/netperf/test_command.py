from __future__ import annotations

import errno
import subprocess
import sys

import pytest
from peers import clean_environment, running_xenrr_server

from xenrr.errors import SpecError
from xenrr.netperf import command


class Refusing:
    """A stdout that fails in a given way."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def write(self, text: str) -> None:
        raise self.error

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("program", [command.client_command, command.server_command])
def test_version_and_mistakes(program, capsys):
    assert program(["-V"]) == 0
    assert capsys.readouterr() == ("Netperf version 2.7.0\n", "")
    assert program(["--foo"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "unrecognized option" in err


@pytest.mark.parametrize(("error", "code", "text"), [
    (SpecError("the size is 0"), 1, "netperf: the size is 0\n"),
    (OSError(errno.EMFILE, "Too many open files"), 1, "netperf: Too many open files\n"),
    (OSError("timed out"), 1, "netperf: timed out\n"),
    (MemoryError(), 255, "netperf: there is not enough memory for messages of that size\n"),
])
def test_errors_become_a_sentence(monkeypatch, capsys, error, code, text):
    def fail(args):
        raise error

    monkeypatch.setattr(command, "_client", fail)
    assert command.client_command([]) == code
    assert capsys.readouterr() == ("", text)


def test_a_full_disk_is_said(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Refusing(OSError(errno.ENOSPC, "No space left")))
    assert command.client_command(["-V"]) == 1
    assert capsys.readouterr().err == "netperf: standard output: No space left\n"


@pytest.mark.parametrize("words", [("--json",), ("-D", "0.02")], ids=" ".join)
def test_a_full_disk_in_the_middle_of_a_test_is_no_error_of_the_network(words):
    with running_xenrr_server() as server, open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "xenrr.client", "-H", "127.0.0.1", "-p", str(server.port),
             "-t", "TCP_RR", "-P", "0", "-l", "0.1", *words], stdout=full,
            stderr=subprocess.PIPE, text=True, timeout=30, env=clean_environment(), check=False)
    assert done.returncode == 1
    assert done.stderr == "netperf: standard output: No space left on device\n"


def test_a_program_without_streams_runs(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert command.client_command(["-V"]) == 0
    assert command.client_command(["--foo"]) == 1
