from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from glob import iglob
from pathlib import Path

import pytest
from peers import ROOT, accepts, free_port

from xenrr import cli
from xenrr.cli.shims import LONGEST_FIRST_LINE, MARK, needs_shell, shim_text

NAMES = ("netperf", "netserver")
# What the full install has and a command that prints its version must not wait for.
HEAVY = ("numpy", "uvloop", "msgpack", "rich", "argparse", "xenrr.cli")


def install(folder: Path, *words: str) -> int:
    return cli.main(["install-shims", str(folder), *words])


def clean_path() -> dict[str, str]:
    """An environment that does not help a shim to find xenrr."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(program: Path | str, *words: str, **others) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *words], capture_output=True, text=True, timeout=60,
                          env=clean_path(), cwd="/", **others)


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


@pytest.fixture(params=["plain", "with blanks"])
def folder(request, tmp_path) -> Path:
    made = tmp_path / request.param / "bin"
    assert install(made) == 0
    return made


def test_both_commands_work_from_anywhere(folder):
    for name in NAMES:
        done = run(folder / name, "-V")
        assert (done.returncode, done.stderr) == (0, "")
        assert "version 2.7.0" in done.stdout


def test_says_what_it_wrote_and_how_to_use_it(tmp_path, capsys):
    folder = tmp_path / "two words"
    assert install(folder) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [str(folder / name) for name in NAMES]
    assert shown.err.splitlines()[-1] == f"export PATH={shlex.quote(str(folder))}:$PATH"


def test_json(tmp_path, capsys):
    assert install(tmp_path, "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"shims": [str(tmp_path / name) for name in NAMES]}
    assert shown.err == ""


def test_nothing_to_say_about_a_path_that_is_set(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert install(tmp_path) == 0
    assert capsys.readouterr().err == ""


def test_a_second_time_replaces_the_first(tmp_path):
    assert install(tmp_path) == 0
    (tmp_path / "netperf").write_text(f"#!/bin/false\n{MARK}\n")
    assert install(tmp_path) == 0
    assert run(tmp_path / "netperf", "-V").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def make_file(path):
    path.write_bytes(b"\x7fELF and so on")


def make_link(path):
    path.symlink_to("/bin/true")


def make_dangling_link(path):
    path.symlink_to("/nowhere")


@pytest.mark.parametrize("make", [make_file, make_link, make_dangling_link])
def test_a_foreign_program_is_left_alone(tmp_path, capsys, make):
    foreign = tmp_path / "netserver"
    make(foreign)
    assert install(tmp_path) == 1
    message = capsys.readouterr().err
    assert str(foreign) in message
    assert "--force" in message
    assert [path.name for path in tmp_path.iterdir()] == ["netserver"]
    assert install(tmp_path, "--force") == 0
    assert not foreign.is_symlink()
    assert run(foreign, "-V").returncode == 0


def test_a_folder_in_the_way_stays(tmp_path, capsys):
    (tmp_path / "netperf").mkdir()
    assert install(tmp_path, "--force") == 1
    assert "is a folder" in capsys.readouterr().err


def test_a_file_in_place_of_the_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert install(tmp_path / "file") == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("place", ["/usr/bin/python3", "/opt/a b/python",
                                   f"/{'x' * LONGEST_FIRST_LINE}/python"])
def test_the_kernel_reads_the_first_line_or_a_shell_does(place):
    assert needs_shell(place) is (place != "/usr/bin/python3")
    first = shim_text("netperf", place).splitlines()[0]
    assert len(first) <= LONGEST_FIRST_LINE
    assert first == ("#!/bin/sh" if needs_shell(place) else f"#!{place}")


@pytest.mark.parametrize("name", ["a b", "it's", 'say "so"', "x" * 150])
def test_a_python_whose_path_does_not_fit(tmp_path, name):
    python = tmp_path / name / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    shim = tmp_path / "netperf"
    shim.write_text(shim_text("netperf", str(python)))
    shim.chmod(0o755)
    done = run(shim, "-V")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Netperf version 2.7.0\n", "")


def test_its_own_folder_is_not_searched_for_modules(tmp_path):
    assert install(tmp_path) == 0
    for module in ("xenrr", "signal", "socket"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('the wrong module')\n")
    assert run(tmp_path / "netperf", "-V").returncode == 0


def test_a_copied_tree_is_used_where_it_lies(tmp_path):
    tree = tmp_path / "a tree"
    shutil.copytree(ROOT / "xenrr", tree / "xenrr",
                    ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, "-m", "xenrr", "install-shims", str(tmp_path)],
                          cwd=tree, env=clean_path(), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    # Python's own path would find the installed one first.
    assert f"sys.path[0] = {str(tree)!r}" in (tmp_path / "netperf").read_text()
    assert run(tmp_path / "netperf", "-V").returncode == 0


def test_the_version_waits_for_nothing_heavy(folder):
    done = subprocess.run([folder / "netperf", "-V"], capture_output=True, text=True,
                          timeout=60, env={**clean_path(), "PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "xenrr.client" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("long_path", [False, True])
def test_processes_have_the_names_that_scripts_look_for(tmp_path, long_path):
    """Also the server that has gone into the background, and the client of a shell."""
    python = Path(sys.executable)
    if long_path:
        python = tmp_path / "with a blank" / "python"
        python.parent.mkdir()
        python.symlink_to(sys.executable)
    for name in NAMES:
        (tmp_path / name).write_text(shim_text(name, str(python)))
        (tmp_path / name).chmod(0o755)
    port = free_port()
    started = run(tmp_path / "netserver", "-4", "-L", "127.0.0.1", "-p", str(port))
    assert started.returncode == 0, started.stderr
    server = pid_of_listener(port)
    try:
        assert name_of(server) == "netserver"
        with subprocess.Popen(
                [tmp_path / "netperf", "-H", "127.0.0.1", "-p", str(port), "-t", "TCP_RR", "-l",
                 "30", "-P", "0", "-v", "0", "-D", "-0.2"], env=clean_path(),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            # The first of a busy machine may tell of nothing yet.
            lines = iter(client.stdout.readline, "")
            assert any(float(line.removeprefix("Interim result:").split()[0]) > 0
                       for line in lines)
            assert name_of(client.pid) == "netperf"
            client.send_signal(signal.SIGALRM)
            output, errors = client.communicate(timeout=20)
        assert (client.returncode, errors) == (0, "")
        assert float(output.splitlines()[-1]) > 0
    finally:
        os.kill(server, signal.SIGTERM)
    give_up_s = time.monotonic() + 10
    while accepts(port) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    assert not accepts(port)


def pid_of_listener(port: int) -> int:
    """Process that listens on a port of 127.0.0.1, from /proc."""
    wanted = f"0100007F:{port:04X}"
    give_up_s = time.monotonic() + 10
    while time.monotonic() < give_up_s:
        inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
                  if line.split()[1] == wanted and line.split()[3] == "0A"}
        for link in iglob("/proc/[0-9]*/fd/*"):  # Path.glob fails if a process ends meanwhile
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target[len("socket:["):-1] in inodes:
                return int(link.split("/")[2])
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")
