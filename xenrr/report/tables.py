"""What a campaign's file says, as tables: rates beside published ones, fairness, isolation.

Pure functions from records to frozen rows; ``xenrr campaign table`` prints them. A rate is
the mean over repeats of what a machine did in the window in which all senders ran.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from xenrr.report.study import STUDIES
from xenrr.results.campaign import (
    CampaignContents,
    MachineFacts,
    RoundRecord,
    SenderRun,
    rate_in_window,
)
from xenrr.results.record import SECOND_NS
from xenrr.stats.fairness import jain_index, kendall_tau, max_over_min
from xenrr.stats.histogram import Histogram

__all__ = ["CampaignTable", "Column", "Entry", "Fairness", "campaign_table"]

# A sender alone in a round of its own: "solo/DU1.1".
ALONE = "/"
MAX_SKEW_SHARE = 0.01


@dataclass(frozen=True)
class Entry:
    """One machine in one experiment.

    Attributes:
        machine: Its name.
        rate_tps: Mean over repeats; NaN when it never counted.
        half_width_tps: Of the 95 % interval of that mean; infinite from one repeat.
        repeats: How many.
        published_tps: In the study; NaN where it has no number.
        to_own_host, published_to_own_host: Rates over the mean of the DomUs on the target's
            host; NaN without any.
        p99_ns: Of all repeats together; 0 without a distribution.
        solo_tps: Its rate without any other sender; NaN where that was not measured.
        loss: Share of the solo rate that is lost among others; NaN likewise.
    """

    machine: str
    rate_tps: float
    half_width_tps: float
    repeats: int
    published_tps: float
    to_own_host: float
    published_to_own_host: float
    p99_ns: int
    solo_tps: float
    loss: float


@dataclass(frozen=True)
class Fairness:
    """How evenly a set of machines was served.

    Attributes:
        among: Which set: ``DomU of D0.1``, ``remote DomU``, ``all``; with ``published``
            those of them that the study has numbers of.
        machines: How many.
        jain, published_jain: Jain's index.
        max_over_min, published_max_over_min: The largest rate over the smallest.
    """

    among: str
    machines: int
    jain: float
    published_jain: float
    max_over_min: float
    published_max_over_min: float


@dataclass(frozen=True)
class Column:
    """One experiment in one cell.

    Attributes:
        experiment, cell, target: Which one, and where they sent to.
        entries: Its senders, in the order of the machines.
        fairness: Sets of at least two machines.
        total_tps: Sum of the rates.
        tau: Agreement of the order with the study's, Kendall's tau-b.
        compared: Machines that tau is about.
        repeats: Rounds that count.
        window_s: The shortest window.
        worst_skew_ns, middle_skew_ns: Between first and last start: largest and median.
        sender_count: Transactions that the senders counted, with those whose responses came
            in while a test was closed.
        unanswered: Requests that were sent and whose response nobody saw; the target may
            have counted them.
        target_count: What the target counted for the same senders; -1 when it does not say.
        doubts: What makes its numbers doubtful.
    """

    experiment: str
    cell: str
    target: str
    entries: tuple[Entry, ...]
    fairness: tuple[Fairness, ...]
    total_tps: float
    tau: float
    compared: int
    repeats: int
    window_s: float
    worst_skew_ns: int
    middle_skew_ns: int
    sender_count: int
    unanswered: int
    target_count: int
    doubts: tuple[str, ...]

    @property
    def name(self) -> str:
        """The experiment and its cell as one text."""
        return " ".join(filter(None, (self.experiment, self.cell)))


@dataclass(frozen=True)
class CampaignTable:
    """A whole campaign.

    Attributes:
        campaign: Its name.
        target: Where all send to.
        emulated: Name of the lab it ran in, empty on real machines.
        study: Whose numbers are beside it, or empty.
        machines: All senders that have a row, in the order of their declaration.
        columns: Experiments, in the order of the plan's names.
        missing: Planned rounds that do not count.
        failures: What went wrong, in the order it did.
    """

    campaign: str
    target: str
    emulated: str
    study: str
    machines: tuple[MachineFacts, ...]
    columns: tuple[Column, ...]
    missing: tuple[str, ...]
    failures: tuple[str, ...]

    def to_plain(self) -> dict[str, object]:
        """JSON-ready values; what is not known is ``null``."""
        plain: dict[str, object] = {
            "campaign": self.campaign, "target": self.target, "emulated": self.emulated,
            "study": self.study, "machines": [asdict(each) for each in self.machines],
            "columns": [_finite(asdict(column)) for column in self.columns],
            "missing": list(self.missing), "failures": list(self.failures)}
        return plain


def campaign_table(contents: CampaignContents) -> CampaignTable:
    """Work out all tables of a campaign."""
    header = contents.header
    published = STUDIES.get(header.study, {})
    groups: dict[tuple[str, str], list[RoundRecord]] = {}
    for one in contents.complete():
        groups.setdefault((one.experiment, one.cell), []).append(one)
    solo = _solo_rates(contents, groups)
    shown = {name: rounds for name, rounds in groups.items()
             if ALONE not in name[0] or len(groups) == sum(ALONE in key[0] for key in groups)}
    columns = [_column(contents, name, rounds, published.get(name[0], {}), solo)
               for name, rounds in sorted(shown.items(), key=lambda item: _place(item[0]))]
    rows = {entry.machine for column in columns for entry in column.entries}
    return CampaignTable(
        header.name, header.target, header.emulated,
        header.study if any(column.compared for column in columns) else "",
        tuple(machine for machine in header.machines if machine.name in rows),
        tuple(columns), tuple(contents.missing()),
        tuple(_failures(contents)))


def _failures(contents: CampaignContents) -> Iterator[str]:
    """What went wrong; tries that were only not together enough are one line for a round."""
    apart: dict[str, int] = {}
    for one in contents.rounds:
        for name, text in one.failures.items():
            if not name and one.skew_ns and one.window_end_ns:
                apart[one.key] = apart.get(one.key, 0) + 1
            else:
                yield f"{one.key}: {name + ': ' if name else ''}{text}"
    for key, tries in apart.items():
        yield (f"{key}: in {tries} {'try' if tries == 1 else 'tries'} the senders began "
               "further apart than max_skew")


def _place(name: tuple[str, str]) -> tuple[float, str, str]:
    """Experiments named by a number of senders stand in falling order, as in the study."""
    return (-float(name[0]) if name[0].isdigit() else math.inf, *name)


def _solo_rates(contents: CampaignContents,
                groups: Mapping[tuple[str, str], Sequence[RoundRecord]]
                ) -> dict[tuple[str, str, str], float]:
    """Rates of senders that were alone, by machine, cell and target."""
    solo: dict[tuple[str, str, str], list[float]] = {}
    for (_, cell), rounds in groups.items():
        for one in rounds:
            if len(one.senders) == 1:
                rates = _rates(contents.runs_of(one), one)
                for machine, rate_tps in rates.items():
                    solo.setdefault((machine, cell, one.target), []).append(rate_tps)
    return {name: sum(rates) / len(rates) for name, rates in solo.items()}


def _rates(runs: Sequence[SenderRun], one: RoundRecord) -> dict[str, float]:
    return {run.machine: rate_in_window(run, one.window_start_ns, one.window_end_ns)
            for run in runs}


def _column(contents: CampaignContents, name: tuple[str, str], rounds: list[RoundRecord],
            published: Mapping[str, float], solo: Mapping[tuple[str, str, str], float]
            ) -> Column:
    header = contents.header
    rates: dict[str, list[float]] = {}
    latencies: dict[str, Histogram] = {}
    runs: list[SenderRun] = []
    for one in rounds:
        parts = contents.runs_of(one)
        runs += parts
        for machine, rate_tps in _rates(parts, one).items():
            rates.setdefault(machine, []).append(rate_tps)
        for part in parts:
            latencies.setdefault(part.machine, Histogram()).merge(part.run.latency_ns)
    means = {machine: sum(values) / len(values) for machine, values in rates.items()}
    machines = {machine.name: machine for machine in header.machines}
    target = rounds[0].target
    target_host = machines[target].host if target in machines else header.target_host
    order = [machine for machine in machines if machine in means]
    own = [machine for machine in order if machines[machine].host == target_host
           and machines[machine].domain == "DomU"]
    entries = []
    for machine in order:
        # A sender beside itself would be no comparison.
        alone = solo.get((machine, name[1], target), math.nan) if (
            len(rounds[0].senders) > 1) else math.nan
        entries.append(Entry(
            machine, means[machine], _half_width(rates[machine]), len(rates[machine]),
            published.get(machine, math.nan),
            _ratio(means[machine], _mean([means[each] for each in own])),
            _ratio(published.get(machine, math.nan),
                   _mean([published[each] for each in own if each in published])),
            latencies[machine].percentile(99) if latencies[machine].total else 0,
            alone, 1 - _ratio(means[machine], alone)))
    compared = [machine for machine in order if machine in published]
    skews = sorted(one.skew_ns for one in rounds)
    told = all(run.run.target_tally.transactions >= 0 for run in runs)
    column = Column(
        name[0], name[1], target, tuple(entries),
        tuple(_fairness(order, machines, target_host, means, published)),
        sum(means.values()),
        kendall_tau([means[each] for each in compared],
                    [published[each] for each in compared]),
        len(compared), len(rounds), min(one.window_s for one in rounds), skews[-1],
        skews[len(skews) // 2],
        sum(run.run.transactions + run.run.drained for run in runs),
        sum(max(run.run.in_flight - run.run.drained, 0) + run.run.lost for run in runs),
        sum(run.run.target_tally.transactions for run in runs) if told else -1, ())
    return Column(**{**{key: getattr(column, key) for key in Column.__dataclass_fields__},
                     "doubts": tuple(_doubts(column, rounds, runs))})


def _fairness(order: Sequence[str], machines: Mapping[str, MachineFacts], target_host: str,
              means: Mapping[str, float], published: Mapping[str, float]) -> list[Fairness]:
    sets: dict[str, list[str]] = {}
    for machine in order:
        if machines[machine].domain == "DomU":
            sets.setdefault(f"DomU of {machines[machine].host}", []).append(machine)
    if target_host:
        sets["remote DomU"] = [machine for machine in order
                               if machines[machine].domain == "DomU"
                               and machines[machine].host != target_host]
    sets["all"] = list(order)
    for among, names in list(sets.items()):
        known = [name for name in names if name in published]
        if 1 < len(known) < len(names):  # the study tells of some: they are a set of their own
            sets[f"{among} published"] = known
    found = []
    for among, names in sets.items():
        if len(names) < 2:
            continue
        rates = [means[name] for name in names]
        told = [published[name] for name in names if name in published]
        enough = len(told) == len(names)
        found.append(Fairness(
            among, len(names), jain_index(rates), jain_index(told) if enough else math.nan,
            max_over_min(rates), max_over_min(told) if enough else math.nan))
    return found


def _doubts(column: Column, rounds: Sequence[RoundRecord], runs: Sequence[SenderRun]
            ) -> list[str]:
    doubts = []
    if column.worst_skew_ns > MAX_SKEW_SHARE * column.window_s * SECOND_NS:
        doubts.append(f"the senders began {column.worst_skew_ns / 1e6:.1f} ms apart, more than "
                      f"{MAX_SKEW_SHARE:.0%} of the window")
    if column.repeats == 1:
        doubts.append("measured once: nothing is known of how much it varies")
    if column.target_count >= 0 and not (
            0 <= column.target_count - column.sender_count <= column.unanswered):
        doubts.append(f"the senders counted {column.sender_count} transactions and the target "
                      f"{column.target_count}")
    if any(run.uncertainty_ns < 0 for run in runs):
        doubts.append("the clock of a machine with netperf over ssh is not known; its start "
                      "is a guess")
    if any(not run.run.interims for run in runs):
        doubts.append("a sender has no interim results: its rate is that of its whole run, not "
                      "of the window")
    lost = sum(run.run.lost for run in runs)
    if lost:
        doubts.append(f"{lost} requests were lost")
    return doubts


def _half_width(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.inf
    from xenrr.stats.interval import mean_interval

    interval = mean_interval(values)
    return (interval.high - interval.low) / 2


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _ratio(value: float, to: float) -> float:
    return value / to if to else math.nan


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
