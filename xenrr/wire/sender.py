"""The sender's side of a control connection: requests out, answers in.

The sender speaks first and has to find out how long the peer's messages are. It sends 256
bytes of a DO_SYSINFO request. A peer with short messages takes that for a whole request and
answers at once; so does a xenrr target, which knows whom it talks to. A peer with long ones
is silent until the other 400 bytes come::

    sock.sendall(conn.start())
    if nothing_came_for_250_ms:
        sock.sendall(conn.probe_silent())
    ... receive_data until next_event() gives PeerIdentified
"""

from __future__ import annotations

from collections.abc import Mapping

from xenrr.errors import LocalProtocolError, RemoteProtocolError
from xenrr.frozen import dataclass, field_names, replace
from xenrr.lean import Any
from xenrr.wire.catalogue import REQUESTS, TESTS
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
)
from xenrr.wire.dialect import CLASSIC_SERVER, XENRR, Dialect, dialect_of_sysinfo
from xenrr.wire.message import (
    HEADER,
    LONG_BYTES,
    SHORT_BYTES,
    UNKNOWN_REQUEST_ERRNO,
    Answer,
    Frame,
    Kind,
    Request,
    decode_frame,
    encode_request,
)
from xenrr.wire.omni import OmniResponse
from xenrr.wire.states import SENDER_STEPS, Event, Input, State

__all__ = ["NEED_DATA", "PEER_CLOSED", "PeerIdentified", "SenderConnection"]

_REQUESTS = (CpuCalibrateRequest, DebugRequest, DetailsRequest, FlowsRequest, SysinfoRequest,
             *REQUESTS)

# What comes next in a state, and as which class. An answer to CPU_CALIBRATE has the
# request's type, the others that of their own.
_ANSWERS: Mapping[State, tuple[Any, Input]] = {
    State.SYSINFO_ASKED: (SysinfoResponse, Kind.SYSINFO_RESPONSE),
    State.DEBUG_ASKED: (DebugResponse, Kind.DEBUG_OK),
    State.DETAILS_ASKED: (DetailsResponse, Kind.DETAILS_RESPONSE),
    State.FLOWS_ASKED: (FlowsResponse, Kind.FLOWS_RESPONSE),
    State.CALIBRATION_ASKED: (CpuCalibrateResponse, Event.CALIBRATED),
    **{test.asked: (test.response, Kind(test.kind + 1)) for test in TESTS},
    **{test.running: (test.results, Kind(test.kind + 2)) for test in TESTS},
}
# After an errno 998 real servers repeat it, byte-swapped, in these answers.
_STALE_ERRNO = {State.SYSINFO_ASKED, State.DEBUG_ASKED, State.CALIBRATION_ASKED}
# Real servers swap the type of their results once too often (14 arrives as 0x0e000000).
_NO_TYPE = {test.running for test in TESTS}

# The only two ways to begin an answer to the probe: on a fresh connection a server that
# does not know a type leaves the type word 0 (recorded: sysinfo-2.4.2.hex).
_PROBE_ANSWERS = (HEADER.pack(Kind.SYSINFO_RESPONSE, 0), HEADER.pack(0, UNKNOWN_REQUEST_ERRNO))


@dataclass(frozen=True)
class PeerIdentified:
    """The answer to the probe is in."""

    dialect: Dialect


