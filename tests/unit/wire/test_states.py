from __future__ import annotations

from pathlib import Path

import pytest

from xenrr.errors import LocalProtocolError, RemoteProtocolError
from xenrr.wire.connection import Connection
from xenrr.wire.message import Kind
from xenrr.wire.states import SENDER_STEPS, TARGET_STEPS, Event, State

PAGE = Path(__file__).resolve().parents[3] / "docs" / "wire.md"
TABLES = pytest.mark.parametrize(("steps", "start"), [
    (TARGET_STEPS, State.IDLE), (SENDER_STEPS, State.NEW)], ids=["target", "sender"])
INPUTS = [*Kind, *Event]


def diagram(steps):
    """The table as docs/wire.md draws it; ends of file are left to a sentence there."""
    arrows = {}
    for (state, said), following in steps.items():
        if said is not Event.END:
            arrows.setdefault((state, following), []).append(said.name)
    lines = [f"    {state.name} --> {following.name} : {' or '.join(names)}"
             for (state, following), names in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def reached(steps, start):
    seen = {start}
    while True:
        more = {following for (state, _), following in steps.items() if state in seen} - seen
        if not more:
            return seen
        seen |= more


@TABLES
def test_every_state_is_reached(steps, start):
    mentioned = {state for state, _ in steps} | set(steps.values())
    assert reached(steps, start) == mentioned


def test_the_two_tables_use_every_state_and_event():
    both = {**TARGET_STEPS, **SENDER_STEPS}
    assert {state for state, _ in both} | {State.CLOSED} == set(State)
    assert {said for _, said in both} >= set(Event)


@TABLES
def test_from_every_state_the_conversation_can_go_on_to_idle_and_to_its_end(steps, start):
    for state in reached(steps, start) - {State.CLOSED}:
        assert {State.IDLE, State.CLOSED} <= reached(steps, state), state
    assert reached(steps, State.CLOSED) == {State.CLOSED}


@TABLES
def test_a_peer_may_leave_at_any_time(steps, start):
    for state in reached(steps, start) - {State.CLOSED}:
        assert steps[state, Event.END] is State.CLOSED


@TABLES
@pytest.mark.parametrize("blame", [LocalProtocolError, RemoteProtocolError])
def test_what_the_table_lacks_is_refused(steps, start, blame):
    refused = 0
    for state in reached(steps, start):
        for said in INPUTS:
            connection = Connection(steps, state)
            if (state, said) in steps:
                connection._step(said, blame)
                assert connection.state is steps[state, said]
                continue
            with pytest.raises(blame, match=f"{said.name} is out of place"):
                connection._step(said, blame)
            assert connection.state is state
            refused += 1
    assert refused > len(steps)


@TABLES
def test_the_page_draws_the_table(steps, start):
    assert diagram(steps) in PAGE.read_text()
