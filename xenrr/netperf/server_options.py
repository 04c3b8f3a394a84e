"""The command line of netserver."""

from __future__ import annotations

from xenrr.netperf import getopt, usage
from xenrr.netperf.ending import CODE_FAILED, Ending
from xenrr.netperf.getopt import FLAG, VALUE, Mistake, Scanner
from xenrr.netperf.options import (
    VERSION_LINE,
    parse_busy_poll,
    parse_engine,
    parse_family,
    parse_poller,
    version_text,
)
from xenrr.units import MAX_CPU

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ServerOptions", "parse_server"]

PROGRAM = "netserver"
LETTERS = {**dict.fromkeys("46dDfhNV", FLAG), **dict.fromkeys("LnpvZ", VALUE)}
LONG = {"any-source": FLAG, "busy-poll": VALUE, "engine": VALUE, "poller": VALUE,
        "spin": FLAG, "version": FLAG}
DEFAULT_PORT = "12865"


class ServerOptions:
    """What was typed.

    ``host`` is ``None`` for every address, ``family`` 4, 6 or 0 for both; ``port`` is a
    text because it may be the name of a service. ``placed`` is whether -D, -f, -L or -p was
    given: then a socket on standard input is not inetd's. ``cpus`` is 0 for what the system
    says.
    """

    def __init__(self) -> None:
        self.host: str | None = None
        self.family = 0
        self.port = DEFAULT_PORT
        self.passphrase: str | None = None
        self.daemon = True
        self.verbosity = 0
        self.one_at_a_time = False
        self.debug = False
        self.cpus = 0
        self.placed = False
        self.engine = "auto"
        self.any_source = False
        self.spin = False
        self.busy_poll_us = -1
        self.poller = "auto"
        self.notices: list[str] = []


def parse_server(args: Sequence[str]) -> ServerOptions:
    """Read the arguments that follow the program's name.

    Raises:
        Ending: Help, version, or a mistake.
        SpecError: A value makes no sense.
    """
    options = ServerOptions()
    for item in Scanner(PROGRAM, args, LETTERS, LONG):
        if isinstance(item, Mistake):
            raise Ending(CODE_FAILED, err=f"{item.text}\n{usage.SERVER}")
        option, value = item
        _take(options, option, value or "")
    return options


def _take(options: ServerOptions, option: str, value: str) -> None:
    options.placed = options.placed or option in "DfLp"
    if option == "h":
        raise Ending(CODE_FAILED, err=usage.SERVER)
    if option == "V":
        raise Ending(0, VERSION_LINE)
    if option == "version":
        raise Ending(0, version_text())
    if option == "any-source":
        options.any_source = True
    elif option == "engine":
        options.engine = parse_engine(value)
    elif option == "spin":
        options.spin = True
    elif option == "busy-poll":
        options.busy_poll_us = parse_busy_poll(value)
    elif option == "poller":
        options.poller = parse_poller(value)
    elif option in "46":
        options.family = int(option)
    elif option == "L":
        host, family = getopt.split_pair(value, copy=False)
        options.host = host or options.host
        if family is not None:
            options.family = parse_family(family, options.notices)
    elif option == "p":
        options.port = value
    elif option == "Z":
        options.passphrase = value
    elif option == "D":
        options.daemon = False
    elif option == "v":
        options.verbosity = getopt.leading_integer(value)
    elif option == "f":
        options.one_at_a_time = True
    elif option in "dN":
        options.debug = option == "d"
    elif option == "n":
        options.cpus = _cpus(value)


def _cpus(text: str) -> int:
    cpus = getopt.leading_integer(text)
    if cpus > MAX_CPU:
        raise Ending(CODE_FAILED, err=f"netserver: {MAX_CPU} CPUs are the most that can be "
                                      f"told, not {cpus}\n")
    return max(cpus, 0)
