"""What crosses over to the C loop, and what it refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from engines import Running, connect_sender, connect_target, receiving, sender_spec, sending

from xenrr.engine.base import Buffers, ConnectSpec, Ended, LoopSpec, Pace, Role, SocketOption
from xenrr.engine.hot import (
    BLOCK,
    DISTRIBUTION,
    HISTOGRAM_HEAD,
    OPTION,
    SPEC,
    SPEC_FIELDS,
    TALLY,
    TALLY_FIELDS,
    HotEngine,
    pack_address,
    pack_spec,
    unpack_blocks,
    unpack_tally,
)
from xenrr.engine.load import load_engine
from xenrr.engine.shared import load_shared
from xenrr.errors import LocalProtocolError
from xenrr.stats.histogram import COUNTS_LENGTH, Histogram, PackedHistogram

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's layout")


def fields(packed: bytes) -> dict[str, int]:
    return dict(zip(SPEC_FIELDS, SPEC.unpack_from(packed)))


def connections(**values: Any) -> ConnectSpec:
    return ConnectSpec(Role.SENDER, destination=("127.0.0.1", 7), **values)


# ---- packing ----

def test_every_number_of_round_trips_gets_its_field():
    spec = LoopSpec(
        Role.TARGET, True, request_bytes=3, response_bytes=4, duration_ns=5, transactions=6,
        burst=7, interim_ns=8, idle_end_ns=9, loss_timeout_ns=10, own_thread=True,
        buffers=Buffers(11, 12, 13, 14, 15, 16, b"fill"), pace=Pace(17, 18), plain_write=True,
        spin=True)
    packed = pack_spec(spec, 19, 20, 21)
    found = {name: value for name, value in fields(packed).items() if value}
    assert found == {
        "fd": 19, "stop_fd": 20, "report_fd": 21, "role": 1, "datagram": 1,
        "request_bytes": 3, "response_bytes": 4, "duration_ns": 5, "transactions": 6,
        "burst": 7, "interim_ns": 8, "idle_end_ns": 9, "loss_timeout_ns": 10,
        "return_at_ticks": 1, "own_thread": 1, "send_width": 11, "receive_width": 12,
        "send_alignment": 13, "receive_alignment": 14, "send_offset": 15,
        "receive_offset": 16, "pace_ns": 17, "pace_burst": 18, "plain_write": 1,
        "spin": 1,
        "file_fd": -1, "fill_bytes": 4}
    assert packed[SPEC.size:] == b"fill"


@LINUX
def test_what_has_no_fixed_size_follows_in_order():
    spec = connections(
        source="127.0.0.2", ports=(40, 50), first_port=45, close_first=True,
        retry_connect=True, buffers=Buffers(fill=b"xy"), options=(
            SocketOption(1, 2, b"abc"), SocketOption(3, 4, bytes(16))))
    packed = pack_spec(spec, -1, -1, -1)
    found = fields(packed)
    assert (found["destination_bytes"], found["source_bytes"], found["peer_bytes"],
            found["options"], found["fill_bytes"]) == (16, 16, 0, 2, 2)
    assert (found["low_port"], found["high_port"], found["first_port"]) == (40, 50, 45)
    assert (found["close_first"], found["retry_connect"], found["kind"]) == (1, 1, 1)
    family = struct.pack("=H", socket.AF_INET)
    assert packed[SPEC.size:] == (
        family + b"\0\x07\x7f\0\0\x01" + bytes(8) + family + b"\0\0\x7f\0\0\x02" + bytes(8)
        + OPTION.pack(1, 2, 3, b"abc") + OPTION.pack(3, 4, 16, bytes(16)) + b"xy")


@LINUX
def test_an_ipv6_address_keeps_flow_and_scope():
    assert pack_address(("fe80::1", 7, 0x12345, 3)) == (
        struct.pack("=H", socket.AF_INET6) + b"\0\x07\0\x01\x23\x45\xfe\x80" + bytes(13)
        + b"\x01" + struct.pack("=I", 3))
    assert pack_address(("::1", 7))[-4:] == bytes(4)


@pytest.mark.parametrize("host", ["name.invalid", "1.2.3.4.5", "x", "::g", "1" * 300, "\0"])
def test_an_address_that_is_a_name_is_refused(host):
    with pytest.raises(LocalProtocolError, match="not a numeric address"):
        pack_address((host, 1))


def test_addresses_of_two_families_are_refused():
    with pytest.raises(LocalProtocolError, match="two families"):
        pack_spec(connections(source="::1"), -1, -1, -1)


def test_a_socket_option_has_sixteen_bytes_at_most():
    with pytest.raises(LocalProtocolError, match="too long"):
        pack_spec(connections(options=(SocketOption(1, 2, bytes(17)),)), -1, -1, -1)


@pytest.mark.parametrize("ports", [(0, 3), (5, 5), (65535, 65535)])
def test_the_first_port_lies_in_the_range_and_is_never_none(ports):
    for _ in range(20):
        found = fields(pack_spec(connections(ports=ports), -1, -1, -1))
        assert max(ports[0], 1) <= found["low_port"] <= found["first_port"] <= ports[1]


def test_blocks_come_back_as_distributions():
    kept = Histogram()
    kept.record_many([5, 5, 70_000])
    steps = PackedHistogram.of(kept).steps
    contents = HISTOGRAM_HEAD.pack(5, 70_000, 70_010, 0) + steps
    blocks = BLOCK.pack(99, 8, b"unknown") + bytes(8) + BLOCK.pack(
        DISTRIBUTION, len(contents), b"service_ns") + contents
    assert [(kind, name) for kind, name, _ in unpack_blocks(blocks)] == [
        (99, "unknown"), (DISTRIBUTION, "service_ns")]
    numbers = [1] * len(TALLY_FIELDS)
    tally = unpack_tally(TALLY.pack(*numbers), bytes(8 * COUNTS_LENGTH), blocks)
    assert tally.distributions == {"service_ns": kept}


# ---- what the loop refuses ----

@pytest.fixture(params=["extension", "ctypes"])
def library(request: pytest.FixtureRequest) -> Any:
    if request.param == "ctypes":
        return load_shared()
    engine = load_engine("hot")
    assert isinstance(engine, HotEngine)
    return engine._library


def changed(packed: bytes, **values: int) -> bytes:
    numbers = {**fields(packed), **values}
    return SPEC.pack(*numbers.values()) + packed[SPEC.size:]


NONSENSE: list[dict[str, int]] = [
    {"kind": 5}, {"kind": -1}, {"kind": 3, "role": 0}, {"flows": 1}, {"flows": -1},
    {"kind": 3, "role": 0, "flows": 1}, {"kind": 3, "role": 0, "flows": 1 << 40},
    {"request_bytes": -1}, {"response_bytes": 1 << 31},
    {"burst": -1}, {"send_width": 0}, {"receive_width": 0}, {"send_alignment": -1},
    {"receive_offset": 1 << 40}, {"pace_ns": 5}, {"pace_burst": 5}, {"options": 1},
    {"options": 33}, {"options": -1}, {"fill_bytes": 1}, {"fill_bytes": -1},
    {"source_bytes": 1}, {"destination_bytes": 1 << 62}, {"peer_bytes": -5},
    {"kind": 2, "block_bytes": 0},
]


@pytest.mark.c_engine
@pytest.mark.parametrize("values", NONSENSE, ids=str)
def test_a_spec_that_makes_no_sense_is_refused(library, values):
    packed = pack_spec(LoopSpec(Role.TARGET, False), -1, -1, -1)
    with pytest.raises(OSError) as caught:
        library.run(changed(packed, **values))
    assert caught.value.errno == errno.EINVAL


@pytest.mark.c_engine
def test_a_spec_that_was_cut_or_has_a_tail_is_refused(library):
    packed = pack_spec(connections(options=(SocketOption(1, 2, b"abc"),)), -1, -1, -1)
    for size in (0, 1, 8, SPEC.size - 1, SPEC.size, SPEC.size + 10, len(packed) - 1):
        with pytest.raises(OSError) as caught:
            library.run(packed[:size])
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError):
        library.run(packed + b"x")


@pytest.mark.c_engine
def test_options_and_addresses_are_bounded(library):
    packed = pack_spec(connections(options=(SocketOption(1, 2, b"abc"),)), -1, -1, -1)
    for length in (-1, 17, 1 << 40):
        broken = packed[:-OPTION.size] + OPTION.pack(1, 2, length, b"")
        with pytest.raises(OSError) as caught:
            library.run(broken)
        assert caught.value.errno == errno.EINVAL
    long = changed(packed, destination_bytes=200)[:SPEC.size] + bytes(200 + OPTION.size)
    with pytest.raises(OSError) as caught:
        library.run(long)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.c_engine
def test_rings_larger_than_all_memory_are_refused(library):
    packed = pack_spec(LoopSpec(Role.TARGET, False), -1, -1, -1)
    with pytest.raises(OSError) as caught:
        library.run(changed(packed, send_width=1 << 30, response_bytes=1 << 20))
    assert caught.value.errno == errno.ENOMEM


# ---- limits of the system and of the contract ----

@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """No new descriptor can be had meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.c_engine
def test_a_sender_without_a_descriptor_says_so(listener):
    engine = load_engine("hot")
    with no_descriptors():
        tally = engine.run(None, connect_sender(listener))
    assert (tally.ended, tally.errno) == (Ended.ERROR, errno.EMFILE)
    assert (tally.transactions, tally.in_flight) == (0, 1)


