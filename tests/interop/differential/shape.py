"""What two runs of the same command line have to have in common.

Measured numbers differ from run to run, so what is compared is everything else: the lines,
their words, where they stand, and for each number what kind it is: whole, or with how many
decimals, and its sign. A number that is not measured (a size, a port, a setting) has to be
the same.

A number wider than its column moves what stands to its right. So a word is in its place when
it begins where the other one does (flush left), or ends there (flush right), or lies within
the other one, which has outgrown its column, or is moved as far as the beginning or the end of
the word before, or by something between: a service demand of 9.123 leaves its column of six a
blank, one of 123.456 moves what follows by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")
WORD = re.compile(r"\S+")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
KEYVAL = re.compile(r"([A-Z0-9_]+(?:\[\d+\])?)=(.*)")
INTERIM_KEY = re.compile(r"NETPERF_(INTERIM_RESULT|UNITS|INTERVAL|ENDING)\[(\d+)\]=")
INTERIM_CSV = re.compile(r" *-?\d+\.\d\d,[^,]*/s,\d+\.\d{3},\d+\.\d{3}$")
# Selectors whose value is measured, or is what the kernel has tuned by the end of a test.
MEASURED = re.compile(
    r"(NETPERF_(INTERIM_RESULT|INTERVAL|ENDING)\[\d+\]|ELAPSED_TIME|THROUGHPUT|.*_THROUGHPUT"
    r"|THROUGHPUT_CONFID|.*_SIZE_END|.*_CPU_(UTIL|PERCENT_\w+|CONFID|PEAK_\w+)|.*_SD"
    r"|CONFIDENCE_ITERATION|TRANSACTION_RATE|.*_LATENCY|.*_RETRANS|.*_CALLS|.*_BYTES_\w+"
    r"|.*_STEAL|LOST_TRANSACTIONS)$")
MEASURED_TITLE = re.compile(
    r"(Elapsed Time|Throughput( Confidence.*)?$|.* Throughput$|.* Final$|.*CPU .*%|.* Swintr %"
    r"|.* Service Demand$|.*CPU Confidence|Confidence Iterations|Transaction Rate|.*Latency"
    r"|.*Retransmissions|.* Calls$|.* Bytes |Local Peak|Remote Peak)")
# Whole numbers of a table that are settings: the kernel's default buffers, netperf's sizes.
SETTINGS = {"16384", "131072", "212992", "65507", "32741"}
SETTING_COLUMNS = 4


@dataclass(frozen=True)
class Shown:
    """What a program printed, and how it ended.

    Attributes:
        out: Lines of stdout, the last one without its end if it had none.
        err: Lines of stderr.
        code: Exit code; that of a signal is negative.
    """

    out: tuple[str, ...]
    err: tuple[str, ...]
    code: int


def tidy(text: str, replace: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Lines of a text with names in place of what differs by chance: ports and folders."""
    for found, name in replace:
        # A rate may begin with the digits of a port.
        text = re.sub(rf"(?<![\w.]){re.escape(found)}(?!\w|\.\d)", name, text)
    return tuple(UUID.sub("<uuid>", text).split("\n"))


def differences(wanted: Shown, got: Shown, more_err: bool = False, free_width: bool = False,
                unlike: Sequence[str] = ()) -> list[str]:
    """Where two runs differ in shape, each in a line that can be read; none if nowhere.

    Args:
        wanted: What real netperf printed to the real netserver.
        got: What is compared with it.
        more_err: Whether stderr may hold lines beside the wanted ones.
        free_width: Whether columns are as wide as what is in them, as those of ``-O``.
        unlike: Selectors whose values with ``-k`` are not compared.
    """
    wanted, got = _without(wanted, unlike), _without(got, unlike)
    found = []
    if wanted.code != got.code:
        found.append(f"exit code: {wanted.code} wanted, {got.code} got")
    found += _streams("stdout", list(wanted.out), list(got.out), free_width)
    if more_err:
        missing = _missing(wanted.err, got.err)
        found += [f"stderr lacks {line!r}" for line in missing]
    elif _errors(wanted) != _errors(got):
        found.append(f"stderr: {_errors(wanted)} wanted, {_errors(got)} got")
    if found:
        found += _whole("wanted", wanted) + _whole("got", got)
    return found


