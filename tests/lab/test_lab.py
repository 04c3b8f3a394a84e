"""Labs as root: made, used, taken down, and nothing of them left, however they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lab.labs import Labs, end, inodes_of, processes_of, swept, wait_for
from peers import ROOT

pytestmark = pytest.mark.lab
PAIR = str(ROOT / "examples/lab-pair.toml")
BED = str(ROOT / "examples/lab-4x3.toml")
SLEEP = [sys.executable, "-S", "-c", "import time; print('here', flush=True); time.sleep(99)"]


ECHO = """
import socket
got = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
got.bind(("", 7000)); got.settimeout(20)
print("ready", flush=True)
seen = {{}}
while len(seen) < {count}:
    data, sender = got.recvfrom(99)
    seen[data.decode()] = sender[0]
    got.sendto(data, sender)
print(seen)
"""
SEND = """
import socket
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.settimeout(20); out.connect(("{target}", 7000)); out.send(b"{name}")
assert out.recv(99) == b"{name}"
"""


def test_up_use_down(labs):
    lab = labs.up(PAIR)
    assert (lab["lab"], lab["state"]) == (labs.name, "up")
    assert (lab["mode"], lab["notes"]) == ("root", [])
    assert [machine["name"] for machine in lab["machines"]] == ["a", "b"]
    assert labs.listed() == {labs.name: "up"}
    # Its own address, and the names of all.
    assert "10.94.0.2/16" in labs.inside("b", "ip", "-br", "address", "show", "eth0")
    assert labs.inside("b", "getent", "hosts", "a").split() == ["10.94.0.1", "a"]
    assert "devices" in labs.inside("b", "ls", "/sys")
    assert os.path.exists("/etc/hosts")
    assert "10.94.0.1" not in Path("/etc/hosts").read_text()
    done = labs.call("down", labs.name)
    assert done.stdout == f"{labs.name} is down (up before, 2 machines)\n"
    assert labs.traces() == []
    assert labs.listed() == {}


def test_a_lab_is_named_by_its_file_too(labs):
    labs.up(PAIR)
    labs.call("down", "examples/lab-4x3.toml", code=1)
    labs.call("down", "examples/lab-pair.toml")
    assert labs.listed() == {}


def test_what_is_printed_for_people(labs):
    shown = labs.call("up", BED, "--name", labs.name)
    assert f"lab {labs.name}: 12 machines on 4 hosts, made as root in" in shown.stdout
    assert "emulated" in shown.stdout
    assert "D0.1, D0.2, D0.3, D0.4: line of 100 Mbit/s and 37 µs one way, to a userspace" in (
        shown.stdout)
    assert re.search(r"DU4.2 +D0.4 +DomU +10.94.0.12 ", shown.stdout)
    assert f"xenrr lab down {labs.name}" in shown.stderr
    listed = labs.call("list").stdout
    assert re.search(rf"{labs.name} +up .* root +12 +examples/lab-4x3.toml", listed)
    assert "DU4.2" in labs.call("list", labs.name).stdout


def test_every_machine_reaches_every_other(labs):
    """Through Dom0's userspace switch, the wire's, and another Dom0's."""
    names = [machine["name"] for machine in labs.up(BED)["machines"]]
    program = ECHO.format(count=len(names))
    receiver = labs.start("exec", "--lab", labs.name, "D0.1", "--", sys.executable, "-S", "-c",
                          program)
    try:
        assert receiver.stdout.readline() == "ready\n"
        for name in names:
            labs.inside(name, sys.executable, "-S", "-c", SEND.format(target="D0.1", name=name))
        seen = eval(receiver.communicate(timeout=30)[0])
    finally:
        end(receiver)
    # From its own machine a datagram comes over lo, with the same address.
    assert seen == {name: f"10.94.0.{number}" for number, name in enumerate(names, 1)}


