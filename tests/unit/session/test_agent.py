"""An agent and its coordinator, over pipes: what it says, and that nothing outlives it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
from peers import clean_environment, running_xenrr_server

from xenrr.errors import LocalProtocolError, RemoteProtocolError
from xenrr.results.record import Run, TestSpec
from xenrr.session import frames
from xenrr.session.frames import FrameReader, encode_frame

LIMIT_S = 20.0


@pytest.fixture(scope="module")
def server():
    with running_xenrr_server() as running:
        yield running


class Coordinator:
    """The other end of an agent's pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._frames = FrameReader()
        self._said: list[dict[str, object]] = []

    def say(self, kind: str, **fields: object) -> None:
        self.process.stdin.write(encode_frame(kind, **fields))
        self.process.stdin.flush()

    def hear(self, *kinds: str) -> dict[str, object]:
        """The next message of one of these kinds; others are passed over."""
        give_up = time.monotonic() + LIMIT_S
        while True:
            while self._said:
                message = self._said.pop(0)
                if message["kind"] in kinds:
                    return message
            left = give_up - time.monotonic()
            assert select.select([self.process.stdout], [], [], max(left, 0))[0], kinds
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, f"the agent ended instead of saying {kinds}"
            self._said += self._frames.feed(data)

    def prepare(self, server, asked: TestSpec, **changes: object) -> None:
        self.say("prepare", **{"target": server.host, "port": server.port,
                               "spec": asdict(asked), "engine": "pure", **changes})


