from __future__ import annotations

import re

import pytest

from xenrr.lab.document import parse_document
from xenrr.lab.plan import Batch, command_lines, hosts_text, plan_lab, switch_words
from xenrr.lab.spec import make_lab


def planned(text, lab="x"):
    spec = make_lab(parse_document(text, "lab.toml"))
    return spec, plan_lab(spec, lab)


def lines(plan):
    return [line for step in plan.steps() for line in command_lines(step)]


def test_every_command_of_a_small_lab():
    _, plan = planned("[link]\nrate = '8mbit'\n[[host]]\nname = 'a'\nguests = ['g']\n"
                      "[[host]]\nname = 'b'\n")
    assert lines(plan) == """\
ip netns add xrr-x-wire
ip netns add xrr-x-a
ip netns add xrr-x-g
ip netns add xrr-x-b
ip link add name eth0 netns xrr-x-a type veth peer name p1 netns xrr-x-wire
ip link add name vif1.0 netns xrr-x-a type veth peer name eth0 netns xrr-x-g
ip link add name eth0 netns xrr-x-b type veth peer name p2 netns xrr-x-wire
ip -n xrr-x-wire link set dev lo up
ip -n xrr-x-wire link add name br0 type bridge mcast_snooping 0
ip -n xrr-x-wire link set dev p1 master br0
ip -n xrr-x-wire link set dev p2 master br0
ip -n xrr-x-wire link set dev br0 addrgenmode none up
ip -n xrr-x-wire link set dev p1 addrgenmode none up
ip -n xrr-x-wire link set dev p2 addrgenmode none up
ip -n xrr-x-a link set dev lo up
ip -n xrr-x-a link set dev eth0 addrgenmode none up
ip -n xrr-x-a link set dev vif1.0 addrgenmode none up
ip -n xrr-x-a link add name br0 type bridge mcast_snooping 0
ip -n xrr-x-a link set dev eth0 master br0
ip -n xrr-x-a link set dev vif1.0 master br0
ip -n xrr-x-a link set dev br0 addrgenmode none up
ip -n xrr-x-a address add 10.94.0.1/16 dev br0
ip -n xrr-x-g link set dev lo up
ip -n xrr-x-g link set dev eth0 addrgenmode none up
ip -n xrr-x-g address add 10.94.0.2/16 dev eth0
ip -n xrr-x-b link set dev lo up
ip -n xrr-x-b link set dev eth0 addrgenmode none up
ip -n xrr-x-b address add 10.94.0.3/16 dev eth0
tc -n xrr-x-wire qdisc add dev p1 root tbf rate 8000000bit burst 1600 limit 100000
tc -n xrr-x-wire qdisc add dev p2 root tbf rate 8000000bit burst 1600 limit 100000
tc -n xrr-x-a qdisc add dev eth0 root tbf rate 8000000bit burst 1600 limit 100000
tc -n xrr-x-b qdisc add dev eth0 root tbf rate 8000000bit burst 1600 limit 100000
""".splitlines()


def test_a_delay_is_a_userspace_switch():
    _, plan = planned("[link]\nrate = '8mbit'\ndelay = '1ms'\n[vif]\ndelay = '20us'\n"
                      "[[host]]\nname = 'a'\nguests = 1\n[[host]]\nname = 'b'\n")
    wire, dom0 = plan.switches
    assert (wire.namespace, wire.machine) == ("xrr-x-wire", "")
    assert switch_words(wire) == ["p1,1000000,8000000,100000", "p2,1000000,8000000,100000"]
    assert (dom0.namespace, dom0.machine) == ("xrr-x-a", "a")
    # The link's delay is counted at the wire, once.
    assert switch_words(dom0) == ["br0.p,0,0,100000", "eth0,0,0,100000",
                                  "vif1.0,20000,0,100000"]
    text = "\n".join(lines(plan))
    assert "tbf" not in text
    assert "type bridge" not in text
    # The kernel must not answer for a Dom0 at the ports of the switch.
    assert set(re.findall(r"xrr-x-(\S+) link set dev (\S+) arp off", text)) == {
        ("wire", "p1"), ("wire", "p2"), ("a", "br0.p"), ("a", "eth0"), ("a", "vif1.0")}
    # Every device with an address sends single frames.
    assert set(re.findall(r"xrr-x-(\S+) address add \S+ dev (\S+)", text)) == set(
        re.findall(r"xrr-x-(\S+) link set dev (\S+) gso_max_segs 1", text)) == {
            ("a", "br0"), ("a-u1", "eth0"), ("b", "eth0")}
    assert text.splitlines()[-1].endswith("xenrr.lab.switch br0.p,0,0,100000 "
                                          "eth0,0,0,100000 vif1.0,20000,0,100000 &")


