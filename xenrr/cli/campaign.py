"""``xenrr campaign``: many senders to one target at the same time, as a file declares it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from xenrr.cli.parser import argument, seconds_up_to
from xenrr.cli.screen import Screen
from xenrr.errors import CommandError, LabError
from xenrr.units import format_duration, parse_duration

if TYPE_CHECKING:
    from xenrr.campaign.launchers import Launcher
    from xenrr.campaign.plan import Plan
    from xenrr.campaign.run import Coordinator, Outcome
    from xenrr.campaign.spec import CampaignSpec
    from xenrr.lab.state import Entry
    from xenrr.results.campaign import CampaignContents
    from xenrr.results.store import RecordWriter

__all__ = ["CampaignCommand", "measure_campaign"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Those of a second Ctrl-C: it ends at once, without the records of what runs.
IMPATIENT = 2


class CampaignCommand:
    """Measure many senders to one target at the same time, as a file declares it."""

    name = "campaign"

    def prepare_parser(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="action", required=True)
        run = actions.add_parser("run", help="run what a file declares")
        run.add_argument("file", metavar="FILE", help="the declaration, in TOML")
        run.add_argument("--dry-run", action="store_true",
                         help="print the plan and how long it takes, and run nothing")
        run.add_argument("--resume", action="store_true",
                         help="measure what is missing in the file of results")
        where = run.add_mutually_exclusive_group()
        where.add_argument("--save", metavar="FILE",
                           help="file of results (default: the campaign's name and .xrr)")
        where.add_argument("--discard", action="store_true",
                           help="show the table and keep no file of results")
        run.add_argument("--duration", type=seconds_up_to(86400, "a day"), metavar="S",
                         help="length of each round instead of the declared one")
        run.add_argument("--repeats", type=int, metavar="N", help="likewise, repeats")
        run.add_argument("--seed", type=int, metavar="N", help="likewise, seed of the order")
        run.add_argument("--max-skew", type=argument(parse_duration, "--max-skew"), metavar="S",
                         help="likewise, how far apart senders may begin; 0 for any")
        run.add_argument("--only", metavar="NAME[,NAME]", type=lambda text: text.split(","),
                         help="some of the experiments")
        run.add_argument("--user-namespace", action="store_true",
                         help="make a lab as if without root")
        table = actions.add_parser("table", help="show the tables of a file of results")
        table.add_argument("file", metavar="FILE", help="a .xrr file of a campaign")
        for one in (run, table):
            one.add_argument("--json", action="store_true",
                             help="events or tables as JSON, one object a line")

    def run(self, args: Namespace) -> int:
        return _run(args) if args.action == "run" else _table(args)


def _run(args: Namespace) -> int:
    from xenrr.campaign.plan import plan_campaign, plan_lines
    from xenrr.campaign.spec import load_campaign

    spec = load_campaign(args.file).shortened(args.duration, args.repeats, args.seed,
                                                args.max_skew)
    if args.only:
        spec = spec.only(args.only)
    plan = plan_campaign(spec)
    screen = Screen()
    if args.dry_run:
        if args.json:
            print(json.dumps({"rounds": [one.key for one in plan.rounds],
                              "measuring_s": plan.measuring_s,
                              "duration_s": plan.duration_s}))
            return 0
        for line in plan_lines(spec, plan):
            screen.result(line)
        return 0
    if args.discard:
        if args.resume:
            raise CommandError("--resume needs a file of results, --discard keeps none", USAGE)
        with tempfile.TemporaryDirectory(prefix="xrr-campaign-") as folder:
            return _run_into(args, screen, spec, plan, f"{folder}/{spec.name}.xrr")
    return _run_into(args, screen, spec, plan, args.save or f"{spec.name}.xrr")


def _run_into(args: Namespace, screen: Screen, spec: CampaignSpec, plan: Plan, path: str
              ) -> int:
    _check_path(path, args.resume)
    entry = None
    if spec.lab is not None:
        entry = find_lab(spec)
        if entry is None:
            return _run_in_own_lab(args, spec, path)
    outcome = measure_campaign(screen, spec, plan, path, entry, resume=args.resume,
                               as_json=args.json)
    return end_of(screen, args, path, outcome)


def _check_path(path: str, resume: bool) -> None:
    """Before anything is started: results are added to on purpose only."""
    if os.path.exists(path) and not resume:
        raise CommandError(f"{path} is there already; --resume measures what is missing in it, "
                           "--save names another file", USAGE)


def end_of(screen: Screen, args: Namespace, path: str, outcome: Outcome) -> int:
    """Show the table and say what is missing."""
    from xenrr.cli.campaign_tables import show_table
    from xenrr.report.tables import campaign_table
    from xenrr.results.campaign import read_campaign

    table = campaign_table(read_campaign(path))
    if args.json:
        print(json.dumps({"event": "table", **table.to_plain()}), flush=True)
    else:
        show_table(screen, table)
    if outcome.gave_up:
        screen.talk(f"Given up: {outcome.gave_up}.")
    if outcome.missing:
        again = "" if args.discard else f"; with --resume and --save {path} they are measured"
        screen.talk(f"{len(outcome.missing)} of {len(outcome.missing) + len(outcome.complete)} "
                    f"rounds are missing{again}.")
    elif not args.discard:
        screen.talk(f"All of it is in {path}; xenrr campaign table {path} shows it again.")
    if outcome.stopped:
        return INTERRUPTED
    return FAILED if outcome.missing else 0


def measure_campaign(screen: Screen, spec: CampaignSpec, plan: Plan, path: str,
                     entry: Entry | None, *, resume: bool = False, as_json: bool = False
                     ) -> Outcome:
    """Run a campaign on this terminal, with its file open.

    Args:
        screen: Where it is watched.
        spec, plan: The campaign.
        path: File of results.
        entry: The lab it runs in, if it does.
        resume: Whether the file may be there, with a part of it.
        as_json: Events as JSON on stdout.

    Raises:
        CommandError: The file holds another campaign.
        XenrrError, OSError: It cannot be run or written.
    """
    from xenrr.campaign.run import Coordinator
    from xenrr.cli.campaign_view import watching

    _allow_many_files()
    before, writer = _open_results(screen, spec, plan, path, resume)
    launchers = _launchers(spec, entry)
    with writer, watching(screen, spec, plan, as_json) as tell:
        # Made inside the loop: up to Python 3.9 that is where its events belong.
        return asyncio.run(_watched(lambda: Coordinator(spec, plan, launchers, tell, writer,
                                                        before)))


def _allow_many_files() -> None:
    """Three pipes to each agent: the usual soft limit of 1024 is that of 300 of them."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _watched(make: Callable[[], Coordinator]) -> Outcome:
    loop = asyncio.get_running_loop()
    coordinator = make()
    work = asyncio.ensure_future(coordinator.run())
    seen = 0

    def stop() -> None:
        nonlocal seen
        seen += 1
        coordinator.stop()
        if seen >= IMPATIENT:
            work.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        return await work
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def _open_results(screen: Screen, spec: CampaignSpec, plan: Plan, path: str, resume: bool
                  ) -> tuple[CampaignContents | None, RecordWriter]:
    from xenrr.campaign.run import make_header
    from xenrr.results.campaign import read_campaign
    from xenrr.results.store import RecordWriter, mend_file

    _check_path(path, resume)
    before = None
    if os.path.exists(path):
        damaged = mend_file(path)
        if damaged:
            screen.talk(f"{path} was cut off in a record; what was whole is kept, the file as "
                        f"it was is {damaged}.")
        before = read_campaign(path)
        if not before.header.same_plan(make_header(spec, plan)):
            raise CommandError(f"{path} holds another campaign than {spec.file} declares now; "
                               "--save names another file", USAGE)
        screen.talk(f"{path} has {len(before.complete())} rounds; "
                    f"{len(before.missing())} are missing.")
    return before, RecordWriter(path)


