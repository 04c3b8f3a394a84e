"""Scripts cannot tell xenrr from netperf: the same command lines, the same shape.

Each case runs four times at once: netperf and xenrr, each against netserver and against
xenrr's server. What netperf prints against netserver is what the others are compared with.
"""

from __future__ import annotations

import signal

import pytest
from interop.differential.cases import CASES, GROUPS, UNLIKE, Case
from interop.differential.runner import OURS, REAL, Stage, run, run_pairings
from interop.differential.shape import Shown, differences, stream_differences

pytestmark = pytest.mark.peer("netperf", "netserver")

LISTED_DIFFERENCES = 20  # at most; each says why in its case


def name_of(group: str, case: Case) -> str:
    words = [case.line]
    if case.host != "127.0.0.1":
        words.append(case.host)
    if case.interrupt is not None:
        words.append(case.interrupt.name)
    words += [name for name, _ in case.environment]
    if case.program != "netperf":
        words.insert(0, case.program)
    return f"{group}: {' '.join(words)}"


PARAMETERS = [pytest.param(case, id=name_of(group, case))
              for group, cases in GROUPS.items() for case in cases]


def complaints(case: Case, wanted: Shown, got: Shown, client: str) -> list[str]:
    """In what a run differs from netperf's, where it should not."""
    if client == REAL and case.target:
        return [] if got.code > 0 else [f"no error: {got}"]
    if client == OURS and case.crash:
        fine = 0 < got.code < 128 and any(got.err) and "Traceback" not in "".join(got.err)
        return [] if fine else [f"netperf ends in {case.crash}, xenrr with {got}"]
    if client == OURS and case.ours:
        return stream_differences(wanted, got)
    return differences(wanted, got, case.more_err and client == OURS, case.free_width,
                       case.unlike)


def test_there_are_enough_and_few_exceptions():
    assert len(CASES) >= 250
    assert len(set(CASES)) == len(CASES)
    listed = [case for case in CASES if case.ours or case.crash or case.target or case.unlike]
    assert len(listed) <= LISTED_DIFFERENCES
    assert {name for case in CASES for name in case.unlike} == set(UNLIKE)


# A netperf that has to be killed waits for a datagram that is lost; what it printed until
# then is nothing to compare with.
TRIES = 3
KILLED = -signal.SIGKILL


@pytest.mark.parametrize("case", PARAMETERS)
def test_same_shape(stage: Stage, case: Case):
    for _ in range(TRIES):
        shown = run_pairings(case, stage)
        if all(got.code != KILLED for (client, _), got in shown.items() if client == REAL):
            break
    wanted = shown.pop((REAL, REAL))
    found = []
    for (client, server), got in shown.items():
        if lines := complaints(case, wanted, got, client):
            found.append(f"{client} against {server}:\n" + "\n".join(lines))
    assert not found, f"{case.line}\n" + "\n".join(found)


@pytest.mark.parametrize("case", [
    pytest.param(case, id=name_of(group, case))
    for group, cases in GROUPS.items() for case in cases if case.engines])
def test_same_shape_with_the_pure_engine(stage: Stage, pure_stage: Stage, case: Case,
                                         monkeypatch):
    monkeypatch.setenv("XENRR_ENGINE", "pure")
    for _ in range(TRIES):
        wanted = run(case, stage, REAL, REAL)
        if wanted.code != KILLED:
            break
    got = run(case, pure_stage, OURS, OURS)
    found = complaints(case, wanted, got, OURS)
    assert not found, "\n".join(found)
