"""OMNI: one test for everything, used by netperf 2.5.0 and later.

The layouts grew with the releases. Requests and responses follow the message size (2.5.0:
256 bytes, 2.6.0 and later: 656), results come in three layouts named A (2.5.0), B (2.6.0)
and C (2.7.0 and later). A field that a dialect lacks does not travel.

netperf 2.4.5 built with ``--enable-omni`` has the first form of requests and responses, with
a word for every flag; its results are A. Its requests are recognised and served. Its server
cannot be told from one of 2.5.0, so it is never asked in this form.

Between two xenrr the results go on behind C, in layout X.

Fields, units and defaults: netperf src/nettest_omni.c; recorded in tests/vectors.
"""

from __future__ import annotations

import struct

from xenrr.frozen import dataclass
from xenrr.lean import IntFlag
from xenrr.wire.dialect import Dialect
from xenrr.wire.layout import (
    FLOAT,
    INT,
    PORT,
    UINT,
    UINT64,
    Address,
    Field,
    Flags,
    FlagWords,
    Layout,
    MarkedFloat,
    Text,
    WireType,
)
from xenrr.wire.message import SHORT_BYTES, Kind

__all__ = ["OmniFlags", "OmniRequest", "OmniResponse", "OmniResults", "is_omni_of_2_4_5"]


class OmniFlags(IntFlag):
    """Bits of the flags word.

    0x40 to 0x200 (network card details, ignored since 2.7.0), 0x400 and 0x1000 (dead) are
    left out and dropped when received.
    """

    NODELAY = 0x1
    SENDFILE = 0x2
    CONNECTION_TEST = 0x4
    MEASURE_CPU = 0x8
    CHECKSUM_OFF = 0x10
    ROUTING_ALLOWED = 0x20      # also: name the congestion control in the results
    FAST_OPEN = 0x800
    PKTINFO = 0x2000
    CONNECT_UDP = 0x4000
    DEFER_ACCEPT = 0x8000
    DONT_FRAGMENT = 0x10000
    KEEPALIVE = 0x80000000


_REQUEST_FLAGS = Flags(OmniFlags(sum(OmniFlags)))
_NO_FLAGS = OmniFlags(0)
# Real servers leave leftovers in every other bit of a response.
_RESPONSE_FLAGS = Flags(OmniFlags.NODELAY | OmniFlags.MEASURE_CPU)

# Sizes and counts that netperf declares unsigned and sets to -1 for "yours" are INT here.
_REQUEST_TABLE = (
    ("send_buf_size", INT, 0),
    ("send_size", INT, 1),
    ("send_alignment", UINT, 2),
    ("send_offset", UINT, 3),
    ("send_width", UINT, 4),
    ("request_size", INT, 5),
    ("recv_buf_size", INT, 6),
    ("receive_size", INT, 7),
    ("recv_alignment", UINT, 8),
    ("recv_offset", UINT, 9),
    ("recv_width", UINT, 10),
    ("response_size", INT, 11),
    ("flags", _REQUEST_FLAGS, 12),
    ("cpu_rate", FLOAT, 13),
    ("test_length", INT, 14),
    ("so_rcvavoid", UINT, 15),
    ("so_sndavoid", UINT, 16),
    ("send_dirty_count", INT, 17),
    ("recv_dirty_count", INT, 18),
    ("recv_clean_count", INT, 19),
    ("data_port", UINT, 20),
    ("ipfamily", UINT, 21),
    ("socket_type", UINT, 22),
    ("protocol", UINT, 23),
    ("direction", UINT, 24),
    ("netperf_port", UINT, 25),
    ("interval_burst", UINT, 26),
    ("interval_usecs", UINT, 27),
)


def _addresses(wire: Address) -> tuple[Field, ...]:
    return Field("netperf_ip", wire, 28), Field("netserver_ip", wire, 32)