def _launchers(spec: CampaignSpec, entry: Entry | None) -> Mapping[str, Launcher]:
    from xenrr.campaign.launchers import (
        DaskLauncher,
        LabLauncher,
        LocalLauncher,
        SshLauncher,
    )

    launchers: dict[str, Launcher] = {"local": LocalLauncher(), "ssh": SshLauncher()}
    if entry is not None:
        launchers["lab"] = LabLauncher(entry)
    clustered = [machine for machine in spec.machines.values()
                 if machine.facts.launcher == "dask"]
    if clustered:
        launchers["dask"] = DaskLauncher(spec.scheduler, clustered)
    return launchers


def find_lab(spec: CampaignSpec) -> Entry | None:
    """The lab of a campaign, if it is there: the one around us, or one that is up.

    Raises:
        LabError: The one around us is another.
    """
    from xenrr.lab.state import Runtime, runtime_folder

    assert spec.lab is not None
    wanted = {(machine.name, machine.address) for machine in spec.lab.machines()}
    entries = [entry for entry in Runtime(runtime_folder()).entries()
               if entry.state() in ("up", "running")]
    around = os.environ.get("XENRR_LAB", "")
    for entry in entries:
        if around and entry.record.lab != around:
            continue
        if not around and (entry.record.kind != "up" or entry.record.file != os.path.abspath(
                spec.lab.file)):
            continue
        has = {(name, facts["address"]) for name, facts in entry.record.machines.items()}
        if wanted <= has:
            return entry
        raise LabError(f"the lab {entry.record.lab} has not all machines of {spec.lab.file}")
    return None


