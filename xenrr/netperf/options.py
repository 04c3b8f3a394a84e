"""The command line of netperf: what is typed becomes what is to be done.

Two lists in one: options for any test (``global_options``), then ``--``, then those of the
test, which netperf reads with one of two parsers: that of OMNI and the tests built on it
(``test_options``), or an older one (``classic_options``). An unknown option is what it is to
netperf: fatal before ``--``, a remark after it.

Nothing heavy is imported here: ``-V`` has to be as quick as a shell script expects.
"""

from __future__ import annotations

from xenrr.netperf.ending import CODE_FAILED, Ending
from xenrr.netperf.getopt import FLAG, NUMBER_IF_NEXT, VALUE, Mistake, Scanner
from xenrr.netperf.option_values import (
    count,
    parse_arrivals,
    parse_busy_poll,
    parse_engine,
    parse_family,
    parse_flow_rate,
    parse_poller,
)

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xenrr.results.record import EndSpec, TestSpec

__all__ = ["CSV", "HUMAN", "KEYVAL", "TABLE", "VERSION_LINE", "ClientOptions", "EndOptions",
           "parse_busy_poll", "parse_client", "parse_engine", "parse_family", "parse_poller",
           "version_text"]

# Exactly netperf's, so that scripts which compare it are content; xenrr names itself under
# --version.
VERSION_LINE = "Netperf version 2.7.0\n"
PROGRAM = "netperf"

# Forms of the results.
TABLE, CSV, KEYVAL, HUMAN = "table", "csv", "keyval", "human"
FORMS = {"o": CSV, "O": HUMAN, "k": KEYVAL}

LONG = {"arrivals": VALUE, "busy-poll": VALUE, "decompose": FLAG, "engine": VALUE,
        "flows": VALUE, "json": FLAG, "percentiles": NUMBER_IF_NEXT, "poller": VALUE,
        "rate": VALUE, "seed": VALUE, "spin": FLAG, "version": FLAG}

# Which parser netperf gives the test options to; other tests have none.
CLASSIC_TESTS = ("TCP_CC", "TCP_SENDFILE", "TCP_MSS")
OMNI_TESTS = ("TCP_STREAM", "TCP_MAERTS", "TCP_RR", "TCP_CRR", "UDP_STREAM", "UDP_RR", "OMNI",
              "UUID")
# Tests with a name of their own that a change of protocol or direction may lead to.
MIGRATED = ("TCP_RR", "UDP_RR", "TCP_CRR", "TCP_STREAM", "TCP_MAERTS", "UDP_STREAM")


class EndOptions:
    """What is asked of one end; names and defaults are those of ``results.record.EndSpec``."""

    def __init__(self) -> None:
        self.send_buffer = -1
        self.receive_buffer = -1
        self.send_bytes = -1
        self.receive_bytes = -1
        self.send_width = 0
        self.receive_width = 0
        self.send_alignment = 8
        self.send_offset = 0
        self.receive_alignment = 8
        self.receive_offset = 0
        self.priority = -1
        self.tos = -1
        self.congestion = ""
        self.cpu = -1
        self.measure_cpu = False
        self.fill_file = ""
        self.pace_us = 0
        self.pace_burst = 0

    def spec(self) -> EndSpec:
        """The same for a ``TestSpec``."""
        from xenrr.results.record import EndSpec

        return EndSpec(**vars(self))


