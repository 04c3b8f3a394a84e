from __future__ import annotations

import subprocess
import sys

import pytest

from xenrr.lab import switch
from xenrr.lab.switch import Cable, Fabric, line_bytes, parse_port

HEADER = bytes(switch.VNET_BYTES)
A, B, C, ALL = b"\x02aaaaa", b"\x02bbbbb", b"\x02ccccc", b"\xff" * 6
MS = 1_000_000


def frame(to, source, length=60):
    return HEADER + (to + source).ljust(length, b".")


def fabric(*cables):
    return Fabric([Cable(*cable) for cable in cables or [(0, 0, 0)] * 3])


def run(one, until_ns=10**12):
    """Everything that leaves, each with the time it left at."""
    out = []
    while (due_ns := one.next_ns()) is not None and due_ns <= until_ns:
        out += [(due_ns, port, data) for port, data in one.leave(due_ns)]
    return out


def test_an_unknown_address_is_flooded_and_then_learned():
    one = fabric()
    one.arrive(0, 0, frame(B, A))
    assert [port for _, port, _ in run(one)] == [1, 2]
    one.arrive(1, 1, frame(A, B))
    assert [port for _, port, _ in run(one)] == [0]
    one.arrive(2, 0, frame(B, A))
    assert [port for _, port, _ in run(one)] == [1]
    assert one.learned == {A: 0, B: 1}
    assert one.forwarded == 4


def test_broadcast_goes_everywhere_but_back():
    one = fabric()
    one.arrive(0, 1, frame(ALL, B))
    assert [port for _, port, _ in run(one)] == [0, 2]
    assert ALL not in one.learned


def test_a_machine_that_moves_is_found_again():
    one = fabric()
    one.arrive(0, 0, frame(ALL, A))
    one.arrive(0, 2, frame(ALL, A))
    run(one)
    one.arrive(1, 1, frame(A, B))
    assert [port for _, port, _ in run(one)] == [2]


def test_a_frame_to_its_own_port_goes_nowhere():
    one = fabric()
    one.arrive(0, 0, frame(ALL, A))
    one.arrive(0, 0, frame(A, B))
    assert [port for _, port, data in run(one) if data[10:16] == A] == []


def test_a_group_address_is_no_source():
    one = fabric()
    one.arrive(0, 0, frame(B, ALL))
    run(one)
    assert one.learned == {}


def test_both_cables_delay():
    one = fabric((3 * MS, 0, 0), (4 * MS, 0, 0))
    one.arrive(MS, 0, frame(B, A))
    assert one.leave(8 * MS - 1) == []
    assert one.next_ns() == 4 * MS or one.next_ns() == 8 * MS
    assert run(one) == [(8 * MS, 1, frame(B, A))]


def test_a_line_takes_a_frames_bits():
    # 84 bytes at 672 kbit/s are 1 ms, on each of the two cables.
    one = fabric((0, 672e3, 100_000), (0, 672e3, 100_000))
    for _ in range(3):
        one.arrive(0, 0, frame(B, A))
    assert [due_ns for due_ns, _, _ in run(one)] == [2 * MS, 3 * MS, 4 * MS]
    # An idle line saves nothing up.
    one.arrive(100 * MS, 0, frame(B, A))
    assert [due_ns for due_ns, _, _ in run(one)] == [102 * MS]


def test_the_directions_of_a_cable_do_not_share_it():
    one = fabric((0, 672e3, 100_000), (0, 0, 0))
    one.arrive(0, 0, frame(B, A))
    one.arrive(0, 1, frame(A, B))
    assert [(due_ns, port) for due_ns, port, _ in run(one)] == [(MS, 0), (MS, 1)]


def test_a_late_wake_up_delays_nobody_else():
    one = fabric((0, 672e3, 100_000), (0, 0, 0))
    one.arrive(0, 0, frame(B, A))
    assert len(one.leave(50 * MS)) == 1
    one.arrive(50 * MS, 0, frame(B, A))
    assert one.next_ns() == 51 * MS


def test_a_full_line_drops():
    # The limit is what may wait: 168 bytes are two frames, and one more is on the line.
    one = fabric((0, 672e3, 168), (0, 0, 0))
    for _ in range(10):
        one.arrive(0, 0, frame(B, A))
    assert len(run(one)) == 3
    assert (one.forwarded, one.dropped) == (3, 7)


def test_frames_in_flight_are_bounded(monkeypatch):
    monkeypatch.setattr(switch, "MAX_HELD_FRAMES", 5)
    one = fabric((MS, 0, 0), (0, 0, 0))
    for _ in range(8):
        one.arrive(0, 0, frame(B, A))
    assert one.dropped == 3
    assert len(run(one)) == 5


def test_learned_addresses_are_bounded(monkeypatch):
    monkeypatch.setattr(switch, "MAX_LEARNED", 3)
    one = fabric()
    for number in range(10):
        one.arrive(0, 0, frame(ALL, bytes([2, 0, 0, 0, 0, number])))
    run(one)
    assert len(one.learned) == 3
    # One that is known may still move.
    one.arrive(0, 1, frame(ALL, bytes([2, 0, 0, 0, 0, 0])))
    run(one)
    assert one.learned[bytes([2, 0, 0, 0, 0, 0])] == 1


@pytest.mark.parametrize("length", range(13))
def test_a_stump_is_dropped(length):
    one = fabric()
    one.arrive(0, 0, HEADER + b"x" * length)
    assert (run(one), one.dropped) == ([], 1)


def test_bytes_on_the_line():
    assert line_bytes(frame(A, B, 14)) == 84
    assert line_bytes(frame(A, B, 60)) == 84
    assert line_bytes(frame(A, B, 1514)) == 1538
    # Three segments of 1448 bytes with 66 bytes of headers, and one of 1.
    virtio = bytes([1, 1]) + (66).to_bytes(2, sys.byteorder) + (1448).to_bytes(
        2, sys.byteorder) + bytes(4)
    whole = virtio + bytes(66 + 3 * 1448 + 1)
    assert line_bytes(whole) == 3 * (1448 + 66 + 24) + 1 + 66 + 24


def test_a_port_in_words():
    device, cable = parse_port("vif1.0,20000,8000000,100000")
    assert (device, cable.delay_ns, cable.ns_per_byte, cable.limit_ns) == (
        "vif1.0", 20_000, 1000.0, 100_000_000.0)


@pytest.mark.parametrize("words", [["x"], ["a,b,c,d"], ["a,1,2"]])
def test_wrong_words(words):
    done = subprocess.run([sys.executable, "-I", "-S", switch.__file__, *words], timeout=30,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "DEVICE,DELAY_NS,RATE_BPS,LIMIT_BYTES" in done.stderr
