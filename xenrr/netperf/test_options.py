"""Options of OMNI and of the tests built on it: those after ``--``.

A test's name is a set of defaults: protocol, direction, whether it makes connections. Options
change them, as they do in netperf: ``-t TCP_RR -- -T udp`` is a UDP_RR. Only OMNI lets
``-d``, ``-m``, ``-M`` and ``-r`` choose the direction.

Source: netperf 2.7.0 src/nettest_omni.c, scan_omni_args(), and src/netsh.c,
parse_direction() and parse_protocol(); -f and -q are of its later versions.
"""

from __future__ import annotations

from xenrr.errors import SpecError
from xenrr.netperf import getopt, usage
from xenrr.netperf.ending import CODE_FAILED, Ending
from xenrr.netperf.getopt import FLAG, VALUE, WORD_IF_NEXT
from xenrr.netperf.global_options import take_pair
from xenrr.netperf.option_values import c_integer, count, guess, take_address
from xenrr.netperf.options import FORMS, ClientOptions
from xenrr.units import parse_duration

__all__ = ["OMNI", "SHARED", "OmniScan", "take_shared"]

OMNI = {**dict.fromkeys("46aBcCDFfghInNUV", FLAG), **dict.fromkeys("koO", WORD_IF_NEXT),
        **dict.fromkeys("bdeGHijKlLmMpPqrRsStTuWw", VALUE)}

TRANSMIT, RECEIVE = 2, 4
# Protocol, direction and connecting of every name.
DEFAULTS = {
    "TCP_STREAM": ("tcp", TRANSMIT, False), "TCP_MAERTS": ("tcp", RECEIVE, False),
    "TCP_RR": ("tcp", TRANSMIT | RECEIVE, False), "TCP_CRR": ("tcp", TRANSMIT | RECEIVE, True),
    "UDP_STREAM": ("udp", TRANSMIT, False), "UDP_RR": ("udp", TRANSMIT | RECEIVE, False),
}
DIRECTIONS = {TRANSMIT: "send", RECEIVE: "receive", TRANSMIT | RECEIVE: "rr", 0: "none"}
DIRECTION_WORDS = {
    **dict.fromkeys(("xmit", "send", "stream", "transmit"), TRANSMIT),
    **dict.fromkeys(("recv", "receive", "maerts"), RECEIVE), "rr": TRANSMIT | RECEIVE}
# Protocols that netperf knows by name; only the first two are not refused.
PROTOCOLS = ("tcp", "udp", "sctp", "dccp", "udplite")
# Nothing on Linux answers to this name, and netperf takes the default: TCP.
UNNUMBERED = "sdp"
STREAM, DATAGRAM = "stream", "dgram"
# -N without -P: services that answer such a test on many systems.
SERVICES = {"send": "discard", "receive": "chargen", "rr": "echo", "none": "echo"}

# Letters that the older tests have as well.
SHARED = "46HLPpRrSsW"
ADDRESSES = {"H": "data_", "L": "data_local_"}

SWITCHES = {"a": "defer_accept", "B": "packet_info", "C": "cork", "c": "connecting",
            "D": "nodelay", "F": "fast_open", "f": "dont_fragment", "g": "socket_debug",
            "I": "plain_write", "U": "retry_connect", "V": "copy_avoidance"}
NUMBERS = {"b": "burst", "G": "max_segment", "l": "multicast_ttl", "q": "pacing_rate"}
PAIRS = {"s": ("local.send_buffer", "local.receive_buffer"),
         "S": ("remote.send_buffer", "remote.receive_buffer")}
# What each half of -m and -M sizes, and the direction it implies.
CALL_SIZES = {
    "m": (("local", "send_bytes", TRANSMIT), ("remote", "send_bytes", RECEIVE)),
    "M": (("remote", "receive_bytes", TRANSMIT), ("local", "receive_bytes", RECEIVE))}
# -n and -N: UDP sockets are connected here anyway. -j and -w: netperf reads them and has no
# use for them.
NO_EFFECT = "nNjw"


