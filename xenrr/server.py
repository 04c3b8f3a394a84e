"""``python -m xenrr.server``: netserver's twin. Arguments in, exit code out, nothing else."""

from __future__ import annotations

import sys

import xenrr.engine
from xenrr.netperf.command import server_command

__all__ = ["main"]


def main(args: list[str] | None = None) -> int:
    """Run netserver.

    Args:
        args: What follows the program's name; ``None`` for those of this process.

    Returns:
        Its exit code.
    """
    if args is not None:
        return server_command(args)
    xenrr.engine.whole_process = True
    return server_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