def _without(shown: Shown, names: Sequence[str]) -> Shown:
    """The same without the values of some selectors."""
    return Shown(tuple(f"{name}=" if "=" in line and (name := line.split("=")[0]) in names
                       else line for line in shown.out), shown.err, shown.code)


def stream_differences(wanted: Shown, got: Shown) -> list[str]:
    """Whether two runs end alike and use the same streams, whatever they say there."""
    def used(shown: Shown) -> tuple[int, bool, bool]:
        return shown.code, any(shown.out), any(shown.err)

    if used(wanted) == used(got):
        return []
    return [f"exit code, stdout used, stderr used: {used(wanted)} wanted, {used(got)} got",
            *_whole("wanted", wanted), *_whole("got", got)]


def _streams(name: str, wanted: list[str], got: list[str], free_width: bool) -> list[str]:
    found = [f"{name}: {text}" for text in interim_complaints(got)]
    wanted, got = once(wanted), once(got)
    if len(wanted) != len(got):
        found.append(f"{name}: {len(wanted)} lines wanted, {len(got)} got")
    titles: list[str] = []
    for number, (left, right) in enumerate(zip(wanted, got), 1):
        for text in _line(left, right, titles, free_width):
            found.append(f"{name} line {number}: {text}\n  wanted {left!r}\n  got    {right!r}")
        titles = left.split(",") if "," in left else []
    return found


def once(lines: list[str]) -> list[str]:
    """Interim results, which come as often as the machine lets them, as the first of them.

    What netperf says of a timer of its own that came late is left out.
    """
    kept: list[str] = []
    seen: set[str] = set()
    for line in lines:
        if line.startswith("catcher: "):
            continue
        key = ""
        if line.startswith("Interim result: "):
            key = "human"
        elif INTERIM_CSV.match(line):
            key = "csv"
        elif match := INTERIM_KEY.match(line):
            key = match[1]
        if key:
            if key in seen:
                continue
            seen.add(key)
        kept.append(line)
    return kept


