"""The header line, printed before the test runs and whatever form the results take.

Debian's netperf 2.7.0 is built with demo and burst, without histogram, intervals and dirty
data; the line says so and so does ours. A paced test is the exception: xenrr does pace, and
says what netperf says when it was built to.
"""

from __future__ import annotations

from xenrr.netperf.messages import FAMILY_NAMES
from xenrr.netperf.names import DataEnds
from xenrr.netperf.options import ClientOptions

__all__ = ["TITLES", "banner", "direction_name"]

TITLES = {
    "TCP_STREAM": "MIGRATED TCP STREAM TEST",
    "TCP_MAERTS": "MIGRATED TCP MAERTS TEST",
    "TCP_RR": "MIGRATED TCP REQUEST/RESPONSE TEST",
    "TCP_CRR": "MIGRATED TCP Connect/Request/Response TEST",
    "UDP_STREAM": "MIGRATED UDP STREAM TEST",
    "UDP_RR": "MIGRATED UDP REQUEST/RESPONSE TEST",
    "TCP_CC": "TCP Connect/Close TEST",
    "TCP_SENDFILE": "TCP SENDFILE TEST",
    "TCP_MSS": "TCP MSS TEST",
}
# netperf looks for this in the title to find out whether a first burst is of interest.
BURST_TITLE = "REQUEST/RESPONSE"

# From 2.6.0 on the address is formatted into a buffer whose size is taken for that of a
# pointer: any text of 8 or more characters comes out empty (runs of 2.7.0, 64 bit).
SHOWN_ADDRESS_CHARACTERS = 7


def banner(options: ClientOptions, ends: DataEnds) -> str:
    """The header line of a test, with its line end."""
    family = FAMILY_NAMES[ends.family]
    title = TITLES.get(options.test) or f"OMNI {direction_name(options)} TEST"
    line = (f"{title} from {ends.local_host} ({_shown(ends.local_address)})"
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
    if options.copy_avoidance:
        line += " : copy avoidance"
    if options.no_control:
        line += " : no control"
    if options.local.pace_burst:
        line += " : interval"
    line += " : demo"
    if BURST_TITLE in title:
        line += f" : first burst {options.burst}"
    if options.cpu_binding:
        line += " : cpu bind"
    return f"{line}\n"


def direction_name(options: ClientOptions) -> str:
    """netperf's word for the direction of a test."""
    if options.direction == "rr":
        return "Connect|Send|Recv" if options.connecting else "Send|Recv"
    return {"send": "Send", "receive": "Receive"}.get(options.direction, "Connection")


def _shown(address: str) -> str:
    return address if len(address) <= SHOWN_ADDRESS_CHARACTERS else ""
