"""What a lab consists of: hosts under one wire, each a Dom0 with its DomU.

A declaration (``docs/reference/lab.md`` has every key) becomes a frozen ``LabSpec`` in which
all names, addresses and defaults are settled, so that planning has nothing left to decide.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Union

from xenrr import units
from xenrr.errors import SpecError
from xenrr.lab.document import Document, Table, read_document

__all__ = ["MAX_MACHINES", "CpuShare", "Guest", "Host", "LabSpec", "Machine", "PathSpec",
           "check_lab_name", "load_lab", "make_lab"]

# The kernel's bridge has 1024 ports (BR_MAX_PORTS, net/bridge/br_private.h), and 1000
# namespaces took 10 s to make.
MAX_MACHINES = 1000
MAX_GUESTS = 200
# Names end up in names of namespaces, folders and host names, beside "xrr-" and the lab's.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")
MAX_LAB_NAME = 24
LAB_NAME = f"a letter, then letters, digits, _ . or -, {MAX_LAB_NAME} in all"
# The wire's own namespace.
WIRE = "wire"
DEFAULT_NETWORK = "10.94.0.0/16"

# A frame of 1500 bytes and its Ethernet header must fit into the bucket, or tbf drops it.
MIN_BURST_BYTES = 1514
DEFAULT_BURST_BYTES = 1600
MAX_BURST_BYTES = 1 << 30
DEFAULT_LIMIT_BYTES = 100_000
MIN_RATE_BPS, MAX_RATE_BPS = 8e3, 1e12
MAX_DELAY_S = 10.0
# CFS takes periods from 1 ms to 1 s and no quota below 1 ms (kernel/sched/core.c).
MIN_PERIOD_S, MAX_PERIOD_S, MIN_QUOTA_S = 1e-3, 1.0, 1e-3
DEFAULT_PERIOD_S = 0.1
MAX_CPUS = 4096

PATH_KEYS = ("rate", "burst", "limit", "delay")
CPU_KEYS = ("quota", "period", "pin")
HOST_KEYS = ("name", "count", "guests", "link", "vif", "cpu")
GUEST_KEYS = ("name", "vif", "cpu")
TOP_KEYS = ("name", "network", "switch", "link", "vif", "host")
SWITCHES = ("auto", "kernel", "user")


@dataclass(frozen=True)
class PathSpec:
    """One cable: a host's link into the wire, or a guest's vif.

    Attributes:
        rate_bps: Bits per second in each direction; 0 for no limit.
        burst_bytes: Size of tbf's bucket.
        limit_bytes: Bytes that may wait for the rate, in tbf or in the userspace switch.
        delay_ns: One way, in ns.
    """

    rate_bps: float = 0.0
    burst_bytes: int = DEFAULT_BURST_BYTES
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    delay_ns: int = 0


@dataclass(frozen=True)
class CpuShare:
    """What a host or a guest may use of the CPUs.

    Attributes:
        quota: In CPUs, 0 for no limit.
        period_us: Time over which the quota holds.
        pin: Numbers of the CPUs to run on; empty for all.
    """

    quota: float = 0.0
    period_us: int = round(DEFAULT_PERIOD_S * 1e6)
    pin: tuple[int, ...] = ()


@dataclass(frozen=True)
class Guest:
    """A DomU: its name, its vif and what it gets of its host's CPU."""

    name: str
    vif: PathSpec
    cpu: CpuShare = CpuShare()


@dataclass(frozen=True)
class Host:
    """A Dom0 with the same name, its link and its guests; ``cpu`` holds for all of them."""

    name: str
    link: PathSpec
    guests: tuple[Guest, ...] = ()
    cpu: CpuShare = CpuShare()


@dataclass(frozen=True)
class Machine:
    """One of the places to run something in.

    Attributes:
        name: Unique in the lab.
        host: Name of its host, which is that of the host's Dom0.
        domain: ``Dom0`` or ``DomU``.
        address: IP address, without the length of the network.
    """

    name: str
    host: str
    domain: str
    address: str


@dataclass(frozen=True)
class LabSpec:
    """A whole lab.

    Attributes:
        name: What it is called unless somebody names it otherwise.
        network: The one IP network all machines are in.
        switch: ``kernel`` (bridges), ``user`` (a userspace switch for the wire and one for
            each host with guests), or ``auto``: userspace where there is a delay.
        hosts: In the order of their addresses.
        file: Where it was declared.
    """

    name: str
    hosts: tuple[Host, ...]
    network: str = DEFAULT_NETWORK
    switch: str = "auto"
    file: str = ""

    def machines(self) -> tuple[Machine, ...]:
        """All machines in the order of their addresses, each Dom0 before its guests."""
        addresses = _addresses(self.network)
        return tuple(
            Machine(name, host.name, domain, next(addresses))
            for host in self.hosts
            for name, domain in ((host.name, "Dom0"),
                                 *((guest.name, "DomU") for guest in host.guests)))

    def wire_in_userspace(self) -> bool:
        """Whether frames between hosts pass the userspace switch."""
        return self.switch == "user" or (
            self.switch == "auto" and any(host.link.delay_ns for host in self.hosts))

    def host_in_userspace(self, host: Host) -> bool:
        """Whether frames of a host's guests pass a userspace switch in its Dom0."""
        return bool(host.guests) and (self.switch == "user" or (
            self.switch == "auto" and any(guest.vif.delay_ns for guest in host.guests)))


