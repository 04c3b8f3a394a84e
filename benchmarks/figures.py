"""The figures: what is measured beside what, and what each must reach.

A group's participants take turns, every one of them once a round, so rows of one group share
runs and their ratios are taken side by side. The ids are those of the project's targets;
``twin`` are netperf's tests with xenrr at both ends, at the target and at the sender, each
beside netperf at both ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks import costs, peers
from benchmarks.bed import Bed, Missing, Work
from benchmarks.paired import Measure, Ratio, measure_rounds

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
            return ratio.median <= 1 + ratio.noise
        if self.most:
            return ratio.median <= self.limit
        return ratio.median >= self.limit


TAIL = Bound(None, most=True)


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
    """

    id: str
    what: str
    a: str
    b: str
    bound: Bound | None = None
    value: str = "rate"


@dataclass(frozen=True)
class Group:
    """Rows that share runs.

    Attributes:
        how: Gives the measure of a participant.
        pairs: Rounds, ``None`` for as many as the session's.
        noise_pairs: A/A pairs of the first participant.
    """

    work: Work
    rows: tuple[Row, ...]
    how: Callable[[Bed, str, Work], Measure] = Bed.rate
    pairs: int | None = None
    noise_pairs: int = 3


@dataclass(frozen=True)
class Outcome:
    """What became of a row: a ratio, or the reason why there is none."""

    row: Row
    ratio: Ratio | None = None
    missing: str = ""
    failed: str = ""


def _tails(id: str, what: str, a: str, b: str = "floor") -> tuple[Row, ...]:
    floor = "C io_uring floor" if b == "uring" else "C floor"
    return tuple(Row(id, f"{what}: xenrr / {floor}, {name}", a, b, TAIL, value)
                 for name, value in (("p99", "p99_ns"), ("p99.9", "p999_ns")))


def _twins(test: str) -> tuple[Row, ...]:
    return tuple(Row("twin", f"{test}: {what} / netperf at both", ends, "nn", least(1.0))
                 for ends, what in (("xx", "xenrr at both ends"), ("nx", "xenrr.server"),
                                    ("xn", "xenrr.client")))


def _round_trips(id: str, test: str, netperf: float, pure: float) -> Group:
    what = f"{test}, one core"
    return Group(Work(test), (
        Row(id, f"{what}: xenrr / netperf", "xx", "nn", least(netperf)),
        Row(id, f"{what}: xenrr / C floor", "xx", "floor", least(0.98)),
        Row(id, f"{what}: xenrr / sockperf", "xx", "sockperf"),
        Row(id, f"{what}: xenrr / qperf", "xx", "qperf"),
        *_tails(id, what, "xx"),
        Row("P3", f"{what}: xenrr spinning / blocking", "ss", "xx", least(0.98)),
        Row("P5", f"{what}: pure Python / netperf", "pp", "nn", least(pure)),
        *_twins(test)))


def _spinning(test: str, netperf: float) -> Group:
    what = f"{test}, two cores, spinning"
    return Group(Work(test, place="apart"), (
        Row("P3", f"{what}: xenrr / netperf", "ss", "nn", least(netperf)),
        Row("P3", f"{what}: xenrr / C floor", "ss", "floor", least(0.97)),
        *_tails("P3", what, "ss")))


def _many(flows: int, netperf: float) -> Group:
    what = f"TCP_RR, {flows} flows"
    return Group(Work(place="both", flows=flows), (
        Row("P4", f"{what}: xenrr / netperf processes", "xx", "nn", least(netperf)),
        Row("P4", f"{what}: xenrr / C io_uring floor", "xx", "uring", least(0.95)),
        Row("P4", f"{what}: xenrr / C epoll floor", "xx", "epoll", least(0.95)),
        *_tails("P4", what, "xx", "uring")))


def _streams(test: str, send_bytes: int) -> Group:
    size = f"{send_bytes >> 10}K" if send_bytes else "default sizes"
    what = f"{test}, {size}"
    rows = (Row("P7", f"{what}: xenrr / netperf", "xx", "nn", least(1.0)),
            Row("P7", f"{what}: xenrr / iperf3", "xx", "iperf3",
                least(1.0)),
            Row("P7", f"{what}: xenrr / C floor", "xx", "floor"))
    return Group(Work(test, send_bytes=send_bytes), rows if send_bytes else
                 (*rows, *_twins(test)))


