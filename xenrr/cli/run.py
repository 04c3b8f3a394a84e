"""``xenrr run TARGET``: one test, or as many repeats as it takes, for a person."""

from __future__ import annotations

import json
import socket
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from xenrr.cli.interrupt import Interrupt
from xenrr.cli.parser import argument
from xenrr.cli.screen import Screen
from xenrr.cli.summary import group_runs, main_result, show_group
from xenrr.errors import CommandError, SpecError
from xenrr.netperf.option_values import ARRIVALS, parse_flow_rate
from xenrr.results.record import TESTS, Run, TestSpec
from xenrr.results.store import RecordWriter
from xenrr.units import POLLERS, parse_count, parse_duration, parse_number

if TYPE_CHECKING:
    from xenrr.session.sender import Sender

__all__ = ["RunCommand"]

FAILED, INTERRUPTED = 1, 130
INTERIM_S = 0.25
MOST_REPEATS = 1000


class RunCommand:
    """Measure one test against a target, once or repeatedly."""

    name = "run"

    def prepare_parser(self, parser: ArgumentParser) -> None:
        parser.add_argument("target", help="host that runs netserver or xenrr.server")
        parser.add_argument("-t", "--test", default="TCP_RR", type=str.upper, metavar="TEST",
                            help=f"one of {', '.join(TESTS)} (default TCP_RR)")
        length = parser.add_mutually_exclusive_group()
        length.add_argument("-l", "--duration", type=argument(parse_duration, "--duration"),
                            metavar="S", help="length in s, or 1m30s (default 10)")
        length.add_argument("-n", "--transactions",
                            type=argument(parse_count, "--transactions"), metavar="N",
                            help="end after N transactions instead")
        parser.add_argument("-r", "--sizes", type=_sizes, default=(1, 1), metavar="REQ,RSP",
                            help="request and response size in bytes (default 1,1)")
        parser.add_argument("-b", "--burst", type=argument(parse_count, "--burst"), default=0,
                            metavar="N", help="requests in flight beyond the first")
        parser.add_argument("-p", "--port", type=int, default=12865,
                            help="control port of the target (default 12865)")
        family = parser.add_mutually_exclusive_group()
        family.add_argument("-4", dest="family", action="store_const", const=4, default=0,
                            help="IPv4 only")
        family.add_argument("-6", dest="family", action="store_const", const=6,
                            help="IPv6 only")
        parser.add_argument("-Z", "--passphrase", help="what the target wants to hear")
        parser.add_argument("--engine", choices=("auto", "hot", "pure"), default="auto",
                            help="hot is C, pure is Python, auto the best there is")
        parser.add_argument("--spin", action="store_true",
                            help="round trips: poll for a moment before blocking; the target "
                                 "has an option of the same name")
        parser.add_argument("--decompose", action="store_true",
                            help="round trips: split each one into send path, network and "
                                 "wake-up by the kernel's time stamps (Linux)")
        parser.add_argument("--busy-poll", type=argument(parse_count, "--busy-poll"),
                            default=-1, metavar="USEC",
                            help="SO_BUSY_POLL of the data socket")
        parser.add_argument("--flows", type=argument(parse_count, "--flows"), default=1,
                            metavar="N", help="round trips on N connections at once")
        parser.add_argument("--rate", type=argument(parse_flow_rate, "--rate"),
                            metavar="R[/flow]",
                            help="send R requests per second, all flows together or each, "
                                 "whether or not earlier ones were answered")
        parser.add_argument("--arrivals", choices=ARRIVALS, default=ARRIVALS[0],
                            help="with --rate: at equal intervals or at random")
        parser.add_argument("--seed", type=argument(parse_count, "--seed"), default=0,
                            metavar="N", help="of --arrivals poisson")
        parser.add_argument("--poller", choices=POLLERS, default=POLLERS[0],
                            help="how to wait for many connections")
        repeats = parser.add_mutually_exclusive_group()
        repeats.add_argument("--repeat", type=argument(parse_count, "--repeat"), default=1,
                             metavar="N", help="measure N times")
        repeats.add_argument("--until", type=_percent, metavar="P%",
                             help="repeat until the mean is known to plus or minus P %%")
        parser.add_argument("--save", metavar="FILE",
                            help="append each run to this .xrr file as soon as it is over")
        parser.add_argument("--json", action="store_true",
                            help="print the records and the summary as JSON")

    def run(self, args: Namespace) -> int:
        spec = _spec(args)
        enough = _rule(args)
        screen = Screen()
        runs: list[Run] = []
        save_error: OSError | None = None
        with ExitStack() as stack:
            writer = stack.enter_context(_writer(args.save)) if args.save else None
            interrupt = stack.enter_context(Interrupt())
            sender = interrupt.sender = stack.enter_context(_open(args))
            while not interrupt.seen:
                try:
                    with screen.live(_live_name(args, spec, len(runs)),
                                     spec.duration_s or 0.0) as show:
                        run = sender.run(spec, on_start=interrupt.hold, on_interim=show)
                except KeyboardInterrupt:  # before the first request of this one
                    if not runs:
                        raise
                    break
                runs.append(run)
                _note_refusal(screen, runs)
                save_error = _save(writer, run)
                interrupt.release()
                if run.error or save_error or enough([main_result(each) for each in runs]):
                    break
        groups = group_runs(runs)
        if args.json:
            print(json.dumps({"runs": [run.to_plain() for run in runs],
                              "summary": [group.to_plain() for group in groups]}))
        else:
            for group in groups:
                show_group(screen, group)
        if save_error is not None:
            where = ("the runs before the last are in the file, the last one" if len(runs) > 1
                     else "this run")
            screen.talk(f"{args.save}: {save_error.strerror or save_error}; {where} is above "
                        "only.")
            return FAILED
        if interrupt.seen:
            screen.talk("Interrupted; what was measured until then is above.")
            return INTERRUPTED
        return FAILED if runs[-1].error else 0


