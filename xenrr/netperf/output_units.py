"""The -f option: what the rate of a test is printed in.

Source: netperf 2.7.0 src/netlib.c, format_units() and calc_thruput(), and its output for
every letter: one it does not know gives KBytes, ``b`` divides by 1, ``u`` inverts the byte
rate instead of timing a transaction.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.results.record import Run

__all__ = ["TRANSACTIONS", "byte_rate_in", "sd_unit", "throughput", "unit_name"]

TRANSACTIONS = "x"
UNKNOWN = "K"
NAMES = {"B": "Bytes", "K": "KBytes", "M": "MBytes", "G": "GBytes", "b": "10^0bits",
         "k": "10^3bits", "m": "10^6bits", "g": "10^9bits", "x": "Trans", "u": "Usec"}
BYTES_PER_UNIT = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "b": 1, "k": 10**3 / 8,
                  "m": 10**6 / 8, "g": 10**9 / 8}


def unit_name(letter: str) -> str:
    """The unit as netperf writes it, without "/s"."""
    return NAMES.get(letter, NAMES[UNKNOWN])


def sd_unit(letter: str) -> str:
    """Unit of the service demand that belongs to a rate in this unit."""
    return "usec/Tran" if letter == TRANSACTIONS else "usec/KB"


def byte_rate_in(letter: str, bytes_per_s: float) -> float:
    """A byte rate in the unit of a letter; ``x`` counts no bytes, netperf takes ``m``."""
    if letter == "u":
        return 1e6 / bytes_per_s if bytes_per_s else 0.0
    letter = "m" if letter == TRANSACTIONS else letter
    return bytes_per_s / BYTES_PER_UNIT.get(letter, BYTES_PER_UNIT[UNKNOWN])


def throughput(letter: str, run: Run) -> float:
    """Main result of a request/response test: transactions per second, or bytes both ways."""
    if letter == TRANSACTIONS:
        return run.rate_tps
    if not run.elapsed_ns:
        return 0.0
    return byte_rate_in(letter, (run.bytes_sent + run.bytes_received) / run.elapsed_s)
