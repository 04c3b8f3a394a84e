"""The kernel's clock laid beside ours, and what comes out of an error queue."""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time

import pytest

from xenrr.engine import stamps

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"),
                                reason="only Linux stamps packets")

HOUR_NS = 3_600_000_000_000


def look(offset: stamps.Offset, ahead_ns: int, width_ns: int = 100) -> bool:
    """A reading by which CLOCK_REALTIME is so far ahead, give or take half the width."""
    before_ns = time.monotonic_ns()
    return offset.look(before_ns, before_ns + ahead_ns + width_ns // 2, before_ns + width_ns)


def test_the_offset_is_that_of_the_two_clocks():
    offset = stamps.Offset()
    before_ns = time.monotonic_ns()
    real_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    after_ns = time.monotonic_ns()
    assert real_ns - after_ns - 1000 <= offset.ns <= real_ns - before_ns + 1000


def test_more_readings_know_it_better():
    offset = stamps.Offset()
    near_ns = offset.ns
    for aside_ns in (40, -40, 30):
        assert look(offset, near_ns + aside_ns, 100_000)
    assert abs(offset.ns - near_ns) < 1000


def test_processors_that_differ_a_little_are_no_step():
    offset = stamps.Offset()
    near_ns = offset.ns
    assert look(offset, near_ns + 900)
    assert look(offset, near_ns - 50)


@pytest.mark.parametrize("step_ns", [HOUR_NS, -HOUR_NS, 1_000_000, -1_000_000])
def test_a_clock_that_was_set_is_seen(step_ns):
    offset = stamps.Offset()
    near_ns = offset.ns
    assert not look(offset, near_ns + step_ns)
    # It looks itself what they are now.
    assert abs(offset.ns - near_ns) < 1000
    assert look(offset, near_ns)


def test_waiting_for_the_first_stamp_has_an_end(monkeypatch):
    monkeypatch.setattr(stamps, "PREPARE_S", 0.02)
    monkeypatch.setattr(stamps, "stamp_of", lambda control: 0)
    begun_s = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        stamps.prepare_stamps(sock)
        assert time.monotonic() - begun_s >= 0.02
        # What nobody asked of it does not come: the flags are those of receiving alone.
        flags = sock.getsockopt(socket.SOL_SOCKET, stamps.SO_TIMESTAMPING)
    assert flags == stamps.RX_SOFTWARE | stamps.SOFTWARE


class Queue:
    """A socket of which only the error queue is used."""

    def __init__(self, *entries: list[tuple[int, int, bytes]]) -> None:
        self.entries = list(entries)

    def recvmsg(self, *_):
        if not self.entries:
            raise BlockingIOError
        return b"", self.entries.pop(0), 0, None


def error(origin: int, info: int, number: int, kind=(socket.IPPROTO_IP, 11)):
    return (*kind, struct.pack("=I4B2I", errno.ENOMSG, origin, 0, 0, 0, info, number))


def stamp(seconds: int, nanoseconds: int, form: str = "=qq"):
    contents = struct.pack(form, seconds, nanoseconds)
    return socket.SOL_SOCKET, stamps.SO_TIMESTAMPING, contents + 2 * bytes(len(contents))


@pytest.mark.parametrize(("entry", "told"), [
    ([stamp(2, 3), error(4, 0, 7)], (7, 2_000_000_003)),
    ([stamp(2, 3, "=ll"), error(4, 0, 7, (socket.IPPROTO_IPV6, 25))], (7, 2_000_000_003)),
    ([error(4, 0, 7)], (7, 0)),
    # When a packet was queued or acknowledged is another stamp.
    ([stamp(2, 3), error(4, 1, 7)], (0, 0)),
    ([stamp(2, 3), error(2, 0, 7)], (0, 0)),
    ([stamp(2, 3)], (0, 0)),
    ([(socket.IPPROTO_IP, 11, b"short")], (0, 0)),
    ([], (0, 0)),
], ids=["ipv4", "ipv6", "no time", "other stamp", "icmp", "no error", "short", "empty"])
def test_what_is_in_the_error_queue(entry, told):
    queue = Queue(entry)
    assert stamps.next_sent_stamp(queue) == told
    assert stamps.next_sent_stamp(queue) is None


def test_a_flood_of_stamps_is_bounded():
    queue = Queue(*([stamp(1, 1), error(4, 0, 1)] for _ in range(1000)))
    stamps.drop_stamps(queue)
    assert len(queue.entries) == 1000 - stamps.MAX_STAMPS


def test_a_stamp_of_another_layout_is_none():
    assert stamps.stamp_of([(socket.SOL_SOCKET, stamps.SO_TIMESTAMPING, bytes(20))]) == 0
    assert stamps.stamp_of([]) == 0
