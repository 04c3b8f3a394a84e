from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from engines import pollers_of

from xenrr.engine.flows import FlowsEngine
from xenrr.engine.load import load_engine


@pytest.fixture(params=pollers_of("pure")[:1] + pollers_of("hot")[:2])
def many(request) -> tuple[FlowsEngine, str]:
    """Each engine with the poller it would take, and the second one of the engine in C."""
    name, poller = request.param.split("-")
    return load_engine(name), poller


@pytest.fixture(autouse=True)
def preferred() -> Iterator[None]:
    """Other tests are to wait, not these: threads and processes inherit it, where allowed."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    yield
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, before)
