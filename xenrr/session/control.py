"""The sender's end of a control connection: the codec's bytes over a blocking socket.

It needs no event loop. A sender does one thing after another, and importing asyncio would
cost more than the rest of its start-up (performance.md). Every wait here has a limit.
"""

from __future__ import annotations

import select
import time

from xenrr.errors import ConnectionLost, RemoteProtocolError
from xenrr.lean import socket
from xenrr.session.sockets import ANY_ADDRESS, family_of, look_up
from xenrr.wire.dialect import Dialect
from xenrr.wire.message import Request
from xenrr.wire.sender import NEED_DATA, PEER_CLOSED, PeerIdentified, SenderConnection

__all__ = ["PROBE_SILENCE_S", "RESPONSE_LIMIT_S", "ControlConnection", "open_control"]

# A peer that takes 656-byte messages says nothing to the first 256 bytes; one that takes
# 256 answers at once. Longer than any round trip that netperf is used on.
PROBE_SILENCE_S = 0.25
# A peer that answered later than that is asked once more, and given this long.
LATE_SILENCE_S = 10.0
# netperf waits this long for any response (netperf src/netlib.c, recv_response_timed_n).
RESPONSE_LIMIT_S = 120.0
# A netserver answers the first message at once. Other services may wait for ever for a line
# end or a login, and whoever mistyped a port should not wait two minutes to hear of it.
IDENTIFY_LIMIT_S = 20.0
# netperf waits up to 60 s for the server to close; a server that does not is no reason to
# keep a person waiting who has the results already.
CLOSE_LIMIT_S = 2.0


def open_control(
    host: str, port: int, *, family: int, local_host: str | None, local_port: int,
    passphrase: str | None, timeout_s: float, response_limit_s: float,
) -> ControlConnection:
    """Connect to a netserver or xenrr.server and find out which dialect it speaks.

    Args:
        host, port: Of the control connection.
        family: 4, 6, or 0 for whatever the name resolves to.
        local_host, local_port: Where to connect from; ``None`` and 0 for any.
        passphrase: Sent first if given.
        timeout_s: Limit for each connection attempt, in s.
        response_limit_s: Limit for each answer, in s.

    Raises:
        socket.gaierror: The name does not resolve.
        OSError: No address of it could be connected to; the last reason.
        ConnectionLost: The peer closed or stayed silent.
        RemoteProtocolError: It is no netserver.
    """
    phrase = None if passphrase is None else passphrase.encode()
    for least_s in (PROBE_SILENCE_S, LATE_SILENCE_S):
        begun_s = time.monotonic()
        sock = _connect(host, port, family_of(family), local_host, local_port, timeout_s)
        # Silence says something only when an answer would have had the time to arrive.
        silence_s = max(least_s, 4 * (time.monotonic() - begun_s))
        codec = SenderConnection(phrase)
        control = ControlConnection(sock, codec, response_limit_s)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            control.identify_peer(silence_s)
            control.passphrase, control.local_host = phrase, local_host
            return control
        except RemoteProtocolError:
            sock.close()
            if not codec.answered_late or least_s == LATE_SILENCE_S:
                raise
        except BaseException:
            sock.close()
            raise
    raise AssertionError("the second attempt ends one way or the other")


