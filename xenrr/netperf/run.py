"""netperf's course of things: resolve, connect, header line, iterations, results.

The order is netperf's, since it decides which of several mistakes is reported: names first,
then the connection, then the test's name, then the header line, then the test itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from xenrr.errors import ConnectionLost, PeerRefused, RemoteProtocolError, SpecError
from xenrr.netperf import messages
from xenrr.netperf.banner import banner
from xenrr.netperf.command import write_err, write_out
from xenrr.netperf.ending import CODE_FAILED, not_yet
from xenrr.netperf.interim import InterimPrinter
from xenrr.netperf.interrupts import Interrupts
from xenrr.netperf.iterations import another
from xenrr.netperf.names import ControlEnds, DataEnds
from xenrr.netperf.options import TABLE, ClientOptions
from xenrr.netperf.outcome import Outcome
from xenrr.netperf.report import results_text
from xenrr.netperf.selectors import Selection, read_selection, unknown_text
from xenrr.netperf.tcp_info_text import tcp_info_text
from xenrr.results.record import InterimPoint, Run, TestSpec
from xenrr.units import MAX_DATAGRAM_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xenrr.session.sender import Sender

__all__ = ["run_client"]

TESTS = ("TCP_RR", "UDP_RR")
# Tests of netperf 2.7.0 (Debian's build) that the session does not have yet.
LATER_TESTS = ("TCP_STREAM", "TCP_MAERTS", "TCP_SENDFILE", "TCP_MSS", "TCP_CRR", "TCP_CC",
               "UDP_STREAM", "OMNI", "UUID", "LOC_CPU", "REM_CPU")


def run_client(options: ClientOptions) -> int:
    """Do what was typed.

    Returns:
        The exit code: 0, or 1 when the peer went away in the middle of the test.

    Raises:
        Ending: With netperf's words for what went wrong.
        SpecError: A value makes no sense.
        EngineUnavailable: The engine asked for does not load.
        StdoutGone: Nobody reads.
    """
    write_err("".join(options.remarks))
    _talk(options, "".join(options.notices))
    if options.test in LATER_TESTS:
        raise not_yet(f"the test {options.test}", f"; there are -t {' and -t '.join(TESTS)}")
    selection = _selection(options)
    with Interrupts() as interrupts:
        control = ControlEnds(options)
        if options.test not in TESTS:
            with _open(options, control):
                raise messages.unknown_test(options.test_typed, _meant(options.test))
        ends = DataEnds(options, control)
        spec = _spec(options, ends)
        header = banner(options, ends) if options.headers else ""
        try:
            sender = _open(options, control)
        except (ConnectionLost, RemoteProtocolError) as exc:
            _talk(options, header)
            raise _ending_of(exc, control) from exc
        with sender:
            _talk(options, header)
            if spec is None:
                raise messages.too_long(errno.EMSGSIZE)
            try:
                runs = _iterations(options, spec, sender, interrupts)
            except PeerRefused as exc:
                raise messages.remote_error(exc, sender.dialect.omni is not False) from exc
            except (ConnectionLost, RemoteProtocolError) as exc:
                raise _ending_of(exc, control) from exc
            except OSError as exc:
                raise messages.no_data_connection(exc) from exc
            # Before the session is closed: a target that is slow to let go delays nothing.
            _talk(options, results_text(Outcome(options, ends, tuple(runs)), selection))
    if runs[-1].error:
        write_err(f"netperf: {runs[-1].error}\n")
        return CODE_FAILED
    return 0


def open_session(options: ClientOptions, control: ControlEnds) -> Sender:
    """Connect to the target; the one place where a session begins."""
    from xenrr.session.sender import open_sender

    return open_sender(
        control.host, control.port, family=options.host_family,
        local_host=options.local_host, local_port=control.local_port,
        passphrase=options.passphrase, engine=options.engine)


def _open(options: ClientOptions, control: ControlEnds) -> Sender:
    try:
        return open_session(options, control)
    except OSError as exc:
        raise messages.no_server(control.host, control.port_text, control.sentence,
                                 exc) from exc


def _selection(options: ClientOptions) -> Selection:
    if options.form == TABLE:
        return []
    selection, unknown = read_selection(options.selectors, options.form)
    if unknown:
        write_err(f"netperf: {unknown_text(unknown)}\n")
    return selection


def _spec(options: ClientOptions, ends: DataEnds) -> TestSpec | None:
    """The test, or ``None`` for a datagram too long to be sent: netperf finds that out late."""
    try:
        return options.spec(ends.local_port, ends.remote_port)
    except SpecError:
        if options.test == "UDP_RR" and options.request_bytes > MAX_DATAGRAM_BYTES:
            return None
        raise


def _iterations(options: ClientOptions, spec: TestSpec, sender: Sender,
                interrupts: Interrupts) -> list[Run]:
    """Run the test as often as confidence asks for."""
    printer = InterimPrinter(options, spec)
    runs: list[Run] = []
    while True:
        run = sender.run(spec, on_start=lambda: interrupts.running(sender.stop),
                         on_interim=_interim_writer(options, printer))
        runs.append(run)
        if "DUMP_TCP_INFO" in os.environ:
            write_err(tcp_info_text(run))
        if spec.interim_s:
            _talk(options, printer.last_lines(run))
        if options.json:
            from json import dumps

            write_out(f"{dumps(run.to_plain())}\n")
        # netperf would begin the next iteration after an interrupt; whoever ends a test
        # early wants it ended.
        if interrupts.asked or run.error or not another(options, runs):
            return runs


def _interim_writer(options: ClientOptions,
                    printer: InterimPrinter) -> Callable[[InterimPoint], None]:
    return lambda point: _talk(options, printer.lines(point))


def _talk(options: ClientOptions, text: str) -> None:
    """Print what netperf prints on stdout; with --json nothing else goes there."""
    if not options.json:
        write_out(text)


def _ending_of(exc: ConnectionLost | RemoteProtocolError, control: ControlEnds) -> Exception:
    if isinstance(exc, ConnectionLost):
        return messages.connection_lost(exc)
    return messages.not_netperf(exc, control.host, control.port_text)


def _meant(name: str) -> str | None:
    from difflib import get_close_matches  # only needed once somebody has mistyped

    near = get_close_matches(name, (*TESTS, *LATER_TESTS), 1, 0.6)
    return near[0] if near else None
