"""The C loop as a shared object: built once, found again, never taken from others."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from xenrr.engine import shared
from xenrr.engine.shared import (
    build_shared,
    cache_directory,
    find_compiler,
    load_shared,
    object_path,
)
from xenrr.errors import EngineUnavailable


@pytest.fixture
def room(tmp_path):
    made = tmp_path / "room"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def fake_cc(tmp_path, monkeypatch):
    """A compiler that does as it is told; gives the file to write its script into."""
    program = tmp_path / "fake-cc"

    def write(script: str) -> Path:
        program.write_text("#!/bin/sh\n" + script)
        program.chmod(0o755)
        monkeypatch.setenv("CC", str(program))
        return program

    return write


@pytest.mark.c_engine
def test_one_compiler_call_and_none_the_second_time(room, tmp_path, monkeypatch):
    (real,) = find_compiler()
    log = tmp_path / "log"
    wrapper = tmp_path / "cc-wrapper"
    wrapper.write_text(f'#!/bin/sh\necho call >>"{log}"\nexec "{real}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("CC", str(wrapper))
    path = build_shared(room)
    assert build_shared(room) == path
    assert log.read_text() == "call\n"
    assert path.parent == room
    assert list(room.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert load_shared(room).loaded_as == "ctypes"


@pytest.mark.c_engine
def test_flags_in_cc_are_used_and_named(room, monkeypatch):
    (real,) = find_compiler()
    plain = build_shared(room)
    monkeypatch.setenv("CC", f"{real} -O0")
    assert build_shared(room) != plain


def test_the_name_tells_sources_machine_and_compiler(tmp_path, fake_cc, monkeypatch):
    compiler = [str(fake_cc("exit 0\n"))]
    names = {object_path(tmp_path, compiler).name}
    assert object_path(tmp_path, compiler).name in names
    names.add(object_path(tmp_path, [*compiler, "-O0"]).name)
    monkeypatch.setattr(shared.platform, "machine", lambda: "ia64")
    names.add(object_path(tmp_path, compiler).name)
    source = shared._source
    monkeypatch.setattr(shared, "_source", lambda name: source(name) + b"\n")
    names.add(object_path(tmp_path, compiler).name)
    fake_cc("exit 0 # another release\n")
    names.add(object_path(tmp_path, compiler).name)
    assert len(names) == 5
    assert all(name.startswith("rr_loop-") and name.endswith(".so") for name in names)


def test_no_compiler_at_all(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="cc, gcc, clang"):
        find_compiler()
    with pytest.raises(EngineUnavailable, match="no C compiler"):
        load_shared(tmp_path)


def test_compilers_are_tried_in_order(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("clang", "gcc", "cc"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert find_compiler() == [str(program)]


def test_a_compiler_that_cc_names_and_is_not_there(monkeypatch):
    monkeypatch.setenv("CC", "xenrr-no-such-compiler -O3")
    with pytest.raises(EngineUnavailable, match=r"xenrr-no-such-compiler, which CC names"):
        find_compiler()


def test_a_compiler_that_fails_is_quoted(room, fake_cc):
    fake_cc("echo rr_loop.c: no such luck >&2\nexit 1\n")
    with pytest.raises(EngineUnavailable, match="no such luck"):
        build_shared(room)
    assert list(room.iterdir()) == []


def test_a_compiler_that_makes_nothing(room, fake_cc):
    fake_cc("exit 0\n")
    with pytest.raises(EngineUnavailable, match="exit code 0"):
        build_shared(room)


def test_a_compiler_that_hangs(room, fake_cc, monkeypatch):
    fake_cc("exec sleep 60\n")
    monkeypatch.setattr(shared, "BUILD_TIMEOUT_S", 0.2)
    with pytest.raises(EngineUnavailable, match="longer than"):
        build_shared(room)
    assert list(room.iterdir()) == []


def test_an_object_that_is_none(room, fake_cc):
    fake_cc('while [ "$1" != -o ]; do shift; done; echo text >"$2"\n')
    with pytest.raises(EngineUnavailable, match="does not load"):
        load_shared(room)


def test_an_object_of_another_user(room, fake_cc, monkeypatch):
    object_path(room, [str(fake_cc("exit 1\n"))]).write_bytes(b"")
    build_shared(room)      # ours: taken as it is
    monkeypatch.setattr(shared.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(EngineUnavailable, match="another user"):
        build_shared(room)


def test_places_that_others_can_write(room, fake_cc):
    path = object_path(room, [str(fake_cc("exit 1\n"))])
    path.write_bytes(b"")
    path.chmod(0o666)
    with pytest.raises(EngineUnavailable, match="other users may write"):
        build_shared(room)
    path.chmod(0o600)
    room.chmod(0o777)
    with pytest.raises(EngineUnavailable, match="other users may write"):
        build_shared(room)


def test_links_are_not_followed(room, fake_cc, tmp_path):
    path = object_path(room, [str(fake_cc("exit 1\n"))])
    (tmp_path / "elsewhere").write_bytes(b"")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineUnavailable, match="is a link"):
        build_shared(room)


def test_the_cache_directory_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = cache_directory()
    assert directory == tmp_path / "cache" / "xenrr"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert cache_directory() == directory
    monkeypatch.setattr(shared.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(EngineUnavailable, match="another user"):
        cache_directory()


def test_the_cache_directory_of_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_directory() == tmp_path / ".cache" / "xenrr"


def test_without_a_cache_directory_a_temporary_one_goes_away(tmp_path):
    """In a process of its own, because it is removed at exit."""
    (tmp_path / "file").write_text("not a directory")
    code = ("from xenrr.engine.shared import cache_directory\n"
            "made = cache_directory()\n"
            "assert made == cache_directory()\n"
            "assert made.stat().st_mode & 0o777 == 0o700\n"
            "print(made)")
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60,
        cwd=Path(shared.__file__).parents[2],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)})
    made = Path(done.stdout.strip())
    assert made.parent == tmp_path
    assert not made.exists()


def test_missing_sources_are_no_crash(room, fake_cc, monkeypatch):
    fake_cc("exit 1\n")
    monkeypatch.setattr(shared, "SOURCES", ("rr_nothing.c",))
    with pytest.raises(EngineUnavailable, match="cannot be built"):
        build_shared(room)
