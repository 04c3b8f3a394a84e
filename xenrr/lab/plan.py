"""From a declaration to the commands that make it. Pure: nothing is started here.

The bed::

    xrr-LAB-wire                        the wire: a bridge br0, or a userspace switch
      p1        p2        p3            one port for each host's link
      |         |         |
      eth0      eth0      eth0
    xrr-LAB-D0.1 ...                    a Dom0: eth0 and the guests' vifs on its bridge br0,
      vif1.0    vif2.0                  which has the Dom0's address, or a userspace switch
      |         |                       between them and br0
      eth0      eth0
    xrr-LAB-DU1.1 ...                   a DomU

A Dom0 without guests has its address on eth0 and no bridge; a lab of one host has no wire.
Every device is created inside its namespace, so none is ever seen outside the lab.

What limits a rate depends on what the frames pass. On the kernel's bridges it is tbf at the
sending side of each cable: a bucket that limits the rate in the long run, and lets a frame
that finds tokens pass at once. In a userspace switch it is a line: each frame takes its bits
divided by the rate, however long the line was idle.
"""

from __future__ import annotations

import ipaddress
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from xenrr.lab.spec import WIRE, CpuShare, Guest, Host, LabSpec, PathSpec

__all__ = ["PREFIX", "Batch", "Plan", "Port", "Share", "Step", "Switch", "command_lines",
           "hosts_text", "namespace_of", "plan_lab", "switch_words"]

PREFIX = "xrr-"
# 32 * 31 neighbours are what fits into the kernel's table. Each machine of a mesh is told all
# others; in a bigger lab it is the first machine, the target of a campaign, and all others.
MOST_BY_ARP = 32
MOST_IN_MESH = 128


@dataclass(frozen=True)
class Batch:
    """Commands for one call of ``ip -batch`` or ``tc -batch``.

    Attributes:
        program: ``ip`` or ``tc``.
        namespace: Where they run; empty for the namespace of the caller.
        lines: Commands without the program's name.
    """

    program: str
    namespace: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Port:
    """A port of a userspace switch: its device, and the cable that is plugged in there."""

    device: str
    cable: PathSpec


@dataclass(frozen=True)
class Switch:
    """A userspace switch to start.

    Attributes:
        namespace: Where its ports are.
        machine: Whose CPU share it uses, as netback uses Dom0's; empty for the wire's.
        ports: Its ports.
    """

    namespace: str
    machine: str
    ports: tuple[Port, ...]


@dataclass(frozen=True)
class Share:
    """A CPU quota to set up.

    Attributes:
        group: Name of the cgroup, those of guests inside that of their host.
        machines: Who runs in it.
        cpu: What they get.
    """

    group: str
    machines: tuple[str, ...]
    cpu: CpuShare


Step = Union[Batch, Switch, Share]


@dataclass(frozen=True)
class Plan:
    """All that makes a lab, in order.

    Attributes:
        lab: Name of the lab.
        namespaces: Names of all its namespaces.
        names: The batch that creates namespaces and cables; everything else needs it.
        inside: Batches that may run in any order, or at the same time.
        shares: Quotas.
        switches: Userspace switches, started last.
        places: Namespace of each machine.
        pins: CPUs that a machine's programs are bound to, where it is some of them.
    """

    lab: str
    namespaces: tuple[str, ...]
    names: Batch
    inside: tuple[Batch, ...]
    shares: tuple[Share, ...]
    switches: tuple[Switch, ...]
    places: Mapping[str, str]
    pins: Mapping[str, tuple[int, ...]]

    def steps(self) -> Iterator[Step]:
        """Every step, in an order that works."""
        yield self.names
        yield from self.inside
        yield from self.shares
        yield from self.switches


def namespace_of(lab: str, machine: str) -> str:
    """Name of a machine's namespace."""
    return f"{PREFIX}{lab}-{machine}"


def plan_lab(spec: LabSpec, lab: str) -> Plan:
    """Decide every command.

    Args:
        spec: The declaration.
        lab: Name of this lab, which names of namespaces and cgroups begin with.
    """
    maker = _Maker(spec, lab)
    if maker.linked:
        maker.add_wire()
    for number, host in enumerate(spec.hosts, 1):
        maker.add_host(number, host)
    maker.add_neighbours()
    return maker.plan()


