"""Engines and sockets for the tests of the contract."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

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


@pytest.fixture
def signalled() -> Callable[[], AbstractContextManager[list[int]]]:
    """SIGUSR1 for the main thread every 2 ms, and what it saw of them."""

    @contextlib.contextmanager
    def signals() -> Iterator[list[int]]:
        seen: list[int] = []
        over = threading.Event()

        def send() -> None:
            while not over.wait(0.002):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

        old = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            over.set()
            thread.join()
            signal.signal(signal.SIGUSR1, old)

    return signals
