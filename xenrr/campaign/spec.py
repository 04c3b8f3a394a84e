"""What a campaign consists of: machines, a target, experiments, and what is varied.

A declaration (``docs/reference/campaign.md`` has every key) becomes a frozen
``CampaignSpec`` in which all names and defaults are settled, so that planning has nothing
left to decide. Every mistake is told with file, line and what was expected.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Union

from xenrr import units
from xenrr.errors import SpecError
from xenrr.lab.document import Document, Table, read_document
from xenrr.lab.spec import LabSpec, load_lab
from xenrr.results.campaign import MachineFacts
from xenrr.results.spec import MAX_RATE_TPS, TESTS, TestSpec

__all__ = ["CampaignSpec", "Cell", "Experiment", "Machine", "TargetSpec", "check_for_netperf",
           "load_campaign", "make_campaign", "test_of"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
NAME_EXPECTED = "letters, digits, _ . or -, 64 in all"
MAX_MACHINES = 2000
MAX_EXPERIMENTS = 1000
MAX_REPEATS = 1000
MAX_VALUES = 100
MAX_ROUNDS = 100_000
LAUNCHERS = ("local", "lab", "ssh", "dask")
SENDERS = ("xenrr", "netperf")
SERVES = ("xenrr", "netserver", "no")
ORDERS = ("random", "declared")
MODES = ("together", "alone", "matrix")
ENGINES = ("auto", "hot", "pure")
ALL = "all"
SCHEDULER_EXPECTED = "the address of a dask scheduler, such as tcp://host:8786"
DEFAULT_PORT = 12865

TOP_KEYS = ("name", "study", "duration", "warmup", "repeats", "order", "seed", "until",
            "interim", "timeout", "max_skew", "engine", "lab", "scheduler", "target",
            "test", "factors", "machine", "experiment")
TARGET_KEYS = ("machine", "address", "port", "serve")
FACTOR_KEYS = ("type", "request", "response", "burst", "flows", "rate")
TEST_KEYS = (*FACTOR_KEYS, "nodelay")
MACHINE_KEYS = ("name", "count", "host", "domain", "address", "launcher", "account", "python",
                "sender", "program", "ssh", "worker")
EXPERIMENT_KEYS = ("name", "senders", "mode", "target", "without", "repeats")
# What a netperf can be asked in words that all of its releases with interim results know.
NETPERF_TESTS = ("TCP_RR", "UDP_RR", "TCP_CRR")

Value = Union[int, float, str, bool]


@dataclass(frozen=True)
class Machine:
    """A place to send from, or to serve at.

    Attributes:
        facts: Name, host, domain, address, launcher, sender.
        account: User on the other side of ssh; empty for whoever runs the campaign.
        python: Python there; empty for that of its dask worker.
        program: The netperf to run there.
        ssh: More words for the ssh command.
        worker: Name or address of the dask worker that it is; empty for one of its own.
    """

    facts: MachineFacts
    account: str = ""
    python: str = "python3"
    program: str = "netperf"
    ssh: tuple[str, ...] = ()
    worker: str = ""

    @property
    def name(self) -> str:
        """Its name in the campaign."""
        return self.facts.name


@dataclass(frozen=True)
class TargetSpec:
    """Where all send to.

    Attributes:
        machine: Name of the machine; empty for one that is only an address.
        address: Where senders connect to.
        port: Control port; 0 for any free one, where the campaign serves itself.
        serve: ``xenrr`` or ``netserver`` for what the campaign starts there, ``no`` when
            something runs there already.
    """

    machine: str
    address: str
    port: int
    serve: str

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return self.machine or self.address


@dataclass(frozen=True)
class Cell:
    """One combination of the factors.

    Attributes:
        values: Of each factor, in the order they were declared.
    """

    values: tuple[tuple[str, Value], ...] = ()

    @property
    def name(self) -> str:
        """The combination as a text; empty when nothing is varied."""
        return " ".join(f"{name}={value}" for name, value in self.values)


@dataclass(frozen=True)
class Experiment:
    """A set of senders.

    Attributes:
        name: Unique in the campaign.
        senders: Names of machines.
        mode: ``together``; ``alone`` for one after another, which gives solo rates; or
            ``matrix`` for each to each other, one pair at a time.
        target: Where they send to.
        repeats: How often; 0 for as often as the campaign says.
    """

    name: str
    senders: tuple[str, ...]
    mode: str
    target: TargetSpec
    repeats: int = 0


@dataclass(frozen=True)
class CampaignSpec:
    """A whole campaign.

    Attributes:
        name: What it is called.
        machines: All of them, by name.
        experiments: In the order they were declared.
        target: Where they send to unless an experiment says otherwise.
        test: The test without the factors; its duration has the warm-up in it.
        cells: All combinations of the factors, at least one.
        study: Whose published numbers belong beside it.
        duration_s: Measured time of each round.
        warmup_s: Time before it that does not count.
        repeats: Of each experiment in each cell; at most so many with ``until``.
        until: Relative half width of the interval of the total at which repeats end; 0
            for none.
        order: ``random`` (within each repeat) or ``declared``.
        seed: Of the random order.
        timeout_s: How much later than planned a step may end.
        max_skew_s: A round whose first and last start are further apart is measured again;
            0 for no limit.
        engine: ``hot``, ``pure`` or ``auto``.
        lab: Declaration of the lab that it runs in, ``None`` for real machines.
        scheduler: Address of the scheduler of the dask cluster that some machines are in.
        file: Where it was declared.
    """

    name: str
    machines: Mapping[str, Machine]
    experiments: tuple[Experiment, ...]
    target: TargetSpec
    test: TestSpec
    cells: tuple[Cell, ...] = (Cell(),)
    study: str = ""
    duration_s: float = 10.0
    warmup_s: float = 0.0
    repeats: int = 1
    until: float = 0.0
    order: str = "random"
    seed: int = 1
    timeout_s: float = 30.0
    max_skew_s: float = 0.0
    engine: str = "auto"
    lab: LabSpec | None = field(default=None, compare=False)
    scheduler: str = ""
    file: str = ""

    def shortened(self, duration_s: float | None = None, repeats: int | None = None,
                  seed: int | None = None, max_skew_s: float | None = None
                  ) -> CampaignSpec:
        """The same with other numbers, such as those of a command line.

        Raises:
            SpecError: They make no sense.
        """
        changed = self
        if repeats is not None:
            if not 1 <= repeats <= MAX_REPEATS:
                raise SpecError(f"repeats: from 1 to {MAX_REPEATS}, got {repeats}")
            changed = replace(changed, repeats=repeats, experiments=tuple(
                replace(one, repeats=min(one.repeats, repeats))
                for one in changed.experiments))
        if seed is not None:
            changed = replace(changed, seed=seed)
        if max_skew_s is not None:
            changed = replace(changed, max_skew_s=max_skew_s)
        if duration_s is not None:
            test = replace(changed.test, duration_s=duration_s + changed.warmup_s)
            changed = replace(changed, duration_s=duration_s, test=test)
        return changed


    def only(self, names: Sequence[str]) -> CampaignSpec:
        """The same with some of its experiments.

        Raises:
            SpecError: There is no such experiment.
        """
        known = [one.name for one in self.experiments]
        for name in names:
            if name not in known:
                raise SpecError(f"there is no experiment {name!r} in {self.file}; there are "
                                f"{', '.join(known[:20])}")
        return replace(self, experiments=tuple(
            one for one in self.experiments if one.name in names))


def load_campaign(file: str) -> CampaignSpec:
    """Read a declaration.

    Raises:
        SpecError: It has a mistake; the message tells file, line and what was expected.
        OSError: It, or the lab it names, cannot be read.
    """
    return make_campaign(read_document(file))


def make_campaign(document: Document) -> CampaignSpec:
    """Make sense of a declaration that has been read.

    Raises:
        SpecError: It has a mistake.
        OSError: The lab it names cannot be read.
    """
    top = document.top
    top.only(TOP_KEYS)
    lab = _lab(top)
    machines = _machines(top, lab)
    target = _target(top, machines)
    warmup_s = _time(top, "warmup", 0.0, 3600.0, 0.0)
    duration_s = _time(top, "duration", 0.05, 86400.0, 10.0)
    interim_s = _time(top, "interim", 0.01, 60.0, 0.25)
    engine = _one_of(top, "engine", ENGINES)
    test, factors = _test(top), _factors(top)
    base = _checked_test(top.table("test") or top, "", test,
                         duration_s + warmup_s, interim_s)
    cells = tuple(Cell(tuple(zip(factors, values)))
                  for values in itertools.product(*factors.values()))
    for cell in cells:  # each of them has to be a test that can be asked for
        _checked_test(top.table("factors") or top, cell.name, {**test, **dict(cell.values)},
                      duration_s + warmup_s, interim_s)
    experiments = _experiments(top, machines, target)
    repeats = top.whole("repeats", 1, MAX_REPEATS) or 1
    _check_netperf(top, machines, experiments, [test_of(base, cell) for cell in cells])
    rounds = len(cells) * sum((experiment.repeats or repeats) * _rounds_of(experiment)
                              for experiment in experiments)
    if rounds > MAX_ROUNDS:
        raise top.error("repeats", f"{rounds} rounds are more than {MAX_ROUNDS}; expected "
                                   "fewer repeats, experiments or factors")
    seed = top.whole("seed", 0, 2**31 - 1)
    return CampaignSpec(
        _name(top), machines, experiments, target, base, cells,
        study=_study(top), duration_s=duration_s, warmup_s=warmup_s, repeats=repeats,
        until=_until(top), order=_one_of(top, "order", ORDERS),
        seed=1 if seed is None else seed, timeout_s=_time(top, "timeout", 1.0, 3600.0, 30.0),
        max_skew_s=_time(top, "max_skew", 0.0001, 3600.0, 0.0), engine=engine,
        lab=lab, scheduler=_scheduler(top), file=document.file)


def _name(top: Table) -> str:
    name = top.text("name", NAME_EXPECTED)
    if name is None:
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "", Path(top.document.file).stem)
        return stem if NAME.fullmatch(stem) else "campaign"
    return _checked_name(top, "name", name)


def _checked_name(table: Table, key: str, name: str) -> str:
    if not NAME.fullmatch(name):
        raise table.error(key, f"{table.where}{key}: expected {NAME_EXPECTED}, found {name!r}")
    return name


def _study(top: Table) -> str:
    study = top.text("study", "the name of a study, antonioli-2006") or ""
    if study not in ("", "antonioli-2006"):
        raise top.error("study", f"study: expected antonioli-2006, found {study!r}")
    return study


def _lab(top: Table) -> LabSpec | None:
    file = top.text("lab", "the file that declares a lab")
    if file is None:
        return None
    path = Path(top.document.file).parent / file
    try:
        return load_lab(str(path))
    except OSError as exc:
        raise top.error("lab", f"lab: {path}: {exc.strerror}") from exc


def _scheduler(top: Table) -> str:
    address = _no_option(top, "scheduler", SCHEDULER_EXPECTED) or ""
    if address and not re.fullmatch(r"([a-z]+://)?.+:\d{1,5}", address):
        raise top.error("scheduler", f"scheduler: expected {SCHEDULER_EXPECTED}, "
                                     f"found {address!r}")
    return address


def _time(table: Table, key: str, low_s: float, high_s: float, default_s: float) -> float:
    value = table.data.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return table.number(key, low_s, high_s) or 0.0
    text = table.text(key, "a time such as 10 or \"10s\"")
    if text is None:
        return default_s
    try:
        time_s = units.parse_duration(text, f"{table.where}{key}")
    except SpecError as exc:
        raise table.error(key, str(exc)) from exc
    if not low_s <= time_s <= high_s:
        raise table.error(key, f"{table.where}{key}: expected {low_s:g} s to {high_s:g} s, "
                               f"found {text!r}")
    return time_s


def _one_of(table: Table, key: str, known: tuple[str, ...], default: str = "") -> str:
    value = table.text(key, " or ".join(known)) or default or known[0]
    if value not in known:
        raise table.error(key, f"{table.where}{key}: expected {' or '.join(known)}, "
                               f"found {value!r}")
    return value


def _until(top: Table) -> float:
    text = top.text("until", "a share such as \"2%\"")
    if text is None:
        return 0.0
    try:
        percent = units.parse_number(text.rstrip("% "), "until")
    except SpecError as exc:
        raise top.error("until", str(exc)) from exc
    if not 0 < percent < 100:
        raise top.error("until", f"until: expected above 0% and below 100%, found {text!r}")
    return percent / 100


def _machines(top: Table, lab: LabSpec | None) -> dict[str, Machine]:
    machines: dict[str, Machine] = {}
    for place in lab.machines() if lab else ():
        machines[place.name] = Machine(MachineFacts(
            place.name, place.host, place.domain, place.address, "lab"))
    of_lab = set(machines)
    declared: set[str] = set()
    for table in top.tables("machine"):
        for machine in _machine(table, machines, of_lab):
            if machine.name in declared:
                raise table.error("name", f"{table.where}name: there is a machine "
                                          f"{machine.name!r} already")
            declared.add(machine.name)
            machines[machine.name] = machine
            if len(machines) > MAX_MACHINES:
                raise table.error("", f"more than {MAX_MACHINES} machines")
    if not machines:
        raise SpecError("expected at least one [[machine]], or a lab", top.document.file)
    return machines


def _machine(table: Table, machines: Mapping[str, Machine], of_lab: set[str]
             ) -> list[Machine]:
    """The machines of one ``[[machine]]``: one, or as many as its ``count``."""
    table.only(MACHINE_KEYS)
    name = table.text("name", NAME_EXPECTED)
    if name is None:
        raise table.error("", f"{table.where}name: expected {NAME_EXPECTED}, found none")
    _checked_name(table, "name", name)
    if name in of_lab:
        for key in ("host", "domain", "address", "launcher", "count"):
            if key in table.data:
                raise table.error(key, f"{table.where}{key}: the lab says that of {name}")
    old = machines[name].facts if name in of_lab else MachineFacts(
        name, name, "", name, "local")
    launcher = _one_of(table, "launcher", LAUNCHERS, old.launcher)
    if launcher == "lab" and name not in of_lab:
        raise table.error("launcher", f"{table.where}launcher: the lab has no machine {name}")
    if launcher == "dask" and "scheduler" not in table.document.top.data:
        raise table.error("launcher", f"{table.where}launcher: dask needs the key scheduler in "
                                      f"front of all tables: {SCHEDULER_EXPECTED}")
    worker = _no_option(table, "worker", "the name or address of a dask worker") or ""
    if worker and launcher != "dask":
        raise table.error("worker", f"{table.where}worker: only a machine with launcher = "
                                    "\"dask\" is one")
    domain = table.text("domain", "Dom0 or DomU") or old.domain
    if domain not in ("", "Dom0", "DomU"):
        raise table.error("domain", f"{table.where}domain: expected Dom0 or DomU, "
                                    f"found {domain!r}")
    default_address = "127.0.0.1" if launcher == "local" else old.address
    address = _no_option(table, "address", "a host name or an IP address") or default_address
    ssh = table.listed("ssh", "a list of words for the ssh command") or []
    if not all(isinstance(word, str) for word in ssh):
        raise table.error("ssh", f"{table.where}ssh: expected a list of words for the ssh "
                                 f"command, found {ssh!r}")
    machine = Machine(
        replace(old, host=table.text("host", "the name of a host") or old.host, domain=domain,
                address=address, launcher=launcher,
                sender=_one_of(table, "sender", SENDERS)),
        account=_no_option(table, "account", "the name of a user") or "",
        python=table.text("python", "a Python there") or (
            "" if launcher == "dask" else "python3"),
        program=table.text("program", "a netperf there") or "netperf", ssh=tuple(ssh),
        worker=worker)
    count = table.whole("count", 1, MAX_MACHINES)
    if count is None:
        return [machine]
    return [replace(machine, facts=replace(machine.facts, name=f"{name}{number}"))
            for number in range(1, count + 1)]


def _no_option(table: Table, key: str, expected: str) -> str | None:
    """A text that no command takes for one of its options."""
    text = table.text(key, expected)
    if text is not None and (text.startswith("-") or not text.isprintable() or " " in text):
        raise table.error(key, f"{table.where}{key}: expected {expected}, found {text!r}")
    return text


def _target(top: Table, machines: Mapping[str, Machine]) -> TargetSpec:
    table = top.table("target")
    if table is None:
        raise SpecError("expected a [target] with a machine or an address",
                        top.document.file)
    table.only(TARGET_KEYS)
    name = table.text("machine", "the name of a machine") or ""
    address = _no_option(table, "address", "a host name or an IP address") or ""
    if name and name not in machines:
        raise table.error("machine", f"target: machine: {_unknown(name, machines)}")
    if not name and not address:
        raise table.error("", "target: expected a machine or an address")
    serve = _one_of(table, "serve", SERVES, "xenrr" if name else "no")
    if serve != "no" and not name:
        raise table.error("serve", "target: serve: only a machine can be served at, found an "
                                   "address")
    port = table.whole("port", 1, 65535)
    return _target_at(name, machines, serve, port, address)


def _target_at(name: str, machines: Mapping[str, Machine], serve: str, port: int | None,
               address: str = "") -> TargetSpec:
    if port is None:
        # On this machine any free port will do; elsewhere firewalls know netperf's.
        any_port = serve == "xenrr" and machines[name].facts.launcher == "local"
        port = 0 if any_port else DEFAULT_PORT
    return TargetSpec(name, address or machines[name].facts.address, port, serve)


def _unknown(name: str, machines: Mapping[str, Machine]) -> str:
    some = ", ".join(list(machines)[:20])
    return f"there is no machine {name!r}; expected one of {some}"


def _whole(table: Table, key: str, low: int, high: int) -> int | None:
    value = table.data.get(key)
    if isinstance(value, str):  # "64K"
        try:
            count = units.parse_count(value, f"{table.where}{key}")
        except SpecError as exc:
            raise table.error(key, str(exc)) from exc
        if low <= count <= high:
            return count
    return table.whole(key, low, high)


def _test(top: Table) -> dict[str, Value]:
    table = top.table("test")
    if table is None:
        return {}
    table.only(TEST_KEYS)
    values: dict[str, Value] = {}
    if (kind := table.text("type", f"one of {', '.join(TESTS)}")) is not None:
        values["type"] = kind
    for key, low, high in (("request", 1, units.MAX_MESSAGE_BYTES),
                           ("response", 1, units.MAX_MESSAGE_BYTES),
                           ("burst", 0, units.MAX_MESSAGE_BYTES),
                           ("flows", 1, units.MAX_FLOWS)):
        if (count := _whole(table, key, low, high)) is not None:
            values[key] = count
    if (rate_tps := table.number("rate", 0, MAX_RATE_TPS)) is not None:
        values["rate"] = rate_tps
    if "nodelay" in table.data:
        if not isinstance(table.data["nodelay"], bool):
            raise table.error("nodelay", "test: nodelay: expected true or false, "
                                         f"found {table.data['nodelay']!r}")
        values["nodelay"] = table.data["nodelay"]
    return values


def _factors(top: Table) -> dict[str, list[Value]]:
    table = top.table("factors")
    if table is None:
        return {}
    table.only(FACTOR_KEYS)
    factors: dict[str, list[Value]] = {}
    for key in table.data:
        values = table.listed(key, "a list of values") or []
        if not 1 <= len(values) <= MAX_VALUES:
            raise table.error(key, f"factors: {key}: expected 1 to {MAX_VALUES} values, "
                                   f"found {len(values)}")
        what, kinds = {"type": ("names of tests", (str,)), "rate": ("rates", (int, float))}.get(
            key, ("whole numbers", (int,)))
        if len(set(map(str, values))) < len(values) or not all(
                isinstance(value, kinds) and not isinstance(value, bool) for value in values):
            raise table.error(key, f"factors: {key}: expected a list of different {what}, "
                                   f"found {values!r}")
        factors[key] = values
    return factors


FIELDS = {"type": "test", "request": "request_bytes", "response": "response_bytes",
          "burst": "burst", "nodelay": "nodelay", "flows": "flows", "rate": "rate_tps"}


def _fields(values: Mapping[str, Value]) -> dict[str, Any]:
    """Values of a declaration as fields of a ``TestSpec``; a rate of 0 is the closed loop."""
    return {FIELDS[name]: None if name == "rate" and not value else value
            for name, value in values.items()}


def test_of(base: TestSpec, cell: Cell) -> TestSpec:
    """A campaign's test with the values of one cell."""
    changes = _fields(dict(cell.values))
    # The shape belongs to the name of the test, and the name may be what changes.
    return replace(base, protocol="", direction="", connecting=False, **changes)