class ClientOptions:
    """What was typed, checked as far as that goes without the network.

    Defaults are netperf's, names where possible those of ``results.record.TestSpec``.
    ``test`` is in upper case; ``unit`` is empty when nothing was typed; ``data_source`` is the
    local data address as typed, ``None`` for any; ports are texts because they may be service
    names. ``notices`` go to stdout and ``remarks`` to stderr before anything else does.
    """

    def __init__(self) -> None:
        self.command_line = PROGRAM
        self.notices: list[str] = []
        self.remarks: list[str] = []
        # Control connection.
        self.host: str | None = None
        self.host_family = 0
        self.port = "12865"
        self.local_host: str | None = None
        self.local_family = 0
        self.local_port = "0"
        self.passphrase: str | None = None
        self.no_control = False
        # Test.
        self.test = "TCP_STREAM"
        self.test_typed = "TCP_STREAM"
        self.protocol = "tcp"
        self.direction = "send"
        self.connecting = False
        self.duration_s: float | None = 10.0
        self.transactions: int | None = None
        self.limit_bytes: int | None = None
        self.request_bytes = 1
        self.response_bytes = 1
        self.burst = 0
        self.wait_s = 0.0
        self.loss_timeout_s = 1.0
        self.interim_s = 0.0
        self.local = EndOptions()
        self.remote = EndOptions()
        self.cpu_binding = False
        self.engine = "auto"
        self.flows = 1
        self.rate_tps: float | None = None
        self.rate_per_flow = False
        self.poisson = False
        self.seed = 0
        self.poller = "auto"
        # Data connection.
        self.nodelay = False
        self.cork = False
        self.keepalive = False
        self.routing: bool | None = None
        self.copy_avoidance = False
        self.plain_write = False
        self.spin = False
        self.decompose = False
        self.busy_poll_us = -1
        self.fast_open = False
        self.defer_accept = False
        self.packet_info = False
        self.dont_fragment = False
        self.max_segment = -1
        self.pacing_rate = -1
        self.multicast_ttl = -1
        self.socket_debug = False
        self.retry_connect = False
        self.connect_ports: tuple[int, int] | None = None
        self.data_host: str | None = None
        self.data_mask = 0
        self.data_family = 0
        self.data_local_host: str | None = None
        self.data_local_mask = 0
        self.data_local_family = 0
        self.local_data_port = "0"
        self.remote_data_port = "0"
        # Confidence.
        self.max_iterations = 1
        self.min_iterations = 1
        self.confidence_level = 0
        self.confidence_width = 0.0
        self.result_only = False
        # Output.
        self.form = TABLE
        self.selectors: str | None = None
        self.unit = ""
        self.verbosity = 1
        self.headers = True
        self.histogram = False
        self.brand: str | None = None
        self.uuid: str | None = None
        self.json = False
        self.percentiles: tuple[float, ...] | None = None

    @property
    def is_classic(self) -> bool:
        """Whether netperf's older code does this test, whose words and ways differ."""
        return self.test in CLASSIC_TESTS

    @property
    def data_source(self) -> str | None:
        """Local address of the data connection: its own -L, else that of the control one.

        netperf forgets the latter once a data host is given.
        """
        if self.data_local_host is not None or self.data_host is not None:
            return self.data_local_host
        return self.local_host

    def spec(self, local_port: int, remote_port: int) -> TestSpec:
        """The test as the session wants it.

        A test whose protocol or direction was changed (``-t TCP_RR -- -T udp``) takes the
        name of what it has become, so that it is printed as that.

        Raises:
            SpecError: A value makes no sense.
        """
        from xenrr.results.record import CONNECT_PORTS, OMNI, TESTS, TestSpec

        shape = (self.protocol, self.direction, self.connecting)
        name = self.test
        if TESTS.get(name) != shape and name != OMNI:
            name = next((each for each in MIGRATED if TESTS[each] == shape), OMNI)
        return TestSpec(
            test=name, protocol=shape[0], direction=shape[1], connecting=shape[2],
            request_bytes=self.request_bytes, response_bytes=self.response_bytes,
            duration_s=self.duration_s, transactions=self.transactions,
            limit_bytes=self.limit_bytes, burst=self.burst, local=self.local.spec(),
            remote=self.remote.spec(), nodelay=self.nodelay, cork=self.cork,
            keepalive=self.keepalive, routing=self.routing,
            copy_avoidance=self.copy_avoidance, plain_write=self.plain_write,
            spin=self.spin, busy_poll_us=self.busy_poll_us, fast_open=self.fast_open,
            defer_accept=self.defer_accept, packet_info=self.packet_info,
            dont_fragment=self.dont_fragment, max_segment=self.max_segment,
            pacing_rate=self.pacing_rate,
            multicast_ttl=self.multicast_ttl, socket_debug=self.socket_debug,
            retry_connect=self.retry_connect, no_control=self.no_control,
            connect_ports=self.connect_ports or CONNECT_PORTS, local_data_port=local_port,
            remote_data_port=remote_port, data_host=self.data_host,
            data_local_host=self.data_source, data_family=self.data_family,
            wait_s=self.wait_s, interim_s=0.0 if self.json else self.interim_s,
            loss_timeout_s=self.loss_timeout_s, flows=self.flows, rate_tps=self.rate_tps,
            rate_per_flow=self.rate_per_flow, poisson=self.poisson, seed=self.seed,
            poller=self.poller, decompose=self.decompose)


