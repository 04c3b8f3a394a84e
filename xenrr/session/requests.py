"""Between what a person asks (``TestSpec``) and what goes over the wire, in both dialects.

Pure functions: a test in, messages out; messages in, facts out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xenrr.results.record import SocketFacts, TargetTally, TestSpec
from xenrr.wire.classic import RRRequest, RRResponse, RRResults
from xenrr.wire.message import Kind
from xenrr.wire.omni import OmniFlags, OmniRequest, OmniResponse, OmniResults

__all__ = ["PAD_TIME_S", "Agreement", "agreement", "classic_request", "omni_request",
           "target_tally"]

# Every netserver runs this much longer than a timed test before it gives up on its own
# (PAD_TIME, netperf src/netlib.h, 2.4.0 to HEAD).
PAD_TIME_S = 4

TCP, UDP = 6, 17           # IANA protocol numbers, sent as they are
STREAM, DATAGRAM = 1, 2    # netperf's own socket types
BOTH_WAYS = 6              # direction as the server sees it: transmit 2 | receive 4


@dataclass(frozen=True)
class Agreement:
    """What the target said to a request."""

    data_port: int
    sockets: SocketFacts


def test_length(spec: TestSpec) -> int:
    """netperf's word for the length: whole seconds, or minus the number of transactions.

    A fraction of a second is rounded up, so that the target does not stop first.
    """
    if spec.transactions is not None:
        return -spec.transactions
    assert spec.duration_s is not None  # TestSpec has one of the two
    return math.ceil(spec.duration_s)


def omni_request(
    spec: TestSpec, *, family: int, local_port: int, target_address: str | None
) -> OmniRequest:
    """The OMNI form of a test.

    Args:
        spec: The test.
        family: 4 or 6, of the data connection.
        local_port: Port that the sender's data socket is bound to, 0 if it is not.
        target_address: Address the target is to bind, ``None`` for any.
    """
    flags = OmniFlags.ROUTING_ALLOWED
    if spec.nodelay and not spec.is_datagram:
        flags |= OmniFlags.NODELAY
    return OmniRequest(
        send_buf_size=spec.remote.send_buffer, recv_buf_size=spec.remote.receive_buffer,
        request_size=spec.request_bytes, response_size=spec.response_bytes,
        flags=flags, test_length=test_length(spec), data_port=spec.remote_data_port,
        ipfamily=family, socket_type=DATAGRAM if spec.is_datagram else STREAM,
        protocol=UDP if spec.is_datagram else TCP, direction=BOTH_WAYS,
        netperf_port=local_port, netserver_ip=target_address or "")


def classic_request(spec: TestSpec, *, family: int) -> RRRequest:
    """The classic form of a test; see ``omni_request``."""
    return RRRequest(
        kind=Kind.DO_UDP_RR if spec.is_datagram else Kind.DO_TCP_RR,
        recv_buf_size=spec.remote.receive_buffer, send_buf_size=spec.remote.send_buffer,
        request_size=spec.request_bytes, response_size=spec.response_bytes,
        no_delay=int(spec.nodelay), test_length=test_length(spec),
        port=spec.remote_data_port, ipfamily=family)


def agreement(response: OmniResponse | RRResponse) -> Agreement:
    """What a target's response settles."""
    if isinstance(response, OmniResponse):
        nodelay = bool(response.flags & OmniFlags.NODELAY)
        port = response.data_port
    else:
        nodelay = bool(response.no_delay)
        port = response.data_port_number
    return Agreement(port, SocketFacts(send_buffer=response.send_buf_size,
                                       receive_buffer=response.recv_buf_size,
                                       nodelay=nodelay))


def target_tally(results: OmniResults | RRResults) -> TargetTally:
    """What a target says it counted."""
    if isinstance(results, OmniResults):
        return TargetTally(
            transactions=results.trans_received, bytes_received=results.bytes_received,
            bytes_sent=results.bytes_sent, recv_calls=results.recv_calls,
            send_calls=results.send_calls, elapsed_s=results.elapsed_time)
    return TargetTally(transactions=results.trans_received,
                       bytes_received=results.bytes_received, elapsed_s=results.elapsed_time)
