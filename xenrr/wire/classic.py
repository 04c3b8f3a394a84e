"""Classic tests that count transactions: TCP_RR, UDP_RR, TCP_CRR and TCP_CC.

One layout for the four, the same in 2.4.0 to HEAD.

Fields, units and defaults: netperf src/nettest_bsd.h and .c; recorded in tests/vectors.
"""

from __future__ import annotations

from xenrr.frozen import dataclass
from xenrr.wire.dialect import Dialect
from xenrr.wire.layout import FLOAT, INT, PORT, UINT, Layout
from xenrr.wire.message import Kind

__all__ = ["RRRequest", "RRResponse", "RRResults"]

_REQUEST = Layout(
    ("recv_buf_size", INT, 0),
    ("send_buf_size", INT, 1),
    ("recv_alignment", INT, 2),
    ("recv_offset", INT, 3),
    ("send_alignment", INT, 4),
    ("send_offset", INT, 5),
    ("request_size", INT, 6),
    ("response_size", INT, 7),
    ("no_delay", INT, 8),
    ("measure_cpu", INT, 9),
    ("cpu_rate", FLOAT, 10),
    ("test_length", INT, 11),
    ("so_rcvavoid", INT, 12),
    ("so_sndavoid", INT, 13),
    ("port", INT, 14),
    ("ipfamily", INT, 15),
)

_RESPONSE = Layout(
    ("recv_buf_size", INT, 0),
    ("no_delay", INT, 1),
    ("measure_cpu", INT, 2),
    ("test_length", INT, 3),
    ("send_buf_size", INT, 4),
    ("data_port_number", PORT, 5),
    ("cpu_rate", FLOAT, 6),
    ("so_rcvavoid", INT, 7),
    ("so_sndavoid", INT, 8),
)

_RESULTS = Layout(
    ("bytes_received", UINT, 0),
    ("recv_calls", UINT, 1),
    ("trans_received", UINT, 2),
    ("elapsed_time", FLOAT, 3),
    ("cpu_util", FLOAT, 4),
    ("serv_dem", FLOAT, 5),
    ("cpu_method", INT, 6),
    ("num_cpus", INT, 7),
)


@dataclass(frozen=True)
class RRRequest:
    """Types 13 (TCP_RR), 19 (UDP_RR), 34 (TCP_CRR) and 300 (TCP_CC).

    Sizes are bytes. ``test_length`` is seconds, or minus a number of transactions. A buffer
    size of -1 leaves the default in every release; 0 is the minimum from 2.4.4 on, and what
    2.4.0 to 2.4.3 send for the default.
    """

    kind: Kind = Kind.DO_TCP_RR
    recv_buf_size: int = -1
    send_buf_size: int = -1
    recv_alignment: int = 8
    recv_offset: int = 0
    send_alignment: int = 8
    send_offset: int = 0
    request_size: int = 1
    response_size: int = 1
    no_delay: int = 0
    measure_cpu: int = 0
    cpu_rate: float = 0.0
    test_length: int = 10
    so_rcvavoid: int = 0
    so_sndavoid: int = 0
    port: int = 0
    ipfamily: int = 4
    cpu: int = -1

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _REQUEST


@dataclass(frozen=True)
class RRResponse:
    """Types 14, 20, 35 and 301: what the target set up, and the port to send data to.

    Sizes are bytes. Real servers set ``no_delay`` not in UDP_RR, ``test_length`` in TCP_RR
    only, and ``measure_cpu`` in TCP_CRR and TCP_CC only when they measure.
    """

    kind: Kind = Kind.TCP_RR_RESPONSE
    recv_buf_size: int = 0
    no_delay: int = 0
    measure_cpu: int = 0
    test_length: int = 0
    send_buf_size: int = 0
    data_port_number: int = 0
    cpu_rate: float = 0.0
    so_rcvavoid: int = 0
    so_sndavoid: int = 0
    errno: int = 0

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _RESPONSE


@dataclass(frozen=True)
class RRResults:
    """Types 15, 21, 36 and 302: what the target counted.

    ``bytes_received`` is transactions times request and response size; ``elapsed_time`` is
    in s. Real servers never set ``recv_calls`` and ``serv_dem``, the CPU fields only when
    they measured, ``cpu_method`` not in TCP_CRR and TCP_CC, ``num_cpus`` not in TCP_CRR.
    """

    kind: Kind = Kind.TCP_RR_RESULTS
    bytes_received: int = 0
    recv_calls: int = 0
    trans_received: int = 0
    elapsed_time: float = 0.0
    cpu_util: float = 0.0
    serv_dem: float = 0.0
    cpu_method: int = 0
    num_cpus: int = 0
    errno: int = 0

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _RESULTS
