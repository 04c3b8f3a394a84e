from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from peers import (
    Server,
    find_program,
    lacking,
    running_netserver,
    running_xenrr_server,
)

if TYPE_CHECKING:
    from xenrr.engine.base import Engine

@functools.cache
def no_c_engine() -> str:
    """Why the C engine does not load here; empty when it does."""
    from xenrr.engine.load import load_engine
    from xenrr.errors import EngineUnavailable

    try:
        load_engine("hot")
    except EngineUnavailable as exc:
        return str(exc)
    return ""


@functools.cache
def no_lab() -> str:
    """Why no lab can be made here as root; empty when one can."""
    from xenrr.lab.privilege import is_root

    if not is_root():
        return "a lab needs Linux and root with the right to make namespaces"
    return "" if shutil.which("tc") else "no ip and tc on PATH (Debian: iproute2)"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("peer"):
        for program in mark.args:
            if find_program(program) is None:
                lacking("peer", f"no {program} on PATH")
    if item.get_closest_marker("c_engine") and (why := no_c_engine()):
        lacking("c_engine", why)
    if item.get_closest_marker("lab") and (why := no_lab()):
        lacking("lab", why)


@pytest.fixture(params=["pure", pytest.param("hot", marks=pytest.mark.c_engine)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two engines; ``-m "not c_engine"`` is for machines without a compiler."""
    from xenrr.engine.load import load_engine

    return load_engine(request.param)


@pytest.fixture(scope="session")
def netperf_command() -> str:
    """Path of the real netperf."""
    program = find_program("netperf")
    if program is None:
        lacking("peer", "no netperf on PATH")
    assert program is not None
    return program


@pytest.fixture
def netserver() -> Iterator[Server]:
    """A real netserver."""
    if find_program("netserver") is None:
        lacking("peer", "no netserver on PATH")
    with running_netserver() as server:
        yield server


@pytest.fixture
def xenrr_server() -> Iterator[Server]:
    """Our own server; its clean end is part of every test that uses it."""
    with running_xenrr_server() as server:
        yield server
