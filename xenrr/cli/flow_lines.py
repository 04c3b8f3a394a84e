"""What a person is shown of many flows and of an open loop. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from xenrr.cli.drawing import count_text, duration_text, percent_texts
from xenrr.results.record import SECOND_NS, Run, TestSpec
from xenrr.stats.fairness import jain_index
from xenrr.stats.histogram import Histogram

__all__ = ["flow_rates", "flow_texts", "flows_text", "repeat_texts", "schedule_lines"]


def flows_text(spec: TestSpec) -> str:
    """What was asked in a few words, such as ``, 12 flows, 1 000/s on schedule``."""
    text = f", {spec.flows} flows" if spec.flows > 1 else ""
    if spec.rate_tps is not None:
        each = " each" if spec.rate_per_flow and spec.flows > 1 else ""
        how = f"at random (seed {spec.seed})" if spec.poisson else "on schedule"
        text += f", {_rate_text(spec.rate_tps)}/s{each} {how}"
    if spec.poller != "auto":
        text += f", {spec.poller}"
    return text


def flow_rates(run: Run) -> list[float]:
    """Transactions per second of each flow, over the time of the run."""
    if not run.elapsed_ns:
        return []
    return [flow.transactions * SECOND_NS / run.elapsed_ns for flow in run.flows]


def flow_texts(run: Run) -> list[str]:
    """How the flows of a run compare; nothing for one flow."""
    rates = flow_rates(run)
    if not rates:
        return []
    if not any(rates):
        return [f"{len(rates)} flows by {run.poller}"]
    return [f"{len(rates)} flows by {run.poller}",
            f"each {_rate_text(min(rates))} to {_rate_text(max(rates))}/s, "
            f"median {_rate_text(median(rates))}", f"Jain {jain_index(rates):.4f}"]


def repeat_texts(runs: Sequence[Run], unicode: bool) -> list[str]:
    """The same over repeats: the widest spread, and the latest that requests left."""
    texts = []
    spreads = [rates for rates in map(flow_rates, runs) if any(rates)]
    if spreads:
        texts += [f"each flow {_rate_text(min(map(min, spreads)))} to "
                  f"{_rate_text(max(map(max, spreads)))}/s",
                  f"Jain at least {min(map(jain_index, spreads)):.4f}"]
    asked_tps = runs[0].spec.asked_rate_tps
    if asked_tps is not None:
        late_ns = max(run.distributions.get("slip_ns", Histogram()).percentile(99)
                      for run in runs)
        texts += [f"asked {_rate_text(asked_tps)}/s",
                  f"left late by p99 {duration_text(late_ns, unicode)} at most"]
    return texts


def schedule_lines(run: Run, unicode: bool) -> list[list[str]]:
    """What became of a schedule, a list of facts for each line; nothing without one."""
    asked_tps = run.spec.asked_rate_tps
    if asked_tps is None:
        return []
    slip = run.distributions.get("slip_ns", Histogram())
    service = run.distributions.get("service_ns", Histogram())
    return [[f"asked {_rate_text(asked_tps)}/s", f"achieved {_rate_text(run.rate_tps)}/s",
             f"left late by p50 {duration_text(slip.percentile(50), unicode)}, "
             f"p99 {duration_text(slip.percentile(99), unicode)}"],
            ["from the time a request was meant to leave:"],
            [f"  {text}" for text in percent_texts(run.latency_ns, unicode)],
            ["from the time it really left:"],
            [f"  {text}" for text in percent_texts(service, unicode)]]


def _rate_text(rate_tps: float) -> str:
    return count_text(rate_tps) if rate_tps >= 100 else f"{rate_tps:.3g}"
