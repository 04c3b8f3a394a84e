"""One campaign of unlike senders: xenrr and netperf, here, over ssh and placed by dask."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from campaigns import all_gone, wait_until
from peers import accepts, clean_environment, free_port

from xenrr.campaign.launchers.ssh import guest_core_zip
from xenrr.results.campaign import read_campaign

# An sshd that lets anybody in but its own user has to be root's; so has a lab.
pytestmark = [pytest.mark.lab, pytest.mark.peer("netperf", "netserver", "sshd", "ssh", "dask")]
LIMIT_S = 100

TEXT = """\
name = "mixed"
duration = 2
repeats = 1
timeout = 60
scheduler = "{scheduler}"
[target]
machine = "sink"
serve = "{serve}"
port = {port}
[[machine]]
name = "sink"
[[machine]]
name = "own"
[[machine]]
name = "old"
sender = "netperf"
[[machine]]
name = "far"
launcher = "ssh"
address = "127.0.0.1"
account = "root"
python = "{python}"
ssh = {ssh}
[[machine]]
name = "far-old"
launcher = "ssh"
address = "127.0.0.1"
account = "root"
sender = "netperf"
ssh = {ssh}
"""
PLACED = """\
[[machine]]
name = "placed"
launcher = "dask"
[[machine]]
name = "chosen"
launcher = "dask"
worker = "0"
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    """Words for the ssh command that reach an sshd on this machine."""
    folder = tmp_path_factory.mktemp("ssh")
    keygen = shutil.which("ssh-keygen")
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name],
                       check=True)
    port = free_port()
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd does not start without it
    (folder / "config").write_text(f"""\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
""")
    with subprocess.Popen([shutil.which("sshd"), "-D", "-e", "-f", folder / "config"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as server:
        give_up_s = time.monotonic() + 20
        while not accepts(port):
            assert server.poll() is None, server.stderr.read()
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
        yield ["-F", "none", "-p", str(port), "-i", str(folder / "user"), "-o",
               "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known",
               "-o", "LogLevel=ERROR"]
        server.terminate()


@pytest.mark.parametrize("serve", ["xenrr", "netserver"])
def test_six_kinds_of_senders_in_one_table(tmp_path, ssh, cluster, serve):
    mark = uuid.uuid4().hex
    file = tmp_path / "mixed.toml"
    file.write_text(TEXT.format(
        serve=serve, port=free_port(), python=sys.executable, ssh=json.dumps(ssh),
        scheduler=cluster.scheduler) + PLACED)
    before = set(Path("/tmp").glob("xrr-*.zip"))
    done = subprocess.run(
        [sys.executable, "-m", "xenrr", "campaign", "run", str(file)], cwd=tmp_path,
        capture_output=True, encoding="utf-8", timeout=LIMIT_S,
        env=clean_environment(XENRR_TEST=mark, COLUMNS="100", PYTHONIOENCODING="utf-8"))
    assert done.returncode == 0, (done.stdout, done.stderr)
    contents = read_campaign(str(tmp_path / "mixed.xrr"))
    (one,) = contents.complete()
    runs = {run.machine: run for run in contents.runs_of(one)}
    assert set(runs) == {"own", "old", "far", "far-old", "placed", "chosen"}
    for name, part in runs.items():
        assert part.run.transactions > 0
        assert part.run.interims
        assert (part.run.engine == "netperf") == name.endswith("old")
        if not name.endswith("old"):
            run = part.run
            assert run.latency_ns.total == run.transactions
            assert run.in_flight == run.drained
            assert run.target_tally.transactions == run.transactions + run.drained
    # Of a clock over there as much is known as a round trip tells; over netperf's, nothing.
    assert runs["own"].uncertainty_ns == 0
    for name in ("far", "placed", "chosen"):
        assert runs[name].uncertainty_ns > 0
    assert runs["far-old"].uncertainty_ns == -1
    assert "the clock of a machine with netperf over ssh is not known" in done.stdout
    assert all_gone(mark)
    assert wait_until(lambda: not far_processes(ssh) and not cluster.programs())
    assert not set(Path("/tmp").glob("xrr-*.zip")) - before


def far_processes(ssh):
    """Processes that this test's sshd has started for a campaign."""
    port = ssh[ssh.index("-p") + 1]
    found = []
    for word in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            # sshd tells its children where they are connected to.
            environment = Path(f"/proc/{word}/environ").read_bytes().split(b"\0")
            if any(each.startswith(b"SSH_CONNECTION=") and each.endswith(f" {port}".encode())
                   for each in environment):
                found.append(int(word))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_on_the_other_side(tmp_path, ssh, number):
    mark = uuid.uuid4().hex
    file = tmp_path / "mixed.toml"
    file.write_text(TEXT.format(serve="xenrr", port=free_port(), python=sys.executable,
                                ssh=json.dumps(ssh), scheduler="unused:1"))
    with subprocess.Popen(
            [sys.executable, "-m", "xenrr", "campaign", "run", str(file), "--json",
             "--duration", "60"], cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
            env=clean_environment(XENRR_TEST=mark)) as process:
        seen = set()
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "interim":
                seen.add(event["machine"])
            if {"far", "far-old"} <= seen:
                break
        assert len(far_processes(ssh)) >= 2
        process.send_signal(number)
        process.communicate(timeout=LIMIT_S)
    assert all_gone(mark)
    assert wait_until(lambda: not far_processes(ssh)), "something runs on the other side"


def test_a_guest_over_ssh_has_nothing_of_xenrr(tmp_path, ssh):
    """The agent comes out of the zip, and it ends with the connection."""
    from xenrr.campaign.launchers.ssh import BOOT

    core = guest_core_zip()
    with subprocess.Popen(
            [sys.executable, "-I", "-S", "-u", "-c", BOOT], cwd="/", stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"]}) as agent:
        agent.stdin.write(b"%010d" % len(core) + core)
        said, errors = agent.communicate(timeout=LIMIT_S)
    assert (agent.returncode, said, errors) == (0, b"", b"")


def test_a_host_that_refuses_is_one_sentence(tmp_path, ssh):
    file = tmp_path / "refused.toml"
    words = [*ssh, "-o", "IdentitiesOnly=yes", "-i", "/nonexistent"]
    words[words.index("-p") + 1] = "1"
    file.write_text(f"""\
timeout = 20
[target]
address = "127.0.0.1"
[[machine]]
name = "far"
launcher = "ssh"
address = "127.0.0.1"
ssh = {json.dumps(words)}
""")
    done = subprocess.run(
        [sys.executable, "-m", "xenrr", "campaign", "run", str(file)], cwd=tmp_path,
        capture_output=True, text=True, timeout=LIMIT_S, env=clean_environment())
    assert done.returncode == 1
    assert "far: did not come up: its agent ended: ssh: connect to host 127.0.0.1" in (
        done.stderr)
    assert "Traceback" not in done.stderr
