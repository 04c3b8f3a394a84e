"""Facts about the interface that a run's data leaves through, as short texts.

The kernel is asked for the route, as it would send (rtnetlink), and then for the interface:
rtnetlink for queueing discipline and kind, the ethtool ioctl for driver and offloads, sysfs
for the rest. No program is started, and no answer is waited for longer than ``LIMIT_S``; what
is missing, denied or unreadable leaves its key out, as in ``hostfacts``.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

__all__ = ["collect_path_facts"]

LIMIT_S = 0.25
ANSWER_BYTES = 65536
READ_BYTES = 4096

# include/uapi/linux/rtnetlink.h, netlink.h, if_link.h
NLMSG = struct.Struct("=IHHII")          # length, type, flags, sequence, port
ROUTE_MESSAGE = struct.Struct("=8BI")    # family, lengths of both prefixes, ..., flags
LINK_MESSAGE = struct.Struct("=BxHiII")  # family, type, index, flags, change
ATTRIBUTE = struct.Struct("=HH")
REQUEST = 1
NEW_LINK, GET_LINK, NEW_ROUTE, GET_ROUTE = 16, 18, 24, 26
RTA_DST, RTA_OIF = 1, 4
IFLA_MTU, IFLA_QDISC, IFLA_TXQLEN, IFLA_LINKINFO = 4, 6, 13, 18
IFLA_INFO_KIND = 1
# The two upper bits of an attribute's type are flags.
TYPE_MASK = 0x3FFF

# include/uapi/linux/sockios.h, ethtool.h; each offload has a call of its own in every kernel
# that has any, and the generic list of later ones is not needed.
SIOCETHTOOL, SIOCGIFADDR = 0x8946, 0x8915
IFREQ_BYTES, NAME_BYTES = 40, 15
GET_DRIVER, DRIVER_BYTES = 3, 196
GET_FLAGS, FLAG_LRO = 0x25, 1 << 15
OFFLOADS = (("rx", 0x14), ("tx", 0x16), ("sg", 0x18), ("tso", 0x1E), ("gso", 0x23),
            ("gro", 0x2B))


def collect_path_facts(
    target: str, local: str = "", root: str | os.PathLike[str] = "/"
) -> dict[str, str]:
    """Describe the interface that data to a target leaves through.

    Args:
        target: Numeric address of the far end.
        local: That of the near end, where it is known.
        root: Where ``/sys`` hangs; another folder in tests.

    Returns:
        Any of ``interface``, ``interface_kind`` (``veth``, ``bridge``, ...), ``driver``,
        ``driver_version``, ``mtu``, ``speed_mbit``, ``tx_queue_length``, ``qdisc`` and
        ``offloads`` (those that are on, or ``none``).
    """
    name = _attempt(lambda: _interface_of(target, local))
    if not name:
        return {}
    facts = {"interface": name, **_interface_facts(name, os.fspath(root))}
    return {key: value for key, value in facts.items() if value}


def _interface_facts(name: str, root: str) -> dict[str, str]:
    folder = os.path.join(root, "sys/class/net", name)
    facts: dict[str, str] = _attempt(lambda: _link_facts(socket.if_nametoindex(name))) or {}
    told = _attempt(lambda: _driver(name)) or ("", "")
    facts["driver"] = _attempt(
        lambda: os.path.basename(os.readlink(f"{folder}/device/driver"))) or told[0]
    facts["driver_version"] = told[1]
    facts.setdefault("mtu", _attempt(lambda: _number(f"{folder}/mtu")) or "")
    facts.setdefault("tx_queue_length", _attempt(lambda: _number(f"{folder}/tx_queue_len"))
                     or "")
    # -1 where the driver does not know, and an error while the link is down.
    speed = _attempt(lambda: _number(f"{folder}/speed")) or ""
    facts["speed_mbit"] = speed if speed not in ("0", "-1", "4294967295") else ""
    facts["offloads"] = _offloads(name)
    return facts


def _attempt(find: Callable[[], object]) -> Any:
    """What a look-up gives, ``None`` where this system does not have it or does not tell."""
    try:
        return find()
    except (OSError, ValueError, AttributeError, LookupError, ImportError, struct.error):
        return None


def _number(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return str(int(os.read(descriptor, READ_BYTES)))
    finally:
        os.close(descriptor)


def _interface_of(target: str, local: str) -> str:
    address, _, scope = target.partition("%")
    if scope:
        return scope
    name: str | None = _attempt(lambda: _routed(address))
    return name or (local and _owner_of(local.partition("%")[0])) or ""


def _routed(address: str) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    message = ROUTE_MESSAGE.pack(family, 8 * len(raw), 0, 0, 0, 0, 0, 0, 0)
    message += ATTRIBUTE.pack(ATTRIBUTE.size + len(raw), RTA_DST) + raw
    answer = _ask_kernel(GET_ROUTE, NEW_ROUTE, message)
    for kind, value in _attributes(answer[ROUTE_MESSAGE.size:]):
        if kind == RTA_OIF:
            return socket.if_indextoname(struct.unpack("=I", value)[0])
    return ""


def _owner_of(address: str) -> str:
    """The interface that has an IPv4 address; aliases of it are not looked through."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            ask = struct.pack(f"={IFREQ_BYTES}s", name.encode()[:NAME_BYTES])
            try:
                answer = fcntl.ioctl(sock, SIOCGIFADDR, ask)
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return ""


