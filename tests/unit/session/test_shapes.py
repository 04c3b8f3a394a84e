"""Sizes and rings: netperf's choice, and never more than a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenrr.engine.base import Pace
from xenrr.session.shapes import MAX_RING_BYTES, End, Rings, Shape, pace_of

NONE = Rings()


def chosen(shape, sizes, asked=NONE, *, datagram=False, buffers=(16384, 131072)):
    return End.chosen(shape, asked, datagram=datagram, sizes=sizes, socket_buffers=buffers)


@pytest.mark.parametrize(("shape", "sizes", "buffers", "datagram", "calls", "widths"), [
    # As netperf 2.7.0 prints them for its own defaults.
    (Shape.SENDS, (-1, -1), (16384, 131072), False, (16384, 0), (2, 1)),
    (Shape.RECEIVES, (-1, -1), (16384, 131072), False, (0, 131072), (1, 2)),
    (Shape.SENDS, (-1, -1), (212992, 212992), True, (65507, 0), (4, 1)),
    (Shape.SENDS, (1000, -1), (212992, 212992), True, (1000, 0), (213, 1)),
    (Shape.SENDS, (65536, -1), (16384, 131072), False, (65536, 0), (2, 1)),
    (Shape.ROUNDS, (1, 1400), (16384, 131072), False, (1, 1400), (1, 1)),
    (Shape.CONNECTIONS, (0, 0), (16384, 131072), False, (0, 0), (1, 1)),
    (Shape.RECEIVES, (-1, -1), (-1, -1), False, (0, 4096), (1, 2)),
])
def test_netperfs_choice(shape, sizes, buffers, datagram, calls, widths):
    end = chosen(shape, sizes, datagram=datagram, buffers=buffers)
    assert (end.send_bytes, end.receive_bytes) == calls
    assert (end.buffers.send_width, end.buffers.receive_width) == widths


@pytest.mark.parametrize(("size", "told", "width"), [
    (-1, 212992, 2), (212992, 212992, 2), (100_000, 100_000, 3), (9000, 9000, 24)])
def test_datagrams_are_said_to_have_as_much_room_as_netperf_gives_them(size, told, width):
    end = chosen(Shape.RECEIVES, (0, size), datagram=True, buffers=(212992, 212992))
    assert end.told_receive_bytes == told
    assert end.receive_bytes == min(told, 65507)
    assert end.buffers.receive_width == width


def test_what_is_asked_for_is_taken():
    asked = Rings(5, 7, 64, 128, 3, 4)
    buffers = chosen(Shape.ROUNDS, (10, 20), asked).buffers
    assert buffers.send_width, buffers.receive_width == (5, 7)
    assert (buffers.send_alignment, buffers.receive_alignment) == (64, 128)
    assert (buffers.send_offset, buffers.receive_offset) == (3, 4)


@given(shape=st.sampled_from(list(Shape)), sizes=st.tuples(*[st.integers(-1, 1 << 27)] * 2),
       asked=st.builds(Rings, *[st.integers(-2**31, 2**32)] * 6),
       buffers=st.tuples(*[st.integers(-1, 2**31 - 1)] * 2), datagram=st.booleans())
def test_no_wish_takes_more_memory_than_the_bound(shape, sizes, asked, buffers, datagram):
    end = chosen(shape, sizes, asked, datagram=datagram, buffers=buffers)
    rings = end.buffers
    if shape.one_way:
        whole = (rings.send_width * end.send_bytes + rings.receive_width * end.receive_bytes)
        largest = max(end.send_bytes, end.receive_bytes)
        assert whole <= max(MAX_RING_BYTES // 2, largest)
    rings.check(end.send_bytes, end.receive_bytes)


@pytest.mark.parametrize(("usecs", "burst", "pace"), [
    (0, 0, Pace()), (1000, 0, Pace()), (0, 5, Pace()), (1000, 5, Pace(1_000_000, 5))])
def test_half_a_pace_is_none(usecs, burst, pace):
    assert pace_of(usecs, burst) == pace
