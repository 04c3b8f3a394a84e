"""Sizes, counts, durations and rates: read from a command line, printed for a person.

Letters mean what they mean to netperf: K M G are powers of 1024, k m g powers of 1000
(netperf src/netsh.c, convert()). Where netperf takes the digits it can read and drops the
rest, an unreadable rest is an error here: ``-l 10minutes`` must not become ten seconds.

No ``re`` and no ``decimal``: this is on the way of every start.
"""

from __future__ import annotations

from xenrr.errors import SpecError

__all__ = ["MAX_ALIGNMENT", "MAX_BLOCK_BYTES", "MAX_BUSY_POLL_US", "MAX_CPU",
           "MAX_DATAGRAM_BYTES", "MAX_FLOWS", "MAX_MESSAGE_BYTES", "MAX_WIDTH", "POLLERS",
           "format_bytes",
           "format_duration", "format_latency", "format_rate", "parse_bit_rate", "parse_count",
           "parse_duration", "parse_number", "parse_rate"]

# Sizes travel as signed 32-bit words (netperf src/netlib.h); UDP over IPv4 carries
# 65535 - 20 - 8 bytes at the most.
MAX_MESSAGE_BYTES = 2**31 - 1
MAX_DATAGRAM_BYTES = 65507
# A peer can ask for buffers: one of them, their number, how they lie, and the CPU to run on.
MAX_BLOCK_BYTES = 1 << 30
MAX_WIDTH = 1 << 16
MAX_ALIGNMENT = 1 << 20
MAX_CPU = 1 << 16
# The kernel keeps a thread in its driver for as long as this, deaf to everything else.
MAX_BUSY_POLL_US = 1_000_000
# Connections of one test, and how to wait for many of them.
MAX_FLOWS = 65_536
POLLERS = ("auto", "io_uring", "epoll", "poll")

FACTORS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "k": 10**3, "m": 10**6, "g": 10**9}
# What may follow a number of seconds. A bare "1m" is not one minute but netperf's 10^6, so
# "m" counts as minutes only next to another part ("1m0s", "1h5m").
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
           "d": 86400.0}
# More is no quantity, and int() and float() have limits of their own.
MAX_DIGITS = 30
BIT_PREFIXES = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def parse_number(text: str, what: str = "number") -> float:
    """Digits with an optional sign and point; no ``nan``, no ``1_000``, no ``1e3``.

    Args:
        text: As typed; blanks around it do not matter.
        what: What it is, for the message.

    Raises:
        SpecError: It is something else.
    """
    word = text.strip()
    if not _is_number(word):
        raise SpecError(f"{what}: {text!r} is not a number")
    return float(word)


def parse_count(text: str, what: str = "number") -> int:
    """A whole number with an optional letter: ``8``, ``-100``, ``64K``, ``1m``, ``1.5G``.

    Raises:
        SpecError: It is not one; with a fraction it has to come out whole.
    """
    word, factor = _without_factor(text)
    if not _is_number(word):
        raise SpecError(f"{what}: {text!r} is not a number")
    if "." not in word:  # not by way of a float, which holds 53 bits
        return int(word) * factor
    value = float(word) * factor
    if value != int(value):
        raise SpecError(f"{what}: {text!r} is not a whole number")
    return int(value)


def parse_duration(text: str, what: str = "duration") -> float:
    """A time in s: ``10``, ``90.0``, ``10s``, ``500ms``, ``1m0s``, ``1h30m``, ``1.5h``.

    A number with a single letter of ``parse_count`` keeps netperf's meaning: ``1m`` is 10^6 s.

    Raises:
        SpecError: It is not one.
    """
    word, factor = _without_factor(text)
    if _is_number(word):
        return float(word) * factor
    word = text.strip()
    rest = word[1:] if word[:1] in ("-", "+") else word
    total_s = 0.0
    while rest:
        digits = rest[:len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits):]
        unit = rest[:len(rest) - len(rest.lstrip("nuµmshd"))]
        rest = rest[len(unit):]
        # A last part without a unit would be a guess: "1m30" is 90 s or a slip.
        if unit not in SECONDS or not _is_number(digits):
            raise SpecError(f"{what}: {text!r} is not a time; try 10, 10s or 1m30s")
        total_s += float(digits) * SECONDS[unit]
    if not word:
        raise SpecError(f"{what}: a time is missing")
    return -total_s if word.startswith("-") else total_s


