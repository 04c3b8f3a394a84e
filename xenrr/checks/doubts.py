"""Reasons not to believe a number, found in its own record.

Every check is a pure function of one record, or of repeats of the same run, and yields
doubts: a stable code, which is also the heading of its page in ``docs/method/doubts.md``,
and one sentence with the figures of this very run. A doubt stands beside the number it
concerns, never instead of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xenrr.results.record import ROUND_TRIPS, Run
from xenrr.stats.interval import mean_interval
from xenrr.stats.series import find_outliers, find_trend, find_warm_up
from xenrr.units import format_latency

__all__ = ["CODES", "SHOWN_PERCENTS", "Doubt", "doubts_of", "doubts_of_repeats"]

SHOWN_PERCENTS = (50.0, 90.0, 99.0, 99.9)

SHORT_S = 1.0
STEAL_PERCENT = 1.0
# Fewer samples above a percentile than this, and it is little more than the maximum.
SAMPLES_ABOVE = 10
TREND_P_VALUE = 0.01
TREND_CHANGE = 0.02
CLOCK_SHARE = 0.05
# Of a round trip that was spent before its request left.
SLIP_SHARE = 0.1
# How far the ends may be apart in how long a test was: as a share of it, and in s, because a
# target begins when it hears of it and ends when it hears of that.
CLOCKS_SHARE, CLOCKS_S = 0.01, 0.25
# Round trips of a decomposed test that are in none of its parts.
UNDECOMPOSED = 0.01
# Half of the interval over repeats, as a share of the mean.
CONVERGED = 0.05
# A target may have answered what its sender no longer counts, but never less than it counts.
SLOW_CLOCK_SOURCES = ("jiffies", "refined-jiffies", "acpi_pm", "hpet", "pit")


@dataclass(frozen=True)
class Doubt:
    """One reason.

    Attributes:
        code: Stable, one of ``CODES``.
        text: A sentence about this run, without its full stop.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} [{self.code}]"


def doubts_of(run: Run, percents: Iterable[float] = SHOWN_PERCENTS) -> list[Doubt]:
    """All doubts about one run.

    Args:
        run: A finished test.
        percents: Percentiles that are shown of it.
    """
    found = [doubt for check in CHECKS for doubt in check(run)]
    return [*found, *check_percentiles(run, percents)]


def doubts_of_repeats(rates: Sequence[float]) -> list[Doubt]:
    """Doubts about repeats of the same run, in the order they were made.

    Args:
        rates: Main result of each, in any unit.
    """
    return [doubt for check in REPEAT_CHECKS for doubt in check(rates)]


def check_error(run: Run) -> Iterator[Doubt]:
    """Something went wrong after the first transactions."""
    if run.error:
        yield Doubt("broken", f"the run broke off: {run.error}")


def check_stopped(run: Run) -> Iterator[Doubt]:
    """Somebody ended it early."""
    if run.ended == "stopped":
        yield Doubt("stopped", f"the run was ended by hand after {run.elapsed_s:.2f} s")


def check_length(run: Run) -> Iterator[Doubt]:
    """Too short for anything but a first look: a stall of a second would not be in it."""
    if run.elapsed_s < SHORT_S:
        yield Doubt("short", f"it lasted {run.elapsed_s:.3f} s; below {SHORT_S:g} s a rate "
                             "depends on when it was taken")


def check_samples(run: Run) -> Iterator[Doubt]:
    """Every transaction is timed, so their numbers agree."""
    samples = run.latency_ns.total
    if run.spec.direction == ROUND_TRIPS and samples != run.transactions:
        yield Doubt("samples", f"{run.transactions} transactions but {samples} latency "
                               "samples")


def check_target_count(run: Run) -> Iterator[Doubt]:
    """A target cannot have answered fewer requests than came back."""
    counted = run.target_tally.transactions
    if 0 <= counted < run.transactions:
        yield Doubt("counts", f"the sender counted {run.transactions} transactions, the "
                              f"target {counted}")


def check_loss(run: Run) -> Iterator[Doubt]:
    """Lost datagrams: each one also stopped a closed loop for its timeout."""
    if run.lost:
        share = 100 * run.lost / run.requests_sent
        waited = (f", and the sender waited {run.spec.loss_timeout_s:g} s for each"
                  if run.spec.rate_tps is None else "")
        yield Doubt("loss", f"{run.lost} of {run.requests_sent} requests were lost "
                            f"({share:.2g} %){waited}")
    elif run.late or run.malformed:
        yield Doubt("loss", f"{run.late} responses came late and {run.malformed} had a wrong "
                            "size")


