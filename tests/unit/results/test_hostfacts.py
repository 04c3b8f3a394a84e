from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from xenrr.results.hostfacts import collect_host_facts, load_average

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu vme hypervisor sse2

processor\t: 1
model name\t: Another CPU
"""
IA64 = """processor  : 0
vendor     : GenuineIntel
arch       : IA-64
family     : Itanium 2
model      : 2
"""


def tree(root: Path, **files: str) -> Path:
    """Write files below ``root``; in a name ``__`` stands for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine_has_the_facts_that_every_machine_has():
    facts = collect_host_facts()
    assert {"kernel", "machine", "python", "clock_read_ns", "xen"} <= set(facts)
    assert facts["machine"] == os.uname().machine
    assert int(facts["clock_read_ns"]) >= 0
    assert all(isinstance(value, str) and value for value in facts.values())


def test_an_empty_tree_leaves_keys_out(tmp_path):
    facts = collect_host_facts(tmp_path)
    assert facts["xen"] == "no"
    assert not {"cpu_model", "cpus", "cpus_allowed", "governor", "clock_source",
                "load_average", "hypervisor"} & set(facts)


def test_a_full_tree(tmp_path):
    tree(tmp_path, proc__cpuinfo=X86, proc__loadavg="0.50 0.25 0.10 1/100 4711\n",
         proc__self__status="Name:\tpython\nCpus_allowed_list:\t0-2,8\n",
         sys__devices__system__cpu__online="0-3,8\n",
         sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="performance\n",
         sys__devices__system__clocksource__clocksource0__current_clocksource="xen\n")
    facts = collect_host_facts(tmp_path)
    assert facts["cpu_model"] == "Some CPU @ 2.00GHz"
    assert facts["cpus"] == "5"
    assert facts["cpus_allowed"] == "0-2,8"
    assert facts["governor"] == "performance"
    assert facts["clock_source"] == "xen"
    assert facts["load_average"] == "0.50 0.25 0.10"
    assert facts["hypervisor"] == "unnamed"


def test_an_itanium_names_its_family(tmp_path):
    assert collect_host_facts(tree(tmp_path, proc__cpuinfo=IA64))["cpu_model"] == "Itanium 2"


@pytest.mark.parametrize(("files", "role"), [
    ({"proc__xen__capabilities": "control_d\n", "sys__hypervisor__type": "xen\n"}, "Dom0"),
    ({"proc__xen__capabilities": "", "sys__hypervisor__type": "xen\n",
      "sys__hypervisor__guest_type": "PV\n"}, "DomU PV"),
    ({"sys__hypervisor__type": "xen\n", "sys__hypervisor__guest_type": "PVH\n"}, "DomU PVH"),
    ({"sys__hypervisor__type": "xen\n", "sys__hypervisor__guest_type": "HVM\n"}, "DomU HVM"),
    ({"sys__hypervisor__type": "xen\n"}, "DomU"),
    ({"proc__xen__capabilities": ""}, "DomU"),
    # An old kernel without sysfs, and one whose guest says by its firmware what it is.
    ({"proc__xen__capabilities": "\n", "sys__class__dmi__id__product_name": "HVM domU\n"},
     "DomU HVM"),
    ({"sys__hypervisor__type": "xen\n", "sys__class__dmi__id__product_name": "HVM domU\n"},
     "DomU HVM"),
    # A container in Dom0, in a guest, and in one whose hypervisor does not tell.
    ({"sys__hypervisor__type": "xen\n", "sys__hypervisor__properties__features": "00000800\n",
      "sys__hypervisor__guest_type": "PV\n"}, "Dom0"),
    ({"sys__hypervisor__type": "xen\n", "sys__hypervisor__properties__features": "000007ff\n",
      "sys__hypervisor__guest_type": "PV\n"}, "DomU PV"),
    ({"sys__hypervisor__type": "xen\n", "sys__hypervisor__properties__features": "<denied>\n",
      "sys__hypervisor__guest_type": "odd\n"}, "DomU"),
    ({"sys__hypervisor__type": "kvm\n"}, "no"),
    ({}, "no"),
])
def test_the_role_under_xen(tmp_path, files, role):
    assert collect_host_facts(tree(tmp_path, **files))["xen"] == role


