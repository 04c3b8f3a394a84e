"""netserver's course of things: bind, say so, go into the background, serve.

Started by inetd it finds the control connection on standard input, serves it and ends;
nothing is printed then, because standard output and error are the same connection.
"""

from __future__ import annotations

import os
import select
import socket
import sys

from xenrr.netperf.command import write_err, write_out
from xenrr.netperf.ending import CODE_FAILED, Ending
from xenrr.netperf.messages import FAMILY_NAMES
from xenrr.netperf.server_options import ServerOptions
from xenrr.session.sockets import family_of

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.session.target import TargetPolicy

__all__ = ["serve"]

# What netserver calls an address that was not given.
ANY_HOST = "IN(6)ADDR_ANY"
STDERR = 2


def serve(options: ServerOptions) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code 0: of this process in the foreground, else of the one that is left
        behind once the listeners are bound.

    Raises:
        Ending: No address could be bound.
        EngineUnavailable: The engine or poller asked for does not work here.
    """
    from xenrr.engine.load import load_engine
    from xenrr.session.dataoptions import BUSY_POLL_REFUSED, may_busy_poll
    from xenrr.session.pool import check_poller
    from xenrr.session.target import open_listeners, serve_one, serve_until_stopped

    # Before anything is promised: a background process could tell nobody.
    check_poller(load_engine(options.engine), options.poller)
    handed = None if options.placed else _handed_connection()
    if handed is not None:
        serve_one(_policy(options, 0), handed)
        return 0
    ends = (f"host '{options.host or ANY_HOST}' port '{options.port}' "
            f"and family {FAMILY_NAMES[family_of(options.family)]}\n")
    write_out("".join(options.notices))
    try:
        policy = _policy(options, _port(options.port))
        listeners = open_listeners(policy)
    except OSError as exc:
        raise Ending(CODE_FAILED, err=f"Unable to start netserver with  "
                                      f"{ends[len('host '):]}"
                                      f"netserver: {exc.strerror or exc}\n") from exc
    if options.busy_poll_us >= 0 and not may_busy_poll(options.busy_poll_us):
        write_err(f"netserver: {BUSY_POLL_REFUSED}\n")
    write_out(f"Starting netserver with {ends}")
    if options.daemon and not _detach():
        return 0
    talks = (options.verbosity >= 1 or options.debug) and sys.stderr is not None
    serve_until_stopped(policy, listeners, _Log() if talks else None)
    return 0


def _policy(options: ServerOptions, port: int) -> TargetPolicy:
    from xenrr.session.target import TargetPolicy

    return TargetPolicy(
        host=options.host, port=port, family=options.family, passphrase=options.passphrase,
        engine=options.engine, one_at_a_time=options.one_at_a_time,
        any_data_peer=options.any_source, cpus=options.cpus or None, debug=options.debug,
        spin=options.spin, busy_poll_us=options.busy_poll_us, poller=options.poller)


def _handed_connection() -> socket.socket | None:
    """The control connection that inetd put on standard input, if it did."""
    try:
        sock = socket.socket(fileno=os.dup(0))
    except OSError:  # not a socket, or closed
        return None
    try:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            sock.getpeername()
            return sock
    except OSError:  # not connected: whoever started us listens on something himself
        pass
    sock.close()
    return None


class _Log:
    """Lines on stderr. No sender waits for their reader: what has no room is only counted."""

    def __init__(self) -> None:
        self._lost = 0

    def __call__(self, line: str) -> None:
        lost = f"({self._lost} lines before this one had no room)\n" if self._lost else ""
        try:
            if select.select([], [STDERR], [], 0)[1]:
                # Past Python's buffer, which would keep what could not be written.
                os.write(STDERR, f"{lost}{line}\n".encode(errors="backslashreplace"))
                self._lost = 0
                return
        except OSError:  # its reader has left, or the disk is full
            pass
        self._lost += 1


def _port(text: str) -> int:
    """Port of a number or a service name.

    Raises:
        OSError: It is neither, or no port.
    """
    found = socket.getaddrinfo(None, text, socket.AF_INET, socket.SOCK_STREAM)
    port = int(found[0][4][1])
    # The C library takes 99999 modulo 65536, and nobody would find the server there.
    if text.isascii() and text.isdigit() and int(text) != port:
        raise OSError(f"a port has to lie between 0 and 65535, got {text}")
    return port


def _detach() -> bool:
    """Go into the background.

    Returns:
        True in the process that goes on there, False in the one that was started.
    """
    if os.fork():
        return False
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if nowhere > 2:
        os.close(nowhere)
    return True
