"""The Python loop on a thread of its own: what the kernel does for it and need not."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from engines import (
    LIMIT_S,
    MS,
    PROTOCOLS,
    Running,
    Working,
    check_accounts,
    end,
    sender_spec,
    target_spec,
)

from xenrr import engine as room
from xenrr.engine import pure_thread
from xenrr.engine.base import Ended
from xenrr.engine.pure import PureEngine


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nothing that was found is remembered."""
    for remembers in (pure_thread.find_rseq, pure_thread.find_syscall):
        remembers.cache_clear()
    yield
    for remembers in (pure_thread.find_rseq, pure_thread.find_syscall):
        remembers.cache_clear()


def test_a_thread_leaves_once():
    def work() -> tuple[bool, bool]:
        return pure_thread.leave_rseq(), pure_thread.leave_rseq()

    registered = pure_thread.find_rseq() is not None
    for _ in range(2):      # each thread anew
        assert Working(work).outcome() == (registered, False)


@PROTOCOLS
@pytest.mark.parametrize("whole", [False, True], ids=["guest", "program"])
def test_a_loop_keeps_nothing_open_and_takes_no_signal(
    connect, stop_pipe, monkeypatch, datagram, whole,
):
    """What other threads close while it runs is closed."""
    monkeypatch.setattr(room, "whole_process", whole)
    near, far = connect(datagram)
    others = socket.socketpair()
    report_pipe = os.pipe()
    answering = Running(PureEngine(), far, target_spec(datagram, own_thread=True))
    spec = sender_spec(datagram, own_thread=True, interim_ns=20 * MS)
    run = Running(PureEngine(), near, spec, stop_pipe[0], report_pipe[1])
    ready, _, _ = select.select([report_pipe[0]], [], [], LIMIT_S)
    assert ready
    others[0].close()
    others[1].settimeout(LIMIT_S)
    assert others[1].recv(1) == b""
    others[1].close()
    heard: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert heard == [signal.SIGUSR1]
    os.write(stop_pipe[1], b"x")
    tally = run.tally()
    end(near, datagram)
    assert tally.ended is Ended.STOPPED
    assert tally.interims_dropped == 0
    assert answering.tally().transactions >= tally.transactions > 0
    check_accounts(tally, spec)
    for descriptor in report_pipe:
        os.close(descriptor)


def test_a_table_of_its_own(monkeypatch):
    """It holds what is kept and standard error, and others do not see it."""
    ours, theirs = os.pipe()

    def work() -> tuple[bool, set[int]]:
        alone = pure_thread.leave_shared_table((theirs, -1))
        return alone, {place for place in range(theirs + 20) if is_open(place)}

    alone, there = Working(work).outcome()
    if alone:
        assert there == {2, theirs}
    assert is_open(ours) and is_open(theirs)
    os.close(ours)
    os.close(theirs)

    call = pure_thread.find_syscall()
    if call is not None:        # a kernel that is too old
        monkeypatch.setattr(pure_thread, "SYS_CLOSE_RANGE", 1 << 20)

        def refused() -> tuple[bool, set[signal.Signals | int]]:
            return (pure_thread.leave_shared_table(()),
                    signal.pthread_sigmask(signal.SIG_BLOCK, ()))

        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert Working(refused).outcome() == (False, mask)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("program", ["client", "server", "agent"])
def test_only_a_program_has_its_process_for_itself(program):
    """A main() that is called with arguments, by whomever, changes nothing."""
    code = (f"import sys, xenrr.{program} as p, xenrr.engine as e; p.main(['-V']); "
            "print(e.whole_process)" if program != "agent" else
            "import xenrr.agent, xenrr.engine as e; print(e.whole_process)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          timeout=LIMIT_S, check=True, stdin=subprocess.DEVNULL)
    assert done.stdout.split()[-1] == "False"


@pytest.mark.parametrize("lacks", ["system", "processor", "ctypes"])
def test_elsewhere_nothing_is_left(monkeypatch, lacks):
    if lacks == "system":
        monkeypatch.setattr(sys, "platform", "freebsd13")
    elif lacks == "ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    else:
        machine = os.uname_result(("Linux", "a", "6.1", "#1", "aarch64"))
        monkeypatch.setattr(os, "uname", lambda: machine)
    assert pure_thread.find_rseq() is None
    assert not pure_thread.leave_rseq()
    if lacks != "processor":
        assert not pure_thread.leave_shared_table(())
