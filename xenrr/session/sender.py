"""The sender's end of a session: one control connection, any number of tests over it.

Everything blocks on the calling thread but the engine, which runs on a thread of its own
(``datapath``): so a signal handler can end a test early, interim results come out while it
runs, and a peer that disappears is noticed. Nothing here needs asyncio; the library's async
face (``library``) calls it from a worker thread.

What was measured is never thrown away: once something has been counted, a peer that dies
gives a ``Run`` with ``error`` set instead of an exception.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType

from xenrr.cpu.usage import CpuUsage
from xenrr.engine.base import Ended, Engine, LoopSpec, Tally
from xenrr.engine.load import load_engine
from xenrr.engine.tcp_facts import mss_of
from xenrr.errors import (
    ConnectionLost,
    PeerRefused,
    RemoteProtocolError,
    SpecError,
    TimestampsUnavailable,
    XenrrError,
)
from xenrr.frozen import dataclass, replace
from xenrr.lean import TypeVar, socket
from xenrr.results.record import (
    NOTHING,
    RECEIVE,
    ROUND_TRIPS,
    FlowRecord,
    InterimPoint,
    Run,
    SocketFacts,
    TargetTally,
    TestSpec,
)
from xenrr.session.control import RESPONSE_LIMIT_S, ControlConnection, open_control
from xenrr.session.dataend import LOOK_S, Address, DataEnd, resolve
from xenrr.session.phase import DataPhase
from xenrr.session.requests import (
    PAD_TIME_S,
    Agreement,
    AnyRequest,
    AnyResults,
    Report,
    agreement,
    always_classic,
    classic_request,
    has_classic_form,
    omni_request,
    report,
)
from xenrr.session.shapes import Shape
from xenrr.session.sockets import address_text, family_of, look_up
from xenrr.session.verdict import end_of, missing_stamps, moved, run_of, what_went_wrong
from xenrr.wire.classic import RRResponse, RRResults
from xenrr.wire.control import (
    CpuCalibrateRequest,
    CpuCalibrateResponse,
    DetailsRequest,
    ErrorResponse,
    FlowsRequest,
    FlowsResponse,
)
from xenrr.wire.dialect import CLASSIC_SERVER, Dialect
from xenrr.wire.message import LONG_BYTES, UNKNOWN_REQUEST_ERRNO
from xenrr.wire.omni import OmniResponse, OmniResults
from xenrr.wire.streams import (
    StreamRequest,
    StreamResponse,
    StreamResults,
    UdpStreamResponse,
    UdpStreamResults,
)

__all__ = ["Sender", "open_sender"]

# A target that was given up in the data phase is not waited for at length once more.
GIVEN_UP_LIMIT_S = 2.0
# The run is over by then: nobody waits long for what only adds to it.
DETAILS_LIMIT_S = 10.0
# A flow that is agreed on first waits until the last one has been: longer tests are asked for
# when there are many.
FLOWS_A_SECOND = 250
# How long the target may take to agree on a further flow, and all that fail together.
SIBLING_LIMIT_S = 10.0
# Services that any host may have, for tests without a control connection.
ECHO_PORT, DISCARD_PORT, CHARGEN_PORT = 7, 9, 19
UNCONTROLLED = Dialect(LONG_BYTES, None, "C", "no control connection")

Item = TypeVar("Item")

RESPONSES = (OmniResponse, RRResponse, StreamResponse, UdpStreamResponse)
RESULTS = (OmniResults, RRResults, StreamResults, UdpStreamResults)


def open_sender(
    host: str, port: int = 12865, *, family: int = 0, local_host: str | None = None,
    local_port: int = 0, passphrase: str | None = None, engine: str = "auto",
    timeout_s: float = 10.0, response_limit_s: float = RESPONSE_LIMIT_S,
    no_control: bool = False,
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
        no_control: Make no control connection; for tests that say ``no_control``.

    Raises:
        EngineUnavailable: The engine asked for does not load here.
        socket.gaierror: The name does not resolve.
        OSError: It cannot be connected to.
        ConnectionLost: It closed or stayed silent.
        RemoteProtocolError: It is no netserver.
    """
    loaded = load_engine(engine)
    if no_control:
        found = look_up(host, port, family_of(family), socket.SOCK_STREAM)
        address: Address = found[0][4]
        return Sender(None, loaded, host, timeout_s, address)
    control = open_control(
        host, port, family=family, local_host=local_host, local_port=local_port,
        passphrase=passphrase, timeout_s=timeout_s, response_limit_s=response_limit_s)
    return Sender(control, loaded, host, timeout_s, control.sock.getpeername())


