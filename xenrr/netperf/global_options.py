"""netperf's options for any test: those before ``--``.

Source: netperf 2.7.0 src/netsh.c, scan_cmd_line(), and runs of Debian's build.
"""

from __future__ import annotations

from xenrr.netperf import getopt
from xenrr.netperf.ending import CODE_FAILED, CODE_LOST, Ending, bad_level
from xenrr.netperf.getopt import FLAG, NUMBER_IF_NEXT, VALUE
from xenrr.netperf.option_values import count, interval_us, parse_tos, take_address
from xenrr.netperf.options import VERSION_LINE, ClientOptions
from xenrr.units import parse_duration, parse_number

__all__ = ["ENDLESS_S", "GLOBAL", "take_global"]

GLOBAL = {**dict.fromkeys("46dhjNrSV", FLAG), **dict.fromkeys("cC", NUMBER_IF_NEXT),
          **dict.fromkeys("AaBbDFfHIiKkLlnOoPpsTtvWwYyZ", VALUE)}

# netperf's -l 0: until somebody interrupts. The longest that a TestSpec takes, 115 days.
ENDLESS_S = 10_000_000.0
# Of the interval for -i without -I, as a share of the mean.
DEFAULT_WIDTH = 0.05
# -D 0 asks for a line per transaction; this is as often as the engines report.
SHORTEST_INTERIM_S = 0.001
# Where -b or -w is given alone: the interval that netperf takes, and one unit each.
DEFAULT_PACE_US = 1000
DEFAULT_PACE_BURST = 1
# netserver's buffer for the name of its fill file, end mark included.
REMOTE_FILE_CHARACTERS = 32

SWITCHES = {"N": "no_control", "S": "keepalive", "j": "histogram", "r": "result_only"}
TEXTS = {"B": "brand", "Z": "passphrase"}
ADDRESSES = {"H": "", "L": "local_"}
# Pairs of numbers, where one value without a comma stands for both.
PAIRS = {"a": ("local.send_alignment", "local.receive_alignment"),
         "A": ("remote.send_alignment", "remote.receive_alignment"),
         "o": ("local.send_offset", "local.receive_offset"),
         "O": ("remote.send_offset", "remote.receive_offset"),
         "T": ("local.cpu", "remote.cpu"),
         "y": ("local.priority", "remote.priority")}


def take_global(options: ClientOptions, letter: str, value: str) -> None:
    """Do what one option says; an option without a value comes with an empty one.

    Raises:
        Ending: Help, version, or something that netperf ends at.
        SpecError: The value makes no sense.
    """
    if letter == "h":
        from xenrr.netperf.usage import CLIENT

        raise Ending(CODE_FAILED, err=CLIENT)
    if letter == "V":
        raise Ending(0, VERSION_LINE)
    if letter in SWITCHES:
        setattr(options, SWITCHES[letter], True)
    elif letter in TEXTS:
        setattr(options, TEXTS[letter], value)
    elif letter in PAIRS:
        take_pair(options, letter, value, PAIRS[letter])
        options.cpu_binding = options.cpu_binding or letter == "T"
    elif letter in TAKERS:
        TAKERS[letter](options, value)
    elif letter in ADDRESSES:
        take_address(options, value, ADDRESSES[letter])
    elif letter in "46":
        options.host_family = options.local_family = int(letter)
    elif letter in "cC":
        # The rate was for calibrated loops; /proc/stat needs none.
        (options.local if letter == "c" else options.remote).measure_cpu = True
    elif letter in "kK":
        # Debian's netperf is built without it, says so and goes on.
        options.notices.append("I don't know how to get dirty.\n")
    elif letter in "iI":
        _take_confidence(options, letter, value)
    # -d prints nothing more here; -n was for systems that do not tell their CPUs.


def take_pair(options: ClientOptions, letter: str, text: str, names: tuple[str, str]) -> None:
    """Put the numbers of ``a,b`` where they belong; one without a comma stands for both.

    Args:
        options: What they go to.
        letter: The option, for a message.
        text: As typed.
        names: Attributes, as ``local.cpu``.

    Raises:
        SpecError: One of them is no number.
    """
    for name, half in zip(names, getopt.split_pair(text, copy=True)):
        if half is not None:
            end, _, attribute = name.partition(".")
            setattr(getattr(options, end), attribute, count(half, f"-{letter}"))


