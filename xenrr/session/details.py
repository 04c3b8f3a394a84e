"""What two xenrr tell each other beyond netperf's messages: the target's conditions.

JSON in pages, since a control message holds 640 bytes of text. A page is asked for by its
number, between two tests; the target makes all pages of a topic when the first is asked for.

Whatever a peer sends ends in a bounded mapping of printable texts, or in a ``CpuUsage`` of
numbers; what is neither is as good as nothing told, and never an error of a run that has been
measured already.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

from xenrr.cpu.usage import CpuShare, CpuUsage
from xenrr.frozen import asdict, field_names, replace
from xenrr.lean import Any
from xenrr.wire.control import PAGE_CHARACTERS, DetailsResponse

__all__ = ["HOST", "MAX_PAGES", "USAGE", "ask_details", "encode_pages", "facts_from",
           "host_pages", "usage_pages", "with_details"]

HOST, USAGE = 0, 1
# 10 KB: the facts of a host are 1 KB, and 200 CPUs fit.
MAX_PAGES = 16
MAX_FACTS, MAX_CHARACTERS = 64, 256
MAX_CPUS = 4096
SHARES = field_names(CpuShare)
TOLD = ("nice", "idle", "context_switches", "interrupts")


def encode_pages(value: object) -> list[str]:
    """A value as pages; none at all where it is too long."""
    text = json.dumps(value, separators=(",", ":"))
    pages = [text[at:at + PAGE_CHARACTERS] for at in range(0, len(text), PAGE_CHARACTERS)]
    return pages if len(pages) <= MAX_PAGES else []


def host_pages(peer: str, local: str, load: str, more: Mapping[str, str]) -> list[str]:
    """Facts about this machine and its interface to a peer.

    Args:
        peer, local: Numeric addresses of the control connection.
        load: What the load was when the session began.
        more: Facts about the target that its options made.
    """
    from xenrr.results.hostfacts import collect_host_facts
    from xenrr.results.pathfacts import collect_path_facts

    facts = {**collect_host_facts(), **collect_path_facts(peer, local), **more}
    facts.pop("load_average", None)
    return encode_pages({**facts, **({"load_average": load} if load else {})})


def usage_pages(usage: CpuUsage | None) -> list[str]:
    """What results have no room for; single CPUs only where they fit."""
    if usage is None:
        return []
    told: dict[str, object] = {name: getattr(usage, name) for name in TOLD}
    shares = [[round(value, 2) for value in asdict(share).values()]
              for share in usage.per_cpu]
    return encode_pages({**told, "per_cpu": shares}) or encode_pages(told)


def ask_details(ask: Callable[[int], object]) -> str:
    """All pages of a topic as one text, empty where the peer has none.

    Args:
        ask: Gets the answer to a request for a page.
    """
    text, page, pages = "", 0, 1
    while page < min(pages, MAX_PAGES):
        answer = ask(page)
        if not isinstance(answer, DetailsResponse):
            return ""
        text += answer.text
        page, pages = page + 1, answer.pages
    return text if pages <= MAX_PAGES else ""


def facts_from(text: str) -> dict[str, str]:
    """The facts in a text; what is none is left out."""
    told = _mapping(text)
    facts = {_printable(key): _printable(value) for key, value in told.items()
             if isinstance(value, str)}
    return dict(list(facts.items())[:MAX_FACTS])


def with_details(usage: CpuUsage, text: str) -> CpuUsage:
    """A usage with what a text adds; as it was where that makes no sense."""
    told = _mapping(text)
    numbers = {name: told[name] for name in TOLD if _sensible(told.get(name))}
    for name in ("context_switches", "interrupts"):
        if name in numbers:
            numbers[name] = int(numbers[name])
    rows = told.get("per_cpu", [])
    shares: list[CpuShare] = []
    if isinstance(rows, list) and len(rows) <= MAX_CPUS:
        shares = [CpuShare(int(row[0]), *map(float, row[1:])) for row in rows
                  if isinstance(row, list) and len(row) == len(SHARES)
                  and all(map(_sensible, row))]
    return replace(usage, **numbers, per_cpu=tuple(shares))


def _mapping(text: str) -> Mapping[str, Any]:
    # Nesting deeper than the interpreter's stack is an error of its own.
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _sensible(value: object) -> bool:
    return (isinstance(value, (int, float)) and not isinstance(value, bool)
            and -1 <= value < 2**63 and math.isfinite(value))


def _printable(text: str) -> str:
    return "".join(filter(str.isprintable, text[:MAX_CHARACTERS]))