@dataclass(frozen=True)
class _Deal:
    """What was agreed on for one test."""

    agreed: Agreement
    classic: bool


@dataclass(frozen=True)
class _Branch:
    """A session with its data connections, one or all of them (``branches``)."""

    end: DataEnd
    classic: bool
    sender: Sender
    agreed: Agreement


class Sender:
    """A connected sender; a context manager. One test at a time.

    Made by ``open_sender``.

    Attributes:
        started_ns: Monotonic time of the last test's first request; 0 when there was none.
    """

    def __init__(
        self, control: ControlConnection | None, engine: Engine, host: str, timeout_s: float,
        address: Address,
    ) -> None:
        self._control = control
        self._engine = engine
        self._host = host
        self._timeout_s = timeout_s
        # The address that answered on control, not the name again: a name with several
        # addresses could lead to another machine.
        self._target = address
        self._phase: DataPhase | None = None
        self._stop_asked = False
        self.started_ns = 0
        self._oldest: bool | None = None
        # Asked for once: what a host is does not change from test to test.
        self._remote_host: dict[str, str] | None = None

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
        return UNCONTROLLED if self._control is None else self._control.dialect

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
        phase = self._phase
        if phase is None:
            return False
        phase.stop()
        return True

    def close(self) -> None:
        """End the session; the target serves the next one."""
        if self._control is not None:
            self._control.close()

    def calibrate(self) -> CpuCalibrateResponse:
        """How fast the target's CPUs are and how many, as netperf's REM_CPU asks it.

        Raises:
            PeerRefused: The target does not say.
            ConnectionLost: It went away.
            SpecError: There is no control connection.
        """
        answer = self._controlled().request(CpuCalibrateRequest())
        if isinstance(answer, CpuCalibrateResponse):
            return answer
        raise _refusal(answer)

    def mss(self, spec: TestSpec) -> int:
        """Maximum segment size of a TCP connection to the target in bytes (TCP_MSS).

        Args:
            spec: A TCP test; its sockets and addresses are used, nothing is measured.

        Raises:
            XenrrError, OSError: See ``run``.
        """
        with self._data_end(spec) as end:
            asked = end.for_request(self._local_host())
            answer = self._controlled().request(StreamRequest(
                send_buf_size=spec.remote.send_buffer, recv_buf_size=spec.remote.receive_buffer,
                no_delay=int(spec.nodelay), test_length=1, port=spec.remote_data_port,
                ipfamily=asked.family))
            if not isinstance(answer, StreamResponse):
                raise _refusal(answer)
            end.connect(self._data_address(spec, end, answer.data_port_number),
                        self._timeout_s)
            mss = mss_of(end.sock)
        self._controlled().results(self._controlled().response_limit_s)
        return mss

    def run(
        self, spec: TestSpec, *, on_start: Callable[[], int | None] | None = None,
        on_interim: Callable[[InterimPoint], None] | None = None, patience_s: float = 0.0,
        conditions: bool = True,
    ) -> Run:
        """Run one test to its end.

        Args:
            spec: The test.
            on_start: Called on this thread just before the first request leaves. It may
                return a time of the monotonic clock in ns, at which it is to leave.
            on_interim: Called on this thread with each interim result (``interim_s``).
            patience_s: How long ``on_start`` may take. A target counts its time from the
                connection on and ends a test that is overdue, so in round trips, whose end
                it is told, it is asked for so much more.
            conditions: Whether the record says what it was made under: utilisation of the
                CPUs and by the loop, TCP_INFO before the first request, quotas, facts about
                both hosts.

        Raises:
            PeerRefused: The target does not do this test; ``errno`` is its own.
            ConnectionLost: It went away before anything was measured.
            RemoteProtocolError: It answered nonsense.
            OSError: The data connection could not be set up.
            SpecError: The data host does not resolve, would be the sender itself, or the
                test does not go with this peer.
            TimestampsUnavailable: It was to be decomposed, and nothing can be.
        """
        if spec.no_control != (self._control is None):
            raise SpecError("a test with no_control needs a sender without a control "
                            "connection, and the other way round")
        self._stop_asked = False
        if _is_many(spec):
            from xenrr.session.branches import check_flows

            check_flows(spec)
        with ExitStack() as sessions:
            return self._run(spec, on_start, on_interim, patience_s, sessions, conditions)

    def _run(
        self, spec: TestSpec, on_start: Callable[[], int | None] | None,
        on_interim: Callable[[InterimPoint], None] | None, patience_s: float,
        sessions: ExitStack, conditions: bool,
    ) -> Run:
        watch = None
        if conditions:
            # A quarter of a short test's time, of no use to who prints a table only.
            from xenrr.session.conditions import Conditions

            watch = Conditions()
        # The context manager closes the data sockets whatever happens below.
        with ExitStack() as ends:
            end = ends.enter_context(self._data_end(spec))
            # netserver's clock starts with its response: one that sends is asked late, or
            # it would have sent for a part of its time before anybody listened. Nor does it
            # wait for a pause when one flow is agreed on after the other.
            late = end.shape is Shape.RECEIVES or spec.flows > 1
            self._pause(spec.wait_s if late else 0.0)
            asked = self._with_patience(spec, patience_s + spec.flows // FLOWS_A_SECOND)
            if spec.flows > 1:
                branches, failures = self._many(asked, end, sessions, ends)
            else:
                branches = [self._branch(asked, end, 0.0 if late else spec.wait_s)]
                failures = []
            remote, local = end.addresses
            phase = self._phase_of(spec, branches, on_interim)
            names = [address_text(sock.getsockname()) for sock in _sockets(branches)]
            at_ns = on_start() if on_start is not None else None
            if watch is not None:
                watch.begin(end.tcp_info())
            tally = self._measured(phase, at_ns or 0, conditions)
            self.started_ns = tally.started_ns
            facts, tcp_info = end.facts(tally)
            if phase.flows is not None and spec.flows > 1:
                from xenrr.session.branches import finish_flows

                finish = finish_flows(branches, tally, phase.flows)
            else:
                finish = end.finish(tally, classic=branches[0].classic,
                                    stopped=self._was_stopped)
            if watch is not None:
                watch.end()
        if spec.decompose:
            self._need_stamps(tally)
        error = phase.error or what_went_wrong(tally, spec, end.shape) or finish.error
        if error and not (tally.transactions or moved(tally, end.shape)):
            raise ConnectionLost(f"{error}; " + (
                "no data had come or gone" if end.shape.one_way
                else "no response had come back"))
        ended = (phase.given_up or end_of(tally, end.shape, spec)).name.lower()
        told, failure = self._reports(spec, branches, phase, ended)
        if watch is not None and told.tally != TargetTally() and self.dialect.is_xenrr:
            told = replace(told, cpu=self._details(told.cpu))
        if failure and not error:
            error = f"no results from the target: {failure}"
        poller = "blocking"
        flows: tuple[FlowRecord, ...] = ()
        if phase.flows is not None:
            poller = phase.flows.poller
            if spec.flows > 1:
                from xenrr.session.branches import flow_records

                flows = flow_records(names, phase.flows, failures)
        return run_of(
            spec, tally, finish, told, branches[0].agreed.sockets, facts,
            poller=poller, flows=flows,
            target=self._host, target_address=remote, local_address=local,
            peer=self.dialect.peer, engine=self._engine.name,
            started_epoch_s=phase.started_epoch_s, ended=ended, error=error,
            interims=tuple(phase.interims), tcp_info=tcp_info, loop_thread=phase.thread_usage,
            **({} if watch is None else {
                **watch.facts(remote, local), "remote_host": self._remote_host or {}}))

    def _branch(self, spec: TestSpec, end: DataEnd, wait_s: float = 0.0) -> _Branch:
        """Agree on a test and connect its data."""
        deal = self._agree(spec, end)
        end.take_over(deal.agreed)
        self._pause(wait_s)
        end.connect(self._data_address(spec, end, deal.agreed.data_port), self._timeout_s)
        return _Branch(end, deal.classic, self, deal.agreed)

    def _many(
        self, spec: TestSpec, end: DataEnd, sessions: ExitStack, ends: ExitStack
    ) -> tuple[list[_Branch], list[Exception]]:
        """Agree on many flows and connect them.

        Args:
            spec: The test as it is asked for.
            end: The first one's data connection.
            sessions, ends: Take what is opened here.

        Returns:
            What there is, and why the rest is not.
        """
        from xenrr.session.branches import make_room

        if self._promised(spec.flows):
            make_room(spec, 1)
            branch = self._branch(spec, end)
            end.connect_more(spec.flows - 1, self._timeout_s)
            return [branch], []
        make_room(spec, 2)
        branches: list[_Branch] = []
        others, failures = self._siblings(spec.flows - 1, sessions)

        def agree(other: Sender) -> None:
            branches.append(other._branch(spec, ends.enter_context(other._data_end(spec))))

        branches.append(self._branch(spec, end))
        failures += _each_in_time(others, agree, SIBLING_LIMIT_S)
        return branches, failures

    def _promised(self, flows: int) -> bool:
        """Whether the target takes many flows in one session.

        Raises:
            SpecError: It does, but not so many.
        """
        if not self.dialect.is_xenrr:
            return False
        answer = self._controlled().request(FlowsRequest(flows))
        if isinstance(answer, FlowsResponse):
            if answer.flows < flows:
                raise SpecError(f"the target takes at most {answer.flows} more flows, not "
                                f"{flows}")
            return True
        if isinstance(answer, ErrorResponse) and answer.errno == UNKNOWN_REQUEST_ERRNO:
            return False
        raise _refusal(answer)

    def _siblings(
        self, count: int, sessions: ExitStack
    ) -> tuple[list[Sender], list[Exception]]:
        """Further sessions with the same target, and why there are not more."""
        made: list[Sender] = []

        def make(_: int) -> None:
            control = self._controlled().again(self._timeout_s)
            # A netserver that serves one at a time answers the others when it is too late.
            control.response_limit_s = min(control.response_limit_s, SIBLING_LIMIT_S)
            made.append(Sender(control, self._engine, self._host, self._timeout_s,
                               self._target))
            sessions.callback(made[-1].close)

        failures = _each_in_time(range(count), make, self._timeout_s)
        return made, failures

    def _phase_of(
        self, spec: TestSpec, branches: Sequence[_Branch],
        on_interim: Callable[[InterimPoint], None] | None,
    ) -> DataPhase:
        end = branches[0].end
        controls = [branch.sender._control for branch in branches]
        watched = [control for control in controls if control is not None]
        if not _is_many(spec):
            return DataPhase(self._engine, end, watched, on_interim)
        from xenrr.session.branches import flows_spec

        rounds, sockets = end.engine_spec(), _sockets(branches)
        assert isinstance(rounds, LoopSpec)
        return DataPhase(self._engine, end, watched, on_interim, sockets,
                         flows_spec(spec, rounds, len(sockets)))

    def _measured(self, phase: DataPhase, at_ns: int, conditions: bool) -> Tally:
        self._phase = phase
        try:
            if self._stop_asked:
                phase.stop()
            return phase.run(at_ns, conditions)
        finally:
            self._phase = None

    def _was_stopped(self) -> bool:
        return self._stop_asked

    def _need_stamps(self, tally: Tally) -> None:
        """Refuse a run of which nothing could be decomposed; the session ends with it."""
        missing = missing_stamps(tally)
        if missing:
            if self._control is not None:
                self._control.sock.close()
            raise TimestampsUnavailable(missing)

    def _controlled(self) -> ControlConnection:
        if self._control is None:
            raise SpecError("this sender has no control connection")
        return self._control

    def _data_end(self, spec: TestSpec) -> DataEnd:
        if self._control is not None:
            return DataEnd(spec, self._control.sock.family)
        return DataEnd(spec, socket.AF_INET6 if len(self._target) > 2 else socket.AF_INET)

    def _local_host(self) -> str:
        return "" if self._control is None else str(self._control.sock.getsockname()[0])

    def _with_patience(self, spec: TestSpec, patience_s: float) -> TestSpec:
        told_of_the_end = not spec.is_datagram or self.dialect.is_xenrr
        if (spec.duration_s is None or spec.direction != ROUND_TRIPS or spec.connecting
                or not told_of_the_end):
            return spec
        return replace(spec, duration_s=spec.duration_s + patience_s)

    def _agree(self, spec: TestSpec, end: DataEnd) -> _Deal:
        """Ask the target for the test, in the dialect that it takes."""
        if self._control is None:
            return _Deal(Agreement(_service_port(spec), SocketFacts(), measures_cpu=False),
                         classic=False)
        asked = end.for_request(self._local_host())
        if self.dialect.is_xenrr:
            spec = replace(spec, remote=replace(spec.remote, measure_cpu=True))
        if not self._knows_only_classic() and not always_classic(spec):
            answer = self._control.request(
                omni_request(spec, asked, self._address_to_bind(spec, end)))
            if isinstance(answer, OmniResponse):
                return _Deal(agreement(answer, spec), classic=False)
            if not self._knows_only_classic():
                raise _refusal(answer)
        if not has_classic_form(spec):
            raise SpecError(f"this test needs a target that knows OMNI tests, and the target "
                            f"is {self.dialect.peer}")
        return _Deal(agreement(self._ask_classic(classic_request(
            spec, asked, oldest=self._is_oldest(spec, end))), spec), classic=True)

    def _address_to_bind(self, spec: TestSpec, end: DataEnd) -> str | None:
        """Where the target is to bind its data socket, ``None`` for anywhere.

        A real netserver's answers leave from the address that the route prefers. That is
        another one than 127.0.0.2 for a sender that went there, whose connected socket takes
        no datagram from elsewhere; a loopback address can always be bound. Beyond loopback
        the target may not have the address we know (it may be a service's), and then a
        netserver binds nothing at all: there it takes a data host, as with netperf.
        """
        if spec.data_host is not None:
            return str(resolve(spec.data_host, 0, end.sock.family, end.sock.type)[0])
        host = str(self._controlled().sock.getpeername()[0])
        return host if spec.is_datagram and host.startswith("127.") else None

    def _ask_classic(
        self, request: AnyRequest
    ) -> RRResponse | StreamResponse | UdpStreamResponse:
        answer = self._controlled().request(request)
        if isinstance(answer, RESPONSES) and not isinstance(answer, OmniResponse):
            return answer
        raise _refusal(answer)

    def _knows_only_classic(self) -> bool:
        # Asked anew each time: a refused OMNI request is how this becomes known.
        return self.dialect.omni is False

    def _is_oldest(self, spec: TestSpec, end: DataEnd) -> bool:
        """Whether the target is 2.4.3 or older, which matters to UDP_STREAM alone.

        Those say nothing of their CPUs when they are calibrated.
        """
        if not spec.is_datagram or end.shape is not Shape.SENDS:
            return False
        if self._oldest is None:
            self._oldest = self.dialect == CLASSIC_SERVER and self.calibrate().cpus == 0
        return self._oldest

    def _data_address(self, spec: TestSpec, end: DataEnd, port: int) -> Address:
        sock = end.sock
        if spec.data_host is not None:
            return resolve(spec.data_host, port, sock.family, sock.type)
        if (len(self._target) > 2) == (sock.family == socket.AF_INET6):
            # An IPv6 address carries its scope along.
            return (self._target[0], port, *self._target[2:])
        return resolve(self._host, port, sock.family, sock.type)

    def _pause(self, wait_s: float) -> None:
        end_s = time.monotonic() + wait_s
        while not self._stop_asked and (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, LOOK_S))

    def _reports(
        self, spec: TestSpec, branches: Sequence[_Branch], phase: DataPhase, ended: str
    ) -> tuple[Report, str]:
        """What the target says it did in all branches, or why it does not."""
        given_up = phase.given_up is not None
        if len(branches) == 1:
            return self._report(spec, branches[0], ended, given_up)
        from xenrr.session.branches import sum_reports

        assert phase.flows is not None
        told = []
        for branch, flow in zip(branches, phase.flows.flows):
            # A flow that ended by itself may have a session that died with it.
            early = flow.ended not in (Ended.TIME, Ended.COUNT, Ended.STOPPED)
            told.append(branch.sender._report(
                spec, branch, flow.ended.name.lower() if early else ended,
                given_up or early))
        known = [report for report, failure in told if not failure]
        if not known:
            return told[0]
        return sum_reports(known), ""

    def _report(
        self, spec: TestSpec, branch: _Branch, ended: str, given_up: bool
    ) -> tuple[Report, str]:
        """What the target says it did, or why it does not."""
        if self._control is None:
            return Report(), ""
        end = branch.end
        early = ended not in ("time", "count")
        if early and (spec.connecting or (branch.classic and spec.is_datagram)):
            # It would say nothing before its own alarm: the session ends here instead.
            self._control.sock.close()
            return Report(), ""
        try:
            answer = self._results(spec, branch.classic, given_up)
        except (ConnectionLost, PeerRefused, RemoteProtocolError) as exc:
            # A target that was left in the middle of its sending calls that an error.
            left = self._stop_asked and end.shape is Shape.RECEIVES
            return Report(), "" if left else str(exc)
        return report(answer, spec, measured=branch.agreed.measures_cpu,
                      sent_bytes=end.send_bytes), ""

    def _details(self, cpu: CpuUsage | None) -> CpuUsage | None:
        """Ask a xenrr target what netperf's messages have no room for.

        The run is over and stands, whatever becomes of this; but a connection that failed
        here cannot be used for another one.
        """
        from xenrr.session.details import HOST, USAGE, ask_details, facts_from, with_details

        control = self._controlled()
        limit_s = min(DETAILS_LIMIT_S, control.response_limit_s)

        def topic(number: int) -> str:
            return ask_details(
                lambda page: control.request(DetailsRequest(number, page), limit_s))

        try:
            if self._remote_host is None:
                self._remote_host = facts_from(topic(HOST))
            return cpu if cpu is None else with_details(cpu, topic(USAGE))
        except (ConnectionLost, RemoteProtocolError):
            self._remote_host = self._remote_host or {}
            control.sock.close()
            return cpu

    def _results(self, spec: TestSpec, classic: bool, given_up: bool) -> AnyResults:
        control = self._controlled()
        limit_s = GIVEN_UP_LIMIT_S if given_up else control.response_limit_s
        if spec.duration_s is not None and (spec.connecting or spec.is_datagram):
            limit_s += PAD_TIME_S  # it may answer at its alarm, not before
        elif classic and spec.connecting and spec.direction == ROUND_TRIPS:
            # No netserver gets to the end of a counted classic TCP_CRR (fact sheet, trap 7).
            limit_s = GIVEN_UP_LIMIT_S
        answer = control.results(limit_s)
        if isinstance(answer, RESULTS):
            return answer
        raise _refusal(answer)


