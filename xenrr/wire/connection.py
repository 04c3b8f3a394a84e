"""What both ends of a control connection share: a bounded buffer and a state.

No socket, clock or thread: bytes go in, events come out, and bytes to send come out.
"""

from __future__ import annotations

from xenrr.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from xenrr.lean import Enum
from xenrr.wire.message import LONG_BYTES
from xenrr.wire.states import Event, Input, State, Steps

__all__ = ["MAX_BUFFERED_BYTES", "NEED_DATA", "PEER_CLOSED", "Connection", "Signal"]

# netperf has one message under way, our own sender two. More is a flood.
MAX_BUFFERED_BYTES = 4 * LONG_BYTES


class Signal(Enum):
    """Events without content."""

    NEED_DATA = "need data"         # nothing whole has come in yet
    PEER_CLOSED = "peer closed"     # end of file between two messages


NEED_DATA = Signal.NEED_DATA
PEER_CLOSED = Signal.PEER_CLOSED


class Connection:
    """One end of a control connection.

    After a ``RemoteProtocolError`` the connection is broken for good: every further
    ``next_event`` raises the same again.
    """

    def __init__(self, steps: Steps, state: State) -> None:
        self._steps = steps
        self._state = state
        self._buffer = bytearray()
        self._at_end = False
        self._failure: str | None = None

    @property
    def state(self) -> State:
        """Where the conversation stands."""
        return self._state

    def receive_data(self, data: bytes) -> None:
        """Take what the socket gave; ``next_event`` says what it means.

        Raises:
            RemoteProtocolError: The peer floods us.
            LocalProtocolError: The end of file was reported before.
        """
        if self._at_end:
            raise LocalProtocolError("data after the end of file")
        if len(self._buffer) + len(data) > MAX_BUFFERED_BYTES:
            self._buffer.clear()
            self._failure = (f"the peer sent more than {MAX_BUFFERED_BYTES} bytes "
                             "without waiting for an answer")
        self._raise_failure()
        self._buffer += data

    def receive_eof(self) -> None:
        """The peer closed its side."""
        self._at_end = True

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise RemoteProtocolError(self._failure)

    def _fail(self, message: str) -> RemoteProtocolError:
        """Remember that the peer broke the protocol; to be raised by the caller."""
        self._buffer.clear()
        self._failure = message
        return RemoteProtocolError(message)

    def _step(self, said: Input, blame: type[ProtocolError]) -> None:
        state = self._steps.get((self._state, said))
        if state is None:
            message = f"{said.name} is out of place while the connection is {self._state.value}"
            raise self._fail(message) if blame is RemoteProtocolError else blame(message)
        self._state = state

    def _take(self, size_bytes: int) -> bytes:
        raw = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return raw

    def _starved(self) -> Signal:
        """What it means that the buffer holds no whole message."""
        if not self._at_end:
            return NEED_DATA
        if self._buffer:
            raise self._fail(
                f"the peer closed {len(self._buffer)} bytes into a message")
        if self._state is not State.CLOSED:
            self._step(Event.END, RemoteProtocolError)
        return PEER_CLOSED
