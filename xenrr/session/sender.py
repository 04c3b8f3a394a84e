"""The sender's end of a session: one control connection, any number of tests over it.

Everything blocks on the calling thread but the engine, which runs on a thread of its own
(``datapath``): so a signal handler can end a test early, interim results come out while it
runs, and a peer that disappears is noticed. Nothing here needs asyncio; the library's async
face (``library``) calls it from a worker thread.

What was measured is never thrown away: once there are transactions, a peer that dies gives
a ``Run`` with ``error`` set instead of an exception.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from xenrr.engine.base import Ended, Engine, Interim, LoopSpec, Role, Tally
from xenrr.engine.load import load_engine
from xenrr.errors import ConnectionLost, PeerRefused, RemoteProtocolError, SpecError
from xenrr.results.record import (
    SECOND_NS,
    InterimPoint,
    Run,
    TargetTally,
    TestSpec,
)
from xenrr.session.control import RESPONSE_LIMIT_S, ControlConnection, open_control
from xenrr.session.datapath import RELEASE_AFTER_S, LoopThread
from xenrr.session.requests import (
    PAD_TIME_S,
    Agreement,
    agreement,
    classic_request,
    omni_request,
    target_tally,
)
from xenrr.session.sockets import (
    ANY_ADDRESS,
    address_text,
    apply_options,
    buffer_sizes,
    family_of,
    mss_of,
    socket_facts,
    wire_family,
)
from xenrr.wire.classic import RRResponse, RRResults
from xenrr.wire.control import ErrorResponse
from xenrr.wire.dialect import Dialect
from xenrr.wire.message import UNKNOWN_REQUEST_ERRNO
from xenrr.wire.omni import OmniResponse, OmniResults

__all__ = ["Sender", "open_sender"]

# A counted test has no end of its own: this long without a transaction and it is given up.
STALL_LIMIT_S = 60.0
# How often a watched test is looked at when nothing happens.
LOOK_S = 0.1
# A target that was given up in the data phase is not waited for at length once more.
GIVEN_UP_LIMIT_S = 2.0
# How long the target may take to close the data connection after we have.
DATA_CLOSE_LIMIT_S = 2.0
# How often a counted test reports when nobody asked for interim results.
PROGRESS_NS = SECOND_NS


def open_sender(
    host: str, port: int = 12865, *, family: int = 0, local_host: str | None = None,
    local_port: int = 0, passphrase: str | None = None, engine: str = "auto",
    timeout_s: float = 10.0, response_limit_s: float = RESPONSE_LIMIT_S,
) -> Sender:
    """Connect to a target and find out what it speaks.

    Args:
        host, port: Of its control connection.
        family: 4, 6, or 0 for whatever the name resolves to.
        local_host, local_port: Where to connect from; ``None`` and 0 for any.
        passphrase: For a target that wants one.
        engine: ``hot``, ``pure``, or ``auto`` for the best there is.
        timeout_s: Limit for connecting, control and data, in s.
        response_limit_s: Limit for each answer on the control connection, in s.

    Raises:
        EngineUnavailable: The engine asked for does not load here.
        socket.gaierror: The name does not resolve.
        OSError: It cannot be connected to.
        ConnectionLost: It closed or stayed silent.
        RemoteProtocolError: It is no netserver.
    """
    loaded = load_engine(engine)
    control = open_control(
        host, port, family=family, local_host=local_host, local_port=local_port,
        passphrase=passphrase, timeout_s=timeout_s, response_limit_s=response_limit_s)
    return Sender(control, loaded, host, timeout_s)


class Sender:
    """A connected sender; a context manager. One test at a time."""

    def __init__(
        self, control: ControlConnection, engine: Engine, host: str, timeout_s: float
    ) -> None:
        self._control = control
        self._engine = engine
        self._host = host
        self._timeout_s = timeout_s
        self._loop: LoopThread | None = None
        self._stop_asked = False

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def dialect(self) -> Dialect:
        """What the target speaks, as far as it is known by now."""
        return self._control.dialect

    @property
    def engine_name(self) -> str:
        """``hot`` or ``pure``."""
        return self._engine.name

    def stop(self) -> bool:
        """End the running test early; safe in a signal handler and from any thread.

        Returns:
            Whether a data phase was under way and will give a ``Run``.
        """
        self._stop_asked = True
        loop = self._loop
        if loop is None:
            return False
        loop.stop()
        return True

    def close(self) -> None:
        """End the session; the target serves the next one."""
        self._control.close()

    def run(
        self, spec: TestSpec, *, on_start: Callable[[], None] | None = None,
        on_interim: Callable[[InterimPoint], None] | None = None,
    ) -> Run:
        """Run one test to its end.

        Args:
            spec: The test.
            on_start: Called on this thread just before the first request leaves.
            on_interim: Called on this thread with each interim result (``interim_s``).

        Raises:
            PeerRefused: The target does not do this test; ``errno`` is its own.
            ConnectionLost: It went away before anything was measured.
            RemoteProtocolError: It answered nonsense.
            OSError: The data connection could not be set up.
            SpecError: The data host does not resolve, or would be the sender itself.
        """
        self._stop_asked = False
        # The context manager closes the data socket whatever happens below.
        with self._data_socket(spec) as sock:
            buffers = buffer_sizes(sock)
            agreed, classic = self._agree(spec, sock)
            self._connect(sock, spec, agreed.data_port)
            self._pause(spec.wait_s)
            mss = mss_of(sock)
            local, remote = sock.getsockname(), sock.getpeername()
            phase = _DataPhase(self, sock, spec, on_interim)
            if on_start is not None:
                on_start()
            tally = phase.run()
            facts = socket_facts(sock, buffers, mss)
            drained = _finish(sock, spec, tally, classic)
        error = phase.error or _what_went_wrong(tally, spec)
        if error and not tally.transactions:
            raise ConnectionLost(f"{error}; no response had come back")
        ended = (phase.given_up or tally.ended).name.lower()
        results: OmniResults | RRResults | None = None
        if classic and spec.is_datagram and ended not in ("time", "count"):
            # It would say nothing before its own alarm: the session ends here instead.
            self._control.sock.close()
        else:
            try:
                results = self._results(spec, classic, phase.given_up is not None)
            except (ConnectionLost, PeerRefused, RemoteProtocolError) as exc:
                error = error or f"no results from the target: {exc}"
        remote_facts = agreed.sockets
        if isinstance(results, OmniResults):
            remote_facts = replace(remote_facts, send_buffer_end=results.send_buf_size,
                                   receive_buffer_end=results.recv_buf_size)
        return Run(
            spec=spec, target=self._host, target_address=address_text(remote),
            local_address=address_text(local), peer=self.dialect.peer,
            engine=self._engine.name, started_epoch_s=phase.started_epoch_s,
            elapsed_ns=tally.elapsed_ns, transactions=tally.transactions,
            requests_sent=tally.requests_sent, in_flight=tally.in_flight, lost=tally.lost,
            late=tally.late, malformed=tally.malformed, drained=drained,
            bytes_sent=tally.bytes_sent, bytes_received=tally.bytes_received,
            send_calls=tally.send_calls, recv_calls=tally.recv_calls, ended=ended, error=error,
            latency_ns=tally.latency_ns, interims=tuple(phase.interims), local=facts,
            remote=remote_facts,
            target_tally=target_tally(results) if results is not None else TargetTally(),
            host=_host_facts())

    def _data_socket(self, spec: TestSpec) -> socket.socket:
        family = family_of(spec.data_family) or self._control.sock.family
        kind = socket.SOCK_DGRAM if spec.is_datagram else socket.SOCK_STREAM
        sock = socket.socket(family, kind)
        try:
            apply_options(sock, send_buffer=spec.local.send_buffer,
                          receive_buffer=spec.local.receive_buffer, nodelay=spec.nodelay)
            if spec.data_local_host or spec.local_data_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                source = spec.data_local_host or ANY_ADDRESS[family]
                sock.bind(_resolve(source, spec.local_data_port, family, kind))
        except BaseException:
            sock.close()
            raise
        return sock

    def _agree(self, spec: TestSpec, sock: socket.socket) -> tuple[Agreement, bool]:
        """Agreement with the target, and whether it was made in the classic dialect."""
        family = wire_family(sock.family)
        if not self._knows_only_classic():
            target_address = None
            if spec.data_host is not None:
                target_address = _resolve(spec.data_host, 0, sock.family, sock.type)[0]
            answer = self._control.request(omni_request(
                spec, family=family, local_port=sock.getsockname()[1],
                target_address=target_address))
            if isinstance(answer, OmniResponse):
                return agreement(answer), False
            if not self._knows_only_classic():
                raise _refusal(answer)
        answer = self._control.request(classic_request(spec, family=family))
        if isinstance(answer, RRResponse):
            return agreement(answer), True
        raise _refusal(answer)

    def _knows_only_classic(self) -> bool:
        # Asked anew each time: a refused OMNI request is how this becomes known.
        return self.dialect.omni is False

    def _connect(self, sock: socket.socket, spec: TestSpec, port: int) -> None:
        if spec.data_host is not None:
            address = _resolve(spec.data_host, port, sock.family, sock.type)
        else:
            # The address that answered on control, not the name again: a name with
            # several addresses could lead to another machine.
            control = self._control.sock
            if control.family == sock.family:
                address = (control.getpeername()[0], port, *control.getpeername()[2:])
            else:
                address = _resolve(self._host, port, sock.family, sock.type)
        try:
            sock.settimeout(self._timeout_s)
            sock.connect(address)
        except OSError as exc:
            raise OSError(exc.errno, f"the data connection to {address_text(address)} failed: "
                                     f"{exc.strerror or exc}") from exc
        if sock.getsockname()[:2] == sock.getpeername()[:2]:
            raise SpecError("the data connection would lead from the sender to itself: "
                            "give the sender another local data port than the target's")
        sock.settimeout(None)

    def _pause(self, wait_s: float) -> None:
        end_s = time.monotonic() + wait_s
        while not self._stop_asked and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, LOOK_S))

    def _results(
        self, spec: TestSpec, classic: bool, given_up: bool
    ) -> OmniResults | RRResults:
        limit_s = GIVEN_UP_LIMIT_S if given_up else self._control.response_limit_s
        if classic and spec.is_datagram and spec.duration_s is not None:
            limit_s += PAD_TIME_S  # it answers at its alarm, not before
        answer = self._control.results(limit_s)
        if isinstance(answer, (OmniResults, RRResults)):
            return answer
        raise _refusal(answer)


class _DataPhase:
    """One data phase as it is watched from the sender's own thread."""

    def __init__(
        self, sender: Sender, sock: socket.socket, spec: TestSpec,
        on_interim: Callable[[InterimPoint], None] | None,
    ) -> None:
        self._sender = sender
        self._on_interim = on_interim
        self._wanted = spec.interim_s > 0
        # A counted test has no deadline: its interim results show whether it still moves.
        interim_ns = PROGRESS_NS if spec.transactions is not None else 0
        if self._wanted:
            interim_ns = int(spec.interim_s * SECOND_NS)
        self._duration_s = spec.duration_s
        self._loop = LoopThread(sender._engine, sock, LoopSpec(
            role=Role.SENDER, datagram=spec.is_datagram, request_bytes=spec.request_bytes,
            response_bytes=spec.response_bytes,
            duration_ns=int((spec.duration_s or 0) * SECOND_NS),
            transactions=spec.transactions or 0, burst=spec.burst, interim_ns=interim_ns,
            loss_timeout_ns=int(spec.loss_timeout_s * SECOND_NS) if spec.is_datagram else 0))
        self.interims: list[InterimPoint] = []
        self.error = ""
        self.given_up: Ended | None = None
        self.started_epoch_s = 0.0

    def run(self) -> Tally:
        """Start the loop, watch it to its end, hand out what it did."""
        self.started_epoch_s = time.time()
        self._loop.start()
        self._sender._loop = self._loop
        try:
            if self._sender._stop_asked:
                self._loop.stop()
            self._watch()
        except BaseException:
            self._loop.stop()
            self._loop.release(whole=True)
            raise
        finally:
            self._sender._loop = None
            tally = self._loop.result()
        return tally

    def _watch(self) -> None:
        waiter = select.poll()
        waiter.register(self._loop.report_fd, select.POLLIN)
        control = self._sender._control
        waiter.register(control.sock, select.POLLIN)
        begun_s = progress_s = time.monotonic()
        end_s = begun_s + self._duration_s if self._duration_s is not None else None
        stopped_s = None
        while True:
            ready = {descriptor for descriptor, _ in waiter.poll(LOOK_S * 1000)}
            if self._loop.report_fd in ready:
                for interim in self._loop.read_interims():
                    if interim.interval_transactions:
                        progress_s = time.monotonic()
                    self._keep(interim)
                if self._loop.over:
                    return
            now_s = time.monotonic()
            if control.sock.fileno() in ready:
                # Either the results, early, or the peer is gone. Both end the watching.
                waiter.unregister(control.sock)
                if control.peer_has_gone():
                    self._give_up(Ended.PEER, "the peer closed the control connection during "
                                              "the test")
            if self._sender._stop_asked or self.error:
                stopped_s = stopped_s or now_s
            elif end_s is None and now_s - progress_s > STALL_LIMIT_S:
                self._give_up(Ended.LOST, f"no response for {STALL_LIMIT_S:g} s")
            elif end_s is not None and now_s > end_s:
                stopped_s = end_s
            if stopped_s is not None and now_s > stopped_s + RELEASE_AFTER_S:
                self._loop.release(whole=now_s > stopped_s + 10 * RELEASE_AFTER_S)

    def _give_up(self, ended: Ended, why: str) -> None:
        self.given_up = ended
        self.error = why
        self._loop.stop()

    def _keep(self, interim: Interim) -> None:
        if not self._wanted:
            return
        point = InterimPoint(
            end_ns=interim.elapsed_ns, interval_ns=interim.interval_ns,
            transactions=interim.interval_transactions, bytes=interim.interval_bytes,
            p50_ns=interim.p50_ns,
            p99_ns=interim.p99_ns, max_ns=interim.max_ns,
            at_epoch_s=self.started_epoch_s + interim.elapsed_ns / SECOND_NS)
        self.interims.append(point)
        if self._on_interim is not None:
            self._on_interim(point)


