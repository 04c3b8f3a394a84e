"""``python -m xenrr.agent``: a sender that a campaign drives over its standard streams."""

from __future__ import annotations

import sys

import xenrr.engine

__all__ = ["main"]


def main() -> int:
    """Serve the coordinator on stdin and stdout; see ``session.agent``."""
    if len(sys.argv) > 1 or sys.stdin.isatty():
        print("xenrr.agent is started by a campaign and speaks frames on its standard "
              "streams; a person wants xenrr run or xenrr campaign.", file=sys.stderr)
        return 2
    from xenrr.session.agent import Agent

    xenrr.engine.whole_process = True
    return Agent(sys.stdin.buffer, sys.stdout.buffer).serve()


if __name__ == "__main__":
    sys.exit(main())
