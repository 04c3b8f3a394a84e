"""What holds for the record of any test that ended well, whoever the peer was."""

from __future__ import annotations

from xenrr.results.record import Run

NAMES = ["TCP_RR", "UDP_RR", "TCP_CRR", "TCP_CC", "TCP_STREAM", "TCP_MAERTS", "TCP_SENDFILE",
         "UDP_STREAM"]


def check(run: Run) -> None:
    """Nothing is unaccounted for, and the ends agree as far as TCP makes them."""
    told, spec = run.target_tally, run.spec
    assert run.error == ""
    if not spec.is_one_way:
        assert run.requests_sent == run.transactions + run.in_flight + run.lost
        assert run.latency_ns.total == run.transactions > 0
        late = run.in_flight + run.drained
        assert run.transactions <= told.transactions <= run.transactions + late
    elif spec.direction == "send":
        assert run.latency_ns.total == run.send_calls + run.failed_sends
        if spec.is_datagram:
            assert 0 < told.bytes_received <= run.bytes_sent
        else:
            assert told.bytes_received == run.bytes_sent > 0
    else:
        # A netserver does not count the part of a block that its alarm cut off.
        assert 0 < run.bytes_received < told.bytes_sent + max(run.remote.send_bytes, 1)
