"""Engines and sockets for the tests of the contract."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest
from engines import PAIRS, tcp_pair, udp_pair

from xenrr.engine.base import Engine
from xenrr.engine.load import load_engine


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        yield sock


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    sender, target = request.param.split("-")
    return load_engine(sender), load_engine(target)


@pytest.fixture
def stop_pipe() -> Iterator[tuple[int, int]]:
    pipe = os.pipe()
    yield pipe
    for descriptor in pipe:
        os.close(descriptor)


@pytest.fixture
def connect() -> Iterator[Callable[[bool], tuple[socket.socket, socket.socket]]]:
    made: list[socket.socket] = []

    def make(datagram: bool) -> tuple[socket.socket, socket.socket]:
        two = udp_pair() if datagram else tcp_pair()
        made.extend(two)
        return two

    yield make
    for sock in made:
        sock.close()
