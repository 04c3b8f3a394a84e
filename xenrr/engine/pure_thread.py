"""What a thread does in Python that has nothing else to do than one loop (``own_thread``).

glibc registers memory of each thread for restartable sequences (rseq(2)), and the kernel
brings it up to date whenever the thread goes on: 2 % of a TCP round trip on loopback, and
neither Python nor the loop looks at it. ``rr_thread.c`` does the same.

It also leaves the table of descriptors that all threads share, where each system call counts
references to its file: 1 to 2 % of a round trip. The C loop's thread does that always. Here
Python may run on it what has nothing to do with the loop: it collects cycles on whichever
thread makes the next object, and a file that is closed that way stays open in the table of
the others. So it is done only in programs of xenrr's own (``xenrr.engine.whole_process``).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from functools import cache

__all__ = ["find_rseq", "find_syscall", "leave_rseq", "leave_shared_table"]

# The same number on every Linux but Alpha's.
SYS_CLOSE_RANGE = 436
UNSHARE = 2
HIGHEST = (1 << 32) - 1
STDERR = 2
# They end the process, on whichever thread they come.
OF_A_CRASH = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
# Of x86-64. What glibc registers has 32 bytes at the least.
SYS_RSEQ = 334
RSEQ_SIG = 0x53053053
RSEQ_BYTES = 32
UNREGISTER = 1


@cache
def find_syscall() -> Callable[..., int] | None:
    """syscall() of Linux with five words, ``None`` where it cannot be called."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32:
        return None
    try:
        import ctypes

        call = ctypes.CDLL(None).syscall
    except (ImportError, OSError, AttributeError):
        return None
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long] * 5
    return call


@cache
def find_rseq() -> tuple[int, int] | None:
    """Place and size of what glibc registered, in bytes.

    Returns:
        The place counts from the thread's identity. ``None`` where that is not what glibc
        counts from (everywhere but on x86-64), or where nothing is registered.
    """
    if find_syscall() is None or os.uname().machine != "x86_64":
        return None
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        size = ctypes.c_uint.in_dll(libc, "__rseq_size").value
        place = ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value
    except ValueError:
        return None     # another C library, or glibc before 2.35
    return (place, max(size, RSEQ_BYTES)) if size else None


def leave_rseq() -> bool:
    """Have the kernel keep nothing up to date for the calling thread, from now on.

    Returns:
        Whether it did before and does not any more.
    """
    call, found = find_syscall(), find_rseq()
    if call is None or found is None:
        return False
    place, size = found
    # With anything but what is registered the kernel refuses, and nothing is lost.
    return call(SYS_RSEQ, threading.get_ident() + place, size, UNREGISTER, RSEQ_SIG) == 0


def leave_shared_table(keep: Iterable[int]) -> bool:
    """Give the calling thread a table of descriptors of its own, for good.

    Signals go to other threads from then on: Python notes them in a descriptor that this one
    lacks.

    Args:
        keep: What the table holds beside standard error; negative ones are passed over.

    Returns:
        Whether it has; not before Linux 5.9.
    """
    call = find_syscall()
    if call is None:
        return False
    kept = sorted({STDERR, *(descriptor for descriptor in keep if descriptor >= 0)})
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - OF_A_CRASH)
    if call(SYS_CLOSE_RANGE, kept[-1] + 1, HIGHEST, UNSHARE, 0) != 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return False
    first = 0
    for descriptor in kept:
        if descriptor > first:
            call(SYS_CLOSE_RANGE, first, descriptor - 1, 0, 0)
        first = descriptor + 1
    return True
