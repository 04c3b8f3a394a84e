from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid

import pytest
from campaigns import all_gone

from xenrr.campaign.launchers.base import Launch
from xenrr.campaign.link import LinkLost, end_process, start_process


@pytest.fixture
def mark():
    return f"XENRR_TEST={uuid.uuid4().hex}"


def sleeping(mark):
    name, _, value = mark.partition("=")
    return Launch(("sleep", "60"), {name: value})


@pytest.mark.parametrize("turns", range(8))
def test_called_off_twice_while_it_starts_nothing_is_left(mark, turns):
    """Also no open pipe: the suite fails for those that are found by the collector."""
    async def body():
        starting = asyncio.ensure_future(start_process(sleeping(mark)))
        for _ in range(2):
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await end_process(await starting)

    asyncio.run(body())
    assert all_gone(mark)
    gc.collect()


def test_started_and_ended(mark):
    async def body():
        process = await start_process(sleeping(mark))
        await end_process(process)
        return process.returncode

    assert asyncio.run(body()) == -15
    assert all_gone(mark)


def test_what_is_not_there_is_said():
    with pytest.raises(LinkLost, match="/nowhere/x: No such file"):
        asyncio.run(start_process(Launch(("/nowhere/x",))))