def test_what_else_xen_tells(tmp_path):
    tree(tmp_path, sys__hypervisor__type="xen\n", sys__hypervisor__version__major="4\n",
         sys__hypervisor__version__minor="17\n", sys__hypervisor__version__extra=".4-pre\n",
         sys__hypervisor__uuid="c5a8ab80-6dd1-4d5c-9d6b-5c31d3c9f6ab\n")
    facts = collect_host_facts(tmp_path)
    assert facts["xen_version"] == "4.17.4-pre"
    assert facts["xen_uuid"] == "c5a8ab80-6dd1-4d5c-9d6b-5c31d3c9f6ab"
    assert "xen_domid" not in facts


@pytest.mark.parametrize("uuid", ["<denied>\n", "", "0\n"])
def test_an_odd_uuid_is_left_out(tmp_path, uuid):
    tree(tmp_path, sys__hypervisor__type="xen\n", sys__hypervisor__uuid=uuid)
    assert not {"xen_uuid", "xen_version"} & set(collect_host_facts(tmp_path))


def test_dom0_is_domain_0(tmp_path):
    tree(tmp_path, proc__xen__capabilities="control_d\n")
    assert collect_host_facts(tmp_path)["xen_domid"] == "0"


@pytest.mark.parametrize(("flags", "domid"), [(0x18, "7"), (0x08, None)])
def test_a_guest_of_kind_hvm_reads_its_number_in_cpuid(tmp_path, monkeypatch, flags, domid):
    tree(tmp_path, sys__hypervisor__type="xen\n", sys__hypervisor__guest_type="PVH\n",
         dev__cpu__0__cpuid="")
    leaf = struct.pack("<4I", flags, 0, 7, 0)
    monkeypatch.setattr(os, "pread", lambda fd, size, at: leaf if at == 0x40000004 else b"")
    assert collect_host_facts(tmp_path).get("xen_domid") == domid


@pytest.mark.parametrize(("files", "name"), [
    ({"run__systemd__container": "systemd-nspawn\n"}, "systemd-nspawn"),
    ({".dockerenv": ""}, "docker"),
    ({"run__.containerenv": ""}, "podman"),
    ({"proc__1__environ": "HOME=/\0container=lxc\0"}, "lxc"),
    ({"proc__1__cgroup": "4:memory:/kubepods/besteffort/pod1\n"}, "kubepods"),
    ({"proc__1__cgroup": "0::/init.scope\n"}, None),
    ({}, None),
])
def test_containers(tmp_path, files, name):
    assert collect_host_facts(tree(tmp_path, **files)).get("container") == name


@pytest.mark.parametrize(("files", "quota"), [
    ({"sys__fs__cgroup__cpu.max": "150000 100000\n"}, "1.5"),
    ({"sys__fs__cgroup__cpu.max": "max 100000\n"}, None),
    ({"sys__fs__cgroup__cpu__cpu.cfs_quota_us": "50000\n",
      "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n"}, "0.5"),
    ({"sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1\n",
      "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n"}, None),
    ({"sys__fs__cgroup__cpu.max": "odd thing\n"}, None),
])
def test_quotas(tmp_path, files, quota):
    assert collect_host_facts(tree(tmp_path, **files)).get("cpu_quota") == quota


def test_the_load_alone(tmp_path):
    assert load_average(tmp_path) == ""
    assert load_average(tree(tmp_path, proc__loadavg="0.5 0.2 0.1 1/1 1\n")) == "0.5 0.2 0.1"


@pytest.mark.parametrize(("files", "name"), [
    ({"sys__hypervisor__type": "xen\n"}, "xen"),
    ({"sys__class__dmi__id__sys_vendor": "QEMU\n"}, "QEMU"),
    ({"sys__class__dmi__id__sys_vendor": "Dell Inc.\n"}, None),
    ({"sys__class__dmi__id__sys_vendor": "Dell Inc.\n", "proc__cpuinfo": X86}, "unnamed"),
])
def test_other_hypervisors(tmp_path, files, name):
    assert collect_host_facts(tree(tmp_path, **files)).get("hypervisor") == name


def test_nonsense_is_unknown_and_never_an_error(tmp_path):
    tree(tmp_path, proc__self__status="", sys__devices__system__cpu__online="many\n",
         proc__cpuinfo="\x00\xff no colon anywhere")
    (tmp_path / "proc/loadavg").mkdir()
    facts = collect_host_facts(tmp_path)
    assert not {"cpus", "cpus_allowed", "load_average", "cpu_model"} & set(facts)
