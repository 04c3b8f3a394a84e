"""Log-linear counts of integer nanoseconds, in the layout of HdrHistogram.

The value range is cut into buckets that each double the one before; every bucket holds
1024 equal steps (the first holds 2048), so a recorded value is known to 3 significant
digits wherever it lies. The whole state is one flat array of counts, which makes two
histograms of the same range mergeable by addition and lets the C loop count straight into
memory that Python owns.

Percentiles are computed when they are read and never averaged: merge, then ask.

Source of the layout: HdrHistogram's AbstractHistogram (unit magnitude 0, 3 digits).
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping

from xenrr.frozen import dataclass
from xenrr.lean import ClassVar

__all__ = ["COUNTS_LENGTH", "HIGHEST_NS", "Histogram", "PackedHistogram", "counts_index",
           "highest_equivalent", "lowest_equivalent"]

# 3 digits need 2 * 10**3 steps in the first bucket, rounded up to a power of two.
SUB_BUCKET_BITS = 11
SUB_BUCKETS = 1 << SUB_BUCKET_BITS
HALF = SUB_BUCKETS >> 1

# Range, unit and digits, as records name them.
LAYOUT = "hdr-1ns-1h-3"

# One hour. A round trip longer than that is counted as one hour (see `clamped`).
HIGHEST_NS = 3_600_000_000_000

# rr_loop.h has the same number as RR_COUNTS; a test compares the two.
BUCKETS = (HIGHEST_NS // SUB_BUCKETS).bit_length() + 1
COUNTS_LENGTH = (BUCKETS + 1) * HALF


def counts_index(value_ns: int) -> int:
    """Place of a value in the array of counts.

    Args:
        value_ns: 0 to ``HIGHEST_NS``, in ns.
    """
    shift = (value_ns | (SUB_BUCKETS - 1)).bit_length() - SUB_BUCKET_BITS
    return (shift << (SUB_BUCKET_BITS - 1)) + (value_ns >> shift)


def lowest_equivalent(index: int) -> int:
    """Smallest value in ns that is counted at ``index``."""
    if index < SUB_BUCKETS:
        return index
    shift = (index >> (SUB_BUCKET_BITS - 1)) - 1
    return ((index & (HALF - 1)) | HALF) << shift


def highest_equivalent(index: int) -> int:
    """Largest value in ns that is counted at ``index``."""
    return lowest_equivalent(index + 1) - 1


class Histogram:
    """Counts of round-trip times.

    Args:
        counts: What an engine has counted; ``None`` for nothing yet.

    Attributes:
        counts: ``array('Q')`` of ``COUNTS_LENGTH`` counts; an engine may write into it.
        min_ns: Smallest value recorded exactly, 0 while empty.
        max_ns: Largest value recorded exactly, 0 while empty.
        sum_ns: Exact sum of all values.
        clamped: How many values were above ``HIGHEST_NS``.
    """

    __slots__ = ("clamped", "counts", "max_ns", "min_ns", "sum_ns")

    def __init__(self, counts: array[int] | None = None) -> None:
        self.counts = array("Q", (0,)) * COUNTS_LENGTH if counts is None else counts
        self.min_ns = 0
        self.max_ns = 0
        self.sum_ns = 0
        self.clamped = 0

    @property
    def total(self) -> int:
        """Number of values recorded."""
        first, last = self._range()
        return sum(self.counts[first:last])

    def record(self, value_ns: int, count: int = 1) -> None:
        """Count a value.

        Args:
            value_ns: In ns; negative values count as 0, those above an hour as an hour.
            count: How often.

        Raises:
            ValueError: ``count`` is negative.
        """
        if count < 0:
            raise ValueError(f"a count is not negative, got {count}")
        if count == 0:
            return
        value_ns = max(value_ns, 0)
        if value_ns > HIGHEST_NS:
            self.clamped += count
            value_ns = HIGHEST_NS
        self._widen(value_ns, value_ns)
        self.sum_ns += value_ns * count
        self.counts[counts_index(value_ns)] += count

    def record_many(self, values_ns: Iterable[int]) -> None:
        """Count each of many values; repeated values cost one update."""
        tally: dict[int, int] = {}
        for value in values_ns:
            tally[value] = tally.get(value, 0) + 1
        for value, count in tally.items():
            self.record(value, count)

    def merge(self, other: Histogram) -> None:
        """Add all that another histogram has counted."""
        if not any(other.counts):
            return
        self._widen(other.min_ns, other.max_ns)
        self.sum_ns += other.sum_ns
        self.clamped += other.clamped
        mine = self.counts
        for index, count in other.buckets():
            mine[index] += count

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Pairs of index and count of every step that holds something, in order."""
        first, last = self._range()
        return ((index, count) for index, count in enumerate(self.counts[first:last], first)
                if count)

    def percentile(self, percent: float) -> int:
        """Value that ``percent`` of all transactions did not exceed.

        Args:
            percent: 0 to 100.

        Returns:
            In ns: the top of the step that holds the value of that rank (so never less
            than the true one), cut to the exact minimum and maximum. 0 while empty.

        Raises:
            ValueError: ``percent`` is outside 0 to 100.
        """
        return self.percentiles((percent,))[0]

    def percentiles(self, percents: Iterable[float]) -> list[int]:
        """Several percentiles in one walk over the counts; see ``percentile``."""
        asked = list(percents)
        for percent in asked:
            if not 0 <= percent <= 100:
                raise ValueError(f"a percentile lies between 0 and 100, got {percent}")
        total = self.total
        if total == 0:
            return [0] * len(asked)
        # The small subtraction keeps 99.9 / 100 * 1000 = 999.0000000000001 at rank 999.
        ranks = sorted(
            (max(1, math.ceil(percent * total / 100 - 1e-9)), place)
            for place, percent in enumerate(asked)
        )
        found = [0] * len(asked)
        walk = self.buckets()
        seen = 0
        index = 0
        for rank, place in ranks:
            while seen < rank:
                index, count = next(walk)
                seen += count
            found[place] = min(max(highest_equivalent(index), self.min_ns), self.max_ns)
        return found

    def mean(self) -> float:
        """Exact mean in ns, 0.0 while empty."""
        total = self.total
        return self.sum_ns / total if total else 0.0

    def stddev(self) -> float:
        """Population standard deviation in ns, from the middle of each step."""
        total = self.total
        if total == 0:
            return 0.0
        mean = self.sum_ns / total
        squares = sum(
            count * ((lowest_equivalent(index) + highest_equivalent(index)) / 2 - mean) ** 2
            for index, count in self.buckets()
        )
        return math.sqrt(squares / total)

    def to_plain(self) -> dict[str, object]:
        """The whole distribution as JSON-ready values; ``from_plain`` takes it back."""
        return {
            "layout": LAYOUT,
            "min_ns": self.min_ns,
            "max_ns": self.max_ns,
            "sum_ns": self.sum_ns,
            "clamped": self.clamped,
            "counts": [[index, count] for index, count in self.buckets()],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> Histogram:
        """Build a histogram from what ``to_plain`` gave.

        Raises:
            ValueError: The layout is another one, or a count lies outside the range.
        """
        if plain.get("layout") != LAYOUT:
            raise ValueError(f"unknown histogram layout {plain.get('layout')!r}")
        made = cls()
        pairs = plain["counts"]
        if not isinstance(pairs, list):
            raise ValueError("histogram counts are not a list of pairs")
        for pair in pairs:
            index, count = int(pair[0]), int(pair[1])
            if not 0 <= index < COUNTS_LENGTH or not 0 <= count < 1 << 64:
                raise ValueError(f"histogram count {pair!r} is out of range")
            made.counts[index] += count
        made.min_ns, made.max_ns, made.sum_ns, made.clamped = (
            int(str(plain[name])) for name in ("min_ns", "max_ns", "sum_ns", "clamped")
        )
        if not 0 <= made.min_ns <= made.max_ns or made.total != sum(made.counts):
            raise ValueError("histogram counts lie outside of its minimum and maximum")
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return (self.min_ns, self.max_ns, self.sum_ns, self.clamped, self.counts) == (
            other.min_ns, other.max_ns, other.sum_ns, other.clamped, other.counts)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Histogram of {self.total}, {self.min_ns} to {self.max_ns} ns>"

    def _range(self) -> tuple[int, int]:
        """Where counts can be: nothing lies outside of the minimum and the maximum."""
        if self.max_ns == 0:    # nothing but zeros, or counts that nobody took these of
            return 0, COUNTS_LENGTH
        return (counts_index(min(self.min_ns, HIGHEST_NS)),
                counts_index(min(self.max_ns, HIGHEST_NS)) + 1)

    def _widen(self, low_ns: int, high_ns: int) -> None:
        empty = self.max_ns == 0 and self.min_ns == 0 and not any(self.counts)
        self.min_ns = low_ns if empty else min(self.min_ns, low_ns)
        self.max_ns = max(self.max_ns, high_ns)


@dataclass(frozen=True)
class PackedHistogram:
    """What a histogram holds, without the steps that hold nothing.

    A whole one takes 264 KiB whatever is in it; a thousand of these fit into a few MB.

    Attributes:
        steps: Pairs of index and count of every step that holds something, in order, as
            native unsigned 64-bit numbers.
        min_ns, max_ns, sum_ns, clamped: As in ``Histogram``.
    """

    steps: bytes = b""
    min_ns: int = 0
    max_ns: int = 0
    sum_ns: int = 0
    clamped: int = 0

    PAIR: ClassVar[struct.Struct] = struct.Struct("=2Q")

    @classmethod
    def of(cls, histogram: Histogram) -> PackedHistogram:
        """Pack a histogram."""
        return cls(b"".join(cls.PAIR.pack(*step) for step in histogram.buckets()),
                   histogram.min_ns, histogram.max_ns, histogram.sum_ns, histogram.clamped)

    def unpack(self) -> Histogram:
        """The whole histogram again."""
        made = Histogram()
        for index, count in self.PAIR.iter_unpack(self.steps):
            made.counts[index] = count
        made.min_ns, made.max_ns = self.min_ns, self.max_ns
        made.sum_ns, made.clamped = self.sum_ns, self.clamped
        return made

    @property
    def total(self) -> int:
        """Number of values recorded."""
        return sum(count for _, count in self.PAIR.iter_unpack(self.steps))

    def to_plain(self) -> dict[str, object]:
        """As ``Histogram.to_plain``."""
        return {"layout": LAYOUT, "min_ns": self.min_ns, "max_ns": self.max_ns,
                "sum_ns": self.sum_ns, "clamped": self.clamped,
                "counts": [list(pair) for pair in self.PAIR.iter_unpack(self.steps)]}

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> PackedHistogram:
        """As ``Histogram.from_plain``; raises what that does."""
        return cls.of(Histogram.from_plain(plain))
