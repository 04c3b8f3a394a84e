"""netserver's course of things: bind, say so, go into the background, serve."""

from __future__ import annotations

import os
import socket

from xenrr.netperf.command import write_err, write_out
from xenrr.netperf.ending import CODE_FAILED, Ending
from xenrr.netperf.messages import FAMILY_NAMES
from xenrr.netperf.server_options import ServerOptions
from xenrr.session.sockets import family_of

__all__ = ["serve"]

# What netserver calls an address that was not given.
ANY_HOST = "IN(6)ADDR_ANY"


def serve(options: ServerOptions) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code 0: of this process in the foreground, else of the one that is left
        behind once the listeners are bound.

    Raises:
        Ending: No address could be bound.
        EngineUnavailable: The engine asked for does not load here.
    """
    from xenrr.engine.load import load_engine
    from xenrr.session.target import TargetPolicy, open_listeners, serve_until_stopped

    # Before anything is promised: a background process could tell nobody.
    load_engine(options.engine)
    ends = (f"host '{options.host or ANY_HOST}' port '{options.port}' "
            f"and family {FAMILY_NAMES[family_of(options.family)]}\n")
    write_out("".join(options.notices))
    try:
        policy = TargetPolicy(host=options.host, port=_port(options.port),
                              family=options.family, passphrase=options.passphrase,
                              engine=options.engine)
        listeners = open_listeners(policy)
    except OSError as exc:
        raise Ending(CODE_FAILED, err=f"Unable to start netserver with  "
                                      f"{ends[len('host '):]}"
                                      f"netserver: {exc.strerror or exc}\n") from exc
    write_out(f"Starting netserver with {ends}")
    if options.daemon and not _detach():
        return 0
    serve_until_stopped(policy, listeners, _log if options.verbosity >= 1 else None)
    return 0


def _log(line: str) -> None:
    write_err(f"{line}\n")


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
