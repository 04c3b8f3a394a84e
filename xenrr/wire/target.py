"""The target's side of a control connection: requests in, answers out.

No message says how long it is. The first one decides: more than 256 bytes, or a passphrase,
is a long message; exactly 256 bytes and then silence is a short one, and since silence is a
matter of time the shell has to say so::

    conn.receive_data(chunk)
    while (request := conn.next_event()) is not NEED_DATA:
        sock.sendall(conn.send(answer_to(request)))
    if conn.undecided and nothing_came_for_250_ms:
        conn.assume_short()
"""

from __future__ import annotations

from collections.abc import Mapping

from xenrr.errors import LocalProtocolError, RemoteProtocolError
from xenrr.lean import Any
from xenrr.wire.catalogue import ANSWERS, TESTS
from xenrr.wire.connection import NEED_DATA, PEER_CLOSED, Connection, Signal
from xenrr.wire.control import (
    CpuCalibrateRequest,
    CpuCalibrateResponse,
    DebugRequest,
    DebugResponse,
    DetailsRequest,
    DetailsResponse,
    ErrorResponse,
    FlowsRequest,
    FlowsResponse,
    PassphraseRequest,
    SysinfoRequest,
    SysinfoResponse,
    UnknownRequest,
)
from xenrr.wire.dialect import (
    CLASSIC_CLIENT,
    NETPERF_2_6,
    NETPERF_2_7,
    OMNI_2_4_5,
    SHORT_SYSINFO,
    XENRR,
    Dialect,
)
from xenrr.wire.message import (
    LONG_BYTES,
    SHORT_BYTES,
    Answer,
    Frame,
    Kind,
    Request,
    decode_frame,
    encode_answer,
)
from xenrr.wire.omni import is_omni_of_2_4_5
from xenrr.wire.states import TARGET_STEPS, Event, Input, State

__all__ = ["NEED_DATA", "PEER_CLOSED", "TargetConnection"]

# Which class takes a type, and what the type alone says about it.
_REQUESTS: Mapping[int, tuple[Any, Mapping[str, object]]] = {
    Kind.DEBUG_ON: (DebugRequest, {"on": True}),
    Kind.DEBUG_OFF: (DebugRequest, {"on": False}),
    Kind.CPU_CALIBRATE: (CpuCalibrateRequest, {}),
    Kind.PASSPHRASE: (PassphraseRequest, {}),
    Kind.DO_SYSINFO: (SysinfoRequest, {}),
    Kind.DETAILS: (DetailsRequest, {}),
    Kind.FLOWS: (FlowsRequest, {}),
    **{test.kind: (test.request, {} if test.kind == Kind.DO_OMNI else {"kind": test.kind})
       for test in TESTS},
}

_ANSWERS = (CpuCalibrateResponse, DebugResponse, DetailsResponse, ErrorResponse,
            FlowsResponse, SysinfoResponse, *ANSWERS)
# To anybody but a xenrr these types are as unknown as to any netserver.
_OURS = (Kind.DETAILS, Kind.FLOWS)


