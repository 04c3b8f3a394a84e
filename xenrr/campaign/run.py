"""Running a plan: all ready, GO at one instant, records, and what to do when it goes wrong.

* A round whose senders are not all ready is called off before GO: fewer senders would be
  another experiment. It is tried again once; so is one in which something died.
* A round whose senders began further apart than the declaration allows (``max_skew``) is
  measured again, ``SKEW_ATTEMPTS`` times in all: on a machine that does something else at
  that very moment the next one is fine.
* Whatever a sender has measured is written, also of a round that does not count.
* After ``HOPELESS_ROUNDS`` rounds in a row without a complete one the campaign ends; what is
  missing is measured by ``--resume``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from xenrr import __version__
from xenrr.campaign.launchers.base import Launcher
from xenrr.campaign.link import (
    AgentFailed,
    AgentLink,
    LinkLost,
    end_process,
    start_process,
)
from xenrr.campaign.members import Member, Part, make_member
from xenrr.campaign.plan import Plan, Round
from xenrr.campaign.spec import CampaignSpec, TargetSpec
from xenrr.errors import LabError, ResultFormatError
from xenrr.results.campaign import (
    HEADER,
    ROUND,
    SENDER_RUN,
    CampaignContents,
    CampaignHeader,
    RoundRecord,
    SenderRun,
    rate_in_window,
    window_of,
)
from xenrr.results.record import SECOND_NS, InterimPoint
from xenrr.results.store import RecordWriter
from xenrr.stats.histogram import Histogram

__all__ = ["Coordinator", "Event", "Outcome", "make_header"]

Event = dict[str, Any]
Tell = Callable[[Event], None]
Result = TypeVar("Result")

ATTEMPTS = 2
SKEW_ATTEMPTS = 12
# What keeps a machine busy lasts for a while: each wait is longer than the one before by this.
SKEW_PAUSE_S = 0.1
HOPELESS_ROUNDS = 3
# Until GO has reached the last of them: a message each, and the round trip; and before GO the
# time in which they read their machine's counters and make their threads, beside one another.
LEAD_NS, LEAD_EACH_NS = 100_000_000, 2_000_000
EARLY_NS, EARLY_EACH_NS = 30_000_000, 1_000_000
# Processes that start at the same time take CPU from one another.
STARTS_AT_ONCE = 16
# Likewise connections; and a netserver lets no more than some wait for it.
PREPARED_AT_ONCE = 16
NETSERVER_PATIENCE_S = 5.0
# A sender whose target cannot be reached any more would wait for its results.
STOP_LIMIT_S = 5.0
# Stands in for the distribution of a run that has been written.
WRITTEN = Histogram()


class _Stopped(Exception):
    """A person wants it to end."""


@dataclass
class Outcome:
    """How a campaign ended.

    Attributes:
        complete: Keys of rounds that count, also of earlier calls.
        missing: Keys of planned rounds that do not, and are still wanted.
        stopped: Whether a person ended it.
        gave_up: Why it ended before its plan did, else empty.
    """

    complete: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stopped: bool = False
    gave_up: str = ""


def make_header(spec: CampaignSpec, plan: Plan) -> CampaignHeader:
    """What the file says about a campaign."""
    machine = spec.machines.get(spec.target.machine)
    return CampaignHeader(
        spec.name, spec.study, spec.target.name, machine.facts.host if machine else "",
        tuple(each.facts for each in spec.machines.values()),
        tuple(one.key for one in plan.rounds), spec.seed, spec.repeats, spec.duration_s,
        spec.warmup_s, spec.lab.name if spec.lab else "", time.time(), __version__)


class Coordinator:
    """Runs what a plan says.

    Args:
        spec: The campaign.
        plan: Its plan.
        launchers: By name, those that its machines use.
        tell: Takes each event, a mapping with its kind under ``event``.
        writer: Takes the records; ``None`` keeps them in memory only, and whole.
        before: What an earlier call has measured.
    """

    def __init__(self, spec: CampaignSpec, plan: Plan, launchers: Mapping[str, Launcher],
                 tell: Tell, writer: RecordWriter | None = None,
                 before: CampaignContents | None = None) -> None:
        self.rounds: list[RoundRecord] = list(before.rounds) if before else []
        self.runs: list[SenderRun] = list(before.runs) if before else []
        self._spec = spec
        self._plan = plan
        self._launchers = launchers
        self._tell = tell
        self._writer = writer
        self._new = before is None
        self._members: dict[str, Member] = {}
        self._targets: dict[str, _Target] = {}
        self._running: list[Member] = []
        self._starting = asyncio.Semaphore(STARTS_AT_ONCE)
        self._preparing = asyncio.Semaphore(PREPARED_AT_ONCE)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End as soon as possible, keeping what is measured; safe in a signal handler."""
        self._stop.set()
        for member in self._running:
            member.stop()

    async def run(self) -> Outcome:
        """Run all rounds that are missing.

        Returns:
            How it ended; nothing is left running then.

        Raises:
            OSError: The file cannot be written.
        """
        outcome = Outcome()
        if self._writer is not None and self._new:
            self._writer.append_other(HEADER, make_header(self._spec, self._plan).to_plain())
        try:
            await self._run(outcome)
        except _Stopped:
            outcome.stopped = True
        finally:
            await self._close()
        done = self._done()
        enough = self._enough()
        outcome.complete = [one.key for one in self._plan.rounds if one.key in done]
        outcome.missing = [one.key for one in self._plan.rounds
                           if one.key not in done and (one.experiment, one.cell) not in enough]
        self._tell({"event": "end", "complete": len(outcome.complete),
                    "missing": outcome.missing, "stopped": outcome.stopped,
                    "gave_up": outcome.gave_up, **_own_cost()})
        return outcome

    def _done(self) -> set[str]:
        return {one.key for one in self.rounds if one.complete}

    async def _run(self, outcome: Outcome) -> None:
        in_vain = 0
        for number, one in enumerate(self._plan.rounds, 1):
            if one.key in self._done() or (one.experiment, one.cell) in self._enough():
                continue
            for attempt in range(1, SKEW_ATTEMPTS + 1):
                record = await self._one_round(one, number, attempt)
                if record.stopped:
                    raise _Stopped
                apart = self._is_apart(record)
                if record.complete or (attempt >= ATTEMPTS and not apart):
                    break
                if apart:
                    await self._or_stop(asyncio.sleep(attempt * SKEW_PAUSE_S))
            in_vain = 0 if record.complete else in_vain + 1
            if in_vain >= HOPELESS_ROUNDS:
                outcome.gave_up = (f"{in_vain} rounds in a row could not be measured; the "
                                   f"last one: {_failures_text(record.failures)}")
                return

    def _is_apart(self, record: RoundRecord) -> bool:
        """Whether its senders began too far apart and nothing else is wrong with it."""
        most_ns = round(self._spec.max_skew_s * SECOND_NS)
        return bool(most_ns) and record.skew_ns > most_ns and set(record.failures) == {""}

    def _enough(self) -> set[tuple[str, str]]:
        """Experiments, with their cells, whose totals are known well."""
        if not self._spec.until:
            return set()
        from xenrr.stats.interval import StopRule

        rule = StopRule(self._spec.until)
        totals: dict[tuple[str, str], dict[str, float]] = {}
        for one in self.rounds:
            if one.complete:
                parts = [run for run in self.runs if run.attempt == one.attempt]
                totals.setdefault((one.experiment, one.cell), {})[one.key] = sum(
                    rate_in_window(part, one.window_start_ns, one.window_end_ns)
                    for part in parts)
        return {name for name, rates in totals.items() if rule.reached(list(rates.values()))}

    async def _one_round(self, one: Round, number: int, attempt: int) -> RoundRecord:
        name = uuid.uuid4().hex[:16]
        self._tell({"event": "round", "round": number, "of": len(self._plan.rounds),
                    "key": one.key, "experiment": one.experiment, "cell": one.cell,
                    "repeat": one.repeat, "attempt": attempt, "senders": list(one.senders),
                    "target": one.target.name, "duration_s": one.test.duration_s})
        failures: dict[str, str] = {}
        parts: dict[str, Part] = {}
        go_epoch_s, began_s = 0.0, time.monotonic()
        try:
            members = [self._member(sender) for sender in one.senders]
            try:
                address, port = await self._or_stop(self._target_up(one.target))
            except LinkLost as exc:
                failures[one.target.name] = f"target: {exc}"
            if not failures:
                await self._ready(one, members, address, port, failures)
            if not failures:
                go_epoch_s, parts = await self._go(one, members, failures, began_s)
        except _Stopped:
            failures.setdefault("", "stopped before it began")
        return self._record(one, name, go_epoch_s, parts, failures)

    def _member(self, name: str) -> Member:
        if name not in self._members:
            machine = self._spec.machines[name]
            self._members[name] = make_member(
                machine, self._launchers[machine.facts.launcher], self._interim)
        return self._members[name]

    def _interim(self, name: str, point: InterimPoint) -> None:
        self._tell({"event": "interim", "machine": name, "end_s": point.end_ns / SECOND_NS,
                    "rate_tps": point.rate_tps, "p99_ns": point.p99_ns})

    async def _ready(self, one: Round, members: list[Member], address: str, port: int,
                     failures: dict[str, str]) -> None:
        limit_s = self._spec.timeout_s

        async def come_up(member: Member) -> None:
            async with self._starting:
                await member.come_up(limit_s)

        async def prepare(member: Member) -> None:
            target = self._targets.get(one.target.machine)
            async with self._preparing:
                while True:
                    try:
                        await member.prepare(address, port, one.test, self._spec.engine,
                                             limit_s)
                        break
                    except AgentFailed as exc:
                        if exc.reason != "os" or target is None or not target.is_young:
                            raise
                        await asyncio.sleep(0.2)
            self._tell({"event": "ready", "machine": member.name})

        try:
            await self._each(members, come_up, failures, "did not come up")
            if not failures:
                await self._each(members, prepare, failures, "not ready")
            if not failures:
                # One after another: answers that queue here would look like a slow network.
                for member in members:
                    await self._or_stop(member.read_clock(limit_s))
        except LinkLost as exc:
            failures[""] = str(exc)
        except _Stopped:
            await self._call_off(members)
            raise
        if failures:
            await self._call_off(members)

    async def _call_off(self, members: Iterable[Member]) -> None:
        await asyncio.gather(*(member.call_off() for member in members))

    async def _each(self, members: Iterable[Member],
                    step: Callable[[Member], Awaitable[None]], failures: dict[str, str],
                    what: str) -> None:
        async def one(member: Member) -> None:
            try:
                await step(member)
            except (LinkLost, LabError, OSError) as exc:
                failures[member.name] = f"{what}: {exc}"
                self._tell({"event": "failed", "machine": member.name,
                            "text": failures[member.name]})

        await self._or_stop(_all(one(member) for member in members))

    async def _or_stop(self, work: Awaitable[Result]) -> Result:
        """Wait for something, or for somebody to end it all."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _Stopped
            return task.result()
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def _go(self, one: Round, members: list[Member], failures: dict[str, str],
                  began_s: float) -> tuple[float, dict[str, Part]]:
        parts: dict[str, Part] = {}
        limit_s = (one.test.duration_s or 0.0) + self._spec.timeout_s
        if self._stop.is_set():
            await self._call_off(members)
            raise _Stopped
        self._running = members
        early_ns = EARLY_NS + EARLY_EACH_NS * len(members)
        at_ns = time.monotonic_ns() + LEAD_NS + LEAD_EACH_NS * len(members)
        go_epoch_s = time.time() + (at_ns - time.monotonic_ns()) / SECOND_NS

        async def finish(member: Member) -> None:
            try:
                parts[member.name] = await self._finished(member, limit_s)
            except (LinkLost, ResultFormatError, OSError) as exc:
                failures[member.name] = str(exc)
                # Whatever it does now, it must not do it in the next round.
                await member.close()
            else:
                run = parts[member.name].run
                if run.error:
                    failures[member.name] = run.error
                self._tell({"event": "record", "machine": member.name,
                            "rate_tps": run.rate_tps, "transactions": run.transactions,
                            "error": run.error})
                return
            self._tell({"event": "failed", "machine": member.name,
                        "text": failures[member.name]})

        try:
            for member in members:
                try:
                    member.go(at_ns, early_ns)
                except LinkLost as exc:
                    failures[member.name] = str(exc)
            self._tell({"event": "go", "key": one.key, "at_epoch_s": go_epoch_s,
                        "prepared_s": time.monotonic() - began_s})
            await _all(finish(member) for member in members if member.name not in failures)
        finally:
            self._running = []
        return go_epoch_s, parts

    async def _finished(self, member: Member, limit_s: float) -> Part:
        """Wait for a sender's record; for a shorter time once it was told to stop."""
        work = asyncio.ensure_future(member.finish(limit_s))
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            return await asyncio.wait_for(work, None if work.done() else STOP_LIMIT_S)
        except asyncio.TimeoutError:
            raise LinkLost(f"did not stop within {STOP_LIMIT_S:g} s") from None
        finally:
            for task in (work, stop):
                task.cancel()
            await asyncio.gather(work, stop, return_exceptions=True)

    def _record(self, one: Round, attempt: str, go_epoch_s: float, parts: Mapping[str, Part],
                failures: dict[str, str]) -> RoundRecord:
        runs = [SenderRun(one.key, attempt, one.experiment, one.cell, one.repeat, name,
                          part.start_ns, part.end_ns, part.uncertainty_ns, part.run)
                for name, part in parts.items()]
        window = window_of(runs, round(self._spec.warmup_s * SECOND_NS))
        stopped = self._stop.is_set()
        if window is None and not failures and not stopped:
            failures[""] = "there was no time in which all of them ran"
        most_ns = round(self._spec.max_skew_s * SECOND_NS)
        if window is not None and not failures and 0 < most_ns < window.skew_ns:
            failures[""] = (f"the senders began {window.skew_ns / 1e6:.2f} ms apart, more than "
                            f"the {most_ns / 1e6:g} ms of max_skew")
        record = RoundRecord(
            one.key, attempt, one.experiment, one.cell, one.repeat, one.target.name,
            one.senders, go_epoch_s, window.start_ns if window else 0,
            window.end_ns if window else 0, window.skew_ns if window else 0, failures, stopped)
        if self._writer is not None:
            for run in runs:
                self._writer.append_other(SENDER_RUN, run.to_plain())
            self._writer.append_other(ROUND, record.to_plain())
        # 270 kB each, and a thousand senders have as many: they are in the file.
        self.runs += runs if self._writer is None else [
            replace(run, run=replace(run.run, latency_ns=WRITTEN)) for run in runs]
        self.rounds.append(record)
        total_tps = sum(rate_in_window(run, record.window_start_ns, record.window_end_ns)
                        for run in runs)
        self._tell({"event": "round over", "key": one.key, "complete": record.complete,
                    "failures": dict(failures), "stopped": stopped,
                    "skew_ns": record.skew_ns, "window_s": record.window_s,
                    "total_tps": total_tps})
        return record

    async def _target_up(self, spec: TargetSpec) -> tuple[str, int]:
        """Where the target listens, after it was started if that is ours to do.

        Raises:
            LinkLost: It does not start.
        """
        if spec.serve == "no":
            return spec.address, spec.port
        target = self._targets.get(spec.machine)
        if target is not None and target.alive:
            return spec.address, target.port
        if target is not None:
            await target.close()
        machine = self._spec.machines[spec.machine]
        target = _Target(spec, self._launchers[machine.facts.launcher])
        self._targets[spec.machine] = target
        try:
            await target.open(self._spec)
        except LabError as exc:
            raise LinkLost(str(exc)) from exc
        self._tell({"event": "target", "machine": spec.machine, "port": target.port,
                    "serve": spec.serve})
        return spec.address, target.port

    async def _close(self) -> None:
        self._running = []
        await asyncio.gather(*(member.close() for member in self._members.values()),
                             *(target.close() for target in self._targets.values()))


