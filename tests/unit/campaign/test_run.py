"""A coordinator with real agents on this machine: what it does when things go wrong.

Each failure is provoked, and afterwards nothing may be left running.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid

import pytest
from campaigns import all_gone, marked_processes

from xenrr.campaign import run as run_module
from xenrr.campaign.launchers import Launch, LocalLauncher
from xenrr.campaign.link import best_clock
from xenrr.campaign.plan import plan_campaign
from xenrr.campaign.run import Coordinator
from xenrr.campaign.spec import make_campaign
from xenrr.lab.document import parse_document
from xenrr.results.campaign import ROUND, SENDER_RUN, Window, read_campaign
from xenrr.results.store import RecordWriter, read_file

TEXT = """\
duration = 0.8
interim = 0.1
order = "declared"
timeout = 20
engine = "pure"
[target]
machine = "sink"
[[machine]]
name = "sink"
[[machine]]
name = "a"
[[machine]]
name = "b"
"""


class Bench:
    """One campaign on this machine, its events, and what it leaves."""

    def __init__(self, tmp_path, monkeypatch):
        self.mark = f"XENRR_TEST={uuid.uuid4().hex}"
        self.path = str(tmp_path / "c.xrr")
        self.events = []
        self.actions = {}
        self.coordinator = None
        self.launcher = LocalLauncher()
        name, _, value = self.mark.partition("=")
        monkeypatch.setenv(name, value)

    def run(self, text=TEXT, before=None):
        spec = make_campaign(parse_document(text, "c.toml"))
        plan = plan_campaign(spec)
        with RecordWriter(self.path) as writer:
            async def main():
                self.coordinator = Coordinator(spec, plan, {"local": self.launcher}, self.tell,
                                               writer, before)
                return await self.coordinator.run()
            outcome = asyncio.run(main())
        assert all_gone(self.mark), "something is left running"
        return outcome

    def tell(self, event):
        self.events.append(event)
        action = self.actions.pop(event["event"], None)
        if action is not None:
            action(event)

    def on(self, kind, action):
        """Do something at the first event of a kind."""
        self.actions[kind] = action

    def kinds(self, kind):
        return [event for event in self.events if event["event"] == kind]

    def pid(self, name):
        """The agent of a machine, or of the target."""
        if name == "sink":
            return self.coordinator._targets[name]._link.pid
        return self.coordinator._members[name].link.pid

    def signal(self, name, number):
        os.kill(self.pid(name), number)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


class Odd(LocalLauncher):
    """Starts something else on one machine, as often as it is told."""

    def __init__(self, name, words, times=1000):
        self.name, self.words, self.times = name, words, times

    def agent(self, machine):
        if machine.name == self.name and self.times > 0:
            self.times -= 1
            return Launch(tuple(self.words))
        return super().agent(machine)


def test_two_senders_from_start_to_end(bench):
    outcome = bench.run("repeats = 2\n" + TEXT)
    assert (outcome.complete, outcome.missing) == (["all|1", "all|2"], [])
    contents = read_campaign(bench.path)
    for one in contents.complete():
        runs = contents.runs_of(one)
        assert [run.machine for run in runs] == ["a", "b"]
        assert 0 < one.window_s <= 1.0
        assert one.skew_ns == max(run.start_ns for run in runs) - min(
            run.start_ns for run in runs)
        for part in runs:
            run = part.run
            assert part.start_ns >= 0  # nobody begins before GO
            assert run.transactions == run.latency_ns.total > 0
            # What was in flight at the end was answered, and its answer was waited for.
            assert run.in_flight == run.drained
            assert run.target_tally.transactions == run.transactions + run.drained
    assert {event["machine"] for event in bench.kinds("interim")} == {"a", "b"}
    # One agent on each machine, for all rounds.
    assert len(bench.kinds("target")) == 1


def test_a_sender_that_does_not_come_up(bench):
    bench.launcher = Odd("b", ["sh", "-c", "echo no python here >&2; exit 3"])
    outcome = bench.run("repeats = 5\n" + TEXT)
    assert outcome.complete == []
    assert "3 rounds in a row" in outcome.gave_up
    assert "b: did not come up: its agent ended: no python here" in outcome.gave_up
    assert len(bench.kinds("round")) == 6  # each of them tried twice
    assert bench.kinds("go") == []
    assert read_campaign(bench.path).missing() == [f"all|{number}" for number in range(1, 6)]


def test_a_sender_that_says_nothing_or_nonsense(bench):
    bench.launcher = Odd("b", ["sleep", "60"], times=1)
    outcome = bench.run(TEXT.replace("timeout = 20", "timeout = 6"))
    assert outcome.missing == []
    assert bench.kinds("failed")[0]["text"] == "did not come up: did not come up within 6 s"
    bench.launcher = Odd("a", ["echo", "Welcome to this machine"], times=1)
    os.unlink(bench.path)
    bench.events.clear()
    assert bench.run().missing == []
    assert "Welcome" in bench.kinds("failed")[0]["text"]


def test_a_program_that_is_not_there(bench):
    bench.launcher = Odd("b", ["/nowhere/python"], times=1)
    assert bench.run().missing == []
    assert "/nowhere/python: No such file" in bench.kinds("failed")[0]["text"]


def test_a_sender_that_dies_in_the_middle_is_tried_again(bench):
    bench.on("interim", lambda event: bench.signal("b", signal.SIGKILL))
    outcome = bench.run(TEXT.replace("duration = 0.8", "duration = 1"))
    assert outcome.missing == []
    contents = read_campaign(bench.path)
    first, second = contents.rounds
    assert first.failures == {"b": "its agent ended"}
    assert second.complete
    # What the other one measured is kept, and does not count.
    assert [run.machine for run in contents.runs_of(first)] == ["a"]
    assert contents.complete() == [second]


def test_a_sender_that_is_slower_than_its_timeout(bench):
    bench.on("interim", lambda event: bench.signal("b", signal.SIGSTOP))
    outcome = bench.run(TEXT.replace("timeout = 20", "timeout = 6"))
    assert outcome.missing == []
    assert bench.kinds("failed")[0]["text"] == "did not end within 6.8 s"


def test_a_target_that_vanishes_is_started_again(bench):
    bench.on("interim", lambda event: bench.signal("sink", signal.SIGKILL))
    outcome = bench.run(TEXT.replace("duration = 0.8", "duration = 1"))
    assert outcome.missing == []
    contents = read_campaign(bench.path)
    assert set(contents.rounds[0].failures) == {"a", "b"}
    # They had measured something before.
    assert all(run.run.transactions and run.run.error
               for run in contents.runs_of(contents.rounds[0]))
    assert len(bench.kinds("target")) == 2


def test_a_target_that_does_not_come_up(bench):
    bench.launcher = Odd("sink", ["false"])
    outcome = bench.run()
    assert outcome.missing == ["all|1"]
    assert bench.kinds("round over")[0]["failures"] == {"sink": "target: its agent ended"}


@pytest.mark.parametrize("when", ["target", "ready", "interim"])
def test_stopped_by_a_person(bench, when):
    bench.on(when, lambda event: bench.coordinator.stop())
    outcome = bench.run("repeats = 3\n" + TEXT.replace("duration = 0.8", "duration = 30"))
    assert outcome.stopped
    assert outcome.missing == ["all|1", "all|2", "all|3"]
    contents = read_campaign(bench.path)
    (only,) = contents.rounds
    assert only.stopped
    ended = [run.run.ended for run in contents.runs]
    assert ended == (["stopped", "stopped"] if when == "interim" else [])


def test_a_sender_that_does_not_stop_is_ended(bench, monkeypatch):
    monkeypatch.setattr(run_module, "STOP_LIMIT_S", 3)

    def freeze_and_stop(event):
        bench.signal("a", signal.SIGSTOP)
        bench.coordinator.stop()

    bench.on("interim", freeze_and_stop)
    outcome = bench.run(TEXT.replace("duration = 0.8", "duration = 30"))
    assert outcome.stopped
    contents = read_campaign(bench.path)
    assert contents.rounds[0].failures == {"a": "did not stop within 3 s"}
    assert [(run.machine, run.run.ended) for run in contents.runs] == [("b", "stopped")]


def test_only_what_is_missing_is_measured_again(bench):
    bench.on("round over", lambda event: bench.coordinator.stop())
    bench.run("repeats = 3\n" + TEXT)
    # The stop came after the first round had been recorded.
    before = read_campaign(bench.path)
    assert before.missing() == ["all|2", "all|3"]
    bench.events.clear()
    outcome = bench.run("repeats = 3\n" + TEXT, before)
    assert outcome.complete == ["all|1", "all|2", "all|3"]
    assert [event["key"] for event in bench.kinds("round")] == ["all|2", "all|3"]
    assert read_campaign(bench.path).missing() == []


def test_a_stop_rule_ends_repeats_early(bench, monkeypatch):
    from xenrr.stats import interval

    monkeypatch.setattr(interval.StopRule, "reached", lambda rule, rates: len(rates) >= 2)
    outcome = bench.run('repeats = 9\nuntil = "5%"\n' + TEXT.replace("0.8", "0.4"))
    assert outcome.complete == ["all|1", "all|2"]
    assert outcome.missing == []


def test_a_full_disk_ends_it_and_leaves_nothing_running(bench, monkeypatch):
    append = RecordWriter.append_other

    def full(writer, kind, plain):
        if kind == ROUND:
            raise OSError(28, "No space left on device")
        append(writer, kind, plain)

    monkeypatch.setattr(run_module.RecordWriter, "append_other", full)
    with pytest.raises(OSError, match="No space"):
        bench.run()
    assert all_gone(bench.mark)
    assert SENDER_RUN in {kind for kind, _ in read_file(bench.path).others}


def test_senders_that_begin_too_far_apart_are_measured_again(bench, monkeypatch):
    late = iter((0.5, 0.0))
    start = run_module.AgentLink.say

    def say(link, kind, **fields):
        if kind == "go" and link.name == "b":
            fields["at_ns"] += int(next(late, 0.0) * 1e9)
        start(link, kind, **fields)

    monkeypatch.setattr(run_module.AgentLink, "say", say)
    outcome = bench.run('max_skew = "300ms"\n' + TEXT)
    assert outcome.missing == []
    first, *_, last = read_campaign(bench.path).rounds
    assert "ms apart, more than the 300 ms of max_skew" in first.failures[""]
    assert first.skew_ns > 300_000_000 >= last.skew_ns
    assert last.complete


def test_senders_that_always_begin_too_far_apart_do_not_count(bench, monkeypatch):
    monkeypatch.setattr(run_module, "SKEW_ATTEMPTS", 3)
    monkeypatch.setattr(run_module, "HOPELESS_ROUNDS", 1)
    monkeypatch.setattr(run_module, "window_of", lambda runs, warmup_ns: Window(
        0, 50_000_000, 3_000_000))
    outcome = bench.run('max_skew = "2ms"\n' + TEXT.replace("0.8", "0.05"))
    assert len(bench.kinds("round")) == 3
    assert "began 3.00 ms apart, more than the 2 ms of max_skew" in outcome.gave_up
    assert outcome.missing == ["all|1"]


def test_the_best_clock_is_that_of_the_fastest_round_trip():
    clock = best_clock([(0, 1000, 10_500), (2000, 2100, 12_060), (3000, 9000, 13_000)])
    assert (clock.offset_ns, clock.uncertainty_ns) == (10_010, 50)


def test_the_mark_finds_processes(bench):
    assert marked_processes(bench.mark) == []
