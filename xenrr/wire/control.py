"""Messages of the control connection itself: all but the tests."""

from __future__ import annotations

from xenrr.frozen import dataclass
from xenrr.wire.dialect import Dialect
from xenrr.wire.layout import FLOAT, INT, UINT, Bytes, Layout, Text
from xenrr.wire.message import HEADER, LONG_BYTES, Kind

__all__ = ["PAGE_CHARACTERS", "CpuCalibrateRequest", "CpuCalibrateResponse", "DebugRequest",
           "DebugResponse", "DetailsRequest", "DetailsResponse", "ErrorResponse",
           "FlowsRequest", "FlowsResponse", "PassphraseRequest", "SysinfoRequest",
           "SysinfoResponse", "UnknownRequest"]

_NOTHING = Layout()
_WHOLE_PAYLOAD_BYTES = LONG_BYTES - HEADER.size

_SYSINFO_REQUEST = Layout(("asker", Text(16), 0))
_SYSINFO_RESPONSE = Layout(("text", Text(_WHOLE_PAYLOAD_BYTES), 0))
_PASSPHRASE_REQUEST = Layout(("phrase", Bytes(_WHOLE_PAYLOAD_BYTES), 0))
_DETAILS_REQUEST = Layout(("topic", UINT, 0), ("page", UINT, 1))
# What is left behind one word, a byte of it for the end of the text.
PAGE_CHARACTERS = _WHOLE_PAYLOAD_BYTES - 4 - 1
_DETAILS_RESPONSE = Layout(("pages", UINT, 0), ("text", Text(PAGE_CHARACTERS + 1), 1))
_FLOWS = Layout(("flows", UINT, 0))
_CALIBRATE_RESPONSE = Layout(("rate", FLOAT, 0), ("cpus", INT, 1))


@dataclass(frozen=True)
class SysinfoRequest:
    """Type 600, netperf 2.4.5 and later: what system are you?

    ``asker`` is xenrr's own word in a place that netperf leaves zero and no netserver
    reads; a xenrr target sees by it who asks.
    """

    cpu: int = -1
    asker: str = ""
    kind = Kind.DO_SYSINFO

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _SYSINFO_REQUEST


@dataclass(frozen=True)
class SysinfoResponse:
    """Type 601: a delimiter, then fields between such delimiters."""

    text: str
    errno: int = 0
    kind = Kind.SYSINFO_RESPONSE

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects, but a short message ends sooner."""
        return _SYSINFO_RESPONSE


@dataclass(frozen=True)
class PassphraseRequest:
    """Type 6, netperf 2.6.0 and later: at most 647 bytes, in clear, never answered."""

    phrase: bytes
    cpu: int = -1
    kind = Kind.PASSPHRASE

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _PASSPHRASE_REQUEST


@dataclass(frozen=True)
class DebugRequest:
    """Types 1 and 2: debugging output at the target on or off."""

    on: bool
    cpu: int = -1

    @property
    def kind(self) -> Kind:
        """One type for each."""
        return Kind.DEBUG_ON if self.on else Kind.DEBUG_OFF

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """No payload."""
        return _NOTHING


@dataclass(frozen=True)
class DebugResponse:
    """Type 3: done."""

    errno: int = 0
    kind = Kind.DEBUG_OK

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """No payload."""
        return _NOTHING


@dataclass(frozen=True)
class CpuCalibrateRequest:
    """Type 5: how fast are your CPUs, and how many?"""

    cpu: int = -1
    kind = Kind.CPU_CALIBRATE

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """No payload."""
        return _NOTHING


@dataclass(frozen=True)
class CpuCalibrateResponse:
    """Type 5 as well: ``rate`` is 100.0 on Linux; ``cpus`` is unset before 2.4.4."""

    rate: float
    cpus: int
    errno: int = 0
    kind = Kind.CPU_CALIBRATE

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Same in all dialects."""
        return _CALIBRATE_RESPONSE


@dataclass(frozen=True)
class DetailsRequest:
    """Type 7800, between two xenrr only: a page of what netperf has no message for.

    ``topic`` 0 is the target's host, 1 its CPUs in the test that has just ended.
    """

    topic: int = 0
    page: int = 0
    cpu: int = -1
    kind = Kind.DETAILS

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Travels in one dialect only."""
        return _DETAILS_REQUEST


@dataclass(frozen=True)
class DetailsResponse:
    """Type 7801: the page, and how many pages the topic has."""

    pages: int
    text: str
    errno: int = 0
    kind = Kind.DETAILS_RESPONSE

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Travels in one dialect only."""
        return _DETAILS_RESPONSE


@dataclass(frozen=True)
class FlowsRequest:
    """Type 7802, between two xenrr only: the next test has so many data connections."""

    flows: int
    cpu: int = -1
    kind = Kind.FLOWS

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Travels in one dialect only."""
        return _FLOWS


@dataclass(frozen=True)
class FlowsResponse:
    """Type 7803: how many the target will take, at most as many as were asked for."""

    flows: int
    errno: int = 0
    kind = Kind.FLOWS_RESPONSE

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Travels in one dialect only."""
        return _FLOWS


@dataclass(frozen=True)
class UnknownRequest:
    """Any other type; netservers answer errno 998 and go on."""

    kind: int
    cpu: int = -1

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """Its payload is nobody's business."""
        return _NOTHING


@dataclass(frozen=True)
class ErrorResponse:
    """A request that failed: the peer's errno, or 998 for a type that it does not know.

    ``kind`` is whatever stood in the type word, 0 on a fresh connection.
    """

    errno: int
    kind: int = 0

    @staticmethod
    def layout(dialect: Dialect) -> Layout:
        """No payload."""
        return _NOTHING