@pytest.mark.c_engine
def test_a_target_without_a_descriptor_says_so(listener):
    engine = load_engine("hot")
    with socket.create_connection(listener.getsockname()), no_descriptors():
        tally = engine.run(listener, connect_target())
    assert (tally.ended, tally.errno, tally.transactions) == (Ended.ERROR, errno.EMFILE, 0)


def test_times_that_never_come(pair, connect, listener):
    """The largest numbers of the contract, added to the time of day, still fit."""
    never = 1 << 62
    reports = os.pipe()
    os.set_blocking(reports[1], False)
    far_away: dict[str, Any] = {
        "duration_ns": never, "interim_ns": never, "pace": Pace(never, 1000)}
    near, far = connect(False)
    answering = Running(pair[1], far, LoopSpec(
        Role.TARGET, False, transactions=3, pace=Pace(never, 1000)))
    spec = sender_spec(transactions=3, **far_away)
    assert Running(pair[0], near, spec, -1, reports[1]).tally().ended is Ended.COUNT
    assert answering.tally().ended is Ended.COUNT
    answering = Running(pair[1], listener, connect_target(transactions=3,
                                                          pace=Pace(never, 1000)))
    assert Running(pair[0], None, connect_sender(listener, transactions=3, **far_away), -1,
                   reports[1]).tally().ended is Ended.COUNT
    assert answering.tally().ended is Ended.COUNT
    taking = Running(pair[1], far, receiving(limit_bytes=50, **far_away), -1, reports[1])
    assert Running(pair[0], near, sending(block_bytes=10, limit_bytes=50, **far_away), -1,
                   reports[1]).tally().ended is Ended.COUNT
    assert taking.tally().ended is Ended.COUNT
    for descriptor in reports:
        os.close(descriptor)
