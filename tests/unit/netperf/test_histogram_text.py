"""The histogram as a netperf built with ``--enable-histogram`` printed it."""

from __future__ import annotations

import pytest

from xenrr.netperf.histogram_text import histogram_text
from xenrr.results.record import TestSpec
from xenrr.stats.histogram import Histogram

US = 1000


def recorded(**counts):
    latency_ns = Histogram()
    for name, count in counts.items():
        latency_ns.record(int(name[1:]) * US, count)
    return latency_ns


def test_rows(made, records):
    latency_ns = recorded(u0=1, u9=2, u10=47269, u29=7071, u99=18, u150=17, u1999=4, u35_000=1,
                          u510_000=1, u2_010_000=1, u99_000_000=1, u101_000_000=3)
    run = records.run(latency_ns=latency_ns)
    assert histogram_text(made(TestSpec(), run, histogram=True, verbosity=2)) == """
Histogram of request/response times
UNIT_USEC     :    1:    0:    0:    0:    0:    0:    0:    0:    0:    2
TEN_USEC      :    0: 47269: 7071:    0:    0:    0:    0:    0:    0:   18
HUNDRED_USEC  :    0:   17:    0:    0:    0:    0:    0:    0:    0:    0
UNIT_MSEC     :    0:    4:    0:    0:    0:    0:    0:    0:    0:    0
TEN_MSEC      :    0:    0:    0:    1:    0:    0:    0:    0:    0:    0
HUNDRED_MSEC  :    0:    0:    0:    0:    0:    1:    0:    0:    0:    0
UNIT_SEC      :    0:    0:    1:    0:    0:    0:    0:    0:    0:    0
TEN_SEC       :    0:    0:    0:    0:    0:    0:    0:    0:    0:    1
>100_SECS: 3
HIST_TOTAL:      54389
"""


def test_every_iteration_is_counted(made, records):
    runs = [records.run(transactions=100), records.run(transactions=200)]
    text = histogram_text(made(TestSpec(), *runs, histogram=True, verbosity=2))
    assert text.endswith("HIST_TOTAL:      300\n")


@pytest.mark.parametrize(("histogram", "verbosity"), [(False, 2), (True, 1), (True, 0)])
def test_both_options_have_to_ask_for_it(made, histogram, verbosity):
    assert histogram_text(made(TestSpec(), histogram=histogram, verbosity=verbosity)) == ""


@pytest.mark.parametrize(("test", "title"), [
    ("TCP_RR", "\nHistogram of request/response times\n"),
    ("UDP_RR", "\nHistogram of request/reponse times.\n"),
    ("TCP_CC", "\nHistogram of request/response times\n"),
    ("TCP_STREAM", "\n\nHistogram of time spent in send() call.\n"),
    ("TCP_MAERTS", "\n\nHistogram of time spent in recv() call.\n"),
    ("UDP_STREAM", "\nHistogram of time spent in send() call\n")])
def test_titles(made, test, title):
    text = histogram_text(made(TestSpec(test), histogram=True, verbosity=2))
    assert text.startswith(f"{title}UNIT_USEC     :")


@pytest.mark.parametrize(("direction", "connecting", "what"), [
    ("rr", False, "request/response"), ("rr", True, "connect/request/response/close"),
    ("none", True, "connect/close"), ("send", False, "send"), ("receive", False, "recv")])
def test_titles_below_selectors(made, direction, connecting, what):
    spec = TestSpec("OMNI", direction=direction, connecting=connecting)
    text = histogram_text(made(spec, histogram=True, verbosity=2), selected=True)
    assert text.startswith(f"\nHistogram of {what} times\nUNIT_USEC")
