"""Records of campaigns for tests, and what a campaign left running."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path

from xenrr.results.campaign import CampaignHeader, MachineFacts, RoundRecord, SenderRun
from xenrr.results.record import SECOND_NS, InterimPoint, Run, TargetTally, TestSpec
from xenrr.stats.histogram import Histogram

HEADER_OF_TWO = CampaignHeader(
    "c", "", "t", "h1", (MachineFacts("t", "h1", "Dom0"), MachineFacts("a", "h1", "DomU"),
                         MachineFacts("b", "h2", "DomU")),
    ("12|1", "12|2"), 1, 2, 1.0, 0.0, "", 1000.0, "0")


def sender_run(machine, start_ns=0, end_ns=SECOND_NS, counts=(100,) * 10, transactions=None,
               attempt="x", key="12|1", **changes):
    """A run of one second in intervals of 100 ms."""
    points = tuple(InterimPoint((place + 1) * 100_000_000, 100_000_000, count, 0, 0, 0, 0, 0.0)
                   for place, count in enumerate(counts))
    total = sum(counts) if transactions is None else transactions
    latency_ns = Histogram()
    latency_ns.record(50_000, total)
    run = Run(
        spec=TestSpec(duration_s=1.0), target="t", target_address="t", local_address="l",
        peer="", engine="hot", started_epoch_s=0.0, elapsed_ns=end_ns - start_ns,
        transactions=total, requests_sent=total + 1, in_flight=1, lost=0, late=0, malformed=0,
        drained=1, bytes_sent=total, bytes_received=total, send_calls=total, recv_calls=total,
        ended="time", error="", latency_ns=latency_ns, interims=points,
        target_tally=TargetTally(transactions=total + 1))
    experiment, _, repeat = key.rpartition("|")
    return SenderRun(key, attempt, experiment, "", int(repeat), machine, start_ns, end_ns, 0,
                     replace(run, **changes))


def round_of(key, senders, attempt="x", failures=None, stopped=False, skew_ns=1000,
             window=(0, SECOND_NS), target="t"):
    experiment, _, repeat = key.rpartition("|")
    return RoundRecord(key, attempt, experiment, "", int(repeat), target, tuple(senders), 0.0,
                       *window, skew_ns, failures or {}, stopped)


def marked_processes(mark: str) -> list[int]:
    """Ids of processes that have a mark in their environment, but for this one."""
    found = []
    for word in os.listdir("/proc"):
        if word.isdigit() and int(word) != os.getpid():
            with contextlib.suppress(OSError):
                if mark.encode() in Path(f"/proc/{word}/environ").read_bytes():
                    found.append(int(word))
    return found


def all_gone(mark: str, limit_s: float = 10.0) -> bool:
    """Whether no process with a mark is left, now or soon."""
    give_up_s = time.monotonic() + limit_s
    while marked_processes(mark):
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.05)
    return True


def wait_until(condition, limit_s=30.0):
    """Whether a condition came true within a limit in s."""
    give_up_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.1)
    return True
