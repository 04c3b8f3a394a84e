"""Texts that no other test sees through a whole command."""

from __future__ import annotations

from xenrr.errors import ConnectionLost
from xenrr.netperf import messages
from xenrr.netperf.ending import Ending, bad_level, not_yet


def test_every_text_ends_its_line_except_netperfs_own_oddity():
    endings = [
        bad_level(), not_yet("-c"), messages.connection_lost(ConnectionLost("gone")),
        messages.too_long(90), messages.unknown_test("X", None),
        messages.no_selector_file("f", 2), messages.no_data_connection(OSError("timed out"))]
    for ending in endings:
        assert isinstance(ending, Ending) and ending.exit_code in (1, 255)
        for text in (ending.out, ending.err):
            assert not text or text.endswith("\n")


def test_not_yet_can_say_what_there_is():
    assert not_yet("-c").err == ("netperf: -c is not there yet in xenrr, nothing was "
                                 "measured\n")
    assert not_yet("X", "; there is Y").err.endswith("measured; there is Y\n")


def test_errors_without_a_system_text():
    assert messages.no_data_connection(OSError("timed out")).err.endswith(": timed out\n")
