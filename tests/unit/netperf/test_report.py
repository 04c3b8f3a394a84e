"""Which form the results take."""

from __future__ import annotations

import pytest

from xenrr.netperf.options import CSV, HUMAN, KEYVAL
from xenrr.netperf.report import results_text
from xenrr.netperf.selectors import read_selection
from xenrr.results.record import TestSpec


def test_omni_has_columns_for_a_person(made):
    text = results_text(made(TestSpec("OMNI"), headers=False), [])
    assert text == "4194304     131072      16384  1.00    19413.99   10^6bits/s  \n"
    assert results_text(made(TestSpec("OMNI"), headers=False, verbosity=0), []) == text


@pytest.mark.parametrize(("form", "text"), [
    (CSV, "THROUGHPUT\n"), (KEYVAL, "THROUGHPUT=19413.99\n"), (HUMAN, "19413.99   \n")])
def test_forms(made, form, text):
    selection, _ = read_selection("THROUGHPUT", form)
    built = made(TestSpec("TCP_STREAM"), form=form, headers=False)
    assert results_text(built, selection) == text.replace("THROUGHPUT\n", "19413.99\n")


def test_selected_results_carry_no_warning(made, records):
    runs = [records.run(transactions=count) for count in (10, 20, 30)]
    built = made(TestSpec(), *runs, form=KEYVAL, max_iterations=3, min_iterations=3,
                 confidence_level=99, confidence_width=0.01)
    assert results_text(built, []).startswith("LSS_SIZE_END=")


def test_a_histogram_and_percentiles_follow(made):
    built = made(TestSpec(), histogram=True, verbosity=2, percentiles=(99.0,))
    text = results_text(built, [])
    assert text.index("Outbound") < text.index("HIST_TOTAL") < text.index("P99")
    built = made(TestSpec(), histogram=True, verbosity=2, form=KEYVAL)
    assert "THROUGHPUT_UNITS=Trans/s\n\nHistogram of request/response times\n" in (
        results_text(built, []))