def _connect(
    host: str, port: int, family: int, local_host: str | None, local_port: int,
    timeout_s: float,
) -> socket.socket:
    failure: OSError | None = None
    for kind, _, _, _, address in look_up(host, port, family, socket.SOCK_STREAM):
        sock = socket.socket(kind, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            if local_host or local_port:
                source = local_host or ANY_ADDRESS[kind]
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(look_up(source, local_port, kind, socket.SOCK_STREAM)[0][4])
            sock.connect(address)
            return sock
        except OSError as exc:
            sock.close()
            failure = exc
    assert failure is not None  # getaddrinfo raises rather than return nothing
    raise failure


class ControlConnection:
    """A control connection whose peer is known.

    Attributes:
        sock: Its socket, to watch for a peer that goes away during a data phase.
        response_limit_s: How long each answer may take, in s.
        passphrase, local_host: See ``open_control``; for ``again``.
    """

    passphrase: bytes | None = None
    local_host: str | None = None

    def __init__(
        self, sock: socket.socket, codec: SenderConnection, response_limit_s: float
    ) -> None:
        self.sock = sock
        self._codec = codec
        self.response_limit_s = response_limit_s

    @property
    def dialect(self) -> Dialect:
        """What the peer speaks, as far as it is known by now."""
        dialect = self._codec.dialect
        assert dialect is not None  # open_control does not hand one out before that
        return dialect

    def identify_peer(self, silence_s: float) -> None:
        """Find out the peer's dialect; see ``open_control`` for the errors.

        Args:
            silence_s: How long a peer with long messages is listened to before it is given
                the rest of its first one, in s.
        """
        self._send(self._codec.start())
        if not self._codec.passphrase_sent and not self._readable(silence_s):
            self._send(self._codec.probe_silent())
        event = self._next(min(self.response_limit_s, IDENTIFY_LIMIT_S))
        assert isinstance(event, PeerIdentified), event

    def again(self, timeout_s: float) -> ControlConnection:
        """One more control connection to the same peer, whose dialect is known.

        Args:
            timeout_s: Limit for connecting, in s.

        Raises:
            OSError, ConnectionLost, RemoteProtocolError: See ``open_control``.
        """
        host, port = self.sock.getpeername()[:2]
        begun_s = time.monotonic()
        sock = _connect(host, port, self.sock.family, self.local_host, 0, timeout_s)
        codec = SenderConnection(self.passphrase, self.dialect)
        control = ControlConnection(sock, codec, self.response_limit_s)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.dialect.is_xenrr:
                control.identify_peer(max(PROBE_SILENCE_S, 4 * (time.monotonic() - begun_s)))
            else:
                control._send(codec.start())
        except BaseException:
            sock.close()
            raise
        return control

    def request(self, message: Request, limit_s: float | None = None) -> object:
        """Send a request and wait for its answer: a response or an ``ErrorResponse``.

        Args:
            message: The request.
            limit_s: How long it may take instead of ``response_limit_s``, in s.
        """
        self._send(self._codec.send(message))
        return self._next(self.response_limit_s if limit_s is None else limit_s)

    def results(self, limit_s: float) -> object:
        """Wait for the results of the running test, at most ``limit_s``."""
        return self._next(limit_s)

    def peer_has_gone(self) -> bool:
        """Whether a readable control connection holds an end of file rather than data."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Say goodbye as netperf does: half-close, let the peer close, close."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
            if self._readable(CLOSE_LIMIT_S):
                self.sock.recv(4096)
        except OSError:
            pass  # the peer was quicker
        finally:
            self.sock.close()

    def _send(self, data: bytes) -> None:
        self.sock.settimeout(self.response_limit_s)
        try:
            self.sock.sendall(data)
        except OSError as exc:
            raise ConnectionLost(
                f"the control connection broke: {exc.strerror or exc}") from exc

    def _readable(self, limit_s: float) -> bool:
        # poll, not select: a descriptor above 1023 is nothing special in a busy program.
        waiter = select.poll()
        waiter.register(self.sock, select.POLLIN)
        return bool(waiter.poll(limit_s * 1000))

    def _next(self, limit_s: float) -> object:
        end_s = time.monotonic() + limit_s
        while True:
            event = self._codec.next_event()
            if event is PEER_CLOSED:
                raise ConnectionLost("the peer closed the control connection")
            if event is not NEED_DATA:
                return event
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not self._readable(left_s):
                raise ConnectionLost(f"the peer did not answer within {limit_s:g} s")
            try:
                data = self.sock.recv(4096)
            except OSError as exc:
                raise ConnectionLost(
                    f"the control connection broke: {exc.strerror or exc}") from exc
            if data:
                self._codec.receive_data(data)
            else:
                self._codec.receive_eof()
