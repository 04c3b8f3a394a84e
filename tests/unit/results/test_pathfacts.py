from __future__ import annotations

import os
import socket
import struct

import pytest

from xenrr.results import pathfacts
from xenrr.results.pathfacts import collect_path_facts

needs_linux = pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="no rtnetlink here")


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine that consists of what a test says: answers of the kernel, and a tree."""
    answers: dict[int, bytes] = {}
    calls: dict[int, bytes] = {}

    def ask_kernel(question, expected, message):
        if question not in answers:
            raise OSError("denied")
        return answers[question]

    def ethtool(name, command, size_bytes):
        if command not in calls:
            raise OSError("denied")
        return struct.pack("=I", command) + calls[command].ljust(size_bytes - 4, b"\0")

    monkeypatch.setattr(pathfacts, "_ask_kernel", ask_kernel)
    monkeypatch.setattr(pathfacts, "_ethtool", ethtool)
    monkeypatch.setattr(pathfacts, "_owner_of", lambda address: "")
    monkeypatch.setattr(socket, "if_indextoname", lambda index: f"vif{index}")
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 7)
    machine.answers, machine.calls, machine.root = answers, calls, tmp_path
    return machine


def route(index: int) -> bytes:
    return bytes(12) + attribute(4, struct.pack("=I", index))


def link(*attributes: bytes) -> bytes:
    return bytes(16) + b"".join(attributes)


def test_a_guest_with_everything(machine):
    machine.answers.update({
        26: route(7), 18: link(
            attribute(3, b"eth7\0"), attribute(4, struct.pack("=I", 1500)),
            attribute(6, b"mq\0"), attribute(13, struct.pack("=I", 1000)),
            attribute(18 | 0x8000, attribute(1, b"veth\0")))})
    machine.calls.update({3: b"vif\0".ljust(32, b"\0") + b"1.0\0", 0x14: b"\1", 0x1E: b"\1",
                          0x2B: b"\0", 0x25: struct.pack("=I", 1 << 15)})
    folder = machine.root / "sys/class/net/vif7"
    (folder / "device").mkdir(parents=True)
    (machine.root / "drivers/xen_netfront").mkdir(parents=True)
    (folder / "device/driver").symlink_to(machine.root / "drivers/xen_netfront")
    (folder / "speed").write_text("10000\n")
    assert collect_path_facts("10.0.0.1", root=machine.root) == {
        "interface": "vif7", "interface_kind": "veth", "driver": "xen_netfront",
        "driver_version": "1.0", "mtu": "1500", "speed_mbit": "10000", "qdisc": "mq",
        "tx_queue_length": "1000", "offloads": "rx tso lro"}


def test_an_old_kernel_without_sysfs_names_the_driver_by_ethtool(machine):
    machine.answers[26] = route(2)
    machine.calls.update({3: b"netback\0", 0x14: b"\0"})
    assert collect_path_facts("10.0.0.1", root=machine.root) == {
        "interface": "vif2", "driver": "netback", "offloads": "none"}


def test_sysfs_alone(machine):
    machine.answers[26] = route(2)
    folder = machine.root / "sys/class/net/vif2"
    folder.mkdir(parents=True)
    for name, text in (("mtu", "9000\n"), ("speed", "-1\n"), ("tx_queue_len", "many\n")):
        (folder / name).write_text(text)
    assert collect_path_facts("10.0.0.1", root=machine.root) == {
        "interface": "vif2", "mtu": "9000"}


@pytest.mark.parametrize("answer", [b"", bytes(12), bytes(12) + b"\1\0\4\0" * 3,
                                    bytes(12) + attribute(4, b"\1")])
def test_an_odd_answer_names_no_interface(machine, answer):
    machine.answers[26] = answer
    assert collect_path_facts("10.0.0.1", root=machine.root) == {}


def test_nothing_is_known(machine):
    assert collect_path_facts("10.0.0.1", "10.0.0.2", machine.root) == {}
    assert collect_path_facts("no address", root=machine.root) == {}


def test_a_scope_names_the_interface(machine):
    assert collect_path_facts("fe80::1%eth3", root=machine.root) == {"interface": "eth3"}


def test_without_a_route_the_near_address_tells(machine, monkeypatch):
    monkeypatch.setattr(pathfacts, "_owner_of", {"10.0.0.2": "eth5"}.get)
    assert collect_path_facts("10.0.0.1", "10.0.0.2", machine.root)["interface"] == "eth5"


@needs_linux
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
def test_this_machine_reaches_itself_over_loopback(address):
    if address == "::1" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6 here")
    facts = collect_path_facts(address, address)
    assert facts["interface"] == "lo"
    assert int(facts["mtu"]) > 0
    assert facts["qdisc"]


@needs_linux
def test_the_owner_of_an_address():
    assert pathfacts._owner_of("127.0.0.1") == "lo"
    assert pathfacts._owner_of("192.0.2.77") == ""


@needs_linux
def test_what_the_kernel_refuses_is_an_error_within():
    with pytest.raises((OSError, ValueError)):
        pathfacts._ask_kernel(18, 16, pathfacts.LINK_MESSAGE.pack(0, 0, 2**30, 0, 0))
