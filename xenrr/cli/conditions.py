"""What a reviewer would ask of a run before its number, in a few lines. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from xenrr.cli.drawing import duration_text
from xenrr.cpu.usage import CpuUsage
from xenrr.results.record import Run

__all__ = ["condition_lines"]

# Shares of the CPU time below this, in %, are left out of the line.
SHOWN_SHARE = 0.5
PARTS = ("user", "system", "irq", "softirq", "iowait")


def condition_lines(runs: Sequence[Run], unicode: bool = True) -> list[tuple[str, list[str]]]:
    """Who measured whom, over what, and how busy both were.

    Args:
        runs: Repeats of one test. Hosts and path are those of the last one, which rarely
            change between repeats; what was counted is added up, utilisation is averaged.
        unicode: Whether ``µ`` can be shown.

    Returns:
        Lines as a heading and items; a line that would be empty is left out.
    """
    last = runs[-1]
    lines = [("sender", _machine(last.host)), ("target", _machine(last.remote_host)),
             ("path", _path(last.host)),
             ("cpu", [*_usage("sender", [run.local_cpu for run in runs]),
                      *_usage("target", [run.remote_cpu for run in runs])]),
             ("loop", _loop(runs, unicode)), ("tcp", _tcp(runs, unicode))]
    if last.remote_host.get("interface", "lo") != "lo":
        lines.insert(3, ("target path", _path(last.remote_host)))
    return [(heading, items) for heading, items in lines if items]


def _machine(facts: Mapping[str, str]) -> list[str]:
    if not facts:
        return []
    items = [facts.get("kernel", "unknown kernel")]
    role = facts.get("xen", "no")
    if role != "no":
        domid = facts.get("xen_domid", "")
        number = f" {domid}" if domid and role != "Dom0" else ""
        items.append(f"{role}{number} on Xen {facts.get('xen_version', '')}".rstrip())
    elif facts.get("hypervisor"):
        items.append(f"guest of {facts['hypervisor']}".replace("of unnamed", "of a hypervisor"))
    if facts.get("container"):
        items.append(f"{facts['container']} container")
    for name, form in (("cpus", "{} CPUs"), ("cpu_quota", "quota {} CPUs"),
                       ("governor", "governor {}")):
        if facts.get(name):
            items.append(form.format(facts[name]))
    if facts.get("clock_source"):
        cost = facts.get("clock_read_ns")
        items.append(f"clock {facts['clock_source']}{f' {cost} ns' if cost else ''}")
    if facts.get("load_average"):
        items.append(f"load {facts['load_average'].partition(' ')[0]} before")
    return items


def _path(facts: Mapping[str, str]) -> list[str]:
    if not facts.get("interface"):
        return []
    driver = facts.get("driver") or facts.get("interface_kind", "")
    items = [f"{facts['interface']}{f' ({driver})' if driver else ''}"]
    for name, form in (("mtu", "mtu {}"), ("speed_mbit", "{} Mbit/s"), ("qdisc", "qdisc {}"),
                       ("offloads", "offloads {}")):
        if facts.get(name):
            items.append(form.format(facts[name]))
    return items


def _usage(end: str, usages: Sequence[CpuUsage | None]) -> list[str]:
    known = [usage for usage in usages if usage is not None and usage.percent >= 0]
    if not known:
        return []

    def mean(name: str) -> float:
        return fmean(getattr(usage, name) for usage in known)

    parts = [f"{name} {mean(name):.0f}" for name in PARTS if mean(name) >= SHOWN_SHARE]
    steal = [usage.steal for usage in known if usage.steal >= 0]
    parts.append(f"steal {fmean(steal):.1f}" if steal else "steal unknown")
    items = [f"{end} {mean('percent'):.0f} % of {known[-1].cpus} ({', '.join(parts)})"]
    busiest = max(known, key=lambda usage: usage.peak_percent)
    if busiest.peak_cpu >= 0 and busiest.cpus > 1:
        items.append(f"busiest CPU {busiest.peak_cpu} at {busiest.peak_percent:.0f} %")
    return items


def _loop(runs: Sequence[Run], unicode: bool) -> list[str]:
    counted = [run for run in runs if run.loop_thread]
    items = []
    if counted:
        forced = sum(run.loop_thread.get("involuntary_switches", 0) for run in counted)
        items.append(f"put aside {forced} times")
    stopped = sum(run.throttling.get("throttled", 0) for run in runs)
    if stopped:
        items.append(f"stopped {stopped} times by a CPU quota")
    demands = [demand for run in runs if (demand := run.service_demand_us("local")) >= 0]
    if demands:
        unit = "KB" if runs[-1].spec.is_one_way else "transaction"
        cost = duration_text(1000 * fmean(demands), unicode)
        items.append(f"{cost} of the sender's CPUs per {unit}")
    return items


def _tcp(runs: Sequence[Run], unicode: bool) -> list[str]:
    last = runs[-1].tcp_info
    if not last:
        return []
    first = [run.tcp_info_start.get("tcpi_total_retrans", 0) for run in runs]
    resent = sum(run.tcp_info.get("tcpi_total_retrans", 0) for run in runs) - sum(first)
    before = runs[-1].tcp_info_start.get("tcpi_rtt", 0)
    rtt = duration_text(last.get("tcpi_rtt", 0) * 1000, unicode)
    if before:
        rtt = f"{duration_text(before * 1000, unicode)} before, {rtt} at the end"
    return [f"{resent} retransmissions", f"rtt {rtt}", f"mss {last.get('tcpi_snd_mss', 0)}",
            f"cwnd {last.get('tcpi_snd_cwnd', 0)}"]
