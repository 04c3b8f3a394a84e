"""The Python loop on a thread of its own: what the kernel does for it and need not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from engines import PROTOCOLS, Running, Working, check_accounts, end, sender_spec, target_spec

from xenrr.engine import pure_thread
from xenrr.engine.base import Ended
from xenrr.engine.pure import PureEngine


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Nothing that was found is remembered."""
    pure_thread.find_rseq.cache_clear()
    yield
    pure_thread.find_rseq.cache_clear()


def test_a_thread_leaves_once():
    def work() -> tuple[bool, bool]:
        return pure_thread.leave_rseq(), pure_thread.leave_rseq()

    registered = pure_thread.find_rseq() is not None
    for _ in range(2):      # each thread anew
        assert Working(work).outcome() == (registered, False)


@PROTOCOLS
def test_both_ends_run_without(connect, datagram):
    near, far = connect(datagram)
    answering = Running(PureEngine(), far, target_spec(datagram, own_thread=True))
    spec = sender_spec(datagram, transactions=300, own_thread=True)
    tally = Running(PureEngine(), near, spec).tally()
    end(near, datagram)
    assert (tally.ended, tally.transactions) == (Ended.COUNT, 300)
    assert answering.tally().transactions == 300
    check_accounts(tally, spec)


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
