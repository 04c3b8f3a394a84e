"""What netperf 2.7.0 says when something is wrong, on which stream, with which exit code.

Scripts look for these texts, so the words, the missing line ends and the odd blanks are
netperf's own. A second line on stderr says in xenrr's words what to do.

Source: runs of Debian's netperf 2.7.0-0.1 against real and broken servers.
"""

from __future__ import annotations

import errno
import os

from xenrr.errors import ConnectionLost, PeerRefused, RemoteProtocolError
from xenrr.lean import socket
from xenrr.netperf.ending import CODE_FAILED, CODE_LOST, Ending

__all__ = [
    "FAMILY_NAMES",
    "bad_mask",
    "connection_lost",
    "no_connection",
    "no_data_address",
    "no_data_connection",
    "no_fill_file",
    "no_protocol",
    "no_selector_file",
    "no_send_file",
    "no_server",
    "not_netperf",
    "remote_error",
    "short_send_file",
    "too_long",
    "unknown_host",
    "unknown_test",
]

FAMILY_NAMES: dict[int, str] = {
    socket.AF_UNSPEC: "AF_UNSPEC", socket.AF_INET: "AF_INET", socket.AF_INET6: "AF_INET6"}


def _unresolved(host: str, port: str, family: int, why: socket.gaierror) -> str:
    return (f"resolve_host: could not resolve host '{host}' port '{port}' af "
            f"{FAMILY_NAMES[family]}\n"
            f"\tgetaddrinfo returned {why.errno} {why.strerror}\n")


def unknown_host(host: str, family: int, why: socket.gaierror) -> Ending:
    """The name given with -H means nothing."""
    return Ending(CODE_LOST, _unresolved(host, "(null)", family, why)
                  + f"Netperf could not resolve {host} as a host name\n")


def no_connection(ends: str, host: str, port: str, family: int,
                  why: socket.gaierror) -> Ending:
    """One end of the control connection does not resolve."""
    return Ending(CODE_LOST, _unresolved(host, port, family, why) + ends)


def no_server(host: str, port: str, ends: str) -> Ending:
    """Nothing answers where the control connection goes; netperf does not say why."""
    return Ending(
        CODE_LOST,
        "establish control: are you sure there is a netserver listening on "
        f"{host} at port {port}?\n{ends}")


def no_data_address(host: str, port: str, family: int, why: socket.gaierror) -> Ending:
    """One end of the data connection does not resolve."""
    return Ending(CODE_LOST, f"complete_addrinfo: could not resolve '{host}' port '{port}' "
                             f"af {int(family)}\n"
                             f"\tgetaddrinfo returned {why.errno} {why.strerror}\n")


def unknown_test(name: str, meant: str | None) -> Ending:
    """-t with a name that no netperf knows."""
    hint = f"netperf: did you mean {meant}?\n" if meant else ""
    return Ending(
        CODE_FAILED,
        f"The test you requested ({name}) is unknown to this netperf.\n"
        "Please verify that you have the correct test name, \n"
        "and that test family has been compiled into this netperf.\n", hint)


def bad_mask(bits: int) -> Ending:
    """A mask behind an address is longer than the address."""
    return Ending(CODE_LOST, f"Mask length must be between 0 and {bits} inclusive for "
                             "AF_INET\n")


# What Linux without these protocols answers: errno, type of the socket, number of the protocol.
UNSUPPORTED = {"sctp": (errno.EPROTONOSUPPORT, "SOCK_STREAM", "IPPROTO_SCTP"),
               "dccp": (errno.ESOCKTNOSUPPORT, "SOCK_DCCP", "IPPROTO_DCCP")}


def no_protocol(name: str, family: int) -> Ending:
    """A protocol of -T that netperf knows; netserver refuses UDP-Lite, the kernel the rest."""
    if name not in UNSUPPORTED:
        return Ending(CODE_LOST, f"netperf: remote error {errno.EOPNOTSUPP}",
                      f"{os.strerror(errno.EOPNOTSUPP)}\n")
    number, type_name, protocol = UNSUPPORTED[name]
    return Ending(CODE_FAILED, f"netperf: create_data_socket: socket: errno {number} fam "
                               f"{FAMILY_NAMES[family]} type {type_name} "
                               f"prot {protocol} errmsg {os.strerror(number)}\n")


def no_fill_file(name: str, why: OSError) -> Ending:
    """The file of -F cannot be read; netperf says so on stdout and crashes."""
    text = why.strerror or why
    return Ending(CODE_FAILED, f"Could not open requested fill file: {text}\n",
                  f"netperf: -F: {name!r} cannot be read, nothing was measured\n")


def no_send_file(why: OSError) -> Ending:
    """The file that TCP_SENDFILE was to send cannot be read."""
    return Ending(CODE_FAILED, err="alloc_sendfile_buf_ring: Could not open requested file: "
                                   f"{why.strerror or why}\n")


def short_send_file(wanted_bytes: int) -> Ending:
    """The file that TCP_SENDFILE was to send is smaller than a whole ring of blocks."""
    return Ending(CODE_FAILED, err="alloc_sendfile_buf_ring: specified file too small.\n"
                                   "file must be larger than send_width * send_size\n"
                                   f"netperf: here that is {wanted_bytes} bytes\n")


def no_selector_file(name: str, number: int) -> Ending:
    """What follows -o, -O or -k is no list of selectors, and no file either."""
    return Ending(CODE_LOST, f"Could not open output selection file '{name}' errno {number}\n")


def too_long(number: int) -> Ending:
    """A datagram that no UDP carries."""
    text = os.strerror(number)
    return Ending(CODE_FAILED, f"send_data: data send error: {text} (errno {number})\n",
                  f"netperf: send_omni: send_data failed: {text}\n")


def remote_error(refused: PeerRefused, omni: bool) -> Ending:
    """The peer answered with an error number."""
    return Ending(CODE_LOST if omni else CODE_FAILED, f"netperf: remote error {refused.errno}",
                  f"{os.strerror(refused.errno)}\nnetperf: {refused}\n")


# The older tests name themselves otherwise.
CONNECTING = {"TCP_CC": "data socket connect failed",
              "TCP_SENDFILE": "send_tcp_stream: data socket connect failed",
              "TCP_MSS": "send_tcp_mss: data socket connect failed"}


def no_data_connection(why: OSError, test: str) -> Ending:
    """The data connection could not be set up."""
    what = CONNECTING.get(test, "send_omni: connect_data_socket failed")
    text = os.strerror(why.errno) if why.errno else why
    return Ending(CODE_FAILED, err=f"netperf: {what}: {text}\n")


def connection_lost(lost: ConnectionLost, controlled: bool = True) -> Ending:
    """The control connection, or the only one there was, ended before there were results."""
    if not controlled:
        return Ending(CODE_FAILED, err=f"netperf: {lost}\n")
    if isinstance(lost.__cause__, OSError):
        said = f"recv_response: {lost.__cause__.strerror or lost.__cause__}"
    else:
        said = "recv_response: partial response received: 0 bytes"
    return Ending(CODE_FAILED, err=f"{said}\nnetperf: {lost}\n")


def not_netperf(why: RemoteProtocolError, host: str, port: str) -> Ending:
    """Somebody answers, but it is no netserver."""
    return Ending(CODE_FAILED, err=f"netperf: what listens on {host} port {port} does not "
                                   f"talk like a netserver: {why}\n")
