"""What a campaign leaves in a file: its header, each sender's run, each round.

A round is one experiment in one cell once: its senders started together. The runs of a round
are written first and the round behind them, so that a round in a file has all its runs, and
what a killed coordinator left without a round is still a set of whole runs.

Times are in ns on the coordinator's monotonic clock, counted from the round's GO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from xenrr.errors import ResultFormatError
from xenrr.frozen import asdict, dataclass, field, field_names
from xenrr.results.record import SECOND_NS, Run
from xenrr.results.store import read_file

__all__ = ["HEADER", "ROUND", "SENDER_RUN", "CampaignContents", "CampaignHeader",
           "MachineFacts", "RoundRecord", "SenderRun", "Window", "count_in_window",
           "rate_in_window", "read_campaign", "window_of"]

HEADER, SENDER_RUN, ROUND = "campaign", "campaign-run", "campaign-round"
SCHEMA = 1

Record = TypeVar("Record")


@dataclass(frozen=True)
class MachineFacts:
    """A machine as it was declared.

    Attributes:
        name: Unique in the campaign.
        host: Name of the physical machine it is on.
        domain: ``Dom0``, ``DomU``, or empty.
        address: Where it is reached.
        launcher: ``local``, ``lab``, ``ssh`` or ``dask``.
        sender: ``xenrr`` or ``netperf``: what sends there.
    """

    name: str
    host: str
    domain: str = ""
    address: str = ""
    launcher: str = "local"
    sender: str = "xenrr"


@dataclass(frozen=True)
class CampaignHeader:
    """What was declared; one to a file.

    Attributes:
        name: Of the campaign.
        study: Whose published numbers belong beside it; empty for none.
        target: Name of the target, a machine or an address.
        target_host: Host of the target; empty where it is not known.
        machines: All of them.
        rounds: Keys of all planned rounds, in their order.
        seed: Of that order.
        repeats, duration_s, warmup_s: As declared.
        emulated: Name of the lab it ran in; empty on real machines.
        started_epoch_s: When it was first started.
        xenrr: Version that wrote it.
    """

    name: str
    study: str
    target: str
    target_host: str
    machines: tuple[MachineFacts, ...]
    rounds: tuple[str, ...]
    seed: int
    repeats: int
    duration_s: float
    warmup_s: float
    emulated: str
    started_epoch_s: float
    xenrr: str
    schema: int = SCHEMA

    def to_plain(self) -> dict[str, object]:
        """JSON-ready values; ``from_plain`` takes them back."""
        return {**_fields_of(self), "machines": list(map(asdict, self.machines)),
                "rounds": list(self.rounds)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> CampaignHeader:
        """Build it from what ``to_plain`` gave.

        Raises:
            ResultFormatError: It is damaged, or of a schema this xenrr does not know.
        """
        return _built(cls, plain, "the campaign", rounds=_texts,
                      machines=lambda each: tuple(MachineFacts(**one) for one in each))

    def same_plan(self, other: CampaignHeader) -> bool:
        """Whether another campaign asks for the same measurements."""
        return all(getattr(self, name) == getattr(other, name)
                   for name in field_names(self)
                   if name not in ("started_epoch_s", "xenrr", "emulated", "schema"))


@dataclass(frozen=True)
class SenderRun:
    """One sender's part of a round.

    Attributes:
        key: Of the round.
        attempt: Tells tries of the same round apart.
        experiment, cell, repeat: Which round that is.
        machine: The sender.
        start_ns, end_ns: Its first request and the end of its loop.
        uncertainty_ns: How well its clock is known, one way.
        run: Its record.
    """

    key: str
    attempt: str
    experiment: str
    cell: str
    repeat: int
    machine: str
    start_ns: int
    end_ns: int
    uncertainty_ns: int
    run: Run
    schema: int = SCHEMA

    def to_plain(self) -> dict[str, object]:
        """JSON-ready values; ``from_plain`` takes them back."""
        return {**_fields_of(self), "run": self.run.to_plain()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> SenderRun:
        """Build it from what ``to_plain`` gave.

        Raises:
            ResultFormatError: It is damaged, or of a schema this xenrr does not know.
        """
        return _built(cls, plain, "a sender", run=Run.from_plain)


@dataclass(frozen=True)
class RoundRecord:
    """One round, written after its runs.

    Attributes:
        key, attempt, experiment, cell, repeat: Which one.
        target: Name of its target.
        senders: Who was to send.
        go_epoch_s: Wall-clock time of its GO; 0 when it was called off before.
        window_start_ns, window_end_ns: The time in which all of them ran, after the
            warm-up; both 0 when there was none.
        skew_ns: Between the first and the last of the true starts.
        failures: What went wrong, by machine; empty for a round that counts.
        stopped: Whether a person ended it.
    """

    key: str
    attempt: str
    experiment: str
    cell: str
    repeat: int
    target: str
    senders: tuple[str, ...]
    go_epoch_s: float
    window_start_ns: int = 0
    window_end_ns: int = 0
    skew_ns: int = 0
    failures: Mapping[str, str] = field(default_factory=dict)
    stopped: bool = False
    schema: int = SCHEMA

    @property
    def complete(self) -> bool:
        """Whether all of it was measured."""
        return not self.failures and not self.stopped

    @property
    def window_s(self) -> float:
        """Length of the window in s."""
        return (self.window_end_ns - self.window_start_ns) / SECOND_NS

    def to_plain(self) -> dict[str, object]:
        """JSON-ready values; ``from_plain`` takes them back."""
        return {**_fields_of(self), "senders": list(self.senders),
                "failures": dict(self.failures)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> RoundRecord:
        """Build it from what ``to_plain`` gave.

        Raises:
            ResultFormatError: It is damaged, or of a schema this xenrr does not know.
        """
        return _built(cls, plain, "a round", senders=_texts, failures=dict)


@dataclass(frozen=True)
class Window:
    """The time in which all senders of a round ran, and how far apart they began.

    Attributes:
        start_ns, end_ns: From the last start (and the warm-up) to the first end.
        skew_ns: Between the first and the last start.
    """

    start_ns: int
    end_ns: int
    skew_ns: int


def window_of(runs: Iterable[SenderRun], warmup_ns: int = 0) -> Window | None:
    """Find the window of a round.

    Args:
        runs: Its senders.
        warmup_ns: Left out after the last start.

    Returns:
        ``None`` when there was no time in which all of them ran.
    """
    parts = list(runs)
    if not parts:
        return None
    starts = [part.start_ns for part in parts]
    start_ns = max(starts) + warmup_ns
    end_ns = min(part.end_ns for part in parts)
    if end_ns <= start_ns:
        return None
    return Window(start_ns, end_ns, max(starts) - min(starts))


def count_in_window(part: SenderRun, start_ns: int, end_ns: int) -> float:
    """Transactions of one sender in a window, from its interim series.

    An interval that the window cuts counts by the share of it inside; what came after the
    last interim result is one more interval. Without a series the whole run is one.
    """
    counted = 0.0
    seen, last_ns = 0, 0
    intervals = [(point.end_ns - point.interval_ns, point.end_ns, point.transactions)
                 for point in part.run.interims]
    for begin_ns, finish_ns, count in intervals:
        seen += count
        last_ns = max(last_ns, finish_ns)
        counted += count * _share(part.start_ns + begin_ns, part.start_ns + finish_ns,
                                  start_ns, end_ns)
    rest = part.run.transactions - seen
    if rest > 0 and part.run.elapsed_ns > last_ns:
        counted += rest * _share(part.start_ns + last_ns, part.start_ns + part.run.elapsed_ns,
                                 start_ns, end_ns)
    return counted


def rate_in_window(part: SenderRun, start_ns: int, end_ns: int) -> float:
    """Transactions per second of one sender in a window; 0.0 for an empty one."""
    length_ns = end_ns - start_ns
    return count_in_window(part, start_ns, end_ns) * SECOND_NS / length_ns if (
        length_ns > 0) else 0.0


@dataclass(frozen=True)
class CampaignContents:
    """A campaign as it stands in a file.

    Attributes:
        header: What was declared.
        rounds: All rounds, also those that do not count, in the order they were written.
        runs: Likewise, all senders' runs.
        complaint: Why reading stopped before the end of the file, else empty.
    """

    header: CampaignHeader
    rounds: tuple[RoundRecord, ...]
    runs: tuple[SenderRun, ...]
    complaint: str = ""

    def complete(self) -> list[RoundRecord]:
        """The rounds that count: of several complete tries of one the last."""
        return list({one.key: one for one in self.rounds if one.complete}.values())

    def missing(self) -> list[str]:
        """Keys of planned rounds that do not count yet."""
        done = {one.key for one in self.rounds if one.complete}
        return [key for key in self.header.rounds if key not in done]

    def runs_of(self, one: RoundRecord) -> list[SenderRun]:
        """The runs of a round, in the order of its senders."""
        places = {name: place for place, name in enumerate(one.senders)}
        return sorted((run for run in self.runs if run.attempt == one.attempt),
                      key=lambda run: places.get(run.machine, len(places)))


def read_campaign(path: str) -> CampaignContents:
    """Read a campaign's file up to its last whole record.

    Raises:
        ResultFormatError: It holds no campaign, or is damaged.
        OSError: It cannot be read.
    """
    contents = read_file(path)
    header: CampaignHeader | None = None
    rounds, runs = [], []
    for kind, plain in contents.others:
        if kind == HEADER:
            found = CampaignHeader.from_plain(plain)
            if header is not None and not header.same_plan(found):
                raise ResultFormatError(f"{path} holds two different campaigns")
            header = header or found
        elif kind == ROUND:
            rounds.append(RoundRecord.from_plain(plain))
        elif kind == SENDER_RUN:
            runs.append(SenderRun.from_plain(plain))
    if header is None:
        raise ResultFormatError(f"there is no campaign in {path}")
    return CampaignContents(header, tuple(rounds), tuple(runs), contents.complaint)


def _share(begin_ns: int, finish_ns: int, start_ns: int, end_ns: int) -> float:
    """Which part of an interval lies in a window."""
    if finish_ns <= begin_ns:
        return 1.0 if start_ns <= begin_ns < end_ns else 0.0
    inside_ns = min(finish_ns, end_ns) - max(begin_ns, start_ns)
    return max(inside_ns, 0) / (finish_ns - begin_ns)


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(str, values))


def _fields_of(record: Any) -> dict[str, object]:
    return {name: getattr(record, name) for name in field_names(record)}


def _built(kind: Callable[..., Record], plain: Mapping[str, Any], what: str,
           **makers: Callable[[Any], object]) -> Record:
    """A record of its plain values, some of which are made into what they were.

    Raises:
        ResultFormatError: It is damaged, or of a schema this xenrr does not know.
    """
    if plain.get("schema") != SCHEMA:
        raise ResultFormatError(f"this xenrr reads campaigns of schema {SCHEMA}, "
                                f"not {plain.get('schema')!r}")
    known = field_names(kind)
    values = {str(name): value for name, value in plain.items() if name in known}
    try:
        values.update({name: make(values[name]) for name, make in makers.items()})
        return kind(**values)
    except (KeyError, TypeError, ValueError) as exc:
        raise ResultFormatError(f"the record of {what} is damaged: {exc}") from exc