class TargetConnection(Connection):
    """One control connection as the target sees it."""

    def __init__(self) -> None:
        super().__init__(TARGET_STEPS, State.IDLE)
        self._dialect: Dialect | None = None
        # A xenrr probe is complete after 256 bytes although the dialect is the long one.
        self._short_probe = False
        self._tail_expected = False

    @property
    def dialect(self) -> Dialect:
        """What the peer speaks.

        Raises:
            LocalProtocolError: Its first message is not in yet.
        """
        if self._dialect is None:
            raise LocalProtocolError("the peer has not said enough to tell its dialect")
        return self._dialect

    @property
    def undecided(self) -> bool:
        """Whether a short message is there that may yet turn out to be half a long one."""
        return (self._dialect is None and len(self._buffer) >= SHORT_BYTES
                and self._recognise() is None)

    def assume_short(self) -> None:
        """Nothing followed the first 256 bytes for about 250 ms: they are a message.

        Raises:
            LocalProtocolError: The question is not open.
        """
        if not self.undecided:
            raise LocalProtocolError("the size of the peer's messages is not in doubt")
        self._dialect = CLASSIC_CLIENT

    def next_event(self) -> Request | Signal:
        """The next request, ``NEED_DATA`` or ``PEER_CLOSED``.

        Raises:
            RemoteProtocolError: The peer broke the protocol, or closed inside a message.
        """
        self._raise_failure()
        if self._dialect is None:
            self._dialect = self._recognise()
            if self._dialect is None:
                return self._starved()
            if self._dialect is XENRR:
                self._short_probe = self._tail_expected = True
        if not self._short_probe and self._tail_expected:
            self._drop_tail()
        size_bytes = SHORT_BYTES if self._short_probe else self._dialect.message_bytes
        if len(self._buffer) < size_bytes:
            return self._starved()
        self._short_probe = False
        frame = decode_frame(self._take(size_bytes))
        if (frame.kind == Kind.DO_OMNI and size_bytes == SHORT_BYTES
                and is_omni_of_2_4_5(frame.payload)):
            self._dialect = OMNI_2_4_5
        request = _decode_request(frame, self._dialect)
        self._step(_input_of(request), RemoteProtocolError)
        if isinstance(request, SysinfoRequest):
            self._dialect = _dialect_of_asker(request, self._dialect)
        return request

    def send(self, answer: Answer) -> bytes:
        """The bytes of an answer to the last request, or of the results of its test.

        Raises:
            LocalProtocolError: It is not its turn, or a field does not fit.
        """
        if not isinstance(answer, _ANSWERS):
            raise LocalProtocolError(f"a target does not send {type(answer).__name__}")
        data = encode_answer(answer, self.dialect)
        if isinstance(answer, ErrorResponse):
            self._step(Event.REFUSED, LocalProtocolError)
        elif isinstance(answer, CpuCalibrateResponse):
            self._step(Event.CALIBRATED, LocalProtocolError)
        else:
            self._step(Kind(answer.kind), LocalProtocolError)
        return data

    def _recognise(self) -> Dialect | None:
        """What the first bytes tell, ``None`` while they leave it open."""
        if len(self._buffer) < SHORT_BYTES:
            return None
        frame = decode_frame(bytes(self._buffer[:SHORT_BYTES]))
        first = _decode_request(frame, NETPERF_2_7)
        if isinstance(first, SysinfoRequest) and first.asker == XENRR.peer:
            return XENRR
        if len(self._buffer) > SHORT_BYTES or isinstance(first, PassphraseRequest):
            return NETPERF_2_7
        return CLASSIC_CLIENT if self._at_end else None

    def _drop_tail(self) -> None:
        """Skip the zeros that complete a xenrr probe whose answer was slow to arrive."""
        kind_bytes = bytes(4)
        if not self._buffer.startswith(kind_bytes[:len(self._buffer)]):
            self._tail_expected = False  # the next request: no type is 0
        elif len(self._buffer) >= LONG_BYTES - SHORT_BYTES:
            self._take(LONG_BYTES - SHORT_BYTES)
            self._tail_expected = False


def _decode_request(frame: Frame, dialect: Dialect) -> Request:
    if frame.kind not in _REQUESTS or (frame.kind in _OURS and not dialect.is_xenrr):
        return UnknownRequest(frame.kind, frame.word1)
    cls, known = _REQUESTS[frame.kind]
    values = cls.layout(dialect).decode(frame.payload)
    request: Request = cls(cpu=frame.word1, **known, **values)
    return request


def _input_of(request: Request) -> Input:
    return Event.UNKNOWN if isinstance(request, UnknownRequest) else Kind(request.kind)


def _dialect_of_asker(request: SysinfoRequest, dialect: Dialect) -> Dialect:
    """Only 2.5.0 (and its kin) and 2.6.0 ask for the sysinfo, or xenrr, which says so."""
    if dialect is XENRR:
        return dialect
    if dialect.message_bytes == SHORT_BYTES:
        return dialect if dialect is OMNI_2_4_5 else SHORT_SYSINFO
    return XENRR if request.asker == XENRR.peer else NETPERF_2_6