def load_lab(file: str) -> LabSpec:
    """Read a declaration.

    Raises:
        SpecError: It has a mistake; the message tells file, line and what was expected.
        OSError: It cannot be read.
    """
    return make_lab(read_document(file))


def make_lab(document: Document) -> LabSpec:
    """Make sense of a declaration that has been read.

    Raises:
        SpecError: It has a mistake.
    """
    top = document.top
    top.only(TOP_KEYS)
    switch = top.text("switch", "auto, kernel or user") or "auto"
    if switch not in SWITCHES:
        raise top.error("switch", f"switch: expected auto, kernel or user, found {switch!r}")
    link = _path(top.table("link"), PathSpec(), switch)
    vif = _path(top.table("vif"), PathSpec(), switch)
    hosts: list[Host] = []
    names: dict[str, str] = {}
    for table in top.tables("host"):
        for host in _hosts(table, link, vif, switch, len(hosts)):
            for name in (host.name, *(guest.name for guest in host.guests)):
                if name in names:
                    raise table.error("name", f"{table.where}there is a machine {name!r} "
                                              f"already, in {names[name]}")
                names[name] = table.where.rstrip(": ")
            if len(names) > MAX_MACHINES:
                raise table.error("", f"more than {MAX_MACHINES} machines")
            hosts.append(host)
    if not hosts:
        raise SpecError("expected at least one [[host]]", document.file)
    network = _network(top, len(names))
    return LabSpec(_lab_name(top), tuple(hosts), network, switch, document.file)


def check_lab_name(name: str) -> None:
    """See that a lab can be called so.

    Raises:
        SpecError: It cannot.
    """
    if not NAME.fullmatch(name) or len(name) > MAX_LAB_NAME:
        raise SpecError(f"name: expected {LAB_NAME}, found {name!r}")


def _lab_name(top: Table) -> str:
    name = top.text("name", LAB_NAME)
    if name is None:
        # A file may be called anything; what a name cannot hold is left out.
        stem = re.sub(r"^lab-|[^A-Za-z0-9_.-]+", "", Path(top.document.file).stem)
        stem = stem[:MAX_LAB_NAME]
        return stem if NAME.fullmatch(stem) else "lab"
    try:
        check_lab_name(name)
    except SpecError as exc:
        raise top.error("name", str(exc)) from exc
    return name


def _network(top: Table, machines: int) -> str:
    text = top.text("network", "an IP network such as 10.94.0.0/16") or DEFAULT_NETWORK
    try:
        network = ipaddress.ip_network(text)
    except ValueError as exc:
        raise top.error("network", "network: expected an IP network such as 10.94.0.0/16, "
                                   f"found {text!r}") from exc
    if network.is_loopback or network.is_multicast or network.is_unspecified:
        raise top.error("network", f"network: {text} has addresses of another use")
    if network.num_addresses - 2 < machines:
        raise top.error("network", f"network: {text} is too small for {machines} machines")
    return str(network)


def _addresses(network: str) -> Iterator[str]:
    # hosts() of IPv6 leaves out the router's anycast address, as it does IPv4's network.
    return (str(address) for address in ipaddress.ip_network(network).hosts())


def _hosts(table: Table, link: PathSpec, vif: PathSpec, switch: str, before: int
           ) -> Iterator[Host]:
    """The hosts that one ``[[host]]`` stands for: one, or as many as its ``count``."""
    table.only(HOST_KEYS)
    count = table.whole("count", 1, MAX_MACHINES)
    name = _machine_name(table, "name") or (f"host{before + 1}" if count is None else "host")
    vif = _path(table.table("vif"), vif, switch)
    host = Host(name, _path(table.table("link"), link, switch),
                tuple(_guests(table, name, vif, switch)), _cpu(table.table("cpu")))
    if count is None:
        yield host
        return
    if isinstance(table.data.get("guests"), list):
        raise table.error("guests", f"{table.where}guests: with a count they are given as a "
                                    "number; names would not be unique")
    for number in range(1, count + 1):
        own = f"{name}{number}"
        yield replace(host, name=own, guests=tuple(
            replace(guest, name=f"{own}-u{place}")
            for place, guest in enumerate(host.guests, 1)))