# The first form never forbids routing, so the flag that allows it is always set.
_REQUEST_2_4_5 = Layout(
    *_REQUEST_TABLE[:12],
    ("flags", FlagWords((OmniFlags.NODELAY, OmniFlags.SENDFILE, OmniFlags.CONNECTION_TEST,
                         OmniFlags.MEASURE_CPU), OmniFlags.ROUTING_ALLOWED), 12),
    ("cpu_rate", FLOAT, 16),
    ("test_length", INT, 17),
    ("so_rcvavoid", UINT, 18),
    ("so_sndavoid", UINT, 19),
    ("send_dirty_count", INT, 20),
    ("recv_dirty_count", INT, 21),
    ("recv_clean_count", INT, 22),
    # Word 23 turns UDP checksums off, which no Linux does.
    ("data_port", UINT, 24),
    ("ipfamily", UINT, 25),
    ("socket_type", UINT, 26),
    ("protocol", UINT, 27),
    ("direction", UINT, 28),
    ("netperf_port", UINT, 29),
    ("interval_burst", UINT, 30),
    ("interval_usecs", UINT, 31),
    ("netperf_ip", Address(reversed_ipv6_words=False), 32),
)
_REQUEST_2_5 = Layout(*_REQUEST_TABLE, *_addresses(Address(reversed_ipv6_words=False)))
_REQUEST_2_6 = Layout(
    *_REQUEST_TABLE,
    *_addresses(Address(reversed_ipv6_words=True)),
    ("socket_prio", INT, 36),
    ("socket_tos", INT, 37),
    ("cong_control", Text(16), 38),
    ("fill_file", Text(32), 42),
)

_RESPONSE_SIZES_TABLE = (
    ("recv_buf_size", INT, 0),
    ("receive_size", INT, 1),
    ("recv_width", INT, 2),
    ("send_buf_size", INT, 3),
    ("send_size", INT, 4),
    ("send_width", INT, 5),
)


def _after_flags(word: int) -> tuple[Field, ...]:
    """The run of fields that follows the flags in every form."""
    return (
        Field("cpu_rate", FLOAT, word),
        Field("test_length", UINT, word + 1),
        Field("so_rcvavoid", UINT, word + 2),
        Field("so_sndavoid", UINT, word + 3),
        Field("data_port", PORT, word + 4),
        Field("interval_burst", UINT, word + 5),
        Field("interval_usecs", UINT, word + 6),
        Field("cpu_frequency", UINT, word + 7),
        Field("security_info", UINT, word + 8),
    )


def _host_strings(word: int) -> tuple[Field, ...]:
    """Three strings one behind the other, without alignment."""
    return (
        Field("system_model", Text(33), word),
        Field("cpu_model", Text(80), word, 33),
        Field("security_string", Text(16), word, 33 + 80),
    )


_RESPONSE_2_4_5 = Layout(
    *_RESPONSE_SIZES_TABLE,
    # The word between the two echoes sendfile, or holds a leftover.
    ("flags", FlagWords((OmniFlags.NODELAY, _NO_FLAGS, OmniFlags.MEASURE_CPU), _NO_FLAGS), 6),
    *_after_flags(9),
    *_host_strings(18),
)
_RESPONSE_COMMON_TABLE: tuple[Field | tuple[str, WireType, int], ...] = (
    *_RESPONSE_SIZES_TABLE, ("flags", _RESPONSE_FLAGS, 6), *_after_flags(7))
_RESPONSE_2_5 = Layout(*_RESPONSE_COMMON_TABLE, *_host_strings(16))
_RESPONSE_2_6 = Layout(
    *_RESPONSE_COMMON_TABLE,
    ("socket_prio", INT, 16),
    ("socket_tos", INT, 17),
    *_host_strings(18),
)

