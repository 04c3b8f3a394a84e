"""Comparisons of a thing with itself, made of real runs, say "cannot tell" as promised."""

from __future__ import annotations

from peers import LOOPBACK

from xenrr.results.record import TestSpec
from xenrr.session.sender import open_sender
from xenrr.stats.compare import CANNOT_TELL, LEAST_REPEATS, compare

COMPARISONS = 50
# If one in 20 claims a difference, as the level of 95 % says, fewer than 42 of 50 "cannot
# tell" once in 1300 times: sum of C(50, k) 0.05^k 0.95^(50-k) over k from 9 on.
LEAST_CANNOT_TELL = 42


def test_the_same_thing_cannot_be_told_apart_as_often_as_promised(xenrr_server):
    """Short runs that alternate: A B A B A B, fifty times."""
    spec = TestSpec("TCP_RR", transactions=500)  # however long a busy machine needs for them
    length = 2 * LEAST_REPEATS
    with open_sender(LOOPBACK, xenrr_server.port) as sender:
        rates = [sender.run(spec).rate_tps for _ in range(COMPARISONS * length)]
    for paired in (False, True):
        verdicts = [compare(rates[first:first + length:2], rates[first + 1:first + length:2],
                            paired=paired).verdict
                    for first in range(0, len(rates), length)]
        assert len(verdicts) == COMPARISONS
        assert verdicts.count(CANNOT_TELL) >= LEAST_CANNOT_TELL
