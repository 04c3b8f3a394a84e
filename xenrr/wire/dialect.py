"""What a peer's release means for the messages on its control connection."""

from __future__ import annotations

from xenrr.frozen import dataclass, replace
from xenrr.wire.message import LONG_BYTES, SHORT_BYTES

__all__ = ["CLASSIC_CLIENT", "CLASSIC_SERVER", "NETPERF_2_6", "NETPERF_2_7", "OMNI_2_4_5",
           "SHORT_SYSINFO", "XENRR", "Dialect", "dialect_of_sysinfo"]


@dataclass(frozen=True)
class Dialect:
    """How a peer talks.

    Attributes:
        message_bytes: Size of every message, 256 or 656.
        omni: Whether it knows OMNI tests; ``None`` while that has to be tried.
        results_layout: Which OMNI results it uses: ``A``, ``B`` or ``C``; ``X`` is ours, C
            with the steal time behind it.
        peer: Its release as far as it shows, for a person.
        first_omni: Whether its OMNI requests and responses are those of 2.4.5.
    """

    message_bytes: int
    omni: bool | None
    results_layout: str
    peer: str
    first_omni: bool = False

    @property
    def is_xenrr(self) -> bool:
        """Whether it is one of us, and understands what netperf does not."""
        return self.results_layout == "X"


CLASSIC_SERVER = Dialect(SHORT_BYTES, False, "A", "netperf 2.4.0 to 2.4.4")
# A 2.4.5 client asks for the sysinfo only when it was built for OMNI.
CLASSIC_CLIENT = Dialect(SHORT_BYTES, False, "A", "netperf 2.4.0 to 2.4.5")
# A 2.4.5 server answers sysinfo, but knows OMNI in a form of its own or not at all.
SHORT_SYSINFO = Dialect(SHORT_BYTES, None, "A", "netperf 2.4.5 or 2.5.0")
# Its client shows itself by its first OMNI request; its server never does.
OMNI_2_4_5 = Dialect(SHORT_BYTES, True, "A", "netperf 2.4.5 with OMNI", first_omni=True)
NETPERF_2_6 = Dialect(LONG_BYTES, True, "B", "netperf 2.6.0")
NETPERF_2_7 = Dialect(LONG_BYTES, True, "C", "netperf 2.7 or later")
XENRR = Dialect(LONG_BYTES, True, "X", "xenrr")

# A version is printed on terminals; what a peer puts there stays short and printable.
MAX_VERSION_CHARACTERS = 40


def dialect_of_sysinfo(text: str, message_bytes: int) -> Dialect:
    """The dialect of a target, from its answer to DO_SYSINFO.

    Args:
        text: Delimiter, then fields: ``,xenrr,<version>,...`` from a xenrr target,
            ``,Deprecated,...`` from netperf 2.7.0 on, before that what uname says.
        message_bytes: Size of the message that it came in.
    """
    fields = text.split(",", 3)
    if fields[:2] == ["", XENRR.peer]:
        version = "".join(filter(str.isprintable, "".join(fields[2:3])))
        peer = f"{XENRR.peer} {version[:MAX_VERSION_CHARACTERS]}".rstrip()
        return replace(XENRR, peer=peer)
    if message_bytes == SHORT_BYTES:
        return SHORT_SYSINFO
    return NETPERF_2_7 if fields[:2] == ["", "Deprecated"] else NETPERF_2_6