class OmniScan:
    """One pass over the options of such a test, and what only the end of it settles."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._free = options.test == "OMNI"
        protocol, self._direction, connecting = DEFAULTS.get(options.test, ("tcp", 0, False))
        options.protocol, options.connecting = protocol, connecting
        self._implied = self._free
        self._type = DATAGRAM if protocol == "udp" else STREAM
        self._sized = False

    def take(self, options: ClientOptions, letter: str, value: str | None) -> None:
        """Do what one option says.

        Raises:
            Ending: Help.
            SpecError: The value makes no sense.
        """
        text = value or ""
        if letter == "h":
            raise Ending(CODE_FAILED, usage.CLIENT_TEST)
        if letter in FORMS:
            options.form, options.selectors = FORMS[letter], value
        elif letter in SWITCHES:
            setattr(options, SWITCHES[letter], True)
        elif letter in NUMBERS:
            setattr(options, NUMBERS[letter], count(text, f"-{letter}"))
        elif letter in SHARED:
            take_shared(options, letter, text, masked=True)
            if letter == "r":
                self._sized = True
                self._imply(TRANSMIT | RECEIVE)
        elif letter == "d":
            if self._free:
                self._direction, self._implied = self._parse_direction(text), False
        elif letter in CALL_SIZES:
            self._take_call_sizes(letter, text)
        elif letter == "T":
            self._take_protocol(text)
        elif letter == "t":
            self._type = next((each for each in (STREAM, DATAGRAM) if each in text), text)
        elif letter == "i":
            options.remarks.append("netperf: the test option -i has no effect\n")
        elif letter == "e":
            options.loss_timeout_s = parse_duration(text, "-e")
        elif letter == "K":
            local, remote = getopt.split_pair(text, copy=True)
            options.local.congestion = local or options.local.congestion
            options.remote.congestion = remote or options.remote.congestion
        elif letter == "u":
            options.uuid = text
        else:
            assert letter in NO_EFFECT, letter

    def settle(self) -> None:
        """What follows from all options together.

        Raises:
            SpecError: They contradict each other.
        """
        options = self._options
        if not self._direction and not options.connecting:
            self._direction = TRANSMIT
        options.direction = DIRECTIONS.get(self._direction & (TRANSMIT | RECEIVE), "none")
        if options.direction == "none" and not options.connecting:
            raise SpecError("-d: a test has to send (2), to receive (4), or both (6)")
        wanted = DATAGRAM if options.protocol == "udp" else STREAM
        if options.protocol in ("tcp", "udp") and self._type != wanted:
            raise SpecError(f"-t: {options.protocol} has sockets of type {wanted}, not "
                            f"{self._type!r}; -T names the protocol")
        if options.direction in ("send", "receive"):
            self._settle_one_way()
        if options.no_control:
            if options.remote_data_port == "0":
                options.remote_data_port = SERVICES[options.direction]
            if options.direction == "rr":
                options.response_bytes = options.request_bytes

    def _settle_one_way(self) -> None:
        options = self._options
        if self._sized:
            # netperf's buffers are then as large as a request, and a response.
            options.local.send_bytes = options.remote.receive_bytes = options.request_bytes
            options.remote.send_bytes = options.local.receive_bytes = options.response_bytes
        if not options.connecting:
            options.limit_bytes, options.transactions = options.transactions, None

    def _imply(self, direction: int) -> None:
        if self._implied:
            self._direction |= direction

    def _take_call_sizes(self, letter: str, text: str) -> None:
        halves = getopt.split_pair(text, copy=False)
        for half, (end, name, direction) in zip(halves, CALL_SIZES[letter]):
            if half is not None:
                # 0 is netperf's own mark for the size of the socket buffer.
                setattr(getattr(self._options, end), name, count(half, f"-{letter}") or -1)
                self._imply(direction)

    def _parse_direction(self, text: str) -> int:
        bits = 0
        for word in filter(None, map(str.strip, text.split("|"))):
            known = DIRECTION_WORDS.get(word.lower())
            number = c_integer(word) if known is None else known
            if number is None and (meant := guess(word.lower(), DIRECTION_WORDS)):
                self._options.remarks.append(
                    f"netperf: -d: there is no direction {word!r}{meant}\n")
            bits |= number or 0
        return bits

    def _take_protocol(self, text: str) -> None:
        word = text.strip().lower()
        if word in ("tcp", "udp"):
            self._options.protocol = word
            self._type = DATAGRAM if word == "udp" else STREAM
        elif word in PROTOCOLS:
            self._options.protocol = word
        else:
            # netperf asks for the default of the socket type it has so far.
            self._options.protocol = "udp" if self._type == DATAGRAM else "tcp"
            if word != UNNUMBERED and (meant := guess(word, PROTOCOLS)):
                self._options.remarks.append(
                    f"netperf: -T: there is no protocol {text!r}, "
                    f"{self._options.protocol} is taken{meant}\n")


def take_shared(options: ClientOptions, letter: str, text: str, masked: bool) -> None:
    """Do what one of the ``SHARED`` options says.

    Args:
        options: What it goes to.
        letter: The option.
        text: Its value, empty where it has none.
        masked: Whether an address may have a mask.

    Raises:
        SpecError: The value makes no sense.
    """
    if letter in "46":
        options.data_family = options.data_local_family = int(letter)
    elif letter in ADDRESSES:
        take_address(options, text, ADDRESSES[letter], masked)
    elif letter in PAIRS:
        take_pair(options, letter, text, PAIRS[letter])
    elif letter == "P":
        local, remote = getopt.split_pair(text, copy=True)
        options.local_data_port = local or options.local_data_port
        options.remote_data_port = remote or options.remote_data_port
    elif letter == "p":
        _take_port_range(options, text)
    elif letter == "R":
        options.routing = getopt.leading_integer(text) != 0
    elif letter == "r":
        request, response = getopt.split_pair(text, copy=True)
        options.request_bytes = count(request, "-r") if request else options.request_bytes
        options.response_bytes = count(response, "-r") if response else options.response_bytes
    else:
        options.local.send_width = options.remote.send_width = count(text, "-W")


def _take_port_range(options: ClientOptions, text: str) -> None:
    from xenrr.results.record import CONNECT_PORTS

    low, high = options.connect_ports or CONNECT_PORTS
    first, second = getopt.split_pair(text, copy=True)
    low = count(first, "-p") if first else low
    high = count(second, "-p") if second else high
    # A range that ends before it begins is one port: netperf starts over at the lowest.
    options.connect_ports = (low, max(low, high))