def parse_rate(text: str, what: str = "rate", examples: str = "1000, 12.5k or 1m") -> float:
    """A rate per second: ``1000``, ``12.5k``, ``1m``, ``1000/s``.

    Args:
        text: As typed.
        what: What it is, for the message.
        examples: What a message tells to try.

    Raises:
        SpecError: It is not one, or not above 0.
    """
    word, factor = _without_factor(text.strip()[:-2] if text.strip().endswith("/s") else text)
    return _positive(word, factor, text, what, examples)


def parse_bit_rate(text: str, what: str = "bit rate") -> float:
    """Bits per second, in the words of ``tc``: ``100mbit``, ``1Gbit/s``, ``536kbit``.

    Prefixes are powers of 1000 in either case.

    Raises:
        SpecError: It is not one, or not above 0.
    """
    word = text.strip().lower()
    word = word[:-2] if word.endswith("/s") else word
    word = word[:-3] if word.endswith("bit") else word
    factor = BIT_PREFIXES.get(word[-1:], 1.0)
    return _positive(word[:-1] if word[-1:] in BIT_PREFIXES else word, factor, text, what,
                     "100mbit or 1.5gbit")


def format_bytes(count: int) -> str:
    """Bytes in the largest binary unit that keeps them exact: ``64K``, ``1500``."""
    for letter in ("G", "M", "K"):
        if count and count % FACTORS[letter] == 0:
            return f"{count // FACTORS[letter]}{letter}"
    return str(count)


def format_duration(duration_s: float) -> str:
    """A time as a person writes it: ``250 ms``, ``10 s``, ``1 min 30 s``, ``2 h``."""
    if duration_s < 0:
        return f"-{format_duration(-duration_s)}"
    if duration_s < 1:
        return format_latency(duration_s * 1e9)
    if duration_s < 59.995:
        return f"{duration_s:.4g} s"
    seconds = round(duration_s)
    parts = ((seconds // 86400, "d"), (seconds % 86400 // 3600, "h"),
             (seconds % 3600 // 60, "min"), (seconds % 60, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def format_latency(latency_ns: float) -> str:
    """A short time with three significant digits: ``850 ns``, ``13.2 µs``, ``1.5 ms``."""
    for limit_ns, divisor, unit in ((999.5, 1, "ns"), (999.5e3, 1e3, "µs"),
                                    (999.5e6, 1e6, "ms")):
        if abs(latency_ns) < limit_ns:
            return f"{latency_ns / divisor:.3g} {unit}"
    return f"{latency_ns / 1e9:.4g} s"


def format_rate(rate_tps: float) -> str:
    """A rate with grouped digits, ``72,016/s``; below 1000 with two places."""
    return f"{rate_tps:,.2f}/s" if rate_tps < 1000 else f"{rate_tps:,.0f}/s"


def _is_number(text: str) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    whole = digits.replace(".", "", 1)
    return whole.isascii() and whole.isdigit() and len(whole) <= MAX_DIGITS


def _without_factor(text: str) -> tuple[str, int]:
    word = text.strip()
    factor = FACTORS.get(word[-1:])
    return (word, 1) if factor is None else (word[:-1], factor)


def _positive(word: str, factor: float, text: str, what: str, examples: str) -> float:
    if not _is_number(word):
        raise SpecError(f"{what}: {text!r} is not a rate; try {examples}")
    if float(word) <= 0:
        raise SpecError(f"{what}: {text!r} is not a rate above 0")
    return float(word) * factor
