from __future__ import annotations

import pytest

from xenrr.errors import LocalProtocolError, RemoteProtocolError
from xenrr.wire.connection import MAX_BUFFERED_BYTES
from xenrr.wire.sender import NEED_DATA, PEER_CLOSED, SenderConnection
from xenrr.wire.states import State
from xenrr.wire.target import TargetConnection

ENDS = pytest.mark.parametrize("end", [SenderConnection, TargetConnection])


@ENDS
def test_a_clean_end_of_file_is_an_event_again_and_again(end):
    connection = end()
    assert connection.next_event() is NEED_DATA
    connection.receive_eof()
    assert connection.next_event() is PEER_CLOSED
    assert connection.next_event() is PEER_CLOSED
    assert connection.state is State.CLOSED


@ENDS
def test_nothing_comes_after_the_end_of_file(end):
    connection = end()
    connection.receive_eof()
    with pytest.raises(LocalProtocolError, match="after the end of file"):
        connection.receive_data(b"\0")


@ENDS
def test_an_end_of_file_inside_a_message_is_the_peers_mistake(end):
    connection = end()
    connection.receive_data(b"\0" * 4)
    connection.receive_eof()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="closed 4 bytes into a message"):
            connection.next_event()


@ENDS
def test_a_flood_is_refused_and_not_kept(end):
    connection = end()
    begin = bytes.fromhex("00000259 00000000")
    connection.receive_data(begin.ljust(MAX_BUFFERED_BYTES, b"\0"))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="without waiting"):
            connection.receive_data(b"\0")
    with pytest.raises(RemoteProtocolError, match="without waiting"):
        connection.next_event()


@ENDS
def test_no_bytes_are_no_event(end):
    connection = end()
    connection.receive_data(b"")
    assert connection.next_event() is NEED_DATA