def interim_complaints(lines: list[str]) -> Iterator[str]:
    """Interim results with names come in fours and are numbered from 0."""
    found = [match.groups() for match in map(INTERIM_KEY.match, lines) if match]
    names = ("INTERIM_RESULT", "UNITS", "INTERVAL", "ENDING")
    wanted = [(names[place % 4], str(place // 4)) for place in range(len(found))]
    if found != wanted or len(found) % 4:
        yield f"interim results are named {found}"


def _line(wanted: str, got: str, titles: list[str], free_width: bool) -> Iterator[str]:
    """Complaints about one line."""
    if wanted == got:
        return
    ours, theirs = KEYVAL.fullmatch(got), KEYVAL.fullmatch(wanted)
    if ours and theirs:
        if ours[1] != theirs[1]:
            yield f"{theirs[1]} wanted, {ours[1]} got"
        else:
            yield from _value(theirs[2], ours[2], bool(MEASURED.match(theirs[1])), theirs[1])
        return
    if is_values(wanted) and is_values(got):
        if "," in wanted:
            yield from _csv(wanted, got, titles)
        else:
            yield from _columns(wanted, got, free_width)
        return
    if free_width and wanted.split() == got.split():
        return
    yield "the words differ"


def is_values(line: str) -> bool:
    """Whether a line holds results, and not titles or a message."""
    if " TEST from " in line or "errno" in line:
        return False
    if line.startswith(("Interim result: ", "!!! Confidence", "!!!         ")):
        return True
    if "," in line:
        return any(NUMBER.fullmatch(field.strip()) for field in line.split(","))
    return any(NUMBER.fullmatch(word) for word in line.split())


def kind(word: str) -> str:
    """A word with its numbers replaced by their kinds, such as ``-N`` and ``N.NN``."""
    if word.endswith("bits/s") or word.startswith("0x"):
        return word

    def one(match: re.Match[str]) -> str:
        sign = "-" if match[0].startswith("-") else ""
        if match[2]:  # %g drops decimals that are 0
            return f"{sign}Ne"
        return f"{sign}N{re.sub('[0-9]', 'N', match[1] or '')}"

    # What netperf shows of a remote CPU that was not measured is memory it never set.
    return NUMBER.sub(one, re.sub("-?nan", "0.00", word))


def _value(wanted: str, got: str, measured: bool, name: str) -> Iterator[str]:
    wanted, got = wanted.strip(), got.strip()
    if measured and kind(wanted) != kind(got):
        yield f"{name}: {kind(wanted)} wanted, {kind(got)} got"
    if not measured and wanted != got:
        yield f"{name}: {wanted!r} wanted, {got!r} got"


def _csv(wanted: str, got: str, titles: list[str]) -> Iterator[str]:
    left, right = wanted.split(","), got.split(",")
    if len(left) != len(right):
        yield f"{len(left)} fields wanted, {len(right)} got"
        return
    known = len(titles) == len(left)
    for place, (a, b) in enumerate(zip(left, right)):
        title = titles[place] if known else f"field {place + 1}"
        yield from _value(a, b, not known or bool(MEASURED_TITLE.match(title)), title)


def _columns(wanted: str, got: str, free_width: bool) -> Iterator[str]:
    left, right = list(WORD.finditer(wanted)), list(WORD.finditer(got))
    if [kind(word[0]) for word in left] != [kind(word[0]) for word in right]:
        yield (f"{' '.join(kind(word[0]) for word in left)} wanted, "
               f"{' '.join(kind(word[0]) for word in right)} got")
        return
    # Sizes, alignments and offsets lead a line; behind the first decimals all is measured.
    for a, b in zip(left[:SETTING_COLUMNS], right):
        if not a[0].isdigit():
            break
        if not free_width and a[0] != b[0] and (a[0] in SETTINGS or int(a[0]) <= 8):
            yield f"{a[0]} wanted, {b[0]} got"
    if free_width:
        return
    before = ((0, 0), (0, 0))
    for a, b in zip(left, right):
        if not _in_place(before, (a.span(), b.span())):
            yield f"{b[0]!r} stands elsewhere than {a[0]!r}"
        before = (a.span(), b.span())
    end = ((len(wanted), len(wanted)), (len(got), len(got)))
    if not _in_place(before, end):
        yield "other blanks at the end"


def _in_place(before: tuple[tuple[int, int], tuple[int, int]],
              word: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    """Whether a word stands at the same place in two lines.

    Args:
        before: Beginning and end of the word before, in each of the two lines.
        word: Those of the word itself.
    """
    (start_a, end_a), (start_b, end_b) = word
    (last_start_a, last_end_a), (last_start_b, last_end_b) = before
    within = (start_a - start_b) * (end_a - end_b) < 0
    least, most = sorted((last_start_a - last_start_b, last_end_a - last_end_b))
    return (start_a == start_b or end_a == end_b or within
            or least <= start_a - start_b <= most or least <= end_a - end_b <= most)


def _errors(shown: Shown) -> list[str]:
    """Lines of stderr; the numbers of DUMP_TCP_INFO by their kind."""
    return [kind(line) if line.startswith("tcpi_") else line for line in shown.err]


def _missing(wanted: Sequence[str], got: Sequence[str]) -> list[str]:
    """Lines of one text that the other does not have in the same order."""
    rest = iter(got)
    return [line for line in wanted if line and line not in rest]


def _whole(name: str, shown: Shown) -> list[str]:
    text = "\n".join(f"  | {line}" for line in shown.out)
    errors = "\n".join(f"  ! {line}" for line in shown.err if line)
    return [f"{name}, exit code {shown.code}:\n{text}" + (f"\n{errors}" if errors else "")]
