from __future__ import annotations

import pytest
from peers import ROOT

from xenrr.errors import SpecError
from xenrr.lab.document import parse_document
from xenrr.lab.spec import CpuShare, PathSpec, load_lab, make_lab


def lab(text):
    return make_lab(parse_document(text, "lab.toml"))


def test_the_studys_bed():
    spec = load_lab(str(ROOT / "examples/lab-4x3.toml"))
    machines = spec.machines()
    assert spec.name == "table1"
    assert [machine.name for machine in machines if machine.domain == "Dom0"] == [
        "D0.1", "D0.2", "D0.3", "D0.4"]
    assert [(machine.name, machine.host) for machine in machines[:3]] == [
        ("D0.1", "D0.1"), ("DU1.1", "D0.1"), ("DU1.2", "D0.1")]
    assert [machine.address for machine in machines] == [
        f"10.94.0.{number}" for number in range(1, 13)]
    assert spec.hosts[0].cpu == CpuShare(0.35, 2900, (0,))
    assert spec.hosts[1].link == PathSpec(100e6, 12500, 100_000, 37_000)
    assert {guest.vif.delay_ns for host in spec.hosts for guest in host.guests} == {20_000}
    assert spec.wire_in_userspace()
    assert all(spec.host_in_userspace(host) for host in spec.hosts)


def test_the_pair():
    spec = load_lab(str(ROOT / "examples/lab-pair.toml"))
    assert [host.link for host in spec.hosts] == [PathSpec(536e3, 1600, 100_000, 0)] * 2
    assert not spec.wire_in_userspace()


def test_names_that_nobody_gave():
    spec = lab("[[host]]\nguests = 2\n[[host]]\n[[host]]\nname = 'n'\ncount = 2\nguests = 1\n")
    assert [machine.name for machine in spec.machines()] == [
        "host1", "host1-u1", "host1-u2", "host2", "n1", "n1-u1", "n2", "n2-u1"]
    assert spec.name == "lab"
    named = make_lab(parse_document("[[host]]\n", "/some/where/lab-my bed.toml"))
    assert named.name == "mybed"


def test_what_a_table_does_not_say_is_as_above_it():
    spec = lab("""
        [link]
        rate = "100mbit"
        delay = "10us"
        [vif]
        delay = "5us"
        [[host]]
        link = { delay = "1ms" }
        vif = { rate = "1gbit" }
        guests = ["a", { name = "b", vif = { delay = "0s" }, cpu = { quota = 0.5 } }]
        [[host]]
        link = { rate = 8000, burst = "2K", limit = 3000 }
        """)
    first, second = spec.hosts
    assert first.link == PathSpec(100e6, 12500, 100_000, 1_000_000)
    assert first.guests[0].vif == PathSpec(1e9, 125_000, 250_000, 5000)
    assert first.guests[1].vif == PathSpec(1e9, 125_000, 250_000, 0)
    assert first.guests[1].cpu == CpuShare(0.5)
    assert second.link == PathSpec(8e3, 2048, 3000, 10_000)


@pytest.mark.parametrize(("switch", "delay", "in_userspace"), [
    ("auto", "0us", False), ("auto", "1us", True), ("user", "0us", True),
    ("kernel", "0us", False)])
def test_who_switches(switch, delay, in_userspace):
    spec = lab(f"switch = '{switch}'\nlink = {{ delay = '{delay}' }}\n"
               f"vif = {{ delay = '{delay}' }}\n[[host]]\nguests = 1\n[[host]]\n")
    assert spec.wire_in_userspace() is in_userspace
    assert spec.host_in_userspace(spec.hosts[0]) is in_userspace
    assert not spec.host_in_userspace(spec.hosts[1])


def test_a_thousand_machines_and_no_more():
    assert len(lab("[[host]]\ncount = 1000\n").machines()) == 1000
    with pytest.raises(SpecError, match=r"^lab[.]toml:3: more than 1000 machines"):
        lab("[[host]]\ncount = 999\n[[host]]\nname = 'more'\ncount = 2\n")
    with pytest.raises(SpecError, match="more than 1000 machines"):
        lab("[[host]]\ncount = 1000\nguests = 200\n")


def test_addresses_of_ipv6():
    spec = lab("network = 'fd00:94::/64'\n[[host]]\n[[host]]\n")
    assert [machine.address for machine in spec.machines()] == ["fd00:94::1", "fd00:94::2"]


