from __future__ import annotations

import pytest

from xenrr.cli.screen import Screen
from xenrr.results.record import InterimPoint


@pytest.mark.parametrize(("transactions", "p99_ns", "said"), [
    (500, 21_000, "500/s  p99 21"), (0, 0, "0/s  p99 -")])
def test_an_interval_on_the_live_line(transactions, p99_ns, said):
    point = InterimPoint(1_000_000_000, 1_000_000_000, transactions, transactions, p99_ns,
                         p99_ns, p99_ns, 0.0)
    assert said in Screen().state_text(point, 3.0)