def parse_client(args: Sequence[str]) -> ClientOptions:
    """Read the arguments that follow the program's name.

    Raises:
        Ending: netperf would end here: help, version, a mistake.
        SpecError: A value makes no sense.
    """
    # They import this module; and each kind of test needs only one of the latter two.
    from xenrr.netperf.global_options import GLOBAL, take_global

    options = ClientOptions()
    options.command_line = " ".join((PROGRAM, *args))
    scanner = Scanner(PROGRAM, args, GLOBAL, LONG)
    for item in scanner:
        if isinstance(item, Mistake):
            raise _misused(item.text)
        option, value = item
        if option in LONG:
            _take_long(options, option, value or "")
        else:
            take_global(options, option, value or "")
    if options.is_classic:
        from xenrr.netperf import classic_options

        _scan_test(options, scanner.rest, classic_options.CLASSIC, classic_options.take_classic)
        classic_options.settle(options)
    elif options.test in OMNI_TESTS:
        from xenrr.netperf import test_options

        taker = test_options.OmniScan(options)
        _scan_test(options, scanner.rest, test_options.OMNI, taker.take)
        taker.settle()
    return options


def version_text() -> str:
    """What --version prints."""
    from xenrr import __version__

    return f"xenrr {__version__} (in the words of netperf 2.7.0)\n"


def _misused(text: str) -> Ending:
    from xenrr.netperf.usage import CLIENT

    return Ending(CODE_FAILED, err=f"{text}\n{CLIENT}")


def _scan_test(options: ClientOptions, words: Sequence[str], letters: Mapping[str, str],
               take: Callable[[ClientOptions, str, str | None], None]) -> None:
    for item in Scanner(PROGRAM, words, letters, LONG):
        if isinstance(item, Mistake):
            if item.is_long:
                raise _misused(item.text)
            options.remarks.append(f"{item.text}\n")
            continue
        option, value = item
        if option in LONG:
            _take_long(options, option, value or "")
        else:
            take(options, option, value)


def _take_long(options: ClientOptions, name: str, value: str) -> None:
    if name == "version":
        raise Ending(0, version_text())
    if name == "json":
        options.json = True
    elif name == "spin":
        options.spin = True
    elif name == "decompose":
        options.decompose = True
    elif name == "busy-poll":
        options.busy_poll_us = parse_busy_poll(value)
    elif name == "engine":
        options.engine = parse_engine(value)
    elif name in ("flows", "seed"):
        setattr(options, name, count(value, f"--{name}"))
    elif name == "rate":
        options.rate_tps, options.rate_per_flow = parse_flow_rate(value)
    elif name == "arrivals":
        options.poisson = parse_arrivals(value)
    elif name == "poller":
        options.poller = parse_poller(value)
    else:
        from xenrr.netperf.latency import DEFAULT_PERCENTS, parse_percents

        options.percentiles = parse_percents(value) if value else DEFAULT_PERCENTS