@pytest.mark.parametrize(("text", "message"), [
    ("", "lab.toml: expected at least one [[host]]"),
    ("[[hots]]\n", "lab.toml:1: no key 'hots' is known here; did you mean host?"),
    ("[[host]]\nname = '-x'\n", "lab.toml:2: host 1: name: expected a letter, then"),
    ("[[host]]\nname = 'a b'\n", "lab.toml:2: host 1: name: expected a letter, then"),
    ("[[host]]\nname = 'x/../y'\n", "lab.toml:2: host 1: name: expected a letter, then"),
    ("[[host]]\nname = '" + 33 * "a" + "'\n", "lab.toml:2: host 1: name: expected a letter"),
    ("[[host]]\nname = 'wire'\n", "lab.toml:2: host 1: name: 'wire' is the switch between"),
    ("[[host]]\nname = 'a'\n[[host]]\nname = 'a'\n",
     "lab.toml:4: host 2: there is a machine 'a' already, in host 1"),
    ("[[host]]\nname = 'a'\nguests = ['a']\n",
     "lab.toml:2: host 1: there is a machine 'a' already, in host 1"),
    ("[[host]]\ncount = 2\nguests = ['a']\n", "lab.toml:3: host 1: guests: with a count"),
    ("[[host]]\nguests = 201\n", "lab.toml:2: host 1: guests: expected a whole number from 0"),
    ("[[host]]\nguests = [3]\n", "lab.toml:2: host 1 guests 1: name: expected a letter"),
    ("name = 'a b'\n[[host]]\n", "lab.toml:1: name: expected a letter, then"),
    ("network = 'x'\n[[host]]\n", "lab.toml:1: network: expected an IP network such as"),
    ("network = '10.0.0.1/8'\n[[host]]\n", "lab.toml:1: network: expected an IP network"),
    ("network = '127.0.0.0/8'\n[[host]]\n", "lab.toml:1: network: 127.0.0.0/8 has addresses"),
    ("network = '10.0.0.0/30'\n[[host]]\ncount = 3\n", "lab.toml:1: network: 10.0.0.0/30 is "
     "too small for 3 machines"),
    ("switch = 'ovs'\n[[host]]\n", "lab.toml:1: switch: expected auto, kernel or user"),
    ("[link]\nrate = 'fast'\n[[host]]\n", "lab.toml:2: link: rate: 'fast' is not a rate"),
    ("[link]\nrate = 1.5\n[[host]]\n", "lab.toml:2: link: rate: expected bits per second"),
    ("[link]\nrate = 7\n[[host]]\n", "lab.toml:2: link: rate: expected 8kbit to 1tbit"),
    ("[link]\nburst = 1000\n[[host]]\n", "lab.toml:2: link: burst: expected 1514 (a frame"),
    ("[link]\nlimit = '2G'\n[[host]]\n", "lab.toml:2: link: limit: expected 1514 (a frame"),
    ("[link]\ndelay = '10'\n[[host]]\n", "lab.toml:2: link: delay: expected a time with its"),
    ("[link]\ndelay = 10\n[[host]]\n", "lab.toml:2: link: delay: expected a time with its"),
    ("[link]\ndelay = '11s'\n[[host]]\n", "lab.toml:2: link: delay: expected a time with its"),
    ("[link]\ndelay = '-1s'\n[[host]]\n", "lab.toml:2: link: delay: expected a time with its"),
    ("switch = 'kernel'\n[link]\ndelay = '1ms'\n[[host]]\n",
     "lab.toml:3: link: delay: the kernel's bridge has none"),
    ("[[host]]\n[host.link]\ndleay = '1ms'\n",
     "lab.toml:3: host 1 link: no key 'dleay' is known here; did you mean delay?"),
    ("[[host]]\ncpu = 1\n", "lab.toml:2: host 1: cpu: expected a table"),
    ("[[host]]\ncpu = { quota = 0 }\n", "lab.toml:2: host 1 cpu: quota: expected a number"),
    ("[[host]]\ncpu = { quota = 0.35, period = '2ms' }\n",
     "lab.toml:2: host 1 cpu: quota: 0.35 CPU of 2 ms is less than 1 ms"),
    ("[[host]]\ncpu = { period = '2s' }\n", "lab.toml:2: host 1 cpu: period: expected 1ms to"),
    ("[[host]]\ncpu = { pin = [-1] }\n", "lab.toml:2: host 1 cpu: pin: expected a list of"),
    ("[[host]]\ncpu = { pin = ['0'] }\n", "lab.toml:2: host 1 cpu: pin: expected a list of"),
])
def test_a_mistake_is_told_with_file_line_and_what_was_expected(text, message):
    with pytest.raises(SpecError) as told:
        lab(text)
    assert str(told.value).startswith(message)