def _take_ports(options: ClientOptions, value: str) -> None:
    port, local_port = getopt.split_pair(value, copy=False)
    options.port = port or options.port
    options.local_port = local_port or options.local_port


def _take_test(options: ClientOptions, value: str) -> None:
    options.test, options.test_typed = value.upper(), value


def _take_length(options: ClientOptions, text: str) -> None:
    length_s = parse_duration(text, "-l")
    options.duration_s, options.transactions = length_s or ENDLESS_S, None
    if length_s < 0:
        options.duration_s, options.transactions = None, -count(text, "-l")


def _take_wait(options: ClientOptions, text: str) -> None:
    options.wait_s = parse_duration(text, "-s")


def _take_demo(options: ClientOptions, text: str) -> None:
    # A negative time makes netperf look at the clock after every unit, which the loops here
    # always do; so they need no guess of units per interval either.
    every, units = getopt.split_pair(text, copy=False)
    if units is not None:
        count(units, "-D")
    options.interim_s = 1.0 if every is None else max(
        abs(parse_duration(every, "-D")), SHORTEST_INTERIM_S)


def _take_tos(options: ClientOptions, text: str) -> None:
    local, remote = getopt.split_pair(text, copy=True)
    if local is not None:
        options.local.tos = parse_tos(local, options.remarks)
    if remote is not None:
        # Said once when one value stands for both.
        said = options.remarks if remote != local else []
        options.remote.tos = parse_tos(remote, said)


def _take_widths(options: ClientOptions, text: str) -> None:
    # One pair for both ends: netperf tells netserver its own.
    for end in (options.local, options.remote):
        send, receive = getopt.split_pair(text, copy=True)
        end.send_width = count(send, "-W") if send else end.send_width
        end.receive_width = count(receive, "-W") if receive else end.receive_width


def _take_fill(options: ClientOptions, text: str) -> None:
    local, remote = getopt.split_pair(text, copy=False)
    options.local.fill_file = local or options.local.fill_file
    if remote is not None:
        if len(remote.encode(errors="surrogateescape")) >= REMOTE_FILE_CHARACTERS:
            raise Ending(CODE_LOST, err="Remote fill file name must be less than "
                                        f"{REMOTE_FILE_CHARACTERS} characters\n")
        options.remote.fill_file = remote


def _take_pace(options: ClientOptions, text: str) -> None:
    local, remote = getopt.split_pair(text, copy=False)
    if local is not None:
        options.local.pace_us = interval_us(local, "-w")
        # netperf paces only once -b is there too; whoever types -w alone wants a pace.
        options.local.pace_burst = options.local.pace_burst or DEFAULT_PACE_BURST
    if remote is not None:
        options.remote.pace_us = interval_us(remote, "-w")


def _take_pace_burst(options: ClientOptions, text: str) -> None:
    local, remote = getopt.split_pair(text, copy=False)
    for end, half in ((options.local, local), (options.remote, remote)):
        if half is not None:
            end.pace_burst = count(half, "-b")
            end.pace_us = end.pace_us or DEFAULT_PACE_US


def _take_unit(options: ClientOptions, text: str) -> None:
    options.unit = text[:1]


def _take_verbosity(options: ClientOptions, text: str) -> None:
    options.verbosity = getopt.leading_integer(text)


def _take_headers(options: ClientOptions, text: str) -> None:
    options.headers = getopt.leading_integer(text) != 0


def _take_confidence(options: ClientOptions, letter: str, text: str) -> None:
    from xenrr.netperf.confidence import MAX_ITERATIONS, MIN_ITERATIONS

    first, second = getopt.split_pair(text, copy=True)
    if letter == "i":
        most = count(first, "-i") if first else options.max_iterations
        least = count(second, "-i") if second else options.min_iterations
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


def _within(value: int, least: int, most: int) -> int:
    return min(max(value, least), most)


TAKERS = {"b": _take_pace_burst, "D": _take_demo, "F": _take_fill, "f": _take_unit,
          "l": _take_length, "P": _take_headers,
          "p": _take_ports, "s": _take_wait, "t": _take_test, "v": _take_verbosity,
          "W": _take_widths, "w": _take_pace, "Y": _take_tos}
