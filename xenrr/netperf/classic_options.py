"""Options of the tests that netperf never moved to OMNI: TCP_CC, TCP_SENDFILE, TCP_MSS.

Fewer letters than OMNI's, ``-m`` and ``-M`` take one value, and an address has no mask.

Source: netperf 2.7.0 src/nettest_bsd.c, scan_sockets_args(), and runs of Debian's build.
"""

from __future__ import annotations

from xenrr.netperf import usage
from xenrr.netperf.ending import CODE_FAILED, CODE_LOST, Ending
from xenrr.netperf.getopt import FLAG, VALUE
from xenrr.netperf.option_values import count
from xenrr.netperf.options import ClientOptions
from xenrr.netperf.test_options import SHARED, take_shared

__all__ = ["CLASSIC", "settle", "take_classic"]

CLASSIC = {**dict.fromkeys("46CDhNnVz", FLAG), **dict.fromkeys("bHLmMpPrRsSTwW", VALUE)}
SHAPES = {"TCP_CC": ("none", True), "TCP_SENDFILE": ("send", False),
          "TCP_MSS": ("send", False)}

SWITCHES = {"C": "cork", "D": "nodelay"}
# UDP is not among these tests; -T, -w and -z are read and forgotten.
NO_EFFECT = "nNTwz"


def take_classic(options: ClientOptions, letter: str, value: str | None) -> None:
    """Do what one option says.

    Raises:
        Ending: Help.
        SpecError: The value makes no sense.
    """
    text = value or ""
    if letter == "h":
        raise Ending(CODE_FAILED, usage.CLIENT_CLASSIC)
    if letter in SWITCHES:
        setattr(options, SWITCHES[letter], True)
    elif letter in SHARED:
        take_shared(options, letter, text, masked=False)
    elif letter == "b":
        options.burst = count(text, "-b")
    elif letter == "m":
        options.local.send_bytes = count(text, "-m") or -1
    elif letter == "M":
        options.remote.receive_bytes = count(text, "-M") or -1
    elif letter == "V":
        # Only for the systems of its time; the banner says it was asked for.
        options.copy_avoidance = True
        options.notices.append("Local send copy avoidance not available.\n"
                               "Local recv copy avoidance not available.\n")
    else:
        assert letter in NO_EFFECT, letter


def settle(options: ClientOptions) -> None:
    """What follows from all options together.

    Raises:
        Ending: Without a control connection somebody has to say where the test goes.
    """
    options.protocol = "tcp"
    options.direction, options.connecting = SHAPES[options.test]
    if options.direction == "send":
        options.limit_bytes, options.transactions = options.transactions, None
    if options.no_control and options.remote_data_port == "0":
        if options.direction != "send" or options.test == "TCP_MSS":
            raise Ending(CODE_LOST, f"No default port known for the {options.test} test, "
                                    "please set one yourself\n")
        options.remote_data_port = "discard"