def check_rate(run: Run) -> Iterator[Doubt]:
    """The target did not keep up with the rate that was asked for, or did not get it."""
    asked_tps = run.spec.asked_rate_tps
    if asked_tps is not None and run.missed_rate:
        if run.lost > asked_tps * run.elapsed_s - run.requests_sent:
            why = f"they left, and {run.lost} were lost"
        else:
            why = "nobody kept up, so latencies grow with the length of the run"
        yield Doubt("rate", f"{asked_tps:.10g} requests/s were asked for and "
                            f"{run.rate_tps:.6g} were answered: {why}"
                            + (f"; {run.in_flight} were on their way at its end"
                               if run.in_flight else ""))


def check_slip(run: Run) -> Iterator[Doubt]:
    """Requests left so late that it shows in their latency."""
    slip = run.distributions.get("slip_ns")
    if slip is None:
        return
    late_ns, latency_ns = slip.percentile(99), run.latency_ns.percentile(99)
    if latency_ns and late_ns > SLIP_SHARE * latency_ns:
        yield Doubt("slip", f"1 % of the requests left {format_latency(late_ns)} late or more, "
                            f"and p99 is {format_latency(latency_ns)}")


def check_flows(run: Run) -> Iterator[Doubt]:
    """Some of many flows were not there to the end, or nobody served them."""
    early = run.flows_ended_early()
    if early:
        never = sum(not flow.requests_sent for flow in early)
        yield Doubt("flows", run.early_flows_text
                    + (f", {never} of them without having begun" if never else ""))
    silent = [flow for flow in run.flows if flow.ended == run.ended
              and flow.requests_sent and not flow.transactions]
    if silent:
        yield Doubt("flows", f"{len(silent)} of {len(run.flows)} flows got no response at all")


def check_steal(run: Run) -> Iterator[Doubt]:
    """The hypervisor gave the CPUs to somebody else."""
    for end, usage in (("sender", run.local_cpu), ("target", run.remote_cpu)):
        if usage is not None and usage.steal > STEAL_PERCENT:
            yield Doubt("steal", f"{usage.steal:.1f} % of the {end}'s CPU time was stolen by "
                                 "other guests")


def check_throttling(run: Run) -> Iterator[Doubt]:
    """A CPU quota stopped the sender: each stop is in some round trip."""
    stopped = run.throttling.get("throttled", 0)
    if stopped:
        yield Doubt("throttled", f"a CPU quota stopped the sender's control group {stopped} "
                                 f"times, {run.throttling.get('throttled_us', 0) / 1e6:.3f} s "
                                 "in all")


def check_self_connection(run: Run) -> Iterator[Doubt]:
    """The sender's socket was connected to itself: no target was measured."""
    if run.local_address == run.target_address:
        yield Doubt("self-connection", f"the data connection led from {run.local_address} to "
                                       "itself")


def check_shared_cpu(run: Run) -> Iterator[Doubt]:
    """Both ends on one CPU take turns; the network is not what limits them."""
    here = run.local_address.rpartition(":")[0] == run.target_address.rpartition(":")[0]
    cpu = _only_cpu(run.spec.local.cpu, run.host)
    if here and cpu and cpu == _only_cpu(run.spec.remote.cpu, run.remote_host):
        yield Doubt("shared-cpu", f"both ends ran on CPU {cpu} of one machine")


def check_clock(run: Run) -> Iterator[Doubt]:
    """The clock is too slow or too coarse for these round trips."""
    source = run.host.get("clock_source", "")
    if source in SLOW_CLOCK_SOURCES:
        yield Doubt("clock", f"the clock source is {source}: reading it costs a system call "
                             "or a slow device")
    typical_ns = run.latency_ns.percentile(50)
    for fact, what in (("clock_read_ns", "reading the clock takes"),
                       ("clock_resolution_ns", "the clock moves in steps of")):
        value_ns = _number(run.host.get(fact, ""))
        if typical_ns and value_ns > CLOCK_SHARE * typical_ns:
            yield Doubt("clock", f"{what} {value_ns:g} ns, {100 * value_ns / typical_ns:.0f} "
                                 "% of the median")


def check_clocks(run: Run) -> Iterator[Doubt]:
    """The clocks of the two ends run at different speeds."""
    told_s = run.target_tally.elapsed_s
    # A request that was lost begins the target's test late, a stream may drain for long, and a
    # target of connections is told nothing of their end.
    if (run.spec.direction != ROUND_TRIPS or run.spec.connecting or run.error or run.lost
            or told_s <= 0):
        return
    apart_s = abs(told_s - run.elapsed_s)
    # It hears of both as late as its way makes it, and of an end behind what is queued there.
    on_its_way_s = 2 * run.latency_ns.max_ns / 1e9
    if apart_s > max(CLOCKS_S, CLOCKS_SHARE * run.elapsed_s) + on_its_way_s:
        yield Doubt("clocks", f"the test took {run.elapsed_s:.2f} s by the sender's clock and "
                              f"{told_s:.2f} s by the target's")


