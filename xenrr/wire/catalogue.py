"""Every test that travels: its messages, and the states a connection goes through."""

from __future__ import annotations

from xenrr.lean import Any, NamedTuple
from xenrr.wire.classic import RRRequest, RRResponse, RRResults
from xenrr.wire.message import Kind
from xenrr.wire.omni import OmniRequest, OmniResponse, OmniResults
from xenrr.wire.states import State
from xenrr.wire.streams import (
    StreamRequest,
    StreamResponse,
    StreamResults,
    UdpStreamRequest,
    UdpStreamResponse,
    UdpStreamResults,
)

__all__ = ["ANSWERS", "REQUESTS", "TESTS", "Exchange"]


class Exchange(NamedTuple):
    """One test; the types follow from the first: response + 1, results + 2."""

    kind: Kind
    asked: State
    running: State
    request: Any
    response: Any
    results: Any


_TRANSACTIONS = (RRRequest, RRResponse, RRResults)
_STREAM = (StreamRequest, StreamResponse, StreamResults)

TESTS = (
    Exchange(Kind.DO_TCP_RR, State.TCP_RR_ASKED, State.TCP_RR_RUNNING, *_TRANSACTIONS),
    Exchange(Kind.DO_UDP_RR, State.UDP_RR_ASKED, State.UDP_RR_RUNNING, *_TRANSACTIONS),
    Exchange(Kind.DO_TCP_CRR, State.TCP_CRR_ASKED, State.TCP_CRR_RUNNING, *_TRANSACTIONS),
    Exchange(Kind.DO_TCP_CC, State.TCP_CC_ASKED, State.TCP_CC_RUNNING, *_TRANSACTIONS),
    Exchange(Kind.DO_TCP_STREAM, State.TCP_STREAM_ASKED, State.TCP_STREAM_RUNNING, *_STREAM),
    Exchange(Kind.DO_TCP_MAERTS, State.TCP_MAERTS_ASKED, State.TCP_MAERTS_RUNNING, *_STREAM),
    Exchange(Kind.DO_UDP_STREAM, State.UDP_STREAM_ASKED, State.UDP_STREAM_RUNNING,
             UdpStreamRequest, UdpStreamResponse, UdpStreamResults),
    Exchange(Kind.DO_OMNI, State.OMNI_ASKED, State.OMNI_RUNNING,
             OmniRequest, OmniResponse, OmniResults),
)
REQUESTS = tuple({one.request: None for one in TESTS})
ANSWERS = tuple({cls: None for one in TESTS for cls in (one.response, one.results)})
