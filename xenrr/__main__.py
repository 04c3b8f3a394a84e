"""``python -m xenrr``: the command for people."""

from __future__ import annotations

import sys

from xenrr.cli import main

if __name__ == "__main__":
    sys.exit(main())
