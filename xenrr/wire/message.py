"""The frame that all netperf control messages share, and the numbers that name them.

A message has a fixed size, 256 bytes up to netperf 2.5.0 and 656 bytes from 2.6.0 on, and
no field says which. It is two header words and a payload, all words big-endian:

* word 0: type of the message;
* word 1: CPU to bind the server to (requests, -1 for none), or errno (answers, 0 for fine).
"""

from __future__ import annotations

import struct

from xenrr.errors import LocalProtocolError
from xenrr.lean import IntEnum, NamedTuple, Protocol

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.wire.dialect import Dialect
    from xenrr.wire.layout import Layout

__all__ = ["HEADER", "LONG_BYTES", "SHORT_BYTES", "UNKNOWN_REQUEST_ERRNO", "Answer", "Frame",
           "Kind", "Request", "decode_frame", "encode_answer", "encode_request"]

# 8 + 4 * MAXSPECDATA (netperf src/netlib.h): 62 words up to 2.5.0, 162 from 2.6.0 on; the
# recorded vectors have these sizes.
SHORT_BYTES = 256
LONG_BYTES = 656

# Not an errno of any system: netserver's word for a request type that it does not know.
UNKNOWN_REQUEST_ERRNO = 998

HEADER = struct.Struct(">ii")


class Kind(IntEnum):
    """Word 0. Response = request + 1, results = request + 2 (netperf src/netlib.h)."""

    DEBUG_ON = 1
    DEBUG_OFF = 2
    DEBUG_OK = 3
    CPU_CALIBRATE = 5       # both the request and its answer
    PASSPHRASE = 6          # never answered
    DO_TCP_STREAM = 10      # also TCP_SENDFILE
    TCP_STREAM_RESPONSE = 11
    TCP_STREAM_RESULTS = 12
    DO_TCP_RR = 13
    TCP_RR_RESPONSE = 14
    TCP_RR_RESULTS = 15
    DO_UDP_STREAM = 16
    UDP_STREAM_RESPONSE = 17
    UDP_STREAM_RESULTS = 18
    DO_UDP_RR = 19
    UDP_RR_RESPONSE = 20
    UDP_RR_RESULTS = 21
    DO_TCP_CRR = 34
    TCP_CRR_RESPONSE = 35
    TCP_CRR_RESULTS = 36
    DO_TCP_MAERTS = 94
    TCP_MAERTS_RESPONSE = 95
    TCP_MAERTS_RESULTS = 96
    DO_OMNI = 97
    OMNI_RESPONSE = 98
    OMNI_RESULTS = 99
    DO_TCP_CC = 300
    TCP_CC_RESPONSE = 301
    TCP_CC_RESULTS = 302
    DO_SYSINFO = 600
    SYSINFO_RESPONSE = 601
    DETAILS = 7800          # between two xenrr only
    DETAILS_RESPONSE = 7801
    FLOWS = 7802
    FLOWS_RESPONSE = 7803


class Request(Protocol):
    """What a sender sends: any of the request classes of this package."""

    @property
    def kind(self) -> int: ...
    @property
    def cpu(self) -> int: ...
    def layout(self, dialect: Dialect) -> Layout:
        """Where the fields stand in the payload."""


class Answer(Protocol):
    """What a target sends: a response, results, or an error."""

    @property
    def kind(self) -> int: ...
    @property
    def errno(self) -> int: ...
    def layout(self, dialect: Dialect) -> Layout:
        """Where the fields stand in the payload."""


class Frame(NamedTuple):
    """A received message before anyone knows what its payload means."""

    kind: int
    word1: int
    payload: bytes


def encode_request(request: Request, dialect: Dialect) -> bytes:
    """One whole request in the dialect's size.

    Raises:
        LocalProtocolError: A field does not fit its place.
    """
    return _encode(request.kind, request.cpu, request, dialect)


def encode_answer(answer: Answer, dialect: Dialect) -> bytes:
    """One whole response, results or error message in the dialect's size.

    Raises:
        LocalProtocolError: A field does not fit its place.
    """
    return _encode(answer.kind, answer.errno, answer, dialect)


def decode_frame(raw: bytes) -> Frame:
    """Split a whole message of either size into header words and payload."""
    kind, word1 = HEADER.unpack_from(raw)
    return Frame(kind, word1, raw[HEADER.size:])


def _encode(kind: int, word1: int, message: Request | Answer, dialect: Dialect) -> bytes:
    try:
        header = HEADER.pack(kind, word1)
    except struct.error as exc:
        raise LocalProtocolError(
            f"header words {kind!r} and {word1!r} are not both signed 32-bit") from exc
    payload_bytes = dialect.message_bytes - HEADER.size
    return header + message.layout(dialect).encode(message, payload_bytes)
