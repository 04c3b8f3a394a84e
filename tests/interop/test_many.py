"""Many senders at once against one server: all finish, and it keeps nothing of them."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import pytest

import xenrr

SENDERS = 200
BATCHES = 3
# The allocator keeps some of what it was given back; 200 leaked sessions would be more.
KEPT_KB = 8 * 1024
CLOSE_LIMIT_S = 20.0


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def batch(port: int) -> list[xenrr.Run]:
    async def one(number: int) -> xenrr.Run:
        async with xenrr.connect("127.0.0.1", port, timeout_s=60) as sender:
            # 200 Python loops on a busy machine: a slow answer is not a lost one.
            return await sender.run(
                xenrr.TestSpec(("TCP_RR", "UDP_RR")[number % 2], transactions=50,
                               loss_timeout_s=60))

    return await asyncio.gather(*(one(number) for number in range(SENDERS)))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_two_hundred_at_once_leave_nothing_behind(xenrr_server) -> None:
    pid = xenrr_server.process.pid
    files = open_files(pid)
    memory = []
    for _ in range(BATCHES):
        runs = asyncio.run(batch(xenrr_server.port))
        assert [run.transactions for run in runs] == [50] * SENDERS
        assert all(run.target_tally.transactions == 50 for run in runs)
        del runs
        gc.collect()
        memory.append(resident_kb(pid))
    # The event loop, which may open after the first count, keeps a few descriptors; a leak
    # would be one or more a sender.
    most = files + SENDERS // 4
    # The server closes its ends a moment after the senders have closed theirs.
    give_up_s = time.monotonic() + CLOSE_LIMIT_S
    while open_files(pid) >= most and time.monotonic() < give_up_s:
        time.sleep(0.05)
    assert open_files(pid) < most
    assert memory[-1] <= memory[0] + KEPT_KB, memory
