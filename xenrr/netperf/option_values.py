"""Values of options: how netperf reads them, and what it takes them for.

A size may end in a ``B`` here (``64KB``), which netperf drops without a word; anything else
that cannot be read is an error, because netperf's zero is rarely what was meant.
"""

from __future__ import annotations

from xenrr.errors import SpecError
from xenrr.netperf.getopt import split_pair
from xenrr.units import MAX_BUSY_POLL_US, POLLERS, parse_count, parse_rate

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Iterable

    from xenrr.netperf.options import ClientOptions

__all__ = ["ARRIVALS", "c_integer", "count", "guess", "interval_us", "parse_arrivals",
           "parse_busy_poll", "parse_engine", "parse_family", "parse_flow_rate",
           "parse_poller", "parse_tos", "take_address"]

FACTORS = "KMGkmg"

# How requests of an open loop arrive: at equal intervals, or at random.
ARRIVALS = ("uniform", "poisson")

# Names of -Y. DSCP values stand in the upper six bits of the octet (RFC 2474, RFC 2597,
# RFC 3246), the last three are those of RFC 1349. Source: netperf 2.7.0 src/dscp.c.
TOS = {
    "af11": 0x28, "af12": 0x30, "af13": 0x38, "af21": 0x48, "af22": 0x50, "af23": 0x58,
    "af31": 0x68, "af32": 0x70, "af33": 0x78, "af41": 0x88, "af42": 0x90, "af43": 0x98,
    "cs0": 0x00, "cs1": 0x20, "cs2": 0x40, "cs3": 0x60, "cs4": 0x80, "cs5": 0xA0,
    "cs6": 0xC0, "cs7": 0xE0, "ef": 0xB8, "lowdelay": 0x10, "throughput": 0x08,
    "reliability": 0x04,
}
MAX_TOS = 255
NO_TOS = -1


def count(text: str, option: str) -> int:
    """A whole number with an optional factor, ``64K`` or ``64KB``.

    Raises:
        SpecError: It is not one.
    """
    word = text.strip()
    if word[-1:] in ("B", "b") and word[-2:-1] in FACTORS:
        word = word[:-1]
    return parse_count(word, option)


def interval_us(text: str, option: str) -> int:
    """The interval of -w: ``10`` and ``10m`` are ms, ``10u`` µs, ``2s`` seconds.

    Raises:
        SpecError: It is none of these.

    Source: netperf 2.7.0 src/netlib.c, convert_timespec().
    """
    word = text.strip()
    for unit, factor in (("ms", 1000), ("us", 1), ("s", 10**6), ("m", 1000), ("u", 1)):
        if word.endswith(unit):
            return parse_count(word[:-len(unit)], option) * factor
    return parse_count(word, option) * 1000


def parse_tos(text: str, remarks: list[str]) -> int:
    """The octet of -Y: a name, or a number in any base of C.

    Returns:
        0 to 255, -1 for anything else: netperf sets nothing then and says nothing; what was
        probably meant goes to ``remarks``.

    Source: netperf 2.7.0 src/dscp.c, parse_ipqos().
    """
    word = text.strip()
    if word.lower() in TOS:
        return TOS[word.lower()]
    value = c_integer(word)
    if value is not None and 0 <= value <= MAX_TOS:
        return value
    if meant := guess(word.lower(), TOS):
        remarks.append(f"netperf: -Y: {text!r} is no type of service, none is set{meant}\n")
    return NO_TOS


def c_integer(word: str) -> int | None:
    """A whole number as C writes it: decimal, ``0x`` or a leading 0 for octal."""
    digits = word[1:] if word[:1] in ("-", "+") else word
    base = 10
    if digits[:2] in ("0x", "0X"):
        base = 16
    elif digits[:1] == "0":
        base = 8
    try:
        # int() would take blanks and underscores as well.
        return int(word, base) if digits.isalnum() and len(digits) < 30 else None
    except ValueError:
        return None


def parse_family(text: str, notices: list[str]) -> int:
    """Family in ``host,family``: 4, 6, or 0 for any.

    Source: netperf 2.7.0 src/netlib.c, parse_address_family(): it searches, so "inet6" is
    IPv6 and "AF_INET" IPv4. What it says about anything else goes to ``notices``.
    """
    word = text.lower()
    if "6" in word:
        return 6
    if "inet" in word or "4" in word:
        return 4
    if "unspec" not in word and "0" not in word:
        notices.append(
            f"WARNING! {text} not recognized as an address family, using AF_UNPSEC\n"
            "Are you sure netperf was configured for that address family?\n")
    return 0


def take_address(options: ClientOptions, text: str, prefix: str, masked: bool = False) -> None:
    """``host,family`` into the attributes that begin with a prefix; either may be missing.

    Args:
        options: What they go to.
        text: As typed.
        prefix: ``""`` or ``local_``, with ``data_`` before it for the data connection.
        masked: ``host/mask`` may stand there.

    Raises:
        SpecError: The mask is no number.
    """
    host, family = split_pair(text, copy=False)
    if host is not None:
        if masked:
            host, _, mask = host.partition("/")
            setattr(options, f"{prefix}mask", count(mask, "the mask of an address") if mask
                    else 0)
        setattr(options, f"{prefix}host", host)
    if family is not None:
        name = f"{prefix}family" if prefix else "host_family"
        setattr(options, name, parse_family(family, options.notices))


def parse_flow_rate(text: str, what: str = "--rate") -> tuple[float, bool]:
    """The argument of --rate: requests per second, and whether that is of each flow.

    ``1000``, ``12k``, ``12k/s`` are of all flows together, ``100/flow`` of each.

    Raises:
        SpecError: It is no rate.
    """
    word = text.strip()
    per_flow = word.endswith("/flow")
    return parse_rate(word[:-len("/flow")] if per_flow else word, what,
                      "1000, 12.5k or 50/flow"), per_flow


def parse_arrivals(text: str) -> bool:
    """The argument of --arrivals: whether gaps are exponential.

    Raises:
        SpecError: It is another word.
    """
    word = text.strip().lower()
    if word not in ARRIVALS:
        raise SpecError(f"--arrivals: {' or '.join(ARRIVALS)}, got {text!r}"
                        f"{guess(word, ARRIVALS)}")
    return word == ARRIVALS[1]


def parse_poller(text: str) -> str:
    """The argument of --poller.

    Raises:
        SpecError: There is none of that name.
    """
    word = text.strip().lower()
    if word not in POLLERS:
        raise SpecError(f"--poller: one of {', '.join(POLLERS)}, got {text!r}"
                        f"{guess(word, POLLERS)}")
    return word


def parse_busy_poll(text: str) -> int:
    """The argument of --busy-poll, in µs.

    Raises:
        SpecError: It is no number, or one that makes no sense.
    """
    value = parse_count(text, "--busy-poll")
    if not 0 <= value <= MAX_BUSY_POLL_US:
        raise SpecError(f"--busy-poll: from 0 to {MAX_BUSY_POLL_US} µs, got {text}")
    return value


def parse_engine(text: str) -> str:
    """The argument of --engine.

    Raises:
        SpecError: There is no such engine.
    """
    if text not in ("auto", "hot", "pure"):
        raise SpecError(f"--engine: there is no engine {text!r}; there are auto, hot and pure")
    return text


def guess(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`` (did you mean x?)`` when a word is close to a known one, else nothing."""
    from difflib import get_close_matches  # only needed once somebody has mistyped

    near = get_close_matches(word, list(known), 1, cutoff)
    return f" (did you mean {near[0]}?)" if near else ""