def test_a_quota_and_a_cpu(labs, tmp_path):
    file = tmp_path / "lab-cpu.toml"
    file.write_text("[[host]]\nname = 'a'\ncpu = { quota = 0.5, period = '10ms', pin = [0] }\n"
                    "guests = ['g', { name = 'h', cpu = { quota = 0.2 } }]\n[[host]]\n"
                    "name = 'b'\n")
    lab = labs.up(str(file))
    machines = {machine["name"]: machine for machine in lab["machines"]}
    allowed = "import os; print(os.sched_getaffinity(0))"
    assert labs.inside("g", sys.executable, "-S", "-c", allowed) == "{0}\n"
    assert labs.inside("b", sys.executable, "-S", "-c", allowed) == (
        f"{os.sched_getaffinity(0)}\n")
    if lab["notes"]:  # no cgroup to write to; then it says so, and for whom
        assert len(lab["notes"]) == 2
        assert all(note.startswith("not limited to 0.") for note in lab["notes"])
        return
    assert machines["a"]["cgroup"] == machines["g"]["cgroup"]
    assert machines["b"]["cgroup"] is None
    own = labs.inside("h", "cat", "/proc/self/cgroup")
    assert f"/xrr-{labs.name}-a/xrr-{labs.name}-h/own\n" in own
    folder = os.path.dirname(machines["a"]["cgroup"])
    if os.path.exists(f"{folder}/cpu.cfs_quota_us"):
        assert Path(f"{folder}/cpu.cfs_quota_us").read_text() == "5000\n"
        assert Path(f"{folder}/cpu.cfs_period_us").read_text() == "10000\n"
    else:
        assert Path(f"{folder}/cpu.max").read_text() == "5000 10000\n"


