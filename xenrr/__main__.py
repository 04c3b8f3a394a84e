"""``python -m xenrr``: the command for people."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run ``xenrr``; its entry point.

    What it needs takes a moment to import, and an interrupt in that moment is one, too.

    Returns:
        The exit code, see ``xenrr.cli.main``.
    """
    try:
        from xenrr import cli

        return cli.main()
    except KeyboardInterrupt:
        return 130  # as xenrr.cli.INTERRUPTED, which may not be there yet


if __name__ == "__main__":
    sys.exit(main())