class _Maker:
    """Collects commands, namespace by namespace."""

    def __init__(self, spec: LabSpec, lab: str) -> None:
        self.spec = spec
        self.lab = lab
        self.linked = len(spec.hosts) > 1
        self.user_wire = self.linked and spec.wire_in_userspace()
        length = ipaddress.ip_network(spec.network).prefixlen
        # nodad: a new IPv6 address would be unusable for a second. IPv4 has no such test.
        nodad = " nodad" if ":" in spec.network else ""
        self.addresses = {machine.name: f"{machine.address}/{length}{nodad}"
                          for machine in spec.machines()}
        self.wire = namespace_of(lab, WIRE)
        self.cables: list[str] = []
        self.ip: dict[str, list[str]] = {}
        self.tc: dict[str, list[str]] = {}
        self.shares: list[Share] = []
        self.switches: list[Switch] = []
        self.pins: dict[str, tuple[int, ...]] = {}
        self.places: dict[str, str] = {}
        machines = spec.machines()
        # Only a big lab has hardware addresses of its own, see add_neighbours.
        self.hardware = {} if len(machines) <= MOST_BY_ARP else {
            machine.name: f"02:78:72:{place >> 16:02x}:{place >> 8 & 255:02x}:{place & 255:02x}"
            for place, machine in enumerate(machines, 1)}
        self.devices: dict[str, str] = {}

    def plan(self) -> Plan:
        names = Batch("ip", "", (*(f"netns add {name}" for name in self.ip), *self.cables))
        inside = [Batch(program, name, tuple(lines))
                  for program, of in (("ip", self.ip), ("tc", self.tc))
                  for name, lines in of.items() if lines]
        return Plan(self.lab, tuple(self.ip), names, tuple(inside), tuple(self.shares),
                    tuple(self.switches), self.places, self.pins)

    def add_namespace(self, name: str) -> None:
        self.ip[name] = ["link set dev lo up"]
        self.tc[name] = []

    def add_machine(self, machine: str) -> str:
        name = namespace_of(self.lab, machine)
        self.places[machine] = name
        self.add_namespace(name)
        return name

    def add_cable(self, one: str, device: str, other: str, peer: str) -> None:
        self.cables.append(
            f"link add name {device} netns {one} type veth peer name {peer} netns {other}")
        self.start_device(one, device)
        self.start_device(other, peer)

    def start_device(self, namespace: str, device: str) -> None:
        # addrgenmode none: no link-local address, hence no router solicitations, which would
        # be frames that nobody declared.
        self.ip[namespace].append(f"link set dev {device} addrgenmode none up")

    def add_address(self, namespace: str, device: str, machine: str) -> None:
        self.devices[machine] = device
        if self.hardware:
            self.ip[namespace].append(f"link set dev {device} address {self.hardware[machine]}")
        self.ip[namespace].append(f"address add {self.addresses[machine]} dev {device}")

    def add_neighbours(self) -> None:
        """Tell the machines of a big lab where the others are.

        The kernel keeps 1024 neighbours for all namespaces together (gc_thresh3, arp(7)). A
        lab that needs more asks again for each frame or so, and floods the question to all:
        one exchange took 80 ms with 999 machines. Permanent entries do not count.
        """
        machines = self.spec.machines()
        if not self.hardware:
            return
        first = machines[0]
        for machine in machines:
            met = machines if len(machines) <= MOST_IN_MESH or machine is first else (first,)
            self.ip[self.places[machine.name]] += [
                f"neighbour add {other.address} lladdr {self.hardware[other.name]} "
                f"dev {self.devices[machine.name]} nud permanent"
                for other in met if other is not machine]

    def add_bridge(self, namespace: str, ports: Sequence[str]) -> None:
        # Without snooping the bridge sends nothing of its own, and IPv6 finds its neighbours.
        self.ip[namespace].append("link add name br0 type bridge mcast_snooping 0")
        self.ip[namespace] += [f"link set dev {port} master br0" for port in ports]
        self.start_device(namespace, "br0")

    def leave_to_switch(self, namespace: str, ports: Sequence[str]) -> None:
        # The kernel would answer ARP for any address of the namespace at any of its devices,
        # past the switch.
        self.ip[namespace] += [f"link set dev {port} arp off" for port in ports]

    def limit_rate(self, namespace: str, device: str, cable: PathSpec) -> None:
        if cable.rate_bps:
            self.tc[namespace].append(
                f"qdisc add dev {device} root tbf rate {cable.rate_bps:.0f}bit "
                f"burst {cable.burst_bytes} limit {cable.limit_bytes}")

    def send_single_frames(self, namespace: str, device: str) -> None:
        # A userspace switch times frames; a segment of 64 KB, which the kernel would hand
        # from veth to veth whole, is none.
        self.ip[namespace].append(f"link set dev {device} gso_max_segs 1")

    def add_wire(self) -> None:
        self.add_namespace(self.wire)
        ports = [f"p{number}" for number in range(1, len(self.spec.hosts) + 1)]
        if self.user_wire:
            self.switches.append(Switch(self.wire, "", tuple(
                Port(port, host.link) for port, host in zip(ports, self.spec.hosts))))
            self.leave_to_switch(self.wire, ports)
        else:
            self.add_bridge(self.wire, ports)

    def add_host(self, number: int, host: Host) -> None:
        dom0 = self.add_machine(host.name)
        self.add_share(host)
        user_here = self.spec.host_in_userspace(host)
        ports = []
        if self.linked:
            self.add_link(dom0, f"p{number}", host.link)
            ports.append("eth0")
        for place, guest in enumerate(host.guests, 1):
            ports.append(f"vif{place}.0")
            self.add_guest(dom0, ports[-1], guest, user_here)
        if user_here:
            self.add_cable(dom0, "br0", dom0, "br0.p")
            cables = [guest.vif for guest in host.guests]
            # What the link is like is the wire's business, here it only leads there.
            cables[:0] = [PathSpec()] * (len(ports) - len(cables))
            self.switches.append(Switch(dom0, host.name, (
                Port("br0.p", PathSpec()), *map(Port, ports, cables))))
            self.leave_to_switch(dom0, ["br0.p", *ports])
        elif host.guests:
            self.add_bridge(dom0, ports)
        own = "br0" if host.guests else "eth0" if self.linked else "lo"
        self.add_address(dom0, own, host.name)
        if (user_here or self.user_wire) and own != "lo":
            self.send_single_frames(dom0, own)

    def add_link(self, dom0: str, port: str, link: PathSpec) -> None:
        self.add_cable(dom0, "eth0", self.wire, port)
        if not self.user_wire:
            self.limit_rate(dom0, "eth0", link)
            self.limit_rate(self.wire, port, link)

    def add_guest(self, dom0: str, port: str, guest: Guest, user_here: bool) -> None:
        domu = self.add_machine(guest.name)
        self.add_cable(dom0, port, domu, "eth0")
        self.add_address(domu, "eth0", guest.name)
        if not user_here:
            self.limit_rate(dom0, port, guest.vif)
            self.limit_rate(domu, "eth0", guest.vif)
        if user_here or self.user_wire:
            self.send_single_frames(domu, "eth0")

    def add_share(self, host: Host) -> None:
        """Quotas of a host and of its guests, and the CPUs their programs are bound to."""
        group = f"{PREFIX}{self.lab}-{host.name}"
        if host.cpu.quota:
            names = (host.name, *(guest.name for guest in host.guests if not guest.cpu.quota))
            self.shares.append(Share(group, names, host.cpu))
        for guest in host.guests:
            if guest.cpu.quota:
                inner = f"{PREFIX}{self.lab}-{guest.name}"
                self.shares.append(Share(f"{group}/{inner}" if host.cpu.quota else inner,
                                         (guest.name,), guest.cpu))
            if pin := guest.cpu.pin or host.cpu.pin:
                self.pins[guest.name] = pin
        if host.cpu.pin:
            self.pins[host.name] = host.cpu.pin


def switch_words(switch: Switch) -> list[str]:
    """A userspace switch's ports as its program takes them."""
    return [f"{port.device},{port.cable.delay_ns},{port.cable.rate_bps:.0f},"
            f"{port.cable.limit_bytes}" for port in switch.ports]


def command_lines(step: Step) -> Iterator[str]:
    """A step as somebody would type it, one command a line."""
    if isinstance(step, Batch):
        inside = f" -n {step.namespace}" if step.namespace else ""
        yield from (f"{step.program}{inside} {line}" for line in step.lines)
    elif isinstance(step, Switch):
        words = ["ip", "netns", "exec", step.namespace, Path(sys.executable).name, "-m",
                 "xenrr.lab.switch", *switch_words(step)]
        yield shlex.join(words) + " &"
    else:
        yield (f"# cgroup {step.group}: {step.cpu.quota:g} CPU in periods of "
               f"{step.cpu.period_us} us for {', '.join(step.machines)}")


def hosts_text(spec: LabSpec) -> str:
    """What ``/etc/hosts`` is inside the lab."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    lines += [f"{machine.address} {machine.name}" for machine in spec.machines()]
    return "\n".join(lines) + "\n"