_COUNTS_TABLE = (
    ("bytes_received", UINT64, 0),
    ("recv_calls", UINT, 2),
    ("recv_buf_size", INT, 3),
    ("bytes_sent", UINT64, 4),
    ("send_calls", UINT, 6),
    ("send_buf_size", INT, 7),
    ("failed_sends", UINT, 8),
    ("trans_received", UINT, 9),
    ("elapsed_time", FLOAT, 10),
    ("cpu_util", FLOAT, 11),
)
_CPU_SHARES_TABLE = (
    ("cpu_percent_user", FLOAT, 12),
    ("cpu_percent_system", FLOAT, 13),
    ("cpu_percent_iowait", FLOAT, 14),
    ("cpu_percent_irq", FLOAT, 15),
    ("cpu_percent_swintr", FLOAT, 16),
)


def _cpu_and_card(word: int) -> tuple[Field, ...]:
    """The run of fields that follows in every layout."""
    return (
        Field("serv_dem", FLOAT, word),
        Field("cpu_method", UINT, word + 1),
        Field("num_cpus", INT, word + 2),
        Field("peak_cpu_id", INT, word + 3),
        Field("peak_cpu_util", FLOAT, word + 4),
        Field("vendor", INT, word + 5),
        Field("device", INT, word + 6),
        Field("subvendor", INT, word + 7),
        Field("subdevice", INT, word + 8),
    )


def _card_strings(word: int) -> tuple[Field, ...]:
    return (
        Field("ifname", Text(16), word),
        Field("driver", Text(32), word + 4),
        Field("version", Text(32), word + 12),
        Field("firmware", Text(32), word + 20),
        Field("bus", Text(32), word + 28),
        Field("ifslot", Text(16), word + 36),
    )


# ints 71 and 72: behind all that netperf reads, and only from one xenrr to another. The word
# in front keeps leftovers from being taken for it.
_STEAL = MarkedFloat(b"xrst", 100.0)
_RESULTS_C_TABLE: tuple[Field | tuple[str, WireType, int], ...] = (
    *_COUNTS_TABLE,
    *_CPU_SHARES_TABLE,
    *_cpu_and_card(17),
    ("transport_retrans", INT, 26),
    *_card_strings(27),
    ("cong_control", Text(16), 67),
)

_RESULTS = {
    "A": Layout(*_COUNTS_TABLE, *_cpu_and_card(12), *_card_strings(21)),
    "B": Layout(
        *_COUNTS_TABLE,
        *_cpu_and_card(12),
        ("transport_retrans", INT, 21),
        *_card_strings(22),
        ("cong_control", Text(16), 62),
    ),
    "C": Layout(*_RESULTS_C_TABLE),
    "X": Layout(*_RESULTS_C_TABLE, ("steal", _STEAL, 71)),
}


@dataclass(frozen=True)
class OmniRequest:
    """Type 97; the defaults are those of a plain TCP_RR.

    Sizes are bytes and -1 leaves them to the target. ``test_length`` is s, or minus a number
    of transactions (one-way tests: bytes), 0 for no end. ``socket_type`` is netperf's own (1
    stream, 2 datagram), ``protocol`` IANA's, ``direction`` the target's view (2 transmit, 4
    receive). Addresses are plain text, empty for none. ``fill_file`` names a file at the
    target and has to be ignored there.
    """

    send_buf_size: int = -1
    send_size: int = -1
    send_alignment: int = 8
    send_offset: int = 0
    send_width: int = 1
    request_size: int = 1
    recv_buf_size: int = -1
    receive_size: int = -1
    recv_alignment: int = 8
    recv_offset: int = 0
    recv_width: int = 1
    response_size: int = 1
    flags: OmniFlags = OmniFlags.ROUTING_ALLOWED
    cpu_rate: float = 0.0
    test_length: int = 10
    so_rcvavoid: int = 0
    so_sndavoid: int = 0
    send_dirty_count: int = -1
    recv_dirty_count: int = -1
    recv_clean_count: int = -1
    data_port: int = 0
    ipfamily: int = 4
    socket_type: int = 1
    protocol: int = 6
    direction: int = 6
    netperf_port: int = 0
    interval_burst: int = 0
    interval_usecs: int = 0
    netperf_ip: str = ""
    netserver_ip: str = ""
    socket_prio: int = -1
    socket_tos: int = -1
    cong_control: str = ""
    fill_file: str = ""
    cpu: int = -1
    kind = Kind.DO_OMNI

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """2.5.0 ends at int 35."""
        if dialect.first_omni:
            return _REQUEST_2_4_5
        return _REQUEST_2_5 if dialect.message_bytes == SHORT_BYTES else _REQUEST_2_6