def check_load(run: Run) -> Iterator[Doubt]:
    """The machine was busy with something else before the run began."""
    for end, host in (("sender", run.host), ("target", run.remote_host)):
        load, cpus = (_number(host.get(fact, "").partition(" ")[0])
                      for fact in ("load_average", "cpus"))
        if cpus and load > cpus:
            yield Doubt("busy", f"the load of the {end} was {load:g} on {cpus:g} CPUs before "
                                "the run")


def check_steadiness(run: Run) -> Iterator[Doubt]:
    """The rate drifted, or began far from where it stayed."""
    # The last interval is rarely whole.
    rates = [point.rate_tps or point.bytes / max(point.interval_ns, 1)
             for point in run.interims[:-1]]
    cut = find_warm_up(rates)
    if cut:
        until_s = run.interims[cut - 1].end_ns / 1e9
        yield Doubt("warm-up", f"the first {until_s:.2f} s went at another rate than the rest")
    trend = find_trend(rates[cut:])
    if trend and trend.p_value < TREND_P_VALUE and abs(trend.change) > TREND_CHANGE:
        way = "rose" if trend.change > 0 else "fell"
        yield Doubt("trend", f"the rate {way} by {100 * abs(trend.change):.1f} % in the "
                             "course of the run")


def check_parts(run: Run) -> Iterator[Doubt]:
    """Many round trips of a decomposed test could not be split."""
    missing = run.undecomposed
    if missing > UNDECOMPOSED * run.transactions:
        yield Doubt("undecomposed", f"{missing} of {run.transactions} round trips could not "
                                    "be split into their parts: a time stamp was missing, or "
                                    "the time of day was set")


def check_percentiles(run: Run, percents: Iterable[float]) -> Iterator[Doubt]:
    """Too few samples lie above a percentile to know it."""
    total = run.latency_ns.total
    if not total and run.spec.asked_rate_tps is not None and not run.error:
        yield Doubt("few-samples", "not one response came in its time"
                    + ("" if run.requests_sent else ", as no request was due in it"))
    asked = [percent for percent in percents
             if total and total * (100 - percent) / 100 < SAMPLES_ABOVE]
    if asked:
        needed = math.ceil(SAMPLES_ABOVE * 100 / (100 - asked[0]) - 1e-9) if (
            asked[0] < 100) else 0
        yield Doubt("few-samples", f"{total} samples tell little about p{asked[0]:g}"
                    + (f"; {needed} would" if needed else ""))


def check_convergence(rates: Sequence[float]) -> Iterator[Doubt]:
    """The mean of the repeats is not known well."""
    if len(rates) > 1:
        half = mean_interval(rates).relative_half_width
        if half > CONVERGED:
            shown = "unknown" if math.isinf(half) else f"{100 * half:.1f} %"
            yield Doubt("not-converged", f"{len(rates)} repeats know their mean to plus or "
                                         f"minus {shown} only")


def check_outliers(rates: Sequence[float]) -> Iterator[Doubt]:
    """Some repeats lie far from the others; they are part of the mean all the same."""
    # Of fewer than five nobody can say which is the odd one.
    places = find_outliers(rates) if len(rates) >= 5 else []
    if places:
        which = ", ".join(str(place + 1) for place in places[:5])
        yield Doubt("outlier", f"repeat {which} of {len(rates)} lies far from the others")


def check_drift(rates: Sequence[float]) -> Iterator[Doubt]:
    """The repeats went up or down one after the other."""
    trend = find_trend(rates)
    if trend and trend.p_value < TREND_P_VALUE and abs(trend.change) > TREND_CHANGE:
        yield Doubt("drift", "the repeats drifted by "
                             f"{100 * trend.change:+.1f} % from the first to the last")


def _only_cpu(asked: int, host: Mapping[str, str]) -> str:
    """The CPU that an end was bound to, or the only one it may use; else empty."""
    allowed = host.get("cpus_allowed", "")
    return str(asked) if asked >= 0 else allowed if allowed.isdigit() else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


CHECKS = (check_error, check_stopped, check_length, check_samples, check_target_count,
          check_loss, check_rate, check_slip, check_flows, check_steal, check_throttling,
          check_self_connection, check_shared_cpu, check_clock, check_clocks, check_load,
          check_steadiness, check_parts)
REPEAT_CHECKS = (check_convergence, check_outliers, check_drift)
CODES = ("broken", "stopped", "short", "samples", "counts", "loss", "rate", "slip", "flows",
         "steal", "throttled", "self-connection", "shared-cpu", "clock", "clocks", "busy",
         "warm-up", "trend", "undecomposed", "few-samples", "not-converged", "outlier",
         "drift")
