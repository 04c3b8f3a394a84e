"""The header line, printed before the test runs and whatever form the results take.

Debian's netperf 2.7.0 is built with demo and burst, without histogram, intervals and dirty
data; the line says so and so does ours.
"""

from __future__ import annotations

from xenrr.netperf.messages import FAMILY_NAMES
from xenrr.netperf.names import DataEnds
from xenrr.netperf.options import ClientOptions

__all__ = ["TITLES", "banner"]

TITLES = {"TCP_RR": "TCP REQUEST/RESPONSE", "UDP_RR": "UDP REQUEST/RESPONSE"}

# From 2.6.0 on the address is formatted into a buffer whose size is taken for that of a
# pointer: any text of 8 or more characters comes out empty (runs of 2.7.0, 64 bit).
SHOWN_ADDRESS_CHARACTERS = 7


def banner(options: ClientOptions, ends: DataEnds) -> str:
    """The header line of a test, with its line end."""
    family = FAMILY_NAMES[ends.family]
    line = (f"MIGRATED {TITLES[options.test]} TEST"
            f" from {ends.local_host} ({_shown(ends.local_address)})"
            f" port {ends.local_port} {family}"
            f" to {ends.remote_host} ({_shown(ends.remote_address)})"
            f" port {ends.remote_port} {family}")
    if options.max_iterations > 1:
        line += (f" : +/-{100 * options.confidence_width / 2:3.3f}% @ "
                 f"{options.confidence_level:2d}% conf. ")
        if options.result_only:
            line += " on result only"
    if options.nodelay:
        line += " : nodelay"
    return f"{line} : demo : first burst {options.burst}\n"


def _shown(address: str) -> str:
    return address if len(address) <= SHOWN_ADDRESS_CHARACTERS else ""
