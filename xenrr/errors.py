"""Every exception that xenrr raises on purpose.

An error says whose fault it is and what to do. Each class has a stable ``code`` that
``docs/reference/errors.md`` explains; ``OSError`` from the system passes untouched.
"""

from __future__ import annotations

__all__ = [
    "CommandError",
    "ConnectionLost",
    "EngineUnavailable",
    "LabError",
    "LocalProtocolError",
    "PeerRefused",
    "ProtocolError",
    "RemoteProtocolError",
    "ResultFormatError",
    "SpecError",
    "TimestampsUnavailable",
    "XenrrError",
]


class XenrrError(Exception):
    """Anything that xenrr itself refuses or gives up on."""

    code = "xenrr"


class ProtocolError(XenrrError):
    """The netperf control protocol was broken by one of the two ends."""

    code = "protocol"


class LocalProtocolError(ProtocolError):
    """We asked our own codec for something that the protocol does not allow."""

    code = "protocol-local"


class RemoteProtocolError(ProtocolError):
    """The peer sent something that no netperf sends."""

    code = "protocol-remote"


class PeerRefused(XenrrError):
    """The peer answered a request with an error number.

    Args:
        message: One sentence for a person.
        errno: The peer's own error number; 998 is netperf's "unknown request".
    """

    code = "peer-refused"

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


class ConnectionLost(XenrrError):
    """The peer went away, or said nothing for longer than it may."""

    code = "connection-lost"


class EngineUnavailable(XenrrError):
    """An engine was asked for by name and does not load here."""

    code = "engine-unavailable"


class TimestampsUnavailable(XenrrError):
    """A test was to be decomposed where the kernel gives no time stamps of its packets."""

    code = "timestamps-unavailable"


class LabError(XenrrError):
    """A lab cannot be made, found or taken down here."""

    code = "lab"


class SpecError(XenrrError):
    """What was asked for makes no sense.

    Args:
        message: One sentence for a person, without the place.
        file: Name of the file the mistake stands in, if it came from one.
        line: Its line number there, counted from 1.
    """

    code = "spec"

    def __init__(self, message: str, file: str | None = None, line: int | None = None) -> None:
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(place + message)
        self.file = file
        self.line = line


class ResultFormatError(XenrrError):
    """A result file or record is damaged or from a newer xenrr."""

    code = "result-format"


class CommandError(XenrrError):
    """A command has to end now, with this exit code.

    Args:
        message: What to print on stderr before leaving; may be empty.
        exit_code: 1 the test failed, 2 usage, 3 the peer misbehaved; the netperf twin
            uses netperf's own numbers.
    """

    code = "command"

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
