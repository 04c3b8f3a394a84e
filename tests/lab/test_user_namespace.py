"""Labs without root: by somebody who has no right at all outside their own namespace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from lab.labs import Labs, end, swept, wait_for
from peers import ROOT

pytestmark = pytest.mark.lab
PAIR, BED = "examples/lab-pair.toml", "examples/lab-4x3.toml"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
SLEEP = ["-S", "-c", "import time; print('here', flush=True); time.sleep(99)"]


def a_python_for_everybody() -> str:
    """An interpreter that somebody without rights can start."""
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        # By way of a shell: setpriv itself still has root's rights when it starts a program.
        done = subprocess.run([*NOBODY, "sh", "-c", 'exec "$0" -c "$1"', python,
                               "import ctypes, sys; sys.exit(sys.version_info < (3, 9))"],
                              capture_output=True, cwd="/")
        if done.returncode == 0:
            return python
    raise AssertionError("no Python from 3.9 on can be started by everybody")


@pytest.fixture(params=["nobody", "root"])
def labs(request, tmp_path_factory):
    """Labs of nobody, from a copy of xenrr; and of root with ``--user-namespace``."""
    if request.param == "root":
        folder = tmp_path_factory.mktemp("runtime")
        with swept(Labs(folder / "runtime")) as labs:
            labs.more = ["--user-namespace"]
            yield labs
        return
    # Not below pytest's folder, which is for its owner only.
    folder = Path("/tmp") / f"xrr-test-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        shutil.copytree(ROOT / "xenrr", folder / "xenrr",
                        ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        shutil.copytree(ROOT / "examples", folder / "examples")
        tomli = find_spec("tomli")
        if tomli is not None and tomli.origin is not None:  # Python 3.9 and 3.10
            shutil.copytree(Path(tomli.origin).parent, folder / "tomli")
        runtime = folder / "runtime"
        runtime.mkdir()
        os.chown(runtime, 65534, 65534)
        with swept(Labs(runtime, NOBODY, [a_python_for_everybody(), "-B"])) as labs:
            labs.cwd = str(folder)
            yield labs
    finally:
        shutil.rmtree(folder)


def outside():
    """Namespaces that anybody on this machine can see."""
    return set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()


def test_up_use_down(labs):
    lab = labs.up(PAIR, *labs.more)
    assert (lab["state"], lab["mode"], lab["notes"]) == ("up", "user", [])
    assert labs.listed() == {labs.name: "up"}
    assert not any(name.startswith(f"xrr-{labs.name}") for name in outside())
    assert "10.94.0.2/16" in labs.inside("b", "ip", "-br", "address", "show", "eth0")
    assert labs.inside("b", "getent", "hosts", "a").split() == ["10.94.0.1", "a"]
    assert labs.inside("b", "pwd") == f"{labs.cwd}\n"
    labs.call("down")
    assert not os.path.exists(f"/proc/{lab['holder']}/ns/net")
    assert labs.listed() == {}


def test_run_through_switches(labs):
    """Every cable of the big example, between two guests."""
    receive = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
               "s.bind(('', 7000)); s.settimeout(30); data, who = s.recvfrom(9); "
               "s.sendto(data, who)")
    send = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
            "s.settimeout(1); s.connect(('DU1.1', 7000))\n"
            "for _ in range(20):\n try: s.send(b'there'); print(s.recv(9)); break\n"
            " except OSError: pass")
    command = " ".join(labs.inner)
    done = labs.call("run", "--name", labs.name, *labs.more, BED, "--", "sh", "-c",
                     f"{command} exec DU1.1 -- {labs.python} -c \"{receive}\" & "
                     f"{command} exec DU4.2 -- {labs.python} -c \"{send}\"; wait; exit 5",
                     code=5)
    assert done.stdout == "b'there'\n"
    assert "without root, in a user namespace" in done.stderr
    assert "a user namespace cannot set quotas" in " ".join(done.stderr.split())
    assert labs.traces() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_and_the_lab(labs, number):
    running = labs.start("run", "--name", labs.name, *labs.more, "--on", "b", PAIR, "--",
                         labs.python, *SLEEP)
    try:
        assert running.stdout.readline() == "here\n"
        running.send_signal(number)
        running.communicate(timeout=30)
        assert running.returncode == 128 + number
    finally:
        end(running)
    assert labs.traces() == []


def test_all_of_a_killed_run_ends_with_it(labs):
    running = labs.start("run", "--name", labs.name, *labs.more, "--on", "b", PAIR, "--",
                         labs.python, *SLEEP)
    try:
        assert running.stdout.readline() == "here\n"
        running.kill()
        running.wait(10)
    finally:
        end(running)
    wait_for(lambda: labs.listed() == {labs.name: "left over"}, "the lab to end")
    assert f"{labs.name} is down (left over before" in labs.call("down").stdout
    assert labs.traces() == []


def test_a_killed_holder_is_a_leftover(labs):
    lab = labs.up(PAIR, *labs.more)
    os.kill(lab["holder"], signal.SIGKILL)
    wait_for(lambda: labs.listed() == {labs.name: "left over"}, "the lab to end")
    assert "left over before" in labs.call("down").stdout


def test_what_fails_inside_is_told_outside(labs, tmp_path):
    fake = Path(labs.folder, "tc")
    labs.folder.mkdir(exist_ok=True)
    fake.write_text("#!/bin/sh\necho 'Error: no such thing.' >&2\nexit 1\n")
    fake.chmod(0o755)
    labs.environment["PATH"] = f"{fake.parent}:{labs.environment['PATH']}"
    for words, more in ((["up"], []), (["run"], ["--", "true"])):
        done = labs.call(*words, *labs.more, PAIR, "--name", labs.name, *more, code=1)
        assert "Error: no such thing." in done.stderr
        assert labs.listed() == {}
    fake.unlink()
