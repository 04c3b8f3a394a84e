from __future__ import annotations

import json

import pytest
from peers import ROOT

from xenrr import cli
from xenrr.cli import lab

PAIR = str(ROOT / "examples/lab-pair.toml")
BED = str(ROOT / "examples/lab-4x3.toml")


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("XENRR_RUNTIME_DIR", str(tmp_path / "runtime"))
    return tmp_path / "runtime"


@pytest.mark.parametrize("action", ["up", "run"])
def test_dry_run_prints_every_command_and_makes_nothing(capsys, runtime, action):
    assert cli.main(["lab", action, BED, "--dry-run", "--name", "n"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("ip netns add xrr-n-") for line in shown) == 13
    assert sum("xenrr.lab.switch" in line for line in shown) == 5
    assert not runtime.exists()


def test_a_mistake_in_the_file_is_wrong_usage(capsys, tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text("[[host]]\nguests = 'two'\n")
    assert cli.main(["lab", "up", str(file)]) == 2
    assert capsys.readouterr().err == (
        f"xenrr lab: {file}:2: host 1: guests: expected a whole number from 0 to 200, "
        "found 'two'\n")


def test_no_lab(capsys):
    assert cli.main(["lab", "list"]) == 0
    assert "there is no lab" in capsys.readouterr().err
    assert cli.main(["lab", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"labs": []}
    assert cli.main(["lab", "down"]) == 0
    assert cli.main(["lab", "down", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"down": [], "kept": [], "lost_frames": 0}


@pytest.mark.parametrize(("words", "code"), [
    (["up"], 2), (["fly"], 2), ([], 2), (["--help"], 0), (["run", "--help"], 0)])
def test_usage(words, code):
    with pytest.raises(SystemExit) as ended:
        cli.main(["lab", *words])
    assert ended.value.code == code


@pytest.mark.parametrize("words", [
    ["run", PAIR], ["run", PAIR, "--"], ["exec", "a"], ["up", PAIR, "--", "x"],
    ["list", "--", "x"], ["run", PAIR, "--on", "z", "--", "x"],
    ["up", PAIR, "--name", "a/b"], ["run", PAIR, "--name", "-", "--", "x"]])
def test_wrong_usage(words, capsys, runtime):
    assert cli.main(["lab", *words]) == 2
    assert capsys.readouterr().err.startswith("xenrr lab: ")
    assert not runtime.exists()


def test_a_program_that_is_missing_is_told_before_anything_is_made(
        capsys, monkeypatch, runtime):
    monkeypatch.setattr(lab.bed, "MORE_PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    lab.bed.find_tool.cache_clear()
    try:
        assert cli.main(["lab", "up", PAIR]) == 1
    finally:
        lab.bed.find_tool.cache_clear()
    assert "needs the program ip (Debian: apt install iproute2)" in capsys.readouterr().err
    assert not runtime.exists()