@pytest.fixture
def agent():
    with subprocess.Popen([sys.executable, "-m", "xenrr.agent"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=clean_environment()) as process:
        yield Coordinator(process)
        process.kill()


def go(agent: Coordinator, in_s: float = 0.05) -> int:
    agent.say("time", token=7)
    clock = agent.hear("time")
    assert clock["token"] == 7
    at_ns = clock["now_ns"] + int(in_s * 1e9)
    agent.say("go", at_ns=at_ns, early_ns=20_000_000)
    return at_ns


def test_a_test_from_hello_to_quit(agent, server):
    agent.say("hello")
    hello = agent.hear("hello")
    assert hello["pid"] == agent.process.pid
    assert "kernel" in hello["host"]
    for test in ("TCP_RR", "UDP_RR"):
        agent.prepare(server, TestSpec(test, duration_s=0.5, interim_s=0.1))
        agent.hear("ready")
        at_ns = go(agent)
        assert agent.hear("interim")["transactions"] > 0
        record = agent.hear("record")
        assert record["started_ns"] >= at_ns
        run = Run.from_plain(record["run"])
        assert run.spec.test == test
        assert run.transactions == run.latency_ns.total > 0
    agent.say("quit")
    assert agent.process.wait(LIMIT_S) == 0


def test_nothing_is_sent_before_go(agent, server):
    agent.prepare(server, TestSpec(transactions=5))
    agent.hear("ready")
    agent.say("time", token=1)
    agent.hear("time")
    assert not select.select([agent.process.stdout], [], [], 0.3)[0]
    go(agent)
    assert Run.from_plain(agent.hear("record")["run"]).transactions == 5


def test_many_flows_wait_for_go_too(agent, server):
    agent.prepare(server, TestSpec(duration_s=0.1, flows=3))
    agent.hear("ready")
    at_ns = go(agent, 0.15)
    record = agent.hear("record")
    assert record["started_ns"] >= at_ns
    assert Run.from_plain(record["run"]).transactions > 0


def test_stop_ends_a_running_test_with_its_record(agent, server):
    agent.prepare(server, TestSpec(duration_s=60, interim_s=0.1))
    agent.hear("ready")
    go(agent)
    agent.hear("interim")
    agent.say("stop")
    run = Run.from_plain(agent.hear("record")["run"])
    assert run.ended == "stopped"
    assert run.transactions > 0


def test_stop_before_go_calls_it_off_and_the_next_one_runs(agent, server):
    agent.prepare(server, TestSpec(duration_s=60))
    agent.hear("ready")
    agent.say("stop")
    assert "called off" in agent.hear("failed")["text"]
    agent.prepare(server, TestSpec(transactions=5))
    agent.hear("ready")
    go(agent)
    agent.hear("record")


@pytest.mark.parametrize("early_s", [0, 60])
def test_stop_between_go_and_its_time(agent, server, early_s):
    """Whether the loop already waits for its time or not."""
    agent.prepare(server, TestSpec(duration_s=60))
    agent.hear("ready")
    agent.say("time", token=1)
    agent.say("go", at_ns=agent.hear("time")["now_ns"] + 50 * 10**9,
              early_ns=early_s * 10**9)
    time.sleep(0.2)
    agent.say("stop")
    if early_s:
        record = agent.hear("record")
        assert (record["started_ns"], record["run"]["transactions"]) == (0, 0)
    else:
        assert "called off" in agent.hear("failed")["text"]


def test_a_go_in_the_far_future_is_refused(agent, server):
    agent.prepare(server, TestSpec(duration_s=60))
    agent.hear("ready")
    agent.say("go", at_ns=1 << 62)
    assert "s away" in agent.hear("failed")["text"]


@pytest.mark.parametrize(("changes", "code"), [
    ({"port": 1}, "os"), ({"target": "no-such-host.invalid"}, "os"),
    ({"spec": {"test": "TCP_RR"}}, "protocol-remote"), ({"spec": 5}, "protocol-remote"),
    ({"spec": {**asdict(TestSpec()), "request_bytes": 0}}, "spec"),
    ({"port": None}, "protocol-remote"), ({"port": float("inf")}, "protocol-remote"),
    ({"port": 99_999}, "spec"), ({"target": "ä..b"}, "os"),
    ({"passphrase": 5}, "protocol-remote"), ({"engine": "steam"}, "engine-unavailable"),
])
def test_what_cannot_be_done_is_said_and_the_agent_stays(agent, server, changes, code):
    agent.prepare(server, TestSpec(transactions=5), **changes)
    assert agent.hear("failed")["code"] == code
    agent.say("hello")
    agent.hear("hello")


@pytest.mark.parametrize("garbage", [b"Welcome to the machine!\n", b"\0\0\0\2[]",
                                     encode_frame("dance"), encode_frame("go"),
                                     encode_frame("go", at_ns="soon"),
                                     encode_frame("go", at_ns=float("inf"))])
def test_nonsense_ends_it(agent, garbage):
    agent.process.stdin.write(garbage)
    agent.process.stdin.flush()
    assert agent.hear("failed")["code"] == "protocol-remote"
    assert agent.process.wait(LIMIT_S) == 1


@pytest.mark.parametrize("state", ["idle", "ready", "running"])
def test_an_agent_does_not_outlive_its_coordinator(agent, server, state):
    if state != "idle":
        agent.prepare(server, TestSpec(duration_s=60, interim_s=0.1))
        agent.hear("ready")
    if state == "running":
        go(agent)
        agent.hear("interim")
    agent.process.stdin.close()
    agent.process.stdout.close()
    assert agent.process.wait(LIMIT_S) == 0


def test_a_person_is_told_what_it_is_for():
    done = subprocess.run([sys.executable, "-m", "xenrr.agent", "--help"], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          env=clean_environment(), timeout=LIMIT_S)
    assert done.returncode == 2
    assert "xenrr campaign" in done.stderr


def test_a_killed_agent_is_an_end_of_stream(agent, server):
    agent.prepare(server, TestSpec(duration_s=60))
    agent.hear("ready")
    agent.process.send_signal(signal.SIGKILL)
    assert os.read(agent.process.stdout.fileno(), 1) == b""


def test_frames_come_in_any_pieces():
    data = encode_frame("a", n=1) + encode_frame("b", text="ü" * 50)
    reader = FrameReader()
    found = [message for place in range(len(data))
             for message in reader.feed(data[place:place + 1])]
    assert [message["kind"] for message in found] == ["a", "b"]
    assert not reader.in_the_middle
    assert FrameReader().feed(data) == found


@pytest.mark.parametrize("raw", [b"Last login: today", b"\0\0\0\1{", b"\0\0\0\2{}",
                                 b'\0\0\0\x0a{"kind":5}', b"\0\0\0\2[]"])
def test_what_is_no_frame_is_an_error_that_shows_it(raw):
    with pytest.raises(RemoteProtocolError):
        FrameReader().feed(raw)


def test_frames_are_bounded_on_both_sides(monkeypatch):
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    with pytest.raises(LocalProtocolError):
        encode_frame("long", text="x" * 100)
    with pytest.raises(RemoteProtocolError):
        FrameReader().feed(b"\0\0\0\x65")
