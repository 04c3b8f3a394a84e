"""The file of -F, looked at when netperf does: after the header line, before the test.

What is in it is the session's concern. Here a file that cannot be read is told in netperf's
words, and so is one that TCP_SENDFILE cannot make a whole ring of blocks from.
"""

from __future__ import annotations

import os
import socket

from xenrr.netperf import messages
from xenrr.netperf.options import ClientOptions

__all__ = ["look_for_fill_file"]

SENDING = ("rr", "send")


def look_for_fill_file(options: ClientOptions, family: int) -> None:
    """Make sure that the file can be read, if this end will send from it.

    Args:
        options: What was typed.
        family: Of the data socket.

    Raises:
        Ending: It cannot, or is too short for TCP_SENDFILE.
    """
    name = options.local.fill_file
    if not name or options.direction not in SENDING:
        return
    try:
        # Not to wait for somebody at the other end of a pipe.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            size_bytes = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        why = exc if isinstance(exc, OSError) else OSError(str(exc))
        if options.is_classic:
            raise messages.no_send_file(why) from exc
        raise messages.no_fill_file(name, why) from exc
    if options.is_classic:
        wanted_bytes = _ring_bytes(options, family)
        if size_bytes < wanted_bytes:
            raise messages.short_send_file(wanted_bytes)


def _ring_bytes(options: ClientOptions, family: int) -> int:
    """What netperf wants of the file: a block for every place of the ring.

    Source: netperf 2.7.0 src/nettest_bsd.c, sendfile_tcp_stream().
    """
    local = options.local
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        if local.send_buffer > 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, local.send_buffer)
        buffer_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    block_bytes = local.send_bytes if local.send_bytes > 0 else buffer_bytes
    width = local.send_width or max(buffer_bytes // block_bytes + 1, 2)
    return width * block_bytes