class _Target:
    """What the campaign started on a machine so that it answers."""

    def __init__(self, spec: TargetSpec, launcher: Launcher) -> None:
        self.port = spec.port
        self._spec = spec
        self._launcher = launcher
        self._link: AgentLink | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._began_s = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as far as is known."""
        if self._process is not None:
            return self._process.returncode is None
        return self._link is not None and self._link.alive

    @property
    def is_young(self) -> bool:
        """Whether it may still be on its way to listen, and cannot say so itself."""
        return (self._spec.serve == "netserver"
                and time.monotonic() - self._began_s < NETSERVER_PATIENCE_S)

    async def open(self, campaign: CampaignSpec) -> None:
        """Start it.

        Raises:
            LinkLost: It does not start.
        """
        machine = campaign.machines[self._spec.machine]
        if self._spec.serve == "netserver":
            self._process = await start_process(self._launcher.program(
                machine, ["netserver", "-D", "-N", "-p", str(self.port)]))
            return
        self._link = AgentLink(machine.name, self._launcher.agent(machine))
        await self._link.open(campaign.timeout_s, same_clock=True)
        # On this machine nobody else has to reach it.
        host = self._spec.address if machine.facts.launcher == "local" else None
        self._link.say("serve", host=host, port=self.port, engine=campaign.engine)
        serving = await self._link.hear(("serving",), campaign.timeout_s, "serve")
        self.port = int(serving["port"])

    async def close(self) -> None:
        """End it."""
        if self._link is not None:
            await self._link.close()
        if self._process is not None:
            await end_process(self._process)


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Wait for all; cancelled, it cancels them and waits for their end."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _own_cost() -> dict[str, float]:
    """What the coordinator itself took of its machine until now."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "memory_bytes": used.ru_maxrss * 1024}


def _failures_text(failures: Mapping[str, str]) -> str:
    some = [f"{name}: {text}" if name else text for name, text in failures.items()]
    more = f" and {len(some) - 2} more" if len(some) > 2 else ""
    return "; ".join(some[:2]) + more