def _checked_test(table: Table, what: str, values: Mapping[str, Value], duration_s: float,
                  interim_s: float) -> TestSpec:
    try:
        spec = TestSpec(**_fields(values), duration_s=duration_s, interim_s=interim_s)
    except SpecError as exc:
        raise table.error("", f"{table.where}{what + ': ' if what else ''}{exc}") from exc
    if spec.is_one_way:
        raise table.error("type", f"{table.where}type: a campaign counts transactions, and "
                                  f"{spec.test} has none; expected a test with round trips "
                                  "or connections")
    return spec


def _experiments(top: Table, machines: Mapping[str, Machine], target: TargetSpec
                 ) -> tuple[Experiment, ...]:
    found: dict[str, Experiment] = {}
    for table in top.tables("experiment"):
        if len(found) >= MAX_EXPERIMENTS:
            raise table.error("", f"more than {MAX_EXPERIMENTS} experiments")
        table.only(EXPERIMENT_KEYS)
        own = table.text("target", "the name of a machine")
        if own is not None and own not in machines:
            raise table.error("target", f"{table.where}target: {_unknown(own, machines)}")
        mode = _one_of(table, "mode", MODES)
        goal = target if own is None else _target_at(own, machines, target.serve if (
            target.serve != "no") else "no", target.port or None)
        senders = _senders(table, machines, "" if mode == "matrix" else goal.machine)
        if mode == "matrix" and (len(senders) < 2 or target.serve == "no"):
            raise table.error("mode", f"{table.where}mode: a matrix takes at least two "
                                      "machines, and a target that the campaign serves")
        name = table.text("name", NAME_EXPECTED) or str(len(senders))
        _checked_name(table, "name", name)
        if name in found:
            raise table.error("name", f"{table.where}name: there is an experiment {name!r} "
                                      "already")
        found[name] = Experiment(name, senders, mode, goal,
                                 table.whole("repeats", 1, MAX_REPEATS) or 0)
    if not found:
        senders = tuple(name for name in machines if name != target.machine)
        if not senders:
            raise SpecError("expected a machine beside the target, or an [[experiment]]",
                            top.document.file)
        found["all"] = Experiment("all", senders, "together", target)
    return tuple(found.values())


