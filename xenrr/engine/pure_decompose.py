"""Round trips whose parts are told, in Python: ``LoopSpec.decompose``.

A sender like the other one, but each response is received with what the kernel says of it,
and after it the stamp of its request is fetched from the error queue. That is done between
two transactions and in none of them: the clock is read anew before the next request, where
the plain loop reads it once for both. So a rate is lower here, and a round trip is as long
as it was.

Everything goes in single steps; the plain loop's sprint stays as it is.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from socket import socket
from time import monotonic_ns

from xenrr.engine.base import PARTS, STAMPS_GRACE, STAMPS_GRACE_NS, Ended, LoopSpec
from xenrr.engine.pure_common import FOLD_SAMPLES, Samples
from xenrr.engine.pure_rr import RoundTripSender
from xenrr.engine.stamps import (
    CONTROL_BYTES,
    MAX_STAMPS,
    Offset,
    disable_stamps,
    drop_stamps,
    enable_stamps,
    next_sent_stamp,
)
from xenrr.engine.stamps import stamp_of as received_stamp
from xenrr.stats.histogram import Histogram

__all__ = ["DecomposingSender"]


class DecomposingSender(RoundTripSender):
    """Issues requests, times them, and asks the kernel when they left and came back."""

    def __init__(self, sock: socket, spec: LoopSpec, stop_fd: int, report_fd: int) -> None:
        super().__init__(sock, spec, stop_fd, report_fd)
        self.small = False      # no sprint
        self._parts = [Samples(keep_interval=False) for _ in PARTS]
        self._decomposed = False
        self._received_ns = 0   # stamp of the last piece of the response
        self._before: bytes | None = None
        self._offset = Offset()

    def start(self) -> Ended | None:
        self._before = enable_stamps(self.sock)
        return super().start()

    def receive_response(self, flags: int) -> Ended | None:
        view = self.incoming.view(self.transactions)
        if not self.spec.datagram:
            view = view[:self.spec.response_bytes - self.have]
        try:
            got, control, _, _ = self.sock.recvmsg_into([view], CONTROL_BYTES, flags)
        except BlockingIOError:
            return self.heard_nothing()
        self._received_ns = received_stamp(control)
        return self.received(got)

    def wait_for_room(self) -> Ended | None:
        # Stamps of pieces that went before: in the queue they look like an error.
        drop_stamps(self.sock)
        return super().wait_for_room()

    def complete(self) -> Ended | None:
        if self.now <= self.deadline:
            self._decompose(self.starts[0], self.now)
        ended = super().complete()
        self.now_fresh = False
        return ended

    def _decompose(self, start_ns: int, end_ns: int) -> None:
        """Split the round trip that has just ended."""
        real_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
        steady = self._offset.look(end_ns, real_ns, monotonic_ns())
        ahead_ns = self._offset.ns
        sent_ns, received_ns = self._sent_stamp(start_ns + ahead_ns), self._received_ns
        self._received_ns = 0
        parts = (sent_ns - ahead_ns - start_ns, received_ns - sent_ns,
                 end_ns - (received_ns - ahead_ns))
        if steady and sent_ns and received_ns and min(parts) >= 0:
            self._decomposed = True
            for samples, part_ns in zip(self._parts, parts):
                samples.raw.append(part_ns)
                if len(samples.raw) >= FOLD_SAMPLES:
                    samples.fold()
        elif (not self._decomposed and self.transactions >= STAMPS_GRACE
              and end_ns - self.started_ns >= STAMPS_GRACE_NS):
            raise OSError(errno.EOPNOTSUPP, "no time stamps of packets")

    def _sent_stamp(self, earliest_ns: int) -> int:
        """When the request in flight was handed to the device, 0 where nobody says.

        A request that is sent again is stamped again: the first time counts. What is left
        of earlier ones is thrown away, by its number or its time.
        """
        last_byte = (self.bytes_sent - 1) & 0xFFFFFFFF
        for _ in range(MAX_STAMPS):
            stamp = next_sent_stamp(self.sock)
            if stamp is None:
                return 0
            number, sent_ns = stamp
            if sent_ns and (sent_ns >= earliest_ns if self.spec.datagram
                            else number == last_byte):
                return sent_ns
        return 0

    def distributions(self) -> Mapping[str, Histogram]:
        return {name: samples.histogram() for name, samples in zip(PARTS, self._parts)}

    def restore(self) -> None:
        if self._before is not None:
            try:
                disable_stamps(self.sock, self._before)
            except OSError:  # closed under us: nothing left to restore
                self._before = None
        super().restore()