def _link_facts(index: int) -> dict[str, str]:
    answer = _ask_kernel(GET_LINK, NEW_LINK, LINK_MESSAGE.pack(0, 0, index, 0, 0))
    facts: dict[str, str] = {}
    for kind, value in _attributes(answer[LINK_MESSAGE.size:]):
        if kind == IFLA_QDISC:
            facts["qdisc"] = _text(value)
        elif kind in (IFLA_MTU, IFLA_TXQLEN):
            name = "mtu" if kind == IFLA_MTU else "tx_queue_length"
            facts[name] = str(struct.unpack("=I", value)[0])
        elif kind == IFLA_LINKINFO:
            facts.update(("interface_kind", _text(inner)) for inner_kind, inner in
                         _attributes(value) if inner_kind == IFLA_INFO_KIND)
    return facts


def _ask_kernel(question: int, expected: int, message: bytes) -> bytes:
    """One rtnetlink request; the payload of its answer.

    Raises:
        OSError: The kernel refuses, or does not answer in time.
        ValueError: The answer is another one.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(LIMIT_S)
        sock.send(NLMSG.pack(NLMSG.size + len(message), question, REQUEST, 1, 0) + message)
        answer = sock.recv(ANSWER_BYTES)
    length, kind, _, sequence, _ = NLMSG.unpack_from(answer)
    if kind != expected or sequence != 1 or not NLMSG.size <= length <= len(answer):
        raise ValueError(f"rtnetlink answered {question} with {kind}")
    return answer[NLMSG.size:length]


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + ATTRIBUTE.size <= len(raw):
        length, kind = ATTRIBUTE.unpack_from(raw, place)
        if length < ATTRIBUTE.size:
            return
        yield kind & TYPE_MASK, raw[place + ATTRIBUTE.size:place + length]
        place += (length + 3) & ~3


def _ethtool(name: str, command: int, size_bytes: int) -> bytes:
    """One ethtool call; the bytes that the kernel wrote."""
    import fcntl

    # The kernel is given an address, so the bytes must not move: an array stays where it is.
    data = array.array("B", struct.pack("=I", command).ljust(size_bytes, b"\0"))
    ask = struct.pack("16sP", name.encode()[:NAME_BYTES], data.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, ask.ljust(IFREQ_BYTES, b"\0"))
    return data.tobytes()


def _ethtool_value(name: str, command: int) -> int:
    value: int = struct.unpack_from("=I", _ethtool(name, command, 8), 4)[0]
    return value


def _driver(name: str) -> tuple[str, str]:
    raw = _ethtool(name, GET_DRIVER, DRIVER_BYTES)
    return _text(raw[4:36]), _text(raw[36:68])


def _offloads(name: str) -> str:
    found: dict[str, bool] = {}
    for word, command in OFFLOADS:
        value = _attempt(partial(_ethtool_value, name, command))
        if value is not None:
            found[word] = bool(value)
    flags = _attempt(lambda: _ethtool_value(name, GET_FLAGS))
    if flags is not None:
        found["lro"] = bool(flags & FLAG_LRO)
    return (" ".join(word for word, on in found.items() if on) or "none") if found else ""


def _text(raw: bytes) -> str:
    return "".join(filter(str.isprintable, raw.partition(b"\0")[0].decode("ascii", "replace")))
