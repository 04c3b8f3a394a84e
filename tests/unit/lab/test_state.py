from __future__ import annotations

import json
import os

import pytest

from xenrr.errors import LabError, SpecError
from xenrr.lab import bed
from xenrr.lab.document import parse_document
from xenrr.lab.plan import plan_lab
from xenrr.lab.spec import make_lab
from xenrr.lab.state import Runtime, runtime_folder

SPEC = make_lab(parse_document("[[host]]\nname = 'a'\n[[host]]\nname = 'b'\n", "lab.toml"))


@pytest.fixture
def runtime(tmp_path):
    return Runtime(tmp_path)


def recorded(lab="x", kind="up", mode="root"):
    return bed.make_record(SPEC, plan_lab(SPEC, lab), kind, mode, os.getpid())


def test_a_record_has_every_name_before_there_is_anything(runtime):
    with runtime.locked():
        entry = runtime.reserve(recorded())
    found = runtime.find("x")
    assert found.record == entry.record
    assert found.record.namespaces == ["xrr-x-wire", "xrr-x-a", "xrr-x-b"]
    assert found.record.machines["b"] == {"host": "b", "domain": "Dom0",
                                          "address": "10.94.0.2", "namespace": "xrr-x-b"}
    assert found.record.file == os.path.abspath("lab.toml")
    entry.release()


def test_a_name_is_given_once(runtime):
    entry = runtime.reserve(recorded())
    with pytest.raises(LabError, match="there is a lab x already"):
        runtime.reserve(recorded())
    entry.remove()
    runtime.reserve(recorded()).remove()
    assert runtime.entries() == []


@pytest.mark.parametrize(("kind", "mode", "ready", "held", "state"), [
    ("up", "root", True, False, "up"),
    ("up", "root", False, True, "being made"),
    ("up", "root", False, False, "left over"),
    ("up", "user", True, True, "up"),
    ("up", "user", True, False, "left over"),
    ("run", "root", True, True, "running"),
    ("run", "root", True, False, "left over"),
    ("run", "user", True, False, "left over"),
    ("run", "user", False, True, "being made"),
])
def test_what_a_lab_is(runtime, kind, mode, ready, held, state):
    entry = runtime.reserve(recorded(kind=kind, mode=mode))
    entry.record.ready = ready
    entry.save()
    if not held:
        entry.release()
    # As another process sees it, and as the one that holds it.
    assert runtime.find("x").state() == state
    assert entry.state() == state
    entry.release()


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"schema": 99}',
                                  '{"schema": 1, "lab": "x"}'])
def test_a_damaged_record_is_told(runtime, text):
    runtime.reserve(recorded()).release()
    file = runtime.folder / "x" / "record.json"
    file.write_text(text)
    with pytest.raises(SpecError, match="damaged or from another xenrr") as told:
        runtime.entries()
    assert told.value.file == str(file)


def test_a_folder_that_is_just_being_made_is_no_lab_yet(runtime):
    (runtime.folder / "y").mkdir()
    (runtime.folder / ".x.1234").mkdir()
    (runtime.folder / "file").touch()
    assert runtime.entries() == []


def test_a_machine_is_found_by_its_name(runtime):
    for lab in ("x", "y"):
        entry = runtime.reserve(recorded(lab))
        entry.record.ready = True
        entry.save()
        entry.release()
    assert bed.find_machine(runtime, "x/a")[0].record.lab == "x"
    assert bed.find_machine(runtime, "a", "y")[0].record.lab == "y"
    with pytest.raises(LabError, match="more than one lab has a machine a: x/a, y/a"):
        bed.find_machine(runtime, "a")
    with pytest.raises(LabError, match="has a machine c; up: x, y"):
        bed.find_machine(runtime, "c")
    with pytest.raises(LabError, match="there is no lab z up"):
        bed.find_machine(runtime, "z/a")


def test_the_words_that_enter_a_machine(runtime):
    record = recorded()
    record.pins["b"] = [0, 2]
    record.groups["b"] = "/groups/xrr-x-b/own"
    entry = runtime.reserve(record)
    words = bed.enter_words(entry, "b", ["netperf", "-H", "a b"])
    entry.release()
    text = " ".join(words)
    assert words[-3:] == ["netperf", "-H", "a b"]
    # Into the cgroup first: inside, /sys shows none.
    assert text.index("/groups/xrr-x-b/own") < text.index("taskset -c 0,2") < text.index(
        "netns exec xrr-x-b") < text.index(f"{runtime.folder}/x/hosts")
    record.user_namespace = "user:[1]"
    with pytest.raises(LabError, match="in another user namespace"):
        bed.enter_words(entry, "b", ["true"])
    record.mode, record.holder = "user", 1234
    assert bed.enter_words(entry, "b", ["true"])[1:8] == [
        "-t", "1234", "-U", "--preserve-credentials", "-m", "-n", "-p"]


def test_runtime_folder_of_this_user_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XENRR_RUNTIME_DIR", str(tmp_path / "mine"))
    assert runtime_folder() == tmp_path / "mine" / "lab"
    (tmp_path / "mine").chmod(0o777)
    with pytest.raises(LabError, match="no folder that only this user can write to"):
        runtime_folder()
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv("XENRR_RUNTIME_DIR", str(tmp_path / "link"))
    with pytest.raises(LabError, match="no folder that only this user can write to"):
        runtime_folder()


def test_a_record_is_never_half_written(runtime):
    entry = runtime.reserve(recorded())
    entry.record.notes.append("a note")
    entry.save()
    assert sorted(path.name for path in entry.folder.iterdir()) == ["lock", "record.json"]
    assert json.loads((entry.folder / "record.json").read_text())["notes"] == ["a note"]
    entry.release()
