"""The results of a finished command, in the form that was asked for."""

from __future__ import annotations

from xenrr.netperf.options import CSV, KEYVAL, TABLE
from xenrr.netperf.outcome import Outcome
from xenrr.results.record import OMNI

TYPE_CHECKING = False  # typing's constant without the cost of importing typing
if TYPE_CHECKING:
    from xenrr.netperf.selectors import Selection

__all__ = ["results_text"]


def results_text(outcome: Outcome, selection: Selection) -> str:
    """Everything below the header line and the interim results.

    Args:
        outcome: What happened.
        selection: From ``read_selection``; empty for the test's own columns.
    """
    form = outcome.options.form
    if form == TABLE and outcome.test != OMNI:
        from xenrr.netperf.tables import result_table

        text = result_table(outcome)
    else:
        from xenrr.netperf.selectors import csv_text, human_text, keyval_text

        # OMNI has no table of its own: the columns for a person stand in.
        write = {CSV: csv_text, KEYVAL: keyval_text}.get(form, human_text)
        text = write(selection, outcome)
        if outcome.options.histogram:
            from xenrr.netperf.histogram_text import histogram_text

            text += histogram_text(outcome, selected=True)
    if outcome.options.percentiles is not None:
        from xenrr.netperf.latency import percentile_lines

        text += percentile_lines(outcome, outcome.options.percentiles)
    return text