def _resolve(host: str, port: int, family: int, kind: int) -> tuple[str, int]:
    try:
        found = socket.getaddrinfo(host, port, family, kind)
    except socket.gaierror as exc:
        raise SpecError(f"the data address {host!r} does not resolve: {exc.strerror}") from exc
    address: tuple[str, int] = found[0][4]  # type: ignore[assignment]
    return address


def _refusal(answer: object) -> Exception:
    if not isinstance(answer, ErrorResponse):
        return RemoteProtocolError(f"the peer answered a test with {type(answer).__name__}")
    if answer.errno == UNKNOWN_REQUEST_ERRNO:
        return PeerRefused("the peer does not know this test (error 998)", answer.errno)
    return PeerRefused(f"the peer refused the test with its error {answer.errno} "
                       f"({os.strerror(answer.errno)})", answer.errno)


def _what_went_wrong(tally: Tally, spec: TestSpec) -> str:
    """A sentence for a data phase that did not end as asked; empty when it did."""
    after = f"after {tally.elapsed_ns / SECOND_NS:.2f} s and {tally.transactions} transactions"
    if tally.ended is Ended.PEER:
        return f"the peer ended the data connection {after}"
    if tally.ended is Ended.LOST:
        return f"{LoopSpec.MAX_SILENCES} requests in a row were lost {after}"
    if tally.ended is Ended.ERROR:
        return f"the data connection failed {after}: {os.strerror(tally.errno)}"
    return ""


def _finish(sock: socket.socket, spec: TestSpec, tally: Tally, classic: bool) -> int:
    """End the data connection as netperf does.

    Returns:
        Responses that still came in while a TCP connection closed.
    """
    try:
        if spec.is_datagram:
            # Three, since the first may be lost. A classic server takes an empty datagram
            # for an error, and ends by its own alarm or count.
            for _ in range(0 if classic else 3):
                sock.send(b"")
            return 0
        sock.shutdown(socket.SHUT_WR)
        received = tally.leftover_bytes
        end_s = time.monotonic() + DATA_CLOSE_LIMIT_S
        while (left_s := end_s - time.monotonic()) > 0:
            sock.settimeout(left_s)
            data = sock.recv(65536)
            if not data:
                break
            received += len(data)
        return received // spec.response_bytes
    except OSError:  # the target was quicker; what was measured stands
        return 0


def _host_facts() -> dict[str, str]:
    # Imported when a test is over: nothing of it belongs on the way to the first request.
    from xenrr.results.hostfacts import collect_host_facts

    return collect_host_facts()
