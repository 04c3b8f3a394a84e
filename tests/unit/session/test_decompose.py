"""Decomposed tests from the spec to the record, and where they are refused."""

from __future__ import annotations

import accounting
import pytest
from ends import ENGINES, run, serving

import xenrr
from xenrr.checks.doubts import check_parts
from xenrr.engine import base, stamps
from xenrr.errors import SpecError, TimestampsUnavailable
from xenrr.results.record import Run, TestSpec


async def measured(spec: TestSpec, engine: str = "auto") -> Run:
    async with serving() as server:
        async with xenrr.connect("127.0.0.1", server.port, engine=engine) as sender:
            return await sender.run(spec)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_the_record_has_the_parts(engine, test) -> None:
    done = run(measured(TestSpec(test, duration_s=0.2, decompose=True), engine))
    accounting.check(done)
    assert tuple(done.distributions) == base.PARTS
    assert 0 <= done.undecomposed < done.transactions
    assert done.distributions["wakeup_ns"].total == done.transactions - done.undecomposed
    assert Run.from_plain(done.to_plain()) == done
    few = done.undecomposed <= 0.01 * done.transactions
    assert not list(check_parts(done)) if few else list(check_parts(done))


def test_a_plain_run_has_none() -> None:
    done = run(measured(TestSpec("TCP_RR", transactions=10)))
    assert done.distributions == {}
    assert done.undecomposed == 0


def test_a_system_without_stamps_refuses_before_the_target_is_asked(monkeypatch) -> None:
    monkeypatch.setattr(stamps, "SO_TIMESTAMPING", 9999)
    with pytest.raises(TimestampsUnavailable, match="needs Linux"):
        run(measured(TestSpec("TCP_RR", duration_s=0.2, decompose=True)))


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_a_kernel_that_does_not_stamp_what_is_sent_refuses(monkeypatch, test) -> None:
    monkeypatch.setattr(stamps, "WANTED", 1 << 30)
    with pytest.raises(TimestampsUnavailable, match=r"Linux 4\.14"):
        run(measured(TestSpec(test, duration_s=0.2, decompose=True), "pure"))


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
def test_a_driver_that_does_not_stamp_is_named(monkeypatch, test) -> None:
    monkeypatch.setattr(stamps, "WANTED", stamps.RX_SOFTWARE | stamps.SOFTWARE)
    for how in ({"duration_s": 5}, {"transactions": 3}):
        with pytest.raises(TimestampsUnavailable, match="software-transmit"):
            run(measured(TestSpec(test, decompose=True, **how), "pure"))


@pytest.mark.parametrize(("values", "said"), [
    ({"burst": 1}, "one request at a time"), ({"spin": True}, "do not go together"),
    ({"test": "TCP_CRR"}, "lasting connections"), ({"test": "UDP_STREAM"}, "lasting"),
    ({"flows": 2}, "one request at a time")])
def test_what_does_not_go_together_is_refused(values, said) -> None:
    with pytest.raises(SpecError, match=said):
        TestSpec(decompose=True, **values)
