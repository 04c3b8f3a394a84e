"""The two state tables of a control connection: which input is legal when.

A key is the state and what is said in it: the type of a message, or an ``Event`` where no
type tells it. The conversation is strictly serial: a request, its answer, and in tests the
results, before the next request. What a table lacks is refused, with the blame on whoever
said it.
"""

from __future__ import annotations

from collections.abc import Mapping

from xenrr.lean import Enum, Union
from xenrr.wire.message import Kind

__all__ = ["SENDER_STEPS", "TARGET_STEPS", "Event", "Input", "State", "Steps"]


class State(Enum):
    """Where a control connection stands."""

    NEW = "new"                             # sender only: nothing said yet
    PROBING = "probing"                     # sender only: 256 bytes are out
    PROBED = "probed"                       # sender only: 656 bytes are out
    IDLE = "idle"
    SYSINFO_ASKED = "sysinfo asked"
    DEBUG_ASKED = "debug asked"
    CALIBRATION_ASKED = "calibration asked"
    DETAILS_ASKED = "details asked"
    FLOWS_ASKED = "flows asked"
    UNKNOWN_ASKED = "unknown type asked"  # target only
    TCP_RR_ASKED = "TCP_RR asked"
    TCP_RR_RUNNING = "TCP_RR running"
    UDP_RR_ASKED = "UDP_RR asked"
    UDP_RR_RUNNING = "UDP_RR running"
    TCP_CRR_ASKED = "TCP_CRR asked"
    TCP_CRR_RUNNING = "TCP_CRR running"
    TCP_CC_ASKED = "TCP_CC asked"
    TCP_CC_RUNNING = "TCP_CC running"
    TCP_STREAM_ASKED = "TCP_STREAM asked"
    TCP_STREAM_RUNNING = "TCP_STREAM running"
    TCP_MAERTS_ASKED = "TCP_MAERTS asked"
    TCP_MAERTS_RUNNING = "TCP_MAERTS running"
    UDP_STREAM_ASKED = "UDP_STREAM asked"
    UDP_STREAM_RUNNING = "UDP_STREAM running"
    OMNI_ASKED = "OMNI asked"
    OMNI_RUNNING = "OMNI running"
    CLOSED = "closed"


class Event(Enum):
    """What happens on a connection and is not told by a message type."""

    SHORT_PROBE = "256 bytes of DO_SYSINFO"
    SILENCE = "silence, 400 bytes more"
    KNOWN = "dialect known from another connection"
    CALIBRATED = "CPU_CALIBRATE answer"     # has the type of its request
    UNKNOWN = "unknown type"
    REFUSED = "errno"                       # leaves the type word as it was
    END = "end of file"


Input = Union[Kind, Event]
Steps = Mapping["tuple[State, Input]", State]


def _test(name: str) -> Steps:
    """The five steps of a test: all tests have the same."""
    asked, running = State[f"{name}_ASKED"], State[f"{name}_RUNNING"]
    return {
        (State.IDLE, Kind[f"DO_{name}"]): asked,
        (asked, Kind[f"{name}_RESPONSE"]): running,
        (asked, Event.REFUSED): State.IDLE,
        (running, Kind[f"{name}_RESULTS"]): State.IDLE,
        (running, Event.REFUSED): State.IDLE,
    }


_CONVERSATION: Steps = {
    (State.IDLE, Kind.DO_SYSINFO): State.SYSINFO_ASKED,
    (State.SYSINFO_ASKED, Kind.SYSINFO_RESPONSE): State.IDLE,
    (State.SYSINFO_ASKED, Event.REFUSED): State.IDLE,
    (State.IDLE, Kind.DEBUG_ON): State.DEBUG_ASKED,
    (State.IDLE, Kind.DEBUG_OFF): State.DEBUG_ASKED,
    (State.DEBUG_ASKED, Kind.DEBUG_OK): State.IDLE,
    (State.DEBUG_ASKED, Event.REFUSED): State.IDLE,
    (State.IDLE, Kind.CPU_CALIBRATE): State.CALIBRATION_ASKED,
    (State.CALIBRATION_ASKED, Event.CALIBRATED): State.IDLE,
    (State.CALIBRATION_ASKED, Event.REFUSED): State.IDLE,
    (State.IDLE, Kind.DETAILS): State.DETAILS_ASKED,
    (State.DETAILS_ASKED, Kind.DETAILS_RESPONSE): State.IDLE,
    (State.DETAILS_ASKED, Event.REFUSED): State.IDLE,
    (State.IDLE, Kind.FLOWS): State.FLOWS_ASKED,
    (State.FLOWS_ASKED, Kind.FLOWS_RESPONSE): State.IDLE,
    (State.FLOWS_ASKED, Event.REFUSED): State.IDLE,
    **_test("TCP_RR"),
    **_test("UDP_RR"),
    **_test("TCP_CRR"),
    **_test("TCP_CC"),
    **_test("TCP_STREAM"),
    **_test("TCP_MAERTS"),
    **_test("UDP_STREAM"),
    **_test("OMNI"),
}


def _with_ends(steps: Steps) -> Steps:
    """A peer may leave in any state."""
    states = {state for state, _ in steps}
    return {**steps, **{(state, Event.END): State.CLOSED for state in states}}


# docs/wire.md draws its diagrams from these two tables.
TARGET_STEPS = _with_ends({
    (State.IDLE, Kind.PASSPHRASE): State.IDLE,
    (State.IDLE, Event.UNKNOWN): State.UNKNOWN_ASKED,
    (State.UNKNOWN_ASKED, Event.REFUSED): State.IDLE,
    **_CONVERSATION,
})
SENDER_STEPS = _with_ends({
    (State.NEW, Kind.PASSPHRASE): State.NEW,
    (State.NEW, Kind.DO_SYSINFO): State.PROBED,
    (State.NEW, Event.KNOWN): State.IDLE,
    (State.NEW, Event.SHORT_PROBE): State.PROBING,
    (State.PROBING, Kind.SYSINFO_RESPONSE): State.IDLE,
    (State.PROBING, Event.REFUSED): State.IDLE,
    (State.PROBING, Event.SILENCE): State.PROBED,
    (State.PROBED, Kind.SYSINFO_RESPONSE): State.IDLE,
    **_CONVERSATION,
})
