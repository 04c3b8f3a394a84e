"""Kernels and containers without io_uring and without the newest call of epoll.

A filter of the kernel's (seccomp) refuses the calls in a process of its own, as those of
containers do; an old kernel says that there are none.
"""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from peers import clean_environment

PROGRAM = r"""
import asyncio, ctypes, json, struct, sys

# io_uring_setup and epoll_pwait2: the same numbers on every Linux but Alpha's.
refused = (425, 441)
# linux/filter.h, linux/seccomp.h: load the number of the call; refuse it, or go on.
code = [(0x20, 0, 0, 0), (0x15, 2, 0, refused[0]), (0x15, 1, 0, refused[1]),
        (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | int(sys.argv[1]))]

class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
made = Filter(len(code), b"".join(struct.pack("=HBBI", *line) for line in code))
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.addressof(made), 0, 0):
    sys.exit("no filter")

import xenrr
from ends import serving
from xenrr.engine.load import load_engine
from xenrr.errors import EngineUnavailable
from xenrr.session.pool import check_poller

engine = load_engine("hot")
said = ""
try:
    check_poller(engine, "io_uring")
except EngineUnavailable as exc:
    said = str(exc)

async def body():
    async with serving(engine="hot") as server:
        async with xenrr.connect("127.0.0.1", server.port, engine="hot") as sender:
            return await sender.run(xenrr.TestSpec(duration_s=0.2, flows=3, rate_tps=900.0))

run = asyncio.run(body())
print(json.dumps([engine.pollers(), said, run.poller, run.error, run.transactions > 0]))
"""


@pytest.mark.c_engine
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the filter is Linux's")
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS], ids=["forbidden", "absent"])
def test_many_flows_go_on_by_what_there_is(number):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(number)], capture_output=True,
                          text=True, timeout=60, cwd=Path(__file__).parents[2],
                          env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["epoll", "poll"], "the hot engine cannot wait by io_uring here; it has epoll, poll",
        "epoll", "", True]