GROUPS = (
    _round_trips("P1", "TCP_RR", 1.02, 0.92),
    _round_trips("P2", "UDP_RR", 1.12, 0.90),
    _spinning("TCP_RR", 6.5),
    _spinning("UDP_RR", 8.0),
    _many(12, 1.6),
    _many(100, 2.4),
    _many(1000, 3.5),
    Group(Work("UDP_RR", burst=15), (
        Row("P4b", "UDP_RR, 16 in flight: xenrr / netperf", "xx", "nn", least(1.3)),
    )),
    Group(Work("UDP_RR", place="both", flows=100), (
        Row("P4b", "UDP_RR, 100 flows: xenrr / netperf processes", "xx", "nn", least(1.7)),
        Row("P4b", "UDP_RR, 100 flows: xenrr / C epoll floor", "xx", "epoll"),
        Row("P4b", "UDP_RR, 100 flows: xenrr / C io_uring floor", "xx", "uring"))),
    Group(Work("TCP_CRR"), (
        Row("P6", "TCP_CRR, one core: xenrr / netperf", "xx", "nn", least(1.02)),
        Row("P6", "TCP_CRR, one core: xenrr / C floor", "xx", "floor", least(0.97)),
        *_twins("TCP_CRR"))),
    *(_streams(test, size) for size in (0, 1 << 18) for test in ("TCP_STREAM", "TCP_MAERTS")),
    Group(Work(), (
        Row("P8", "client -V / python -c pass, wall time", "version", "pass", most(2.0),
            "seconds"),
        Row("P8", "one transaction / python -c pass, wall time", "first", "pass", most(2.0),
            "seconds")), costs.start_up, pairs=20),
    *(Group(Work(), (
        Row("P9", f"instructions, {end}: xenrr / netperf", f"{end} x", f"{end} n",
            most(bound), "instructions"),
        Row("P9", f"instructions, {end}: xenrr / C floor", f"{end} x",
            f"{end} floor", None, "instructions")), costs.instructions, pairs=1, noise_pairs=1)
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
        costs.overhead, pairs=30),
    Group(Work("UDP_RR"), (
        Row("decompose", "UDP_RR, one core: decomposed / not", "split", "bare", least(0.80)),),
        costs.overhead, pairs=15),
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


def measure_group(bed: Bed, group: Group, pairs: int) -> list[Outcome]:
    """Run a group: all of its participants that are here, side by side.

    A participant that is not here, or fails, takes the rows that need it along and no other.
    """
    missing: dict[str, str] = {}
    failed: dict[str, str] = {}
    measures: dict[str, Measure] = {}
    for name in dict.fromkeys(name for row in group.rows for name in (row.a, row.b)):
        try:
            measures[name] = group.how(bed, name, group.work)
        except Missing as exc:
            missing[name] = f"{exc} is missing"
        except (peers.PeerOutput, OSError) as exc:
            failed[name] = f"{name}: {exc}"
    rows = [row for row in group.rows if {row.a, row.b} <= set(measures)]
    needed = {name: measures[name] for row in rows for name in (row.a, row.b)}
    rounds = None
    while needed and rounds is None:
        trying = ""

        def guarded(name: str, measure: Measure) -> Measure:
            def run() -> dict[str, float]:
                nonlocal trying
                trying = name
                return dict(measure())
            return run

        try:
            rounds = measure_rounds(
                {name: guarded(name, measure) for name, measure in needed.items()},
                group.pairs or pairs, group.noise_pairs)
        except (peers.PeerOutput, OSError) as exc:
            failed[trying] = f"{trying}: {exc}"
            rows = [row for row in rows if trying not in (row.a, row.b)]
            needed = {name: measures[name] for row in rows for name in (row.a, row.b)}
    found = []
    for row in group.rows:
        why = next((missing[name] for name in (row.a, row.b) if name in missing), "")
        error = next((failed[name] for name in (row.a, row.b) if name in failed), "")
        if why or error or rounds is None:
            found.append(Outcome(row, missing=why, failed=error))
            continue
        try:
            found.append(Outcome(row, rounds.ratio(row.a, row.b, row.value)))
        except KeyError:
            found.append(Outcome(row, failed=f"no {row.value} was told"))
    return found


def verdict(outcome: Outcome) -> str:
    """``met``, ``missed``, or in words why neither; a row without a bound has none."""
    if outcome.failed:
        return f"failed: {outcome.failed}"
    if outcome.ratio is None:
        return f"not measured: {outcome.missing}"
    if outcome.row.bound is None:
        return ""
    return "met" if outcome.row.bound.met(outcome.ratio) else "missed"