def _senders(table: Table, machines: Mapping[str, Machine], target: str) -> tuple[str, ...]:
    expected = "\"all\" or a list of names of machines"
    if isinstance(table.data.get("senders", ALL), str):
        word = table.text("senders", expected) or ALL
        if word != ALL:
            raise table.error("senders", f"{table.where}senders: expected {expected}, "
                                         f"found {word!r}")
        senders = [name for name in machines if name != target]
    else:
        senders = table.listed("senders", expected) or []
    without = table.listed("without", "a list of names of machines") or []
    for key, names in (("senders", senders), ("without", without)):
        for name in names:
            if name not in machines:
                raise table.error(key, f"{table.where}{key}: {_unknown(name, machines)}")
    if len(set(senders)) < len(senders):
        raise table.error("senders", f"{table.where}senders: expected each machine once")
    senders = [name for name in senders if name not in without]
    if not senders:
        raise table.error("senders", f"{table.where}senders: expected {expected}, found none")
    return tuple(senders)


def check_for_netperf(spec: TestSpec) -> None:
    """Refuse a test that an unmodified netperf cannot be asked for.

    Raises:
        SpecError: It cannot.
    """
    if spec.test not in NETPERF_TESTS or spec.duration_s is None:
        raise SpecError(f"an unmodified netperf in a campaign runs {', '.join(NETPERF_TESTS)} "
                        f"for a time, not {spec.test}")
    if spec.flows > 1 or spec.rate_tps is not None:
        raise SpecError("an unmodified netperf has one flow, and sends when it is answered: "
                        "flows and rate are for xenrr's senders")


def _check_netperf(top: Table, machines: Mapping[str, Machine],
                   experiments: Sequence[Experiment], tests: Sequence[TestSpec]) -> None:
    old = {name for one in experiments for name in one.senders
           if machines[name].facts.sender == "netperf"}
    for test in tests if old else ():
        try:
            check_for_netperf(test)
        except SpecError as exc:
            table = next(table for table in top.tables("machine")
                         if table.data.get("sender") == "netperf")
            raise table.error("sender", f"{table.where}sender: {exc}") from exc


def _rounds_of(experiment: Experiment) -> int:
    count = len(experiment.senders)
    return {"together": 1, "alone": count, "matrix": count * (count - 1)}[experiment.mode]
