"""The figures: what is measured beside what, and what each must reach.

A group's participants take turns, every one of them once a round, so rows of one group share
runs and their ratios are taken side by side. The ids are those of the project's targets;
``twin`` are netperf's tests with xenrr at both ends, at the target and at the sender, each
beside netperf at both ends.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks import costs, peers
from benchmarks.bed import Bed, Missing, Work
from benchmarks.paired import Measure, Ratio, Rounds, measure_rounds

__all__ = ["GROUPS", "Bound", "Group", "Outcome", "Row", "chosen", "ids", "measure_group",
           "verdict"]


@dataclass(frozen=True)
class Bound:
    """What a ratio must reach.

    Attributes:
        limit: The ratio; ``None`` is 1 and as much more as the A/A pairs show.
        most: Whether it is the most, else it is the least.
    """

    limit: float | None
    most: bool = False

    def __str__(self) -> str:
        if self.limit is None:
            return "<= 1 + A/A"
        return f"{'<=' if self.most else '>='} {self.limit:.2f}"

    def met(self, ratio: Ratio) -> bool:
        """Whether the median keeps it."""
        if self.limit is None:
            return ratio.median <= 1 + (ratio.noise or 0.0)
        if self.most:
            return ratio.median <= self.limit
        return ratio.median >= self.limit


TAIL = Bound(None, most=True)
# Rounds of a row. The fewest that have an interval are for peers that take seconds to start
# and have no bound.
PAIRS, FEWEST = 7, 6
# A/A pairs of tails, whose bound is what these pairs show; with many flows they take longer.
TAIL_NOISE_PAIRS, MANY_NOISE_PAIRS = 6, 4
# Rounds of rows whose bound lies within a few percent of what they or their floor reach. The
# interval leaves out one more at each end with 9, 12, 15 and 17 pairs, and not in between.
DECIDING = 12
# Of streams and many UDP flows, whose runs take twice as long.
DECIDING_LONG = 9


def least(limit: float) -> Bound:
    """A ratio of at least this."""
    return Bound(limit)


def most(limit: float) -> Bound:
    """A ratio of at most this."""
    return Bound(limit, most=True)


@dataclass(frozen=True)
class Row:
    """One ratio to report: participant ``a`` over participant ``b``.

    Attributes:
        id: Of the target.
        what: What is compared, for a reader of the table.
        bound: ``None`` for a row that is only for comparison.
        value: Which value of the samples.
        ceilings: Participants that do the least that a tool could do: where the bound is
            missed, the better of their ratios over ``b`` stands beside it.
        pairs: Rounds where no more are asked for: more of a row whose bound is near what it
            reaches, decided before anything is measured.
    """

    id: str
    what: str
    a: str
    b: str
    bound: Bound | None = None
    value: str = "rate"
    ceilings: tuple[str, ...] = ()
    pairs: int = PAIRS


@dataclass(frozen=True)
class Group:
    """Rows that share runs.

    Attributes:
        how: Gives the measure of a participant.
        pairs: Rounds, whatever its rows or the session ask for; ``None`` leaves it to them.
        noise_pairs: A/A pairs of the first participant.
    """

    work: Work
    rows: tuple[Row, ...]
    how: Callable[[Bed, str, Work], Measure] = Bed.rate
    pairs: int | None = None
    noise_pairs: int = 2


@dataclass(frozen=True)
class Outcome:
    """What became of a row: a ratio, or the reason why there is none.

    Attributes:
        ceiling: The best that a floor reached in the same rounds, of a row that names some.
    """

    row: Row
    ratio: Ratio | None = None
    ceiling: Ratio | None = None
    missing: str = ""
    failed: str = ""


def _tails(
    id: str, what: str, a: str, b: str = "floor", pairs: int = PAIRS,
) -> tuple[Row, ...]:
    floor = "C io_uring floor" if b == "uring" else "C floor"
    return tuple(Row(id, f"{what}: xenrr / {floor}, {name}", a, b, TAIL, value, pairs=pairs)
                 for name, value in (("p99", "p99_ns"), ("p99.9", "p999_ns")))


def _twins(test: str) -> tuple[Row, ...]:
    return tuple(Row("twin", f"{test}: {what} / netperf at both", ends, "nn", least(1.0))
                 for ends, what in (("xx", "xenrr at both ends"), ("nx", "xenrr.server"),
                                    ("xn", "xenrr.client")))


def _round_trips(id: str, test: str, netperf: float, pure: float) -> Group:
    what = f"{test}, one core"
    return Group(Work(test), (
        Row(id, f"{what}: xenrr / netperf", "xx", "nn", least(netperf),
            ceilings=("floor",), pairs=DECIDING),
        Row(id, f"{what}: C floor / netperf", "floor", "nn"),
        Row(id, f"{what}: xenrr / C floor", "xx", "floor", least(0.98)),
        Row(id, f"{what}: xenrr / sockperf", "xx", "sockperf", pairs=FEWEST),
        Row(id, f"{what}: xenrr / qperf", "xx", "qperf"),
        *_tails(id, what, "xx"),
        Row("P3", f"{what}: xenrr spinning / blocking", "ss", "xx", least(0.98),
            ceilings=("yield",), pairs=DECIDING),
        Row("P3", f"{what}: C floor, yielding / blocking", "yield", "floor"),
        Row("P5", f"{what}: pure Python / netperf", "pp", "nn", least(pure),
            ceilings=("python",), pairs=DECIDING),
        Row("P5", f"{what}: Python floor / netperf", "python", "nn"),
        *_twins(test)), noise_pairs=TAIL_NOISE_PAIRS)


def _spinning(test: str, netperf: float) -> Group:
    what = f"{test}, two cores, spinning"
    return Group(Work(test, place="apart"), (
        Row("P3", f"{what}: xenrr / netperf", "ss", "nn", least(netperf),
            ceilings=("floor",)),
        Row("P3", f"{what}: C floor / netperf", "floor", "nn"),
        Row("P3", f"{what}: xenrr / C floor", "ss", "floor", least(0.97), pairs=DECIDING),
        *_tails("P3", what, "ss", pairs=DECIDING)), noise_pairs=TAIL_NOISE_PAIRS)


def _many(flows: int, netperf: float, neper: float | None, deciding: int = PAIRS) -> Group:
    what = f"TCP_RR, {flows} flows"
    floors = ("uring", "epoll")
    return Group(Work(place="both", flows=flows), (
        Row("P4", f"{what}: xenrr / netperf processes", "xx", "nn", least(netperf),
            ceilings=floors),
        Row("P4", f"{what}: C io_uring floor / netperf", "uring", "nn"),
        Row("P4", f"{what}: C epoll floor / netperf", "epoll", "nn"),
        *([Row("P4", f"{what}: xenrr / neper", "xx", "neper", least(neper),
               ceilings=floors)] if neper else []),
        Row("P4", f"{what}: xenrr / C io_uring floor", "xx", "uring", least(0.95),
            pairs=deciding),
        Row("P4", f"{what}: xenrr / C epoll floor", "xx", "epoll", least(0.95)),
        *_tails("P4", what, "xx", "uring", deciding)),
        noise_pairs=MANY_NOISE_PAIRS)


def _streams(test: str, send_bytes: int) -> Group:
    size = f"{send_bytes >> 10}K" if send_bytes else "default sizes"
    what = f"{test}, {size}"
    rows = (Row("P7", f"{what}: xenrr / netperf", "xx", "nn", least(1.0),
                ceilings=("floor",), pairs=DECIDING_LONG),
            Row("P7", f"{what}: C floor / netperf", "floor", "nn"),
            Row("P7", f"{what}: xenrr / iperf3", "xx", "iperf3", least(1.0),
                ceilings=("floor",), pairs=DECIDING_LONG if send_bytes else PAIRS),
            Row("P7", f"{what}: xenrr / C floor", "xx", "floor"))
    return Group(Work(test, send_bytes=send_bytes), rows if send_bytes else
                 (*rows, *_twins(test)))


GROUPS = (
    _round_trips("P1", "TCP_RR", 1.02, 0.92),
    _round_trips("P2", "UDP_RR", 1.12, 0.90),
    _spinning("TCP_RR", 6.5),
    _spinning("UDP_RR", 8.0),
    _many(12, 1.6, None),
    _many(100, 2.4, 1.5),
    _many(1000, 3.5, 1.5, deciding=DECIDING),
    Group(Work("UDP_RR", burst=15), (
        Row("P4b", "UDP_RR, 16 in flight: xenrr / netperf", "xx", "nn", least(1.3)),
    )),
    Group(Work("UDP_RR", place="both", flows=100), (
        Row("P4b", "UDP_RR, 100 flows: xenrr / netperf processes", "xx", "nn", least(1.7),
            ceilings=("uring", "epoll"), pairs=DECIDING_LONG),
        Row("P4b", "UDP_RR, 100 flows: xenrr / neper", "xx", "neper", least(1.4),
            ceilings=("uring", "epoll"), pairs=DECIDING_LONG),
        Row("P4b", "UDP_RR, 100 flows: xenrr / C epoll floor", "xx", "epoll"),
        Row("P4b", "UDP_RR, 100 flows: xenrr / C io_uring floor", "xx", "uring"))),
    Group(Work("TCP_CRR"), (
        Row("P6", "TCP_CRR, one core: xenrr / netperf", "xx", "nn", least(1.02),
            ceilings=("floor",), pairs=DECIDING),
        Row("P6", "TCP_CRR, one core: C floor / netperf", "floor", "nn"),
        Row("P6", "TCP_CRR, one core: xenrr / C floor", "xx", "floor", least(0.97),
            pairs=DECIDING),
        *_twins("TCP_CRR"))),
    *(_streams(test, size) for size in (0, 1 << 18) for test in ("TCP_STREAM", "TCP_MAERTS")),
    *(Group(Work(), (
        Row("P8", f"client -V / python -c pass, {where}", f"version{kind}", f"pass{kind}",
            most(2.0), "seconds"),
        Row("P8", f"one transaction / python -c pass, {where}", f"first{kind}",
            f"pass{kind}", most(2.0), "seconds", ceilings=(f"connect{kind}",)),
        Row("P8", f"Python that connects / python -c pass, {where}", f"connect{kind}",
            f"pass{kind}", None, "seconds")), costs.start_up, pairs=20)
      for kind, where in (("", "editable"), (" copied", "copied"))),
    *(Group(Work(), (
        Row("P9", f"instructions, {end}: xenrr / netperf", f"{end} x", f"{end} n",
            most(bound), "instructions"),
        Row("P9", f"instructions, {end}: xenrr / C floor", f"{end} x",
            f"{end} floor", None, "instructions")), costs.instructions, pairs=1, noise_pairs=0)
      for end, bound in (("client", 0.5), ("server", 0.3))),
    Group(Work(place="both", flows=1000), (
        Row("P10", "server memory, 1000 flows: xenrr / netserver", "xx", "nn",
            most(0.2), "kilobytes"),), costs.memory, pairs=3, noise_pairs=1),
    Group(Work(place="both", flows=1000), (
        Row("P10", "1000 flows of one transaction: xenrr / netperf", "xx", "nn",
            most(0.3), "seconds"),), costs.zero_work),
    Group(Work(), (
        Row("P11", "TCP_RR, one core: all that is told / rate alone", "told", "bare",
            least(0.99)),
        Row("decompose", "TCP_RR, one core: decomposed / not", "split", "bare", least(0.85))),
        costs.overhead, pairs=20),
    Group(Work("UDP_RR"), (
        Row("decompose", "UDP_RR, one core: decomposed / not", "split", "bare", least(0.80)),),
        costs.overhead, pairs=12),
    *(Group(Work(test), _twins(test)) for test in ("TCP_CC", "TCP_SENDFILE", "UDP_STREAM")),
)


def ids() -> list[str]:
    """Every id, in the order of the figures."""
    found = dict.fromkeys(row.id for group in GROUPS for row in group.rows)
    order = ["P1", "P2", "P3", "P4", "P4b", "P5", "P6", "P7", "P8", "P9", "P10", "P11"]
    return [*order, *(id for id in found if id not in order)]


def chosen(wanted: Sequence[str]) -> list[Group]:
    """The groups with their rows of some ids; of all where none is wanted."""
    if not wanted:
        return list(GROUPS)
    kept = [replace(group, rows=tuple(row for row in group.rows if row.id in wanted))
            for group in GROUPS]
    return [group for group in kept if group.rows]


def measure_group(bed: Bed, group: Group, pairs: int = 0) -> list[Outcome]:
    """Run a group: all of its participants that are here, side by side.

    Args:
        bed: Where.
        group: What.
        pairs: Rounds at least, where the group leaves that open.

    A participant that is not here, or fails, takes the rows that need it along and no other.
    """
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}
    measures: dict[str, Measure] = {}
    for name in dict.fromkeys(name for row in group.rows
                              for name in (row.a, row.b, *row.ceilings)):
        try:
            measures[name] = group.how(bed, name, group.work)
        except Missing as exc:
            missing[name] = f"{exc} is missing"
        except (peers.PeerOutput, OSError) as exc:
            failed[name] = f"{name}: {exc}"
    rows = [row for row in group.rows if {row.a, row.b} <= set(measures)]
    rounds = None
    while rows and rounds is None:
        trying = ""
        turns = _turns(rows, measures, group.pairs, pairs)

        def guarded(name: str) -> Measure:
            def run() -> dict[str, float]:
                nonlocal trying
                trying = name
                return dict(measures[name]())
            return run

        try:
            rounds = measure_rounds({name: guarded(name) for name in turns}, turns,
                                    group.noise_pairs)
        except (peers.PeerOutput, OSError, subprocess.TimeoutExpired) as exc:
            failed[trying] = f"{trying}: {exc}"
            del measures[trying]
            rows = [row for row in rows if trying not in (row.a, row.b)]
    found = []
    for row in group.rows:
        why = next((missing[name] for name in (row.a, row.b) if name in missing), "")
        error = next((failed[name] for name in (row.a, row.b) if name in failed), "")
        if why or error or rounds is None:
            found.append(Outcome(row, missing=why, failed=error))
            continue
        try:
            found.append(Outcome(row, rounds.ratio(row.a, row.b, row.value),
                                 _ceiling(row, rounds)))
        except KeyError:
            found.append(Outcome(row, failed=f"no {row.value} was told"))
    return found


def _turns(rows: Sequence[Row], measures: Mapping[str, Measure], fixed: int | None,
           pairs: int) -> dict[str, int]:
    """How many rounds each participant of some rows is in."""
    turns: dict[str, int] = {}
    for row in rows:
        for name in (row.a, row.b, *row.ceilings):
            if name in measures:
                turns[name] = max(turns.get(name, 0), fixed or max(pairs, row.pairs))
    return turns


def _ceiling(row: Row, rounds: Rounds) -> Ratio | None:
    reached = [rounds.ratio(name, row.b, row.value) for name in row.ceilings
               if name in rounds.samples]
    if row.bound is not None and row.bound.most:
        return min(reached, key=lambda ratio: ratio.median, default=None)
    return max(reached, key=lambda ratio: ratio.median, default=None)


def verdict(outcome: Outcome) -> str:
    """``met``, ``missed``, or in words why neither; a row without a bound has none."""
    if outcome.failed:
        return f"failed: {outcome.failed}"
    if outcome.ratio is None:
        return f"not measured: {outcome.missing}"
    if outcome.row.bound is None:
        return ""
    if outcome.row.bound.met(outcome.ratio):
        return "met"
    return f"missed (floor {outcome.ceiling.median:.3f})" if outcome.ceiling else "missed"
