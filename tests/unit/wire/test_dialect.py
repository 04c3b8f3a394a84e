from __future__ import annotations

import pytest

from xenrr.wire.dialect import (
    NETPERF_2_6,
    NETPERF_2_7,
    SHORT_SYSINFO,
    Dialect,
    dialect_of_sysinfo,
)


@pytest.mark.parametrize(("text", "message_bytes", "dialect"), [
    ("|Linux|5.10.0|x86_64|#1 SMP", 256, SHORT_SYSINFO),
    ("|Linux|5.10.0|x86_64|#1 SMP", 656, NETPERF_2_6),
    (",Linux,5.10.0,x86_64,#1 SMP", 656, NETPERF_2_6),
    (",Deprecated,Deprecated,Deprecated,Deprecated", 656, NETPERF_2_7),
    ("", 656, NETPERF_2_6),
    (",xenrr,1.2,Deprecated,Deprecated", 656, Dialect(656, True, "X", "xenrr 1.2")),
    (",xenrr,", 656, Dialect(656, True, "X", "xenrr")),
    (",xenrr", 656, Dialect(656, True, "X", "xenrr")),
])
def test_the_text_tells_the_release(text, message_bytes, dialect):
    assert dialect_of_sysinfo(text, message_bytes) == dialect


def test_a_version_cannot_play_tricks_on_a_terminal():
    peer = dialect_of_sysinfo(f",xenrr,\x1b[2J\n{'9' * 100},x", 656).peer
    assert peer.isprintable()
    assert len(peer) <= 46
