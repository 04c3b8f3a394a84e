"""``python -m xenrr.client``: netperf's twin. Arguments in, exit code out, nothing else."""

from __future__ import annotations

import gc
import sys

import xenrr.engine
from xenrr.lean import signal
from xenrr.netperf.command import client_command

__all__ = ["main"]


def main(args: list[str] | None = None) -> int:
    """Run netperf.

    Args:
        args: What follows the program's name; ``None`` for those of this process.

    Returns:
        Its exit code.
    """
    if args is not None:
        return client_command(args)
    # A process of its own is over before garbage would matter. Not to look for cycles, neither
    # while modules are imported nor, once all that lives is frozen, on the way out, saves an
    # eighth of the time that a test of one transaction takes.
    gc.disable()
    xenrr.engine.whole_process = True
    # Until a test runs, Ctrl-C ends this program as it ends any other: at once. As an exception
    # it would be lost where the machinery of imports drops what it is raised in.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return client_command(sys.argv[1:])
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
