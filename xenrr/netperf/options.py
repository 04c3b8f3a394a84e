"""The command line of netperf: what is typed becomes what is to be done.

Two lists in one: options for any test, then ``--``, then those of the test. What netperf
2.7.0 has and xenrr does not have yet is refused in one sentence, because a test that leaves
out what was asked for measures something else. An unknown option is what it is to netperf:
fatal before ``--``, a remark after it.

Nothing heavy is imported here: ``-V`` has to be as quick as a shell script expects.
"""

from __future__ import annotations

from xenrr.errors import SpecError
from xenrr.netperf import getopt, usage
from xenrr.netperf.confidence import MAX_ITERATIONS, MIN_ITERATIONS
from xenrr.netperf.ending import CODE_FAILED, Ending, bad_level, not_yet
from xenrr.netperf.getopt import FLAG, NUMBER_IF_NEXT, VALUE, WORD_IF_NEXT, Mistake, Scanner
from xenrr.units import parse_count, parse_duration, parse_number

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Sequence

    from xenrr.results.record import TestSpec

__all__ = ["CSV", "HUMAN", "KEYVAL", "TABLE", "VERSION_LINE", "ClientOptions", "parse_client",
           "parse_engine",
           "parse_family", "version_text"]

# Exactly netperf's, so that scripts which compare it are content; xenrr names itself under
# --version.
VERSION_LINE = "Netperf version 2.7.0\n"
PROGRAM = "netperf"

# Forms of the results.
TABLE, CSV, KEYVAL, HUMAN = "table", "csv", "keyval", "human"
FORMS = {"o": CSV, "O": HUMAN, "k": KEYVAL}

# netperf's -l 0: until somebody interrupts. The longest that a TestSpec takes, 115 days.
ENDLESS_S = 10_000_000.0
# Of the interval for -i without -I, as a share of the mean.
DEFAULT_WIDTH = 0.05
# -D 0 asks for a line per transaction; this is as often as the engines report.
SHORTEST_INTERIM_S = 0.001

GLOBAL = {**dict.fromkeys("46dhjNrSV", FLAG), **dict.fromkeys("cC", NUMBER_IF_NEXT),
          **dict.fromkeys("AaBbDFfHIiKkLlnOoPpsTtvWwYyZ", VALUE)}
TEST = {**dict.fromkeys("46aBcCDFghInNUV", FLAG), **dict.fromkeys("koO", WORD_IF_NEXT),
        **dict.fromkeys("bdeGHijKlLmMpPrRsStTuW", VALUE)}
LONG = {"engine": VALUE, "json": FLAG, "percentiles": NUMBER_IF_NEXT, "version": FLAG}

GLOBAL_LATER = {
    "A": "remote alignment", "a": "local alignment", "C": "remote CPU utilisation",
    "c": "local CPU utilisation", "F": "fill files", "N": "a test without control connection",
    "n": "a number of CPUs", "O": "remote buffer offsets", "o": "local buffer offsets",
    "S": "SO_KEEPALIVE", "T": "CPU binding", "W": "buffer rings", "Y": "IP_TOS",
    "y": "SO_PRIORITY"}
# Debian's netperf is built without these; it says so and goes on.
NOT_COMPILED_IN = {"b": "Packet burst size is not compiled in. \n",
                   "K": "I don't know how to get dirty.\n",
                   "k": "I don't know how to get dirty.\n",
                   "w": "Packet rate control is not compiled in.\n"}
TEST_LATER = {
    "a": "TCP_DEFER_ACCEPT", "B": "IP_PKTINFO", "C": "TCP_CORK", "c": "connection tests",
    "d": "a direction", "F": "TCP Fast Open", "G": "TCP_MAXSEG", "g": "SO_DEBUG",
    "I": "write() instead of send()", "K": "a congestion control", "l": "a multicast TTL",
    "M": "a receive size", "m": "a send size", "p": "a range of local ports",
    "T": "a transport protocol", "t": "a socket type", "U": "repeated connecting",
    "V": "copy avoidance", "W": "a ring width"}
# -n, -N: UDP sockets are connected here anyway. -j, -i: netperf has no use for them.
TEST_NO_EFFECT = "nNji"


