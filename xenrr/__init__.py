"""xenrr: request/response network benchmark, wire-compatible with netperf.

Public names are resolved on first use, so that ``import xenrr.client`` on a small guest
loads nothing it does not need.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.errors import (
        CommandError,
        ConnectionLost,
        EngineUnavailable,
        LabError,
        LocalProtocolError,
        PeerRefused,
        ProtocolError,
        RemoteProtocolError,
        ResultFormatError,
        SpecError,
        TimestampsUnavailable,
        XenrrError,
    )
    from xenrr.results.record import (
        EndSpec,
        InterimPoint,
        Run,
        SocketFacts,
        TargetTally,
        TestSpec,
    )
    from xenrr.session.library import connect, measure, serve
    from xenrr.stats.histogram import Histogram

__version__ = "0.1.0"

__all__ = [
    "CommandError",
    "ConnectionLost",
    "EndSpec",
    "EngineUnavailable",
    "Histogram",
    "InterimPoint",
    "LabError",
    "LocalProtocolError",
    "PeerRefused",
    "ProtocolError",
    "RemoteProtocolError",
    "ResultFormatError",
    "Run",
    "SocketFacts",
    "SpecError",
    "TargetTally",
    "TestSpec",
    "TimestampsUnavailable",
    "XenrrError",
    "__version__",
    "connect",
    "measure",
    "serve",
]

_HOMES = {
    "EndSpec": "xenrr.results.record",
    "Histogram": "xenrr.stats.histogram",
    "InterimPoint": "xenrr.results.record",
    "Run": "xenrr.results.record",
    "SocketFacts": "xenrr.results.record",
    "TargetTally": "xenrr.results.record",
    "TestSpec": "xenrr.results.record",
    "connect": "xenrr.session.library",
    "measure": "xenrr.session.library",
    "serve": "xenrr.session.library",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'xenrr' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES.get(name, "xenrr.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
