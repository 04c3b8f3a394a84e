"""Machines of a campaign that are workers of a dask cluster of the test's own."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import uuid

import pytest
from campaigns import all_gone, wait_until
from dask_cluster import running_cluster
from peers import clean_environment, free_port

from xenrr.results.campaign import read_campaign

pytestmark = pytest.mark.peer("dask")
LIMIT_S = 100
TEXT = """\
name = "placed"
duration = 1
timeout = 30
scheduler = "{scheduler}"
[target]
machine = "sink"
[[machine]]
name = "sink"
[[machine]]
name = "here"
[[machine]]
name = "there"
launcher = "dask"
[[machine]]
name = "chosen"
launcher = "dask"
worker = "{worker}"
"""


def start(tmp_path, text, mark, *words):
    file = tmp_path / "placed.toml"
    file.write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", "xenrr", "campaign", "run", str(file), *words], cwd=tmp_path,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8", env=clean_environment(XENRR_TEST=mark, PYTHONIOENCODING="utf-8"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_on_the_workers(tmp_path, cluster, number):
    mark = uuid.uuid4().hex
    text = TEXT.format(scheduler=cluster.scheduler, worker="0").replace("= 1\n", "= 60\n", 1)
    with start(tmp_path, text, mark, "--json") as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "interim" and event["machine"] == "there":
                break
        assert len(cluster.programs()) == 2
        process.send_signal(number)
        process.communicate(timeout=LIMIT_S)
    assert all_gone(mark)
    assert wait_until(lambda: not cluster.programs()), "an agent runs on a worker"


def test_a_worker_that_dies_is_a_failure_and_the_next_try_finds_another(tmp_path):
    """Its nanny starts a new one with its name."""
    mark = uuid.uuid4().hex
    with running_cluster() as cluster:
        text = TEXT.format(scheduler=cluster.scheduler, worker="0")
        with start(tmp_path, text.replace("= 1\n", "= 2\n", 1), mark, "--json") as process:
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "interim" and event["machine"] == "chosen":
                    break
            os.kill(cluster.workers["0"], signal.SIGKILL)
            shown, talk = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, (shown, talk)
    contents = read_campaign(str(tmp_path / "placed.xrr"))
    first, second = contents.rounds
    assert "its agent ended" in first.failures["chosen"], first.failures
    assert second.complete
    assert all_gone(mark)


def test_what_cannot_be_reached_is_one_sentence(cluster):
    port = free_port()
    asked = {
        f"no dask scheduler answers at tcp://127.0.0.1:{port}":
            [f"tcp://127.0.0.1:{port}", "--place", "0", "--", "true"],
        "there is no worker seven; there are 0, 1":
            [cluster.scheduler, "--worker", "seven", "--", "true"],
        "number 2 of the machines that want a worker of their own, and the cluster has 1":
            [cluster.scheduler, "--place", "1", "--taken", "0", "--", "true"],
        "no-such-program: No such file": [cluster.scheduler, "--", "no-such-program"]}
    processes = [subprocess.Popen(
        [sys.executable, "-m", "xenrr.campaign.launchers.dask_relay", "--scheduler", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_environment()) for words in asked.values()]
    for said, process in zip(asked, processes):
        shown, talk = process.communicate(timeout=LIMIT_S)
        assert (process.returncode, shown) == (255, "")
        assert said in talk.splitlines()[-1]


def test_streams_and_exit_code_are_the_programs(cluster):
    done = subprocess.run(
        [sys.executable, "-m", "xenrr.campaign.launchers.dask_relay", "--scheduler",
         cluster.scheduler, "--", "sh", "-c", "wc -c; echo and this >&2; exit 3"],
        input="x" * 1_000_000, capture_output=True, text=True, timeout=LIMIT_S,
        env=clean_environment())
    assert (done.returncode, done.stdout.strip(), done.stderr) == (3, "1000000", "and this\n")


def test_without_dask_the_campaign_does_not_begin(monkeypatch):
    from xenrr.campaign.launchers import DaskLauncher
    from xenrr.errors import SpecError

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"pip install 'xenrr\[scale\]'"):
        DaskLauncher("tcp://127.0.0.1:1", [])