def _writer(path: str) -> RecordWriter:
    try:
        return RecordWriter(path)
    except OSError as exc:
        raise CommandError(f"{path}: {exc.strerror or exc}", FAILED) from exc


def _save(writer: RecordWriter | None, run: Run) -> OSError | None:
    """What went wrong, instead of raising it: the run is still to be shown."""
    if writer is not None:
        try:
            writer.append(run)
        except OSError as exc:
            return exc
    return None


def _note_refusal(screen: Screen, runs: list[Run]) -> None:
    if len(runs) == 1 and runs[0].local.busy_poll_us < -1:
        from xenrr.session.dataoptions import BUSY_POLL_REFUSED

        screen.talk(f"{BUSY_POLL_REFUSED}.")


def _open(args: Namespace) -> Sender:
    from xenrr.session.sender import open_sender

    try:
        return open_sender(args.target, args.port, family=args.family,
                           passphrase=args.passphrase, engine=args.engine)
    except socket.gaierror as exc:
        raise CommandError(f"{args.target}: {exc.strerror or exc}; is the name right?",
                           FAILED) from exc
    except OSError as exc:
        raise CommandError(
            f"{args.target} port {args.port}: {exc.strerror or exc} (is netserver or "
            "xenrr.server running there?)", FAILED) from exc


def _spec(args: Namespace) -> TestSpec:
    request_bytes, response_bytes = args.sizes
    rate_tps, rate_per_flow = args.rate or (None, False)
    return TestSpec(args.test, request_bytes=request_bytes, response_bytes=response_bytes,
                    duration_s=args.duration, transactions=args.transactions,
                    burst=args.burst, spin=args.spin, busy_poll_us=args.busy_poll,
                    decompose=args.decompose, interim_s=INTERIM_S, flows=args.flows,
                    rate_tps=rate_tps, rate_per_flow=rate_per_flow,
                    poisson=args.arrivals != ARRIVALS[0], seed=args.seed, poller=args.poller)


def _rule(args: Namespace) -> Callable[[list[float]], bool]:
    """Whether these results are enough."""
    # Before anything is measured: without numpy there would be no summary.
    from xenrr.stats.interval import StopRule

    if args.until is not None:
        return StopRule(args.until).done
    if not 1 <= args.repeat <= MOST_REPEATS:
        raise SpecError(f"--repeat: from 1 to {MOST_REPEATS}, got {args.repeat}")
    wanted: int = args.repeat
    return lambda results: len(results) >= wanted


def _live_name(args: Namespace, spec: TestSpec, made: int) -> str:
    if args.until is not None:
        return f"{spec.test} {made + 1}"
    return spec.test if args.repeat == 1 else f"{spec.test} {made + 1}/{args.repeat}"


def _sizes(text: str) -> tuple[int, int]:
    first, _, second = text.partition(",")
    convert = argument(parse_count, "--sizes")
    return convert(first), convert(second or first)


def _percent(text: str) -> float:
    percent = argument(parse_number, "--until")(text.strip().rstrip("%"))
    if not 0 < percent < 100:
        raise ArgumentTypeError(f"--until: above 0 and below 100 %, got {text}")
    return percent / 100