def test_a_single_host_has_no_wire():
    _, plan = planned("[[host]]\nname = 'a'\n")
    assert plan.namespaces == ("xrr-x-a",)
    assert "ip -n xrr-x-a address add 10.94.0.1/16 dev lo" in lines(plan)
    _, plan = planned("[[host]]\nname = 'a'\nguests = 1\n")
    assert plan.namespaces == ("xrr-x-a", "xrr-x-a-u1")
    assert "master br0" in "\n".join(lines(plan))


def test_ipv6_does_not_wait_for_duplicates():
    _, plan = planned("network = 'fd00::/64'\n[[host]]\n[[host]]\n")
    assert "ip -n xrr-x-host1 address add fd00::1/64 nodad dev eth0" in lines(plan)


def test_quotas_nest_and_pins_are_inherited():
    _, plan = planned("""
        [[host]]
        name = "a"
        cpu = { quota = 0.5, pin = [1, 0] }
        guests = ["g", { name = "h", cpu = { quota = 0.2, pin = [2] } }]
        [[host]]
        name = "b"
        guests = [{ name = "i", cpu = { quota = 2 } }]
        """)
    assert [(share.group, share.machines, share.cpu.quota) for share in plan.shares] == [
        ("xrr-x-a", ("a", "g"), 0.5), ("xrr-x-a/xrr-x-h", ("h",), 0.2),
        ("xrr-x-i", ("i",), 2.0)]
    assert plan.pins == {"a": (0, 1), "g": (0, 1), "h": (2,)}
    assert "# cgroup xrr-x-a: 0.5 CPU in periods of 100000 us for a, g" in lines(plan)


@pytest.mark.parametrize("switch", ["kernel", "user"])
def test_a_thousand_machines_share_no_name(switch):
    spec, plan = planned(f"switch = '{switch}'\n[[host]]\nname = 'h'\ncount = 250\n"
                         "guests = 3\n")
    assert len(set(plan.namespaces)) == 1001
    assert set(plan.places) == {machine.name for machine in spec.machines()}
    assert all(name.startswith("xrr-x-") for name in plan.namespaces)
    devices = re.findall(r"netns (\S+) type veth peer name (\S+) netns (\S+)",
                         "\n".join(plan.names.lines))
    assert len(devices) == 1000 + 250 * (switch == "user")
    ports = [(place, name) for _, name, place in devices]
    assert len(set(ports)) == len(ports)
    assert max(len(name) for _, name in ports) <= 15
    assert len(plan.switches) == (251 if switch == "user" else 0)


def test_all_that_is_done_outside_is_names():
    _, plan = planned("[[host]]\nguests = 2\n[[host]]\n")
    assert plan.names.namespace == ""
    assert all(isinstance(step, Batch) and step.namespace for step in plan.inside)
    assert all(line.startswith("netns add ") or line.count(" netns xrr-x-") == 2
               for line in plan.names.lines)


def test_hosts_file():
    spec, _ = planned("[[host]]\nname = 'a'\nguests = ['g']\n")
    assert hosts_text(spec).splitlines()[2:] == ["10.94.0.1 a", "10.94.0.2 g"]


def neighbours(text):
    _, plan = planned(text)
    return [line for line in lines(plan) if " neighbour add " in line], plan


def test_arp_serves_a_lab_that_fits_into_the_kernels_table():
    found, plan = neighbours("[[host]]\ncount = 32\n")
    assert found == []
    assert " address 02:" not in "\n".join(lines(plan))


def test_a_bigger_lab_is_told_its_neighbours():
    found, plan = neighbours("[[host]]\nname = 'h'\ncount = 11\nguests = 2\n")
    assert len(set(found)) == 33 * 32
    # The address that others are told is the one that the device is given.
    given = dict(re.findall(r"-n xrr-x-(\S+) link set dev \S+ address (\S+)",
                            "\n".join(lines(plan))))
    spec, _ = planned("[[host]]\nname = 'h'\ncount = 11\nguests = 2\n")
    told = dict(re.findall(r"neighbour add (\S+) lladdr (\S+) ", "\n".join(found)))
    assert {machine.name: told[machine.address] for machine in spec.machines()} == given
    assert len(set(given.values())) == 33
    assert ("ip -n xrr-x-h1-u1 neighbour add 10.94.0.1 lladdr 02:78:72:00:00:01 dev eth0 "
            "nud permanent") in found
    assert sum(line.startswith("ip -n xrr-x-h1 ") for line in found) == 32


def test_in_a_big_lab_it_is_the_first_machine_and_all_others():
    found, _ = neighbours("[[host]]\nname = 'h'\ncount = 500\nguests = 1\n")
    assert len(found) == 2 * 999
    assert sum(line.startswith("ip -n xrr-x-h1 ") for line in found) == 999
    assert ("ip -n xrr-x-h500-u1 neighbour add 10.94.0.1 lladdr 02:78:72:00:00:01 dev eth0 "
            "nud permanent") in found
