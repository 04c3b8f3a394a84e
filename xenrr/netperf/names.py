"""Names and ports of both connections: resolved up front, as netperf does.

The session resolves again when it connects. Doing it here as well costs one look-up and
gives netperf's messages before anything was sent.
"""

from __future__ import annotations

import os

from xenrr.errors import SpecError
from xenrr.lean import socket
from xenrr.netperf.messages import (
    FAMILY_NAMES,
    bad_mask,
    no_connection,
    no_data_address,
    unknown_host,
)
from xenrr.netperf.options import ClientOptions
from xenrr.session.sockets import family_of, look_up

__all__ = ["ControlEnds", "DataEnds"]

ANY_SHOWN: dict[int, str] = {socket.AF_INET6: "::0"}
# Services a test without a control connection talks to: a minimal guest has no list of them.
SERVICES = {"echo": "7", "discard": "9", "chargen": "19"}
Resolved = tuple[int, str, int]


class ControlEnds:
    """Where the control connection goes and comes from.

    Attributes:
        host, port_text: As they are named in messages.
        port, local_port: As numbers.
        family: Of the target's first address.
        sentence: netperf's words for a connection between these ends that failed.

    Raises:
        Ending: With netperf's text, when a name or a port means nothing.
    """

    def __init__(self, options: ClientOptions) -> None:
        default = "::1" if options.host_family == 6 else "localhost"
        self.host = options.host or default
        self.port_text = options.port
        asked = family_of(options.host_family)
        shown = asked
        if options.host is not None:
            try:
                shown = _resolve(options.host, None, asked)[0]
            except socket.gaierror as exc:
                raise unknown_host(self.host, asked, exc) from None
        local_family = family_of(options.local_family)
        local_host = options.local_host or ANY_SHOWN.get(shown, "0.0.0.0")
        self.sentence = (
            "establish_control could not establish the control connection from "
            f"{local_host} port {options.local_port} address family "
            f"{FAMILY_NAMES[local_family]} to {self.host} port {options.port} address family "
            f"{FAMILY_NAMES[shown]}\n")
        self.family, _, self.port = self._end(self.host, options.port, shown)
        _, _, self.local_port = self._end(local_host, options.local_port, local_family)

    def _end(self, host: str, port: str, family: int) -> Resolved:
        try:
            return _resolve(host, port, family)
        except socket.gaierror as exc:
            raise no_connection(self.sentence, host, port, family, exc) from None


class DataEnds:
    """Both ends of the data connection as they are shown.

    Attributes:
        local_host, remote_host: As typed, or the address for "any".
        local_address, remote_address: What they resolve to.
        local_port, remote_port: As asked for, 0 for any.
        local_port_text, remote_port_text: The same as typed.
        family: Of both.
        asked_local_family: What was asked for with the test's own -L or -4 and -6.

    Raises:
        Ending: See ``ControlEnds``.
        SpecError: A port is above 65535.
    """

    def __init__(self, options: ClientOptions, control: ControlEnds) -> None:
        wanted = family_of(options.data_family) or control.family
        self.remote_host = options.data_host or control.host
        self.local_port_text = options.local_data_port
        self.remote_port_text = options.remote_data_port
        self.family, self.remote_address, self.remote_port = _data_end(
            self.remote_host, options.remote_data_port, wanted)
        self.local_host = options.data_source or ANY_SHOWN.get(self.family, "0.0.0.0")
        _, self.local_address, self.local_port = _data_end(
            self.local_host, options.local_data_port, self.family)
        self.asked_local_family = family_of(options.data_local_family)
        self._remote_mask = options.data_mask
        self._local_mask = options.data_local_mask

    def random_hosts(self) -> dict[str, str]:
        """Addresses for one iteration where a mask asks for random ones.

        Returns:
            Changes to the fields of a ``TestSpec``.

        Raises:
            Ending: A mask is longer than an address.
        """
        changes = {}
        if self._local_mask:
            changes["data_local_host"] = random_address(self.local_address, self.family,
                                                        self._local_mask)
        if self._remote_mask:
            changes["data_host"] = random_address(self.remote_address, self.family,
                                                  self._remote_mask)
        return changes


def random_address(address: str, family: int, mask: int) -> str:
    """An address whose first ``mask`` bits are those of another and the rest random.

    Raises:
        Ending: The family has no so many bits.

    Source: netperf 2.7.0 src/netlib.c, random_ip_address(): no IPv4 address that ends in 255.
    """
    packed = socket.inet_pton(family, address)
    bits = 8 * len(packed)
    if not 0 <= mask <= bits:
        raise bad_mask(bits)
    free = (1 << (bits - mask)) - 1
    fixed = int.from_bytes(packed, "big") & ~free
    while True:
        chosen = fixed | (int.from_bytes(os.urandom(len(packed)), "big") & free)
        # A whole network that ends in 255 has no other to offer.
        if family != socket.AF_INET or chosen & 0xFF != 0xFF or free < 0xFF:
            return socket.inet_ntop(family, chosen.to_bytes(len(packed), "big"))


def _data_end(host: str, port: str, family: int) -> Resolved:
    if port.isascii() and port.isdigit() and int(port) > 65535:
        # The C library takes it modulo 65536, and the test would go somewhere else.
        raise SpecError(f"a port has to lie between 0 and 65535, got {port}")
    try:
        return _resolve(host, SERVICES.get(port, port), family)
    except socket.gaierror as exc:
        raise no_data_address(host, port, family, exc) from None


def _resolve(host: str, port: str | None, family: int) -> Resolved:
    kind, _, _, _, address = look_up(host, port, family, socket.SOCK_STREAM)[0]
    return kind, str(address[0]), int(address[1])
