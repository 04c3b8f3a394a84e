"""netperf's course of things: resolve, connect, header line, iterations, results.

The order is netperf's, since it decides which of several mistakes is reported: names first,
then the connection, then the test's name, then the header line, then the test itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xenrr.errors import ConnectionLost, PeerRefused, RemoteProtocolError, SpecError
from xenrr.frozen import replace
from xenrr.netperf import messages
from xenrr.netperf.command import write_err, write_out
from xenrr.netperf.ending import CODE_FAILED
from xenrr.netperf.interrupts import Interrupts
from xenrr.netperf.names import ControlEnds, DataEnds
from xenrr.netperf.options import CLASSIC_TESTS, OMNI_TESTS, TABLE, ClientOptions
from xenrr.netperf.outcome import Outcome
from xenrr.netperf.report import results_text
from xenrr.results.record import InterimPoint, Run, TestSpec
from xenrr.units import MAX_DATAGRAM_BYTES, MAX_MESSAGE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xenrr.netperf.interim import InterimPrinter
    from xenrr.netperf.selectors import Selection
    from xenrr.session.sender import Sender

__all__ = ["run_client"]

# Tests that have no data connection and so no header line either.
UUID, LOC_CPU, REM_CPU = "UUID", "LOC_CPU", "REM_CPU"
MSS = "TCP_MSS"
TESTS = (*OMNI_TESTS, *CLASSIC_TESTS, LOC_CPU, REM_CPU)
# No slips: tests that a netperf may be built with, as Debian's is not.
ELSEWHERE = ("SCTP_", "SDP_", "XTI_", "DLCO_", "DLCL_", "STREAM_", "DG_", "DNS_", "EXS_")
# What netperf's calibration says of every Linux: /proc/stat needs none.
LINUX_RATE = 100.0
# Protocols of the data; netperf knows others that no target here has.
PROTOCOLS = ("tcp", "udp")


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
    selection = _selection(options)
    with Interrupts() as interrupts:
        control = ControlEnds(options)
        if options.test not in TESTS or options.test in (UUID, LOC_CPU, REM_CPU):
            with _open(options, control) as sender, _words_for_failures(
                    options, control, sender):
                _without_data(options, sender)
            return 0
        ends = DataEnds(options, control)
        spec = _spec(options, ends)
        header = _header(options, ends)
        try:
            sender = _open(options, control)
        except (ConnectionLost, RemoteProtocolError) as exc:
            _talk(options, header)
            raise _ending_of(exc, control) from exc
        with sender:
            _talk(options, header)
            if options.protocol not in PROTOCOLS:
                raise messages.no_protocol(options.protocol, ends.family)
            if spec is None:
                raise messages.too_long(errno.EMSGSIZE)
            if options.local.fill_file:
                from xenrr.netperf.fill_file import look_for_fill_file

                look_for_fill_file(options, ends.family)
            with _words_for_failures(options, control, sender):
                if options.test == MSS:
                    from xenrr.netperf.tables import mss_text

                    mss = sender.mss(_for_iteration(spec, ends))
                    _answer(options, mss_text(options, mss), mss=mss)
                    return 0
                runs = _iterations(options, ends, spec, sender, interrupts)
            # Before the session is closed: a target that is slow to let go delays nothing.
            _talk(options, results_text(Outcome(options, ends, tuple(runs)), selection))
    if runs[-1].error:
        write_err(f"netperf: {runs[-1].error}\n")
        return CODE_FAILED
    return 0


def _without_data(options: ClientOptions, sender: Sender) -> None:
    """Tests that print something at once; unknown ones end here as well."""
    if options.test == UUID:
        from uuid import uuid1  # rarely asked for, and slow to import

        uuid = options.uuid or str(uuid1())
        _answer(options, uuid, uuid=uuid)
    elif options.test == LOC_CPU:
        _answer_cpu(options, "local", LINUX_RATE, os.cpu_count() or 1)
    elif options.test == REM_CPU:
        told = sender.calibrate()
        _answer_cpu(options, "remote", told.rate, told.cpus)
    else:
        raise messages.unknown_test(options.test_typed, _meant(options.test))


def _answer_cpu(options: ClientOptions, end: str, rate: float, cpus: int) -> None:
    from xenrr.netperf.tables import cpu_rate_text

    _answer(options, cpu_rate_text(end, rate, cpus, options.verbosity), rate=rate, cpus=cpus)


def _answer(options: ClientOptions, text: str, **facts: object) -> None:
    """Print the result of a test that gives no record; with --json what it found out."""
    if options.json:
        from json import dumps

        text = f"{dumps(facts)}\n"
    write_out(text)


@contextmanager
def _words_for_failures(options: ClientOptions, control: ControlEnds,
                        sender: Sender) -> Iterator[None]:
    """Turn what a session raises into netperf's words for it."""
    try:
        yield
    except PeerRefused as exc:
        omni = sender.dialect.omni is not False and not options.is_classic
        raise messages.remote_error(exc, omni) from exc
    except (ConnectionLost, RemoteProtocolError) as exc:
        raise _ending_of(exc, control, not options.no_control) from exc
    except OSError as exc:
        raise messages.no_data_connection(exc, options.test) from exc


