"""Both programs from their arguments to their exit code.

Whatever happens inside ends here as text on the right stream and a number, never as a
traceback.
"""

from __future__ import annotations

import os
import sys

from xenrr.errors import CommandError, XenrrError
from xenrr.netperf.ending import CODE_FAILED, CODE_LOST, Ending

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["StdoutGone", "client_command", "server_command", "write_err",
           "write_out"]

# What a shell shows for a program that SIGPIPE ended, which is how netperf ends there.
CODE_SIGPIPE = 141


class StdoutGone(Exception):
    """Nobody reads our output any more."""


def write_out(text: str) -> None:
    """Write to stdout at once: readers follow interim results through a pipe.

    Raises:
        StdoutGone: The reader has closed it.
        CommandError: It takes no more, as on a full disk.
    """
    if not text or sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise StdoutGone from None
    except OSError as exc:
        # Not as it is: in the middle of a test it would look like an error of the network.
        raise CommandError(f"standard output: {exc.strerror or exc}", CODE_FAILED) from exc


def client_command(args: Sequence[str]) -> int:
    """netperf, from the arguments after its name to its exit code."""
    return _guarded("netperf", _client, args)


def server_command(args: Sequence[str]) -> int:
    """netserver, likewise."""
    return _guarded("netserver", _server, args)


def _client(args: Sequence[str]) -> int:
    from xenrr.netperf.options import parse_client

    options = parse_client(args)
    # Only now: -V and -h need none of it.
    from xenrr.netperf.run import run_client

    return run_client(options)


def _server(args: Sequence[str]) -> int:
    from xenrr.netperf.server_options import parse_server

    options = parse_server(args)
    from xenrr.netperf.serve import serve

    return serve(options)


def _guarded(program: str, command: Callable[[Sequence[str]], int],
             args: Sequence[str]) -> int:
    try:
        try:
            return command(args)
        except Ending as end:
            write_out(end.out)
            write_err(end.err)
            return end.exit_code
    except KeyboardInterrupt:
        from signal import SIGINT

        from xenrr.netperf.interrupts import die_of

        die_of(SIGINT)
        return CODE_FAILED
    except StdoutGone:
        # The interpreter flushes once more on its way out; that has to be quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CODE_SIGPIPE
    except XenrrError as exc:
        write_err(f"{program}: {exc}\n")
        return CODE_FAILED
    except MemoryError:
        write_err(f"{program}: there is not enough memory for messages of that size\n")
        return CODE_LOST
    except OSError as exc:
        write_err(f"{program}: {exc.strerror or exc}\n")
        return CODE_FAILED


def write_err(text: str) -> None:
    """Write to stderr at once."""
    if text and sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()
