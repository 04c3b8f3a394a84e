"""What a campaign will do, in which order, and how long it takes. Pure functions.

The order is random within each repeat: every experiment is measured once before any is
measured a second time, so that what drifts over an hour falls on all of them alike.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from xenrr.campaign.spec import CampaignSpec, Experiment, TargetSpec, test_of
from xenrr.results.record import TestSpec
from xenrr.units import format_duration

__all__ = ["Plan", "Round", "plan_campaign", "plan_lines"]

# Preparing a test and saying GO.
AROUND_S = 0.5


@dataclass(frozen=True)
class Round:
    """One experiment, in one cell, once.

    Attributes:
        key: Unique in the plan, the same each time it is made.
        experiment, cell: Names; an experiment that runs its senders one by one has the
            sender behind its own name.
        repeat: From 1 on.
        senders: Who sends.
        target: Where to.
        test: The test.
    """

    key: str
    experiment: str
    cell: str
    repeat: int
    senders: tuple[str, ...]
    target: TargetSpec
    test: TestSpec


@dataclass(frozen=True)
class Plan:
    """All rounds in their order.

    Attributes:
        rounds: What happens.
        measuring_s: Time in which something is measured.
        duration_s: All of it, as far as it can be foreseen.
    """

    rounds: tuple[Round, ...]
    measuring_s: float
    duration_s: float


def plan_campaign(spec: CampaignSpec) -> Plan:
    """Expand a campaign: experiments, cells, repeats, in seeded random order."""
    chance = random.Random(spec.seed)
    rounds: list[Round] = []
    most = max(experiment.repeats or spec.repeats for experiment in spec.experiments)
    for repeat in range(1, most + 1):
        block = [one for experiment in spec.experiments
                 if repeat <= (experiment.repeats or spec.repeats)
                 for one in _rounds(spec, experiment, repeat)]
        if spec.order == "random":
            chance.shuffle(block)
        rounds += block
    measuring_s = len(rounds) * (spec.duration_s + spec.warmup_s)
    return Plan(tuple(rounds), measuring_s, measuring_s + len(rounds) * AROUND_S)


def _rounds(spec: CampaignSpec, experiment: Experiment, repeat: int) -> Iterator[Round]:
    for name, senders, target in _sets(spec, experiment):
        for cell in spec.cells:
            key = "|".join(filter(None, (name, cell.name, str(repeat))))
            yield Round(key, name, cell.name, repeat, senders, target,
                        test_of(spec.test, cell))


def _sets(spec: CampaignSpec, experiment: Experiment
          ) -> Iterator[tuple[str, tuple[str, ...], TargetSpec]]:
    """What runs at once: name, senders, target."""
    if experiment.mode == "together":
        yield experiment.name, experiment.senders, experiment.target
    elif experiment.mode == "alone":
        for sender in experiment.senders:
            yield f"{experiment.name}/{sender}", (sender,), experiment.target
    else:
        for goal in experiment.senders:
            target = replace(experiment.target, machine=goal,
                             address=spec.machines[goal].facts.address)
            for sender in experiment.senders:
                if sender != goal:
                    yield f"{experiment.name}/{sender}>{goal}", (sender,), target


def plan_lines(spec: CampaignSpec, plan: Plan) -> Iterator[str]:
    """The plan for a person, line by line."""
    senders = {sender for one in plan.rounds for sender in one.senders}
    where = (f"in the lab {spec.lab.name} ({len(spec.lab.machines())} machines, emulated)"
             if spec.lab else "on the machines as they are")
    most = "at most " if spec.until else ""
    order = f"in random order (seed {spec.seed})" if spec.order == "random" else "as declared"
    yield (f"campaign {spec.name}: {len(senders)} senders to {spec.target.name}, {where}")
    yield (f"{most}{len(plan.rounds)} rounds of {spec.duration_s + spec.warmup_s:g} s {order}: "
           f"{most}{format_duration(plan.measuring_s)} of measuring, about "
           f"{format_duration(plan.duration_s)} in all")
    yield ""
    width = max(len(one.experiment) for one in plan.rounds)
    for number, one in enumerate(plan.rounds, 1):
        some = one.senders if len(one.senders) <= 4 else (
            *one.senders[:2], f"{len(one.senders) - 3} more", one.senders[-1])
        words = [f"{number:>5}  {one.experiment:<{width}}  repeat {one.repeat}", one.cell,
                 f"{one.test.test}", f"{', '.join(some)} -> {one.target.name}"]
        yield "  ".join(filter(None, words))