class SenderConnection(Connection):
    """One control connection as the sender sees it.

    Args:
        passphrase: Sent first if given, at most 647 bytes; the peer has to be 2.6.0 or later.
        dialect: What the peer spoke on another connection: then nothing is probed, and the
            first request may follow ``start`` at once.
    """

    def __init__(
        self, passphrase: bytes | None = None, dialect: Dialect | None = None
    ) -> None:
        super().__init__(SENDER_STEPS, State.NEW)
        self._passphrase = passphrase
        self._dialect = dialect
        self._answered_late = False

    @property
    def answered_late(self) -> bool:
        """Whether the peer has short messages and was taken for one with long ones.

        This connection is lost then; on a new one a longer silence before ``probe_silent``
        is the cure.
        """
        return self._answered_late

    @property
    def dialect(self) -> Dialect | None:
        """What the peer speaks, ``None`` before ``PeerIdentified``."""
        return self._dialect

    @property
    def passphrase_sent(self) -> bool:
        """Whether the long form is settled, so that no silence has to be waited for."""
        return self._passphrase is not None

    def start(self) -> bytes:
        """What to send first.

        Raises:
            LocalProtocolError: It was sent before, or the passphrase cannot travel.
        """
        probe = encode_request(SysinfoRequest(asker=XENRR.peer), XENRR)
        if self._dialect is not None and not self._dialect.is_xenrr:
            return self._start_known()
        self._dialect = None  # a xenrr has to be told who asks
        if self._passphrase is None:
            self._step(Event.SHORT_PROBE, LocalProtocolError)
            return probe[:SHORT_BYTES]
        phrase = encode_request(PassphraseRequest(self._passphrase), XENRR)
        self._step(Kind.PASSPHRASE, LocalProtocolError)
        self._step(Kind.DO_SYSINFO, LocalProtocolError)
        return phrase + probe

    def _start_known(self) -> bytes:
        phrase = b""
        if self._passphrase is not None:
            phrase = encode_request(PassphraseRequest(self._passphrase), XENRR)
            self._step(Kind.PASSPHRASE, LocalProtocolError)
        self._step(Event.KNOWN, LocalProtocolError)
        return phrase

    def probe_silent(self) -> bytes:
        """Nothing came for about 250 ms: what completes the probe as a long message.

        Raises:
            LocalProtocolError: No short probe is out, or it has been answered.
        """
        self._step(Event.SILENCE, LocalProtocolError)
        return bytes(LONG_BYTES - SHORT_BYTES)

    def send(self, request: Request) -> bytes:
        """The bytes of a request in the peer's dialect.

        Raises:
            LocalProtocolError: It is not its turn, or a field does not fit.
        """
        if not isinstance(request, _REQUESTS):
            raise LocalProtocolError(f"a sender does not send {type(request).__name__}")
        if self._dialect is None:
            raise LocalProtocolError("the peer's dialect has to be found out first")
        if (isinstance(request, (DetailsRequest, FlowsRequest))
                and not self._dialect.is_xenrr):
            raise LocalProtocolError("only a xenrr is asked for details or flows")
        data = encode_request(request, self._dialect)
        self._step(Kind(request.kind), LocalProtocolError)
        return data

    def receive_data(self, data: bytes) -> None:
        """Take what the socket gave; ``next_event`` says what it means.

        Raises:
            RemoteProtocolError: The peer is no netserver, or floods us.
            LocalProtocolError: The end of file was reported before.
        """
        self._raise_failure()
        if self._dialect is None:
            begin = bytes(self._buffer[:HEADER.size]) + bytes(data[:HEADER.size])
            head = begin[:HEADER.size]
            if not any(answer.startswith(head) for answer in _PROBE_ANSWERS):
                raise self._fail(f"the peer is no netserver: its answer begins with {begin!r}")
        super().receive_data(data)

    def next_event(self) -> PeerIdentified | Answer | Signal:
        """The answer to what was sent, ``NEED_DATA`` or ``PEER_CLOSED``.

        Raises:
            RemoteProtocolError: The peer broke the protocol, or closed inside a message.
        """
        self._raise_failure()
        if self._dialect is None:
            return self._identify()
        if len(self._buffer) < self._dialect.message_bytes:
            return self._starved()
        state = self._state
        frame = decode_frame(self._take(self._dialect.message_bytes))
        answer, said = self._decode(frame, self._dialect)
        self._step(said, RemoteProtocolError)
        if state is State.OMNI_ASKED:
            self._note_omni(answer, self._dialect)
        return answer

    def _identify(self) -> PeerIdentified | Signal:
        if self._state not in (State.PROBING, State.PROBED) or len(self._buffer) < SHORT_BYTES:
            return self._starved()
        frame = decode_frame(bytes(self._buffer[:SHORT_BYTES]))
        refused = frame.word1 == UNKNOWN_REQUEST_ERRNO
        size_bytes = SHORT_BYTES
        if self._state is State.PROBED:
            if refused or self._zeros_were_answered():
                raise self._fail(self._desynchronised())
            size_bytes = LONG_BYTES
        elif frame.payload.startswith(b",%s," % XENRR.peer.encode()):
            size_bytes = LONG_BYTES
        if len(self._buffer) < size_bytes:
            return self._starved()
        payload = decode_frame(self._take(size_bytes)).payload
        if refused:
            dialect = CLASSIC_SERVER
            self._step(Event.REFUSED, RemoteProtocolError)
        else:
            text = SysinfoResponse.layout(XENRR).decode(payload)["text"]
            dialect = dialect_of_sysinfo(text, size_bytes)
            self._step(Kind.SYSINFO_RESPONSE, RemoteProtocolError)
        self._dialect = dialect
        return PeerIdentified(dialect)

    def _zeros_were_answered(self) -> bool:
        """Whether a second short answer follows where a long one goes on."""
        return (len(self._buffer) >= SHORT_BYTES + HEADER.size
                and HEADER.unpack_from(self._buffer, SHORT_BYTES)[1] == UNKNOWN_REQUEST_ERRNO)

    def _desynchronised(self) -> str:
        # The rest of our bytes waits at the peer for the beginning of the next message, so
        # this connection cannot be used, although the peer is known now.
        if self.passphrase_sent:
            return "the peer is netperf 2.5.0 or earlier, which knows no passphrase"
        self._answered_late = True
        return ("the peer uses 256-byte messages (netperf 2.5.0 or earlier) but answered only "
                "after the whole 656-byte probe was sent; wait longer before completing it")

    def _decode(self, frame: Frame, dialect: Dialect) -> tuple[Answer, Input]:
        state = self._state
        cls, said = _ANSWERS.get(state, (None, Event.REFUSED))
        kind = Kind.CPU_CALIBRATE if said is Event.CALIBRATED else said
        typed = frame.kind == kind
        if frame.word1 and not (typed and state in _STALE_ERRNO):
            return ErrorResponse(frame.word1, frame.kind), Event.REFUSED
        if cls is None or not (typed or state in _NO_TYPE):
            raise self._fail(f"the peer sent a message of type {frame.kind} "
                             f"while the connection is {state.value}")
        known = {"kind": kind} if "kind" in field_names(cls) else {}
        try:
            values = cls.layout(dialect).decode(frame.payload)
        except RemoteProtocolError as exc:
            raise self._fail(str(exc)) from exc
        return cls(errno=frame.word1, **known, **values), said

    def _note_omni(self, answer: Answer, dialect: Dialect) -> None:
        """A peer's first word on OMNI settles whether it knows it."""
        if isinstance(answer, OmniResponse):
            self._dialect = replace(dialect, omni=True)
        elif answer.errno == UNKNOWN_REQUEST_ERRNO:
            self._dialect = replace(dialect, omni=False)
