"""Ends that poll before they block: what the record and the target's log say of it."""

from __future__ import annotations

import accounting
import pytest
from ends import ENGINES, run, serving

import xenrr
from xenrr.results.record import Run, TestSpec
from xenrr.session import dataoptions


async def measured(spec: TestSpec, *, engine: str = "auto", **policy) -> tuple[Run, list[str]]:
    async with serving(engine=engine, **policy) as server:
        async with xenrr.connect("127.0.0.1", server.port, engine=engine) as sender:
            done = await sender.run(spec)
        return done, server.lines


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR"])
@pytest.mark.parametrize(("sender", "target"), [(True, True), (True, False), (False, True)])
def test_either_end_may_spin(engine, test, sender, target) -> None:
    for how in ({"duration_s": 0.2}, {"transactions": 300, "burst": 7}):
        done, lines = run(measured(TestSpec(test, spin=sender, **how), engine=engine,
                                   spin=target))
        accounting.check(done)
        assert (done.spec.spin, done.local.spin, done.remote.spin) == (sender, sender, None)
        assert done.remote_host.get("spin") == ("yes" if target else None)
        assert (" engine, spinning, " in lines[-1]) is target
        assert Run.from_plain(done.to_plain()) == done


@pytest.mark.parametrize("test", ["TCP_CRR", "TCP_STREAM"])
def test_a_target_that_spins_does_all_else_as_ever(test) -> None:
    done, lines = run(measured(TestSpec(test, duration_s=0.2), spin=True))
    accounting.check(done)
    assert "spinning" not in lines[-1]


@pytest.mark.parametrize("test", ["TCP_RR", "UDP_RR", "TCP_CRR", "TCP_STREAM"])
def test_refused_busy_polling_costs_nothing_but_a_note(test, monkeypatch) -> None:
    monkeypatch.setattr(dataoptions, "SO_BUSY_POLL", 9999)
    spec = TestSpec(test, duration_s=0.2, busy_poll_us=20)
    done, lines = run(measured(spec, busy_poll_us=30))
    accounting.check(done)
    assert (done.spec.busy_poll_us, done.local.busy_poll_us) == (20, dataoptions.FAILED)
    assert any(dataoptions.BUSY_POLL_REFUSED in line for line in lines)
    assert done.remote_host["busy_poll_us"] == "refused"


def test_busy_polling_that_is_granted_is_in_effect() -> None:
    done, lines = run(measured(TestSpec("TCP_RR", duration_s=0.2, busy_poll_us=0),
                               busy_poll_us=0))
    assert done.local.busy_poll_us == 0
    assert done.remote_host["busy_poll_us"] == "0"
    assert not any(dataoptions.BUSY_POLL_REFUSED in line for line in lines)
