"""Texts that no other test sees through a whole command."""

from __future__ import annotations

import socket

from xenrr.errors import ConnectionLost
from xenrr.netperf import messages
from xenrr.netperf.ending import Ending, bad_level


def test_every_text_ends_its_line_except_netperfs_own_oddity():
    endings = [
        bad_level(), messages.connection_lost(ConnectionLost("gone")),
        messages.too_long(90), messages.unknown_test("X", None),
        messages.no_selector_file("f", 2),
        messages.no_data_connection(OSError("timed out"), "TCP_RR"),
        messages.bad_mask(32), messages.no_protocol("sctp", socket.AF_INET),
        messages.no_fill_file("f", OSError("gone")),
        messages.no_send_file(OSError("gone")), messages.short_send_file(32768)]
    for ending in endings:
        assert isinstance(ending, Ending) and ending.exit_code in (1, 255)
        for text in (ending.out, ending.err):
            assert not text or text.endswith("\n")


def test_errors_without_a_system_text():
    assert messages.no_data_connection(OSError("timed out"), "TCP_CC").err == (
        "netperf: data socket connect failed: timed out\n")