def _guests(table: Table, host: str, vif: PathSpec, switch: str) -> Iterator[Guest]:
    given = table.data.get("guests", 0)
    if not isinstance(given, list):
        number = table.whole("guests", 0, MAX_GUESTS) or 0
        yield from (Guest(f"{host}-u{place}", vif) for place in range(1, number + 1))
        return
    if len(given) > MAX_GUESTS:
        raise table.error("guests", f"{table.where}guests: more than {MAX_GUESTS}")
    for place, item in enumerate(given):
        inner = Table(table.document, (*table.key, "guests", place),
                      item if isinstance(item, dict) else {"name": item})
        inner.only(GUEST_KEYS)
        name = _machine_name(inner, "name") or f"{host}-u{place + 1}"
        yield Guest(name, _path(inner.table("vif"), vif, switch), _cpu(inner.table("cpu")))


def _machine_name(table: Table, key: str) -> str | None:
    expected = "a letter, then letters, digits, _ . or -, 32 in all"
    name = table.text(key, expected)
    if name is not None and not NAME.fullmatch(name):
        raise table.error(key, f"{table.where}{key}: expected {expected}, found {name!r}")
    if name == WIRE:
        raise table.error(key, f"{table.where}{key}: {WIRE!r} is the switch between the hosts")
    return name


def _path(table: Table | None, above: PathSpec, switch: str) -> PathSpec:
    """A cable; what it does not say is as in the table above it."""
    if table is None:
        return above
    table.only(PATH_KEYS)
    path = above
    if (text := _quantity(table, "rate", "bits per second such as \"100mbit\"")) is not None:
        rate_bps = _parsed(table, "rate", units.parse_bit_rate, text)
        if not MIN_RATE_BPS <= rate_bps <= MAX_RATE_BPS:
            raise table.error("rate", f"{table.where}rate: expected 8kbit to 1tbit, "
                                      f"found {text!r}")
        # tbf hands out tokens in steps of its clock; a bucket below 1 ms would cost rate.
        path = replace(path, rate_bps=rate_bps,
                       burst_bytes=max(DEFAULT_BURST_BYTES, math.ceil(rate_bps / 8000)))
        path = replace(path, limit_bytes=max(DEFAULT_LIMIT_BYTES, 2 * path.burst_bytes))
    for key in ("burst", "limit"):
        if (text := _quantity(table, key, "bytes such as 1600 or \"64K\"")) is not None:
            count = round(_parsed(table, key, units.parse_count, text))
            if not MIN_BURST_BYTES <= count <= MAX_BURST_BYTES:
                raise table.error(key, f"{table.where}{key}: expected {MIN_BURST_BYTES} (a "
                                       f"frame of Ethernet) to {MAX_BURST_BYTES} bytes, "
                                       f"found {text!r}")
            path = replace(path, **{f"{key}_bytes": count})
    text = table.text("delay", "a time with its unit such as \"75us\"")
    if text is not None:
        delay_s = _parsed(table, "delay", units.parse_duration, text)
        if not text.strip().endswith("s") or not 0 <= delay_s <= MAX_DELAY_S:
            raise table.error("delay", f"{table.where}delay: expected a time with its unit, "
                                       f"\"75us\" and up to {MAX_DELAY_S:g}s, found {text!r}")
        path = replace(path, delay_ns=round(delay_s * 1e9))
    if path.delay_ns and switch == "kernel":
        raise table.error("delay", f"{table.where}delay: the kernel's bridge has none; "
                                   "switch = \"kernel\" has to go")
    return path


def _cpu(table: Table | None) -> CpuShare:
    if table is None:
        return CpuShare()
    table.only(CPU_KEYS)
    quota = table.number("quota", 0.001, MAX_CPUS) or 0.0
    period_s = DEFAULT_PERIOD_S
    if (text := table.text("period", "a time such as \"10ms\"")) is not None:
        period_s = _parsed(table, "period", units.parse_duration, text)
        if not MIN_PERIOD_S <= period_s <= MAX_PERIOD_S:
            raise table.error("period", f"{table.where}period: expected 1ms to 1s, "
                                        f"found {text!r}")
    if quota and quota * period_s < MIN_QUOTA_S:
        raise table.error("quota", f"{table.where}quota: {quota:g} CPU of {period_s * 1e3:g} "
                                   "ms is less than 1 ms, the least the kernel takes; expected "
                                   "a larger quota or a longer period")
    pin = table.listed("pin", "a list of numbers of CPUs") or []
    if not all(isinstance(cpu, int) and not isinstance(cpu, bool) and 0 <= cpu < MAX_CPUS
               for cpu in pin):
        raise table.error("pin", f"{table.where}pin: expected a list of numbers of CPUs, "
                                 f"found {pin!r}")
    return CpuShare(quota, round(period_s * 1e6), tuple(sorted(set(pin))))


def _quantity(table: Table, key: str, expected: str) -> str | None:
    value: Any = table.data.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return table.text(key, expected)


Number = Union[int, float]


def _parsed(table: Table, key: str, parse: Any, text: str) -> Number:
    """What a reader of ``units`` makes of a text, its complaint with file and line."""
    try:
        value: Number = parse(text, f"{table.where}{key}")
    except SpecError as exc:
        raise table.error(key, str(exc)) from exc
    return value
