"""What a thread does in Python that has nothing else to do than one loop (``own_thread``).

glibc registers memory of each thread for restartable sequences (rseq(2)), and the kernel
brings it up to date whenever the thread goes on: 2 % of a TCP round trip on loopback, and
neither Python nor the loop looks at it. ``rr_thread.c`` does the same.

The C loop's thread also has a table of descriptors of its own, which here would be another
1 %. But Python collects cycles on whichever thread makes the next object, and a file that
is closed that way on such a thread stays open in the table of all others.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import cache

__all__ = ["find_rseq", "leave_rseq"]

# Of x86-64. What glibc registers has 32 bytes at the least.
SYS_RSEQ = 334
RSEQ_SIG = 0x53053053
RSEQ_BYTES = 32
UNREGISTER = 1


@cache
def find_rseq() -> tuple[Callable[..., int], int, int] | None:
    """How to get there: ``syscall``, and place and size of what glibc registered.

    Returns:
        The place counts in bytes from the thread's identity. ``None`` where that is not what
        glibc counts from (everywhere but on x86-64), or where nothing is registered.
    """
    if sys.platform != "linux" or os.uname().machine != "x86_64" or sys.maxsize < 1 << 32:
        return None
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        size = ctypes.c_uint.in_dll(libc, "__rseq_size").value
        place = ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value
        call = libc.syscall
        call.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int,
                         ctypes.c_uint]
    except (ImportError, OSError, ValueError, AttributeError):
        return None     # another C library, or glibc before 2.35
    return (call, place, max(size, RSEQ_BYTES)) if size else None


def leave_rseq() -> bool:
    """Have the kernel keep nothing up to date for the calling thread, from now on.

    Returns:
        Whether it did before and does not any more.
    """
    found = find_rseq()
    if found is None:
        return False
    call, place, size = found
    # With anything but what is registered the kernel refuses, and nothing is lost.
    return call(SYS_RSEQ, threading.get_ident() + place, size, UNREGISTER, RSEQ_SIG) == 0
