"""The data phases; ``load`` chooses who runs them."""

from __future__ import annotations

__all__ = ["whole_process"]

# Whether this process is one of xenrr's own programs for scripts. In those, nothing leaves a
# file for Python's garbage collector to close, and so a thread may have a table of
# descriptors of its own (``pure_thread``).
whole_process = False