def _each_in_time(
    items: Sequence[Item], work: Callable[[Item], None], limit_s: float
) -> list[Exception]:
    """Do something with each; why it did not work, in place of stopping there.

    Once the failures together have taken longer than ``limit_s``, the rest is not tried.
    """
    failures: list[Exception] = []
    lost_s = 0.0
    for item in items:
        begun_s = time.monotonic()
        try:
            if lost_s > limit_s:
                raise failures[-1]
            work(item)
        except (XenrrError, OSError) as exc:
            failures.append(exc)
            lost_s += time.monotonic() - begun_s
    return failures


def _is_many(spec: TestSpec) -> bool:
    """Whether many flows or a schedule are asked for, which are a loop of their own."""
    return spec.flows > 1 or spec.rate_tps is not None


def _sockets(branches: Sequence[_Branch]) -> list[socket.socket]:
    return [sock for branch in branches for sock in branch.end.sockets]


def _refusal(answer: object) -> Exception:
    if not isinstance(answer, ErrorResponse):
        return RemoteProtocolError(f"the peer answered a test with {type(answer).__name__}")
    if answer.errno == UNKNOWN_REQUEST_ERRNO:
        return PeerRefused("the peer does not know this test (error 998)", answer.errno)
    return PeerRefused(f"the peer refused the test with its error {answer.errno} "
                       f"({os.strerror(answer.errno)})", answer.errno)


def _service_port(spec: TestSpec) -> int:
    """Where a test without a control connection goes."""
    if spec.remote_data_port:
        return spec.remote_data_port
    if spec.direction in (ROUND_TRIPS, NOTHING):
        return ECHO_PORT
    return CHARGEN_PORT if spec.direction == RECEIVE else DISCARD_PORT