def open_session(options: ClientOptions, control: ControlEnds) -> Sender:
    """Connect to the target; the one place where a session begins."""
    from xenrr.session.sender import open_sender

    return open_sender(
        control.host, control.port, family=options.host_family,
        local_host=options.local_host, local_port=control.local_port,
        passphrase=options.passphrase, engine=options.engine,
        no_control=options.no_control)


def _open(options: ClientOptions, control: ControlEnds) -> Sender:
    try:
        return open_session(options, control)
    except OSError as exc:
        raise messages.no_server(control.host, control.port_text, control.sentence) from exc


def _selection(options: ClientOptions) -> Selection:
    if options.form == TABLE:
        return []
    from xenrr.netperf.selectors import read_selection, unknown_text

    selection, unknown = read_selection(options.selectors, options.form)
    if unknown:
        write_err(f"netperf: {unknown_text(unknown)}\n")
    return selection


def _header(options: ClientOptions, ends: DataEnds) -> str:
    if not options.headers:
        return ""
    from xenrr.netperf.banner import banner

    return banner(options, ends)


def _spec(options: ClientOptions, ends: DataEnds) -> TestSpec | None:
    """The test; ``None`` for what netperf finds out only after the header line.

    That is a protocol that cannot be had, or a datagram too long to be sent.
    """
    if options.protocol not in PROTOCOLS:
        return None
    try:
        return options.spec(ends.local_port, ends.remote_port)
    except SpecError:
        sent = options.request_bytes if options.direction == "rr" else options.local.send_bytes
        if options.protocol == "udp" and MAX_DATAGRAM_BYTES < sent <= MAX_MESSAGE_BYTES:
            return None
        raise


def _for_iteration(spec: TestSpec, ends: DataEnds) -> TestSpec:
    """The test of one iteration: where an address has a mask, each has another one."""
    return replace(spec, **ends.random_hosts())  # type: ignore[arg-type]


def _iterations(options: ClientOptions, ends: DataEnds, spec: TestSpec, sender: Sender,
                interrupts: Interrupts) -> list[Run]:
    """Run the test as often as confidence asks for."""
    printer = _interim_printer(options, spec)
    runs: list[Run] = []
    while True:
        run = sender.run(_for_iteration(spec, ends),
                         on_start=lambda: interrupts.running(sender.stop),
                         on_interim=_interim_writer(options, printer),
                         conditions=_tells_conditions(options))
        runs.append(_as_asked(run))
        if run.local.busy_poll_us < -1 and len(runs) == 1:
            from xenrr.session.dataoptions import BUSY_POLL_REFUSED

            write_err(f"netperf: {BUSY_POLL_REFUSED}\n")
        write_err(_remarks_on(run))
        if "DUMP_TCP_INFO" in os.environ:
            from xenrr.netperf.tcp_info_text import tcp_info_text

            write_err(tcp_info_text(run))
        if printer is not None:
            _talk(options, printer.last_lines(run))
        if options.json:
            from json import dumps

            write_out(f"{dumps(run.to_plain())}\n")
        # netperf would begin the next iteration after an interrupt; whoever ends a test
        # early wants it ended.
        if interrupts.asked or run.error or not _another(options, runs):
            return runs


def _tells_conditions(options: ClientOptions) -> bool:
    """Whether anything that is printed tells of more than the test: no table of netperf's does.

    But for the CPUs, where they were asked for.
    """
    return options.json or options.local.measure_cpu or options.remote.measure_cpu


def _as_asked(run: Run) -> Run:
    """Without the CPU utilisation that nobody asked for: netperf would not have it."""
    spec = run.spec
    return replace(run, local_cpu=run.local_cpu if spec.local.measure_cpu else None,
                   remote_cpu=run.remote_cpu if spec.remote.measure_cpu else None)


def _remarks_on(run: Run) -> str:
    """What the tables have no room for, a line each."""
    remarks = [run.early_flows_text]
    if run.missed_rate:
        remarks.append(f"{run.spec.asked_rate_tps:.10g} requests/s were asked for and "
                       f"{run.rate_tps:.6g} were answered")
    return "".join(f"netperf: {remark}\n" for remark in remarks if remark)


def _another(options: ClientOptions, runs: list[Run]) -> bool:
    if options.max_iterations == 1:
        return False
    from xenrr.netperf.iterations import another

    return another(options, runs)


def _interim_printer(options: ClientOptions, spec: TestSpec) -> InterimPrinter | None:
    if not spec.interim_s:
        return None
    from xenrr.netperf.interim import InterimPrinter

    return InterimPrinter(options, spec)


def _interim_writer(options: ClientOptions, printer: InterimPrinter | None
                    ) -> Callable[[InterimPoint], None] | None:
    return None if printer is None else lambda point: _talk(options, printer.lines(point))


def _talk(options: ClientOptions, text: str) -> None:
    """Print what netperf prints on stdout; with --json nothing else goes there."""
    if not options.json:
        write_out(text)


def _ending_of(exc: ConnectionLost | RemoteProtocolError, control: ControlEnds,
               controlled: bool = True) -> Exception:
    if isinstance(exc, ConnectionLost):
        return messages.connection_lost(exc, controlled)
    return messages.not_netperf(exc, control.host, control.port_text)


def _meant(name: str) -> str | None:
    if name.startswith(ELSEWHERE):
        return None
    from difflib import get_close_matches  # only needed once somebody has mistyped

    near = get_close_matches(name, TESTS, 1, 0.6)
    return near[0] if near else None