def _run_in_own_lab(args: Namespace, spec: CampaignSpec, path: str) -> int:
    """Make the lab, run the same command inside, take the lab down whatever happens."""
    from xenrr.lab import bed, hold
    from xenrr.lab.privilege import is_root
    from xenrr.lab.state import Runtime, runtime_folder

    assert spec.lab is not None
    bed.check_programs(spec.lab)
    mode = "user" if args.user_namespace or not is_root() else "root"
    words = [sys.executable, "-m", "xenrr", "campaign", "run", args.file]
    words += ["--discard"] if args.discard else ["--save", path]
    for option in ("duration", "repeats", "seed", "max_skew"):
        if getattr(args, option) is not None:
            words += [f"--{option.replace('_', '-')}", str(getattr(args, option))]
    words += ["--only", ",".join(args.only)] if args.only else []
    words += [f"--{option}" for option in ("resume", "json") if getattr(args, option)]
    screen = Screen()

    def show(entry: Entry, took_s: float) -> None:
        how = "as root" if mode == "root" else "without root, in a user namespace"
        screen.talk(f"lab {entry.record.lab}: {len(entry.record.machines)} machines, made "
                    f"{how} in {format_duration(took_s)}; emulated.")
        for note in entry.record.notes:
            screen.talk(f"note: {note}")

    with _tree_on_path():
        return hold.run_in_lab(Runtime(runtime_folder()), spec.lab, mode, words, on_made=show)


@contextlib.contextmanager
def _tree_on_path() -> Iterator[None]:
    """So that the command inside is of this very xenrr."""
    from xenrr.campaign.launchers.base import tree_environment

    old = os.environ.get("PYTHONPATH")
    os.environ.update(tree_environment())
    try:
        yield
    finally:
        if old is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = old


def _table(args: Namespace) -> int:
    from xenrr.cli.campaign_tables import show_table
    from xenrr.report.tables import campaign_table
    from xenrr.results.campaign import read_campaign

    screen = Screen()
    contents = read_campaign(args.file)
    if contents.complaint:
        screen.talk(f"{contents.complaint}; that much is shown.")
    table = campaign_table(contents)
    if args.json:
        print(json.dumps(table.to_plain()))
    else:
        show_table(screen, table)
    return 0