class ClientOptions:
    """What was typed, checked as far as that goes without the network.

    The defaults are netperf's. ``test`` is in upper case; ``data_source`` is the local data
    address as typed, ``None`` for any; ports are texts because they may be service names.
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
        # Test.
        self.test = "TCP_STREAM"
        self.test_typed = "TCP_STREAM"
        self.duration_s: float | None = 10.0
        self.transactions: int | None = None
        self.request_bytes = 1
        self.response_bytes = 1
        self.burst = 0
        self.nodelay = False
        self.wait_s = 0.0
        self.loss_timeout_s = 1.0
        self.interim_s = 0.0
        self.local_send_buffer = -1
        self.local_receive_buffer = -1
        self.remote_send_buffer = -1
        self.remote_receive_buffer = -1
        self.engine = "auto"
        # Data connection.
        self.data_host: str | None = None
        self.data_family = 0
        self.data_local_host: str | None = None
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
    def data_source(self) -> str | None:
        """Local address of the data connection: its own -L, else that of the control one.

        netperf forgets the latter once a data host is given.
        """
        if self.data_local_host is not None or self.data_host is not None:
            return self.data_local_host
        return self.local_host

    def spec(self, local_port: int, remote_port: int) -> TestSpec:
        """The test as the session wants it.

        Raises:
            SpecError: A value makes no sense.
        """
        from xenrr.results.record import EndSpec, TestSpec

        return TestSpec(
            test=self.test, request_bytes=self.request_bytes,
            response_bytes=self.response_bytes, duration_s=self.duration_s,
            transactions=self.transactions, burst=self.burst,
            local=EndSpec(self.local_send_buffer, self.local_receive_buffer),
            remote=EndSpec(self.remote_send_buffer, self.remote_receive_buffer),
            nodelay=self.nodelay,
            local_data_port=local_port, remote_data_port=remote_port,
            data_host=self.data_host, data_local_host=self.data_source,
            data_family=self.data_family, wait_s=self.wait_s,
            interim_s=0.0 if self.json else self.interim_s,
            loss_timeout_s=self.loss_timeout_s)


def parse_client(args: Sequence[str]) -> ClientOptions:
    """Read the arguments that follow the program's name.

    Raises:
        Ending: netperf would end here: help, version, a mistake, something not there yet.
        SpecError: A value makes no sense.
    """
    options = ClientOptions()
    options.command_line = " ".join((PROGRAM, *args))
    scanner = Scanner(PROGRAM, args, GLOBAL, LONG)
    for item in scanner:
        if isinstance(item, Mistake):
            raise Ending(CODE_FAILED, err=f"{item.text}\n{usage.CLIENT}")
        option, value = item
        if option in LONG:
            _take_long(options, option, value or "")
        else:
            _take_global(options, option, value or "")
    for item in Scanner(PROGRAM, scanner.rest, TEST, LONG):
        if isinstance(item, Mistake):
            if item.is_long:
                raise Ending(CODE_FAILED, err=f"{item.text}\n{usage.CLIENT}")
            options.remarks.append(f"{item.text}\n")
            continue
        option, value = item
        if option in LONG:
            _take_long(options, option, value or "")
        else:
            _take_test(options, option, value)
    return options


def parse_family(text: str, notices: list[str]) -> int:
    """Family in ``host,family``: 4, 6, or 0 for any.

    Source: netperf 2.7.0 src/netlib.c, parse_address_family(): it searches, so "inet6" is
    IPv6 and "AF_INET" IPv4. What it says about anything else goes to ``notices``.
    """
    word = text.lower()
    if "6" in word:
        return 6
    if "inet" in word or "4" in word:
        return 4
    if "unspec" not in word and "0" not in word:
        notices.append(
            f"WARNING! {text} not recognized as an address family, using AF_UNPSEC\n"
            "Are you sure netperf was configured for that address family?\n")
    return 0


def version_text() -> str:
    """What --version prints."""
    from xenrr import __version__

    return f"xenrr {__version__} (in the words of netperf 2.7.0)\n"


def _take_long(options: ClientOptions, name: str, value: str) -> None:
    if name == "version":
        raise Ending(0, version_text())
    if name == "json":
        options.json = True
    elif name == "engine":
        options.engine = parse_engine(value)
    else:
        from xenrr.netperf.latency import DEFAULT_PERCENTS, parse_percents

        options.percentiles = parse_percents(value) if value else DEFAULT_PERCENTS


def parse_engine(text: str) -> str:
    """The argument of --engine.

    Raises:
        SpecError: There is no such engine.
    """
    if text not in ("auto", "hot", "pure"):
        raise SpecError(f"--engine: there is no engine {text!r}; there are auto, hot and pure")
    return text


def _take_global(options: ClientOptions, letter: str, value: str) -> None:
    if letter in GLOBAL_LATER:
        raise not_yet(f"-{letter} ({GLOBAL_LATER[letter]})")
    if letter in NOT_COMPILED_IN:
        options.notices.append(NOT_COMPILED_IN[letter])
    elif letter == "h":
        raise Ending(CODE_FAILED, err=usage.CLIENT)
    elif letter == "V":
        raise Ending(0, VERSION_LINE)
    elif letter in "46":
        options.host_family = options.local_family = int(letter)
    elif letter == "H":
        host, family = getopt.split_pair(value, copy=False)
        options.host = host or options.host
        options.host_family = _family(family, options, options.host_family)
    elif letter == "L":
        host, family = getopt.split_pair(value, copy=False)
        options.local_host = host or options.local_host
        options.local_family = _family(family, options, options.local_family)
    elif letter == "p":
        port, local_port = getopt.split_pair(value, copy=False)
        options.port = port or options.port
        options.local_port = local_port or options.local_port
    elif letter == "t":
        options.test, options.test_typed = value.upper(), value
    elif letter == "l":
        _take_length(options, value)
    elif letter == "s":
        options.wait_s = parse_duration(value, "-s")
    elif letter == "D":
        every, _ = getopt.split_pair(value, copy=False)
        options.interim_s = 1.0 if every is None else max(
            abs(parse_duration(every, "-D")), SHORTEST_INTERIM_S)
    elif letter in "iI":
        _take_confidence(options, letter, value)
    elif letter == "r":
        options.result_only = True
    elif letter == "v":
        options.verbosity = getopt.leading_integer(value)
    elif letter == "P":
        options.headers = getopt.leading_integer(value) != 0
    elif letter == "f":
        options.unit = value[:1]
    elif letter == "B":
        options.brand = value
    elif letter == "Z":
        options.passphrase = value
    elif letter == "j":
        options.histogram = True
    # -d changes nothing here: see usage.py.


def _take_length(options: ClientOptions, text: str) -> None:
    length_s = parse_duration(text, "-l")
    options.duration_s, options.transactions = length_s or ENDLESS_S, None
    if length_s < 0:
        options.duration_s, options.transactions = None, -parse_count(text, "-l")


def _take_confidence(options: ClientOptions, letter: str, text: str) -> None:
    first, second = getopt.split_pair(text, copy=True)
    if letter == "i":
        most = parse_count(first, "-i") if first else options.max_iterations
        least = parse_count(second, "-i") if second else options.min_iterations
        options.min_iterations = _within(least, MIN_ITERATIONS, MAX_ITERATIONS)
        options.max_iterations = _within(most, options.min_iterations, MAX_ITERATIONS)
        if not options.confidence_level:
            options.confidence_level, options.confidence_width = 99, DEFAULT_WIDTH
        return
    options.confidence_level = getopt.leading_integer(first) if first else 0
    if options.confidence_level not in (95, 99):
        raise bad_level()
    options.confidence_width = (parse_number(second, "-I") / 100 if second else
                                options.confidence_width or DEFAULT_WIDTH)
    if options.max_iterations == 1:
        options.max_iterations, options.min_iterations = 10, MIN_ITERATIONS


def _take_test(options: ClientOptions, letter: str, value: str | None) -> None:
    text = value or ""
    later = TEST_LATER.get(letter)
    if letter == "R" and getopt.leading_integer(text) == 0:
        later = "SO_DONTROUTE"
    if later is not None:
        raise not_yet(f"the test option -{letter} ({later})")
    if letter == "h":
        raise Ending(CODE_FAILED, usage.CLIENT_TEST)
    if letter in FORMS:
        options.form, options.selectors = FORMS[letter], value
    elif letter in "46":
        options.data_family = options.data_local_family = int(letter)
    elif letter == "H":
        host, family = getopt.split_pair(text, copy=False)
        options.data_host = _without_mask(host) or options.data_host
        options.data_family = _family(family, options, options.data_family)
    elif letter == "L":
        host, family = getopt.split_pair(text, copy=False)
        options.data_local_host = _without_mask(host) or options.data_local_host
        options.data_local_family = _family(family, options, options.data_local_family)
    elif letter == "P":
        local, remote = getopt.split_pair(text, copy=True)
        options.local_data_port = local or options.local_data_port
        options.remote_data_port = remote or options.remote_data_port
    elif letter == "r":
        request, response = getopt.split_pair(text, copy=True)
        options.request_bytes = _count(request, "-r", options.request_bytes)
        options.response_bytes = _count(response, "-r", options.response_bytes)
    elif letter == "s":
        send, receive = getopt.split_pair(text, copy=True)
        options.local_send_buffer = _count(send, "-s", options.local_send_buffer)
        options.local_receive_buffer = _count(receive, "-s", options.local_receive_buffer)
    elif letter == "S":
        send, receive = getopt.split_pair(text, copy=True)
        options.remote_send_buffer = _count(send, "-S", options.remote_send_buffer)
        options.remote_receive_buffer = _count(receive, "-S", options.remote_receive_buffer)
    elif letter == "b":
        options.burst = parse_count(text, "-b")
    elif letter == "D":
        options.nodelay = True
    elif letter == "e":
        options.loss_timeout_s = parse_duration(text, "-e")
    elif letter == "u":
        options.uuid = text
    else:
        assert letter in TEST_NO_EFFECT + "R", letter


def _without_mask(host: str | None) -> str | None:
    if host is not None and "/" in host:
        raise not_yet(f"an address mask ({host})")
    return host


def _count(text: str | None, option: str, default: int) -> int:
    return default if text is None else parse_count(text, option)


def _family(text: str | None, options: ClientOptions, default: int) -> int:
    return default if text is None else parse_family(text, options.notices)


def _within(value: int, least: int, most: int) -> int:
    return min(max(value, least), most)
