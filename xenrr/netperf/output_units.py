"""The -f option: what the rate of a test is printed in, and what it cost.

Source: netperf 2.7.0 src/netlib.c, format_units(), calc_thruput() and
calc_service_demand_internal(); src/nettest_omni.c, send_omni_inner(); and its output for
every letter: one it does not know gives KBytes, ``b`` divides by 1, ``u`` inverts the byte
rate instead of timing a transaction.
"""

from __future__ import annotations

from xenrr.cpu.usage import service_demand_us
from xenrr.frozen import replace

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.cpu.usage import CpuUsage
    from xenrr.results.record import Run, TestSpec

__all__ = ["MEGABITS", "TRANSACTIONS", "byte_rate_in", "counts_transactions", "datagrams_sent",
           "interim_rate", "interim_unit", "is_known", "sd_unit", "service_demand",
           "target_bytes", "throughput", "unit_name", "unit_of"]

TRANSACTIONS = "x"
MEGABITS = "m"
# netperf's own mark for "nothing was typed".
NOT_TYPED = "?"
UNKNOWN = "K"
NAMES = {"B": "Bytes", "K": "KBytes", "M": "MBytes", "G": "GBytes", "b": "10^0bits",
         "k": "10^3bits", "m": "10^6bits", "g": "10^9bits", "x": "Trans", "u": "Usec"}
BYTES_PER_UNIT = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "b": 1, "k": 10**3 / 8,
                  "m": 10**6 / 8, "g": 10**9 / 8}
# Tests of netperf's older code print transactions per second and look at no unit.
CLASSIC_CONNECT = "TCP_CC"


def counts_transactions(spec: TestSpec) -> bool:
    """Whether a test makes transactions; else bytes flow one way."""
    return spec.direction in ("rr", "none")


def unit_of(typed: str, spec: TestSpec) -> str:
    """The letter that a result is printed in.

    Args:
        typed: The letter of -f; empty or ``?`` for netperf's choice.
        spec: The test, which decides what that is; ``x`` needs transactions.
    """
    if spec.test == CLASSIC_CONNECT:
        return TRANSACTIONS
    if counts_transactions(spec):
        return TRANSACTIONS if typed in ("", NOT_TYPED) else typed
    return MEGABITS if typed in ("", NOT_TYPED, TRANSACTIONS) else typed


def is_known(letter: str) -> bool:
    """Whether a letter is one of netperf's units."""
    return letter in NAMES


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
    letter = MEGABITS if letter == TRANSACTIONS else letter
    return bytes_per_s / BYTES_PER_UNIT.get(letter, BYTES_PER_UNIT[UNKNOWN])


def target_bytes(run: Run) -> int:
    """Bytes that the target received and sent, as far as anybody knows.

    What netperf takes for the result of every test that is not received by the sender. A
    classic target tells bytes of streams only, and without a control connection nobody
    tells: then what was sent counts as received.
    """
    tally, spec = run.target_tally, run.spec
    if spec.direction == "send":
        told = tally.bytes_received
        return run.bytes_sent if told < 0 or spec.no_control else told + max(
            tally.bytes_sent, 0)
    if spec.no_control:
        return run.bytes_sent
    if tally.bytes_received < 0 or tally.bytes_sent < 0:
        return run.bytes_sent + run.bytes_received
    return tally.bytes_received + tally.bytes_sent


def datagrams_sent(run: Run) -> int:
    """Datagrams that the system took."""
    size = run.local.send_bytes
    return run.bytes_sent // size if size > 0 else run.send_calls


def throughput(letter: str, run: Run) -> float:
    """Main result of one iteration.

    Args:
        letter: From ``unit_of``.
        run: Its record.
    """
    if letter == TRANSACTIONS:
        return run.rate_tps
    if not run.elapsed_ns:
        return 0.0
    received = run.spec.direction == "receive"
    moved = run.bytes_sent + run.bytes_received if received else target_bytes(run)
    return byte_rate_in(letter, moved / run.elapsed_s)


def service_demand(letter: str, run: Run, usage: CpuUsage | None) -> float:
    """µs of CPU time per transaction, or per KB (1024 bytes) for all other letters.

    Args:
        letter: From ``unit_of``.
        run: One iteration.
        usage: CPU utilisation of the end in question.

    Returns:
        -1.0 when it was not measured, 0.0 when nothing was done.
    """
    if usage is None:
        return -1.0
    if letter == TRANSACTIONS:
        per_s = run.rate_tps
    elif not run.elapsed_ns:
        return 0.0
    elif run.spec.test == "TCP_SENDFILE":  # older code: what arrived, not what was sent
        per_s = target_bytes(run) / 1024 / run.elapsed_s
    else:
        per_s = (run.bytes_sent + run.bytes_received) / 1024 / run.elapsed_s
    if per_s <= 0:
        return 0.0
    if usage.cpus < 1:  # an old target that does not say: netperf takes its own number
        usage = replace(usage, cpus=_own_cpus(run))
    return service_demand_us(usage, per_s)


def _own_cpus(run: Run) -> int:
    if run.local_cpu is not None:
        return run.local_cpu.cpus
    return int(run.host.get("cpus", 1))


def interim_unit(typed: str, spec: TestSpec) -> str:
    """The letter of interim results, which is not that of the table in TCP_CC."""
    if spec.test == CLASSIC_CONNECT:
        return MEGABITS if typed in ("", NOT_TYPED, TRANSACTIONS) else typed
    return unit_of(typed, spec)


def interim_rate(letter: str, spec: TestSpec, transactions: int, moved: int,
                 interval_s: float) -> float:
    """Rate over one interval.

    Args:
        letter: From ``interim_unit``.
        spec: The test.
        transactions, moved: Transactions and bytes of the interval.
        interval_s: Its length.
    """
    if interval_s <= 0:
        return 0.0
    if letter == TRANSACTIONS:
        return transactions / interval_s
    if spec.test == CLASSIC_CONNECT:
        # netperf counts a connection as one unit and takes it for a byte.
        moved = transactions
    elif counts_transactions(spec):
        moved = transactions * (spec.request_bytes + spec.response_bytes)
    return byte_rate_in(letter, moved / interval_s)