@dataclass(frozen=True)
class OmniResponse:
    """Type 98: what the target set up.

    Of ``flags`` only NODELAY and MEASURE_CPU mean anything. ``test_length`` is never set,
    ``cpu_frequency`` (MHz), ``security_info`` and the strings only up to 2.6.0.
    """

    recv_buf_size: int = 0
    receive_size: int = 0
    recv_width: int = 0
    send_buf_size: int = 0
    send_size: int = 0
    send_width: int = 0
    flags: OmniFlags = _NO_FLAGS
    cpu_rate: float = 0.0
    test_length: int = 0
    so_rcvavoid: int = 0
    so_sndavoid: int = 0
    data_port: int = 0
    interval_burst: int = 0
    interval_usecs: int = 0
    cpu_frequency: int = 0
    security_info: int = 0
    socket_prio: int = -1
    socket_tos: int = -1
    system_model: str = ""
    cpu_model: str = ""
    security_string: str = ""
    errno: int = 0
    kind = Kind.OMNI_RESPONSE

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """2.5.0 has no priority and type of service, so its strings start earlier."""
        if dialect.first_omni:
            return _RESPONSE_2_4_5
        return _RESPONSE_2_5 if dialect.message_bytes == SHORT_BYTES else _RESPONSE_2_6


@dataclass(frozen=True)
class OmniResults:
    """Type 99: what the target counted; bytes, s and percent.

    Real servers put something else into the type word, and leave ``failed_sends``,
    ``serv_dem``, unmeasured CPU fields and (since 2.7.0) the card's unset. ``steal`` is the
    share of its CPUs that a xenrr target's hypervisor gave to others, in %, -1 for unknown.
    """

    bytes_received: int = 0
    recv_calls: int = 0
    recv_buf_size: int = 0
    bytes_sent: int = 0
    send_calls: int = 0
    send_buf_size: int = 0
    failed_sends: int = 0
    trans_received: int = 0
    elapsed_time: float = 0.0
    cpu_util: float = 0.0
    cpu_percent_user: float = 0.0
    cpu_percent_system: float = 0.0
    cpu_percent_iowait: float = 0.0
    cpu_percent_irq: float = 0.0
    cpu_percent_swintr: float = 0.0
    serv_dem: float = 0.0
    cpu_method: int = 0
    num_cpus: int = 0
    peak_cpu_id: int = 0
    peak_cpu_util: float = 0.0
    vendor: int = 0
    device: int = 0
    subvendor: int = 0
    subdevice: int = 0
    transport_retrans: int = -1
    ifname: str = ""
    driver: str = ""
    version: str = ""
    firmware: str = ""
    bus: str = ""
    ifslot: str = ""
    cong_control: str = ""
    steal: float = -1.0
    errno: int = 0
    kind = Kind.OMNI_RESULTS

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """A, B, C or X."""
        return _RESULTS[dialect.results_layout]


def is_omni_of_2_4_5(payload: bytes) -> bool:
    """Whether a DO_OMNI payload is in the form that only 2.4.5 ``--enable-omni`` has.

    There int 25 is the address family and 21, 22 are dirty and clean counts; elsewhere 21 is
    the family and 22 the socket type.
    """
    family, socket_type = struct.unpack_from(">II", payload, 4 * 21)
    (family_2_4_5,) = struct.unpack_from(">I", payload, 4 * 25)
    return family_2_4_5 in (4, 6) and (family not in (0, 4, 6) or not 1 <= socket_type <= 4)
