"""The programs that xenrr is compared with: how each is run, and what its output says.

Nothing here starts anything: commands are made and texts are read. A text that does not say
what it should is an error, never a zero.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable

from benchmarks.paired import Sample

__all__ = [
    "LATENCY_SELECTORS",
    "PeerOutput",
    "client_command",
    "parse_floor",
    "parse_iperf3",
    "parse_neper",
    "parse_netperf",
    "parse_qperf",
    "parse_rate",
    "parse_sockperf",
    "rate_in_common",
    "server_command",
]

LATENCY_SELECTORS = "THROUGHPUT,P99.0_LATENCY,P99.9_LATENCY"


class PeerOutput(Exception):
    """A program said something that cannot be read, or nothing."""


def client_command(kind: str) -> list[str]:
    """The command of a client, without options.

    Args:
        kind: ``n`` netperf, ``x`` xenrr, ``s`` xenrr that spins, ``p`` xenrr's pure engine.
    """
    xenrr = [sys.executable, "-m", "xenrr.client", "--engine"]
    return {"n": ["netperf"], "x": [*xenrr, "hot"], "s": [*xenrr, "hot", "--spin"],
            "p": [*xenrr, "pure"]}[kind]


def parse_rate(text: str) -> float:
    """A line with a rate and nothing else."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise PeerOutput(f"a rate was expected, not {text[:200]!r}")
    return rate


def server_command(kind: str, port: int) -> list[str]:
    """The command of a server in the foreground.

    Args:
        kind: As in ``client_command``; a netserver that is ``N`` may write down what goes
            wrong, one that is ``f`` makes no process for each test; ``sockperf-tcp``,
            ``sockperf-udp``, ``qperf`` and ``iperf3`` are what they say.
        port: Where it listens.
    """
    xenrr = [sys.executable, "-m", "xenrr.server", "-D", "--engine"]
    text = str(port)
    return {
        "n": ["netserver", "-D", "-N", "-p", text],
        "N": ["netserver", "-D", "-p", text],
        "f": ["netserver", "-D", "-N", "-f", "-p", text],
        "x": [*xenrr, "hot", "-p", text],
        "s": [*xenrr, "hot", "--spin", "-p", text],
        "p": [*xenrr, "pure", "-p", text],
        "sockperf-tcp": ["sockperf", "server", "--tcp", "-i", "127.0.0.1", "-p", text],
        "sockperf-udp": ["sockperf", "server", "-i", "127.0.0.1", "-p", text],
        "qperf": ["qperf", "-lp", text],
        "iperf3": ["iperf3", "-s", "-B", "127.0.0.1", "-p", text],
    }[kind]


def parse_netperf(text: str) -> Sample:
    """The last line: one number, or ``LATENCY_SELECTORS`` (their times are in µs)."""
    words = text.strip().rpartition("\n")[2].replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] > 0:
        return {"rate": numbers[0]}
    if len(numbers) == 3 and numbers[0] > 0:
        return {"rate": numbers[0], "p99_ns": numbers[1] * 1e3, "p999_ns": numbers[2] * 1e3}
    raise PeerOutput(f"a rate was expected, not {text[:200]!r}")


def parse_floor(text: str) -> Sample:
    """A rate, and of transactions two percentiles in ns."""
    words = text.split()
    if len(words) == 1:
        return {"rate": float(words[0])}
    if len(words) == 3:
        return {"rate": float(words[0]), "p99_ns": float(words[1]),
                "p999_ns": float(words[2])}
    raise PeerOutput(f"a floor's line was expected, not {text[:200]!r}")


def parse_sockperf(text: str) -> Sample:
    """The summary of ``ping-pong --full-rtt``; the rate is of all it sent, warm-up too."""
    total = re.search(r"\[Total Run\] RunTime=([\d.]+) sec;.* ReceivedMessages=(\d+)", text)
    tails = dict(re.findall(r"percentile (99\.900|99\.000) =\s*([\d.]+)", text))
    if total is None or len(tails) != 2 or float(total[1]) == 0:
        raise PeerOutput(f"sockperf's summary was expected, not {text[-200:]!r}")
    return {"rate": int(total[2]) / float(total[1]),
            "p99_ns": float(tails["99.000"]) * 1e3, "p999_ns": float(tails["99.900"]) * 1e3}


def parse_qperf(text: str) -> Sample:
    """``tcp_lat`` or ``udp_lat`` with ``-uu``: half a round trip, in ns."""
    found = re.search(r"latency\s*=\s*([\d.]+) ns", text)
    if found is None or float(found[1]) == 0:
        raise PeerOutput(f"a latency was expected, not {text[:200]!r}")
    return {"rate": 1e9 / (2 * float(found[1]))}


def parse_iperf3(text: str) -> Sample:
    """What ``-J`` says of the receiving end, in 10^6 bit/s."""
    try:
        rate = float(json.loads(text)["end"]["sum_received"]["bits_per_second"])
    except (ValueError, KeyError, TypeError) as exc:
        raise PeerOutput(f"iperf3's end was expected, not {text[-200:]!r}") from exc
    return {"rate": rate / 1e6}


def parse_neper(text: str) -> Sample:
    """What neper's client says of all flows, of the time in which they ran."""
    found = re.search(r"^throughput=([\d.]+)$", text, re.MULTILINE)
    if found is None or float(found[1]) == 0:
        raise PeerOutput(f"neper's throughput was expected, not {text[-200:]!r}")
    return {"rate": float(found[1])}


# Of netperf built with --enable-demo, as Debian's is.
INTERIM = re.compile(
    r"^Interim result:\s+([\d.]+) \S+ over ([\d.]+) seconds ending at ([\d.]+)", re.MULTILINE)


def rate_in_common(outputs: Iterable[str], begin: float, end: float) -> float:
    """Rate of many netperf at once, over a time in which all of them run.

    They neither begin nor end together, and what each says of itself is partly of a machine
    that is half empty; their sum is too high. Interim results say when what was done.

    Args:
        outputs: What each netperf printed with ``-D``.
        begin, end: The time, in s of the clock.

    Raises:
        PeerOutput: More than one in twenty tell nothing of at least half of that time.
    """
    total, silent, count = 0.0, 0, 0
    for output in outputs:
        count += 1
        covered = done = 0.0
        for rate, took, until in INTERIM.findall(output):
            start = float(until) - float(took)
            # Before it the process was stopped for some of the time.
            if start < begin:
                continue
            inside = max(0.0, min(float(until), end) - start)
            covered += inside
            done += float(rate) * inside
        if covered >= (end - begin) / 2:
            total += done / covered
        else:
            silent += 1
    if count == 0 or silent * 20 > count:
        raise PeerOutput(f"{silent} of {count} netperf gave no interim results for long enough")
    return total * count / (count - silent)