def test_a_cpu_that_is_not_here_is_told(labs, tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text("[[host]]\nname = 'a'\ncpu = { pin = [4000] }\n")
    assert "a is not bound to CPU 4000" in labs.up(str(file))["notes"][0]
    labs.inside("a", "true")


def test_down_ends_what_runs_in_the_lab(labs):
    labs.up(PAIR)
    sleeping = labs.start("exec", "--lab", labs.name, "a", "--", *SLEEP)
    stubborn = labs.start("exec", "--lab", labs.name, "b", "--", "sh", "-c",
                          "trap '' TERM; echo here; while :; do sleep 1; done")
    try:
        assert sleeping.stdout.readline() == stubborn.stdout.readline() == "here\n"
        labs.call("down")
        assert sleeping.wait(10) == -signal.SIGTERM
        assert stubborn.wait(10) == -signal.SIGKILL
    finally:
        end(sleeping)
        end(stubborn)
    assert labs.traces() == []


def test_run_is_its_command(labs):
    done = labs.call("run", "--name", labs.name, "--on", "b", PAIR, "--", "sh", "-c",
                     "ip -br address show eth0; echo talk >&2; exit 7", code=7)
    assert "10.94.0.2/16" in done.stdout
    assert "emulated" not in done.stdout
    assert done.stderr.endswith("talk\n")
    assert labs.traces() == []


def test_run_outside_of_all_machines_reaches_them(labs):
    shown = labs.call("run", "--name", labs.name, PAIR, "--", *labs.words, "exec", "b", "--",
                      "getent", "hosts", "a").stdout
    assert shown.split() == ["10.94.0.1", "a"]
    assert labs.traces() == []


def test_run_of_a_command_that_a_signal_ends(labs):
    labs.call("run", "--name", labs.name, "--on", "b", PAIR, "--", "sh", "-c", "kill -9 $$",
              code=137)
    assert labs.traces() == []


def test_run_of_a_command_that_is_not_there(labs):
    done = labs.call("run", "--name", labs.name, PAIR, "--", "no-such-command", code=1)
    assert "there is no command no-such-command" in done.stderr
    assert labs.traces() == []


@pytest.mark.parametrize(("number", "code"), [
    (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("file", [PAIR, BED])
def test_a_signal_ends_the_command_and_the_lab(labs, number, code, file):
    machine = "b" if file == PAIR else "DU2.1"
    words = SLEEP if number != signal.SIGINT else [
        sys.executable, "-S", "-c",
        "import signal, sys, time\nsignal.signal(2, lambda *_: sys.exit(130))\n"
        "print('here', flush=True); time.sleep(99)"]
    running = labs.start("run", "--name", labs.name, "--on", machine, file, "--", *words)
    try:
        assert running.stdout.readline() == "here\n"
        assert labs.listed() == {labs.name: "running"}
        refused = labs.call("down", labs.name, code=1)
        assert "is running by process" in refused.stderr
        running.send_signal(number)
        assert running.wait(30) == code
    finally:
        end(running)
    assert labs.traces() == []


def test_a_signal_while_it_is_made(labs, tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text("[[host]]\ncount = 40\nguests = 1\n")
    making = labs.start("up", "--name", labs.name, str(file))
    try:
        wait_for(lambda: os.path.exists(f"/run/netns/xrr-{labs.name}-host1"), "a namespace")
        making.send_signal(signal.SIGTERM)
        # It may have been done already; then it stays, as it was asked to.
        if making.wait(60) == 0:
            labs.call("down", labs.name)
        else:
            assert making.returncode == 130
    finally:
        end(making)
    assert labs.traces() == []


def killed(labs, running, keeper=False):
    """Kill a run, and before it what would take its lab down."""
    try:
        assert running.stdout.readline() == "here\n"
        if keeper:
            same = Path(f"/proc/{running.pid}/cmdline").read_bytes()
            (child,) = [number for number in children_of(running.pid)
                        if Path(f"/proc/{number}/cmdline").read_bytes() == same]
            os.kill(child, signal.SIGKILL)
        running.kill()
        running.wait(10)
    finally:
        end(running)


def children_of(pid):
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@pytest.mark.parametrize("file", [PAIR, BED])
def test_a_killed_run_leaves_nothing(labs, file):
    machine = "b" if file == PAIR else "DU2.1"
    running = labs.start("run", "--name", labs.name, "--on", machine, file, "--", *SLEEP)
    killed(labs, running)
    wait_for(lambda: labs.traces() == [], "the keeper to take the lab down")


def test_a_killed_run_without_its_keeper_is_found_and_swept(labs):
    running = labs.start("run", "--name", labs.name, "--on", "b", PAIR, "--", *SLEEP)
    killed(labs, running, keeper=True)
    assert f"/run/netns/xrr-{labs.name}-b" in labs.traces()
    assert labs.listed() == {labs.name: "left over"}
    assert "xenrr lab down removes what is left over" in labs.call("list").stderr
    assert f"{labs.name} is down (left over before" in labs.call("down").stdout
    assert labs.traces() == []


def test_the_next_lab_sweeps_what_a_killed_one_left(labs):
    running = labs.start("run", "--name", labs.name, "--on", "b", PAIR, "--", *SLEEP)
    killed(labs, running, keeper=True)
    assert labs.up(PAIR)["state"] == "up"


def test_switches_end_with_a_killed_run(labs):
    running = labs.start("run", "--name", labs.name, BED, "--", *SLEEP)
    try:
        assert running.stdout.readline() == "here\n"
        switches = [number for number in processes_of(inodes_of(labs.name))
                    if b"switch.py" in Path(f"/proc/{number}/cmdline").read_bytes()]
        assert len(switches) == 5
        running.kill()
        running.wait(10)
    finally:
        end(running)
    wait_for(lambda: not any(os.path.exists(f"/proc/{number}/ns/net") for number in switches),
             "the switches to end")


def test_several_labs_of_one_file(labs, tmp_path):
    """``up`` refuses a name that is taken, ``run`` takes the next."""
    labs.up(PAIR)
    again = labs.call("up", PAIR, "--name", labs.name, code=1)
    assert f"there is a lab {labs.name} already" in again.stderr
    beside = json.loads(labs.call("run", "--name", labs.name, PAIR, "--", *labs.words, "list",
                                  "--json").stdout)["labs"]
    assert {lab["lab"]: lab["state"] for lab in beside} == {
        labs.name: "up", f"{labs.name}-2": "running"}
    ambiguous = labs.call("run", "--name", labs.name, PAIR, "--", "env", "-u", "XENRR_LAB",
                          *labs.words, "exec", "a", "--", "true", code=1)
    assert f"{labs.name}/a, {labs.name}-2/a" in ambiguous.stderr
    # A name in another runtime folder is seen by its namespaces.
    with swept(Labs(tmp_path / "other")) as other:
        other.name = f"{labs.name}"
        assert "already" in other.call("up", PAIR, "--name", labs.name, code=1).stderr
        other.name = "other-name"
    labs.inside("a", "true")


def test_two_made_at_the_same_time(labs):
    both = [labs.start("run", "--name", labs.name, PAIR, "--on", "a", "--", "sh", "-c",
                       "ip -br address show eth0; sleep 1") for _ in range(2)]
    try:
        shown = [one.communicate(timeout=60)[0] for one in both]
        assert [one.returncode for one in both] == [0, 0]
    finally:
        for one in both:
            end(one)
    assert all("10.94.0.1/16" in text for text in shown)
    assert labs.traces() == []


def test_a_command_that_fails_is_told_and_nothing_is_left(labs, tmp_path):
    """Half of the lab is there when ``tc`` fails."""
    fake = tmp_path / "bin" / "tc"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'Error: no such thing.' >&2\n"
                    "echo 'Command failed -:2' >&2\nexit 1\n")
    fake.chmod(0o755)
    labs.environment["PATH"] = f"{fake.parent}:{labs.environment['PATH']}"
    for words in (["up"], ["run"]):
        more = ["--", "true"] if words == ["run"] else []
        done = labs.call(*words, PAIR, "--name", labs.name, *more, code=1)
        assert re.search(rf"tc -n xrr-{labs.name}-wire qdisc add dev p2 root tbf .*: "
                         "Error: no such thing.", done.stderr)
        assert labs.traces() == []


def test_a_switch_that_does_not_start_is_told(labs, tmp_path):
    fake = tmp_path / "bin" / "ip"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n'
                    'case "$1 $2" in "netns exec") echo "no way" >&2; exit 1;; esac\n'
                    'PATH=${PATH#*:}\nexec ip "$@"\n')
    fake.chmod(0o755)
    labs.environment["PATH"] = f"{fake.parent}:{labs.environment['PATH']}"
    done = labs.call("up", BED, "--name", labs.name, code=1)
    assert f"the switch in xrr-{labs.name}-wire did not start: no way" in done.stderr
    assert labs.traces() == []


def test_three_hundred_machines(labs, tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text("[[host]]\nname = 'h'\ncount = 100\nguests = 2\n")
    lab = labs.up(str(file))
    assert len(lab["machines"]) == 300
    assert labs.inside("h100-u2", "getent", "hosts", "h1").split() == ["10.94.0.1", "h1"]
    # More than the kernel's table holds: who is where is known beforehand.
    known = labs.inside("h1", "ip", "neighbour", "show", "nud", "permanent").splitlines()
    assert len(known) == 299
    receiver = labs.start("exec", "--lab", labs.name, "h1", "--", sys.executable, "-S", "-c",
                          ECHO.format(count=2))
    try:
        assert receiver.stdout.readline() == "ready\n"
        for machine in ("h2", "h100-u2"):
            labs.inside(machine, sys.executable, "-S", "-c", SEND.format(
                target="h1", name=machine))
    finally:
        end(receiver)
    labs.call("down")
    assert labs.traces() == []


@pytest.mark.parametrize(("words", "code", "message"), [
    (["exec", "a", "--", "true"], 1, "no lab that is up has a machine a; none is up"),
    (["exec", "x/a", "--", "true"], 1, "there is no lab x up"),
    (["exec", "a"], 2, "exec needs a command after --"),
    (["run", PAIR], 2, "run needs a command after --"),
    (["run", PAIR, "--on", "z", "--", "true"], 2, "has no machine z"),
    (["up", PAIR, "--", "true"], 2, "up takes no command"),
    (["up", "no-such-file.toml"], 1, "No such file"),
    (["down", "x"], 1, "there is no lab x"),
    (["list", "x"], 1, "there is no lab x"),
])
def test_what_cannot_be(labs, words, code, message):
    assert message in labs.call(*words, code=code).stderr


def test_a_machine_that_a_lab_does_not_have(labs):
    labs.up(PAIR)
    done = labs.call("exec", f"{labs.name}/z", "--", "true", code=1)
    assert f"lab {labs.name} has no machine z; it has a, b" in done.stderr


@pytest.mark.parametrize("more", [[], ["--user-namespace"]])
def test_ctrl_c_at_a_terminal_reaches_the_command_once(labs, more):
    """The terminal sends SIGINT to all of them; passing it on would make it two."""
    program = ("import signal, sys, time; seen = []\n"
               "signal.signal(2, lambda *_: seen.append(1)); print('here', flush=True)\n"
               "give_up = time.monotonic() + 60\n"
               "while not seen and time.monotonic() < give_up: time.sleep(0.01)\n"
               "time.sleep(1); print('interrupts:', len(seen), flush=True); sys.exit(9)")
    terminal = ("import os, pty, sys; "
                "sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))")
    with subprocess.Popen(
            [sys.executable, "-c", terminal, *labs.words, "run", "--name", labs.name, *more,
             PAIR, "--", sys.executable, "-S", "-c", program],
            env=labs.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as typing:
        shown = b""
        while b"here" not in shown:
            shown += typing.stdout.read1(1000)
        typing.stdin.write(b"\x03")
        typing.stdin.flush()
        # Not closed before the end: that would be a hang-up.
        while b"interrupts" not in shown:
            shown += typing.stdout.read1(1000)
        shown += typing.communicate(timeout=60)[0]
    assert b"interrupts: 1\r\n" in shown
    assert typing.returncode == 9
    assert labs.traces() == []
