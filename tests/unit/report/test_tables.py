"""The tables of a campaign, worked out from records with known numbers."""

from __future__ import annotations

import json
import math

import pytest
from campaigns import HEADER_OF_TWO, round_of, sender_run

from xenrr.report.study import STUDIES
from xenrr.report.tables import campaign_table
from xenrr.results.campaign import CampaignContents, CampaignHeader, MachineFacts

STUDY = STUDIES["antonioli-2006"]


def contents(header, rounds):
    """A file of rounds: for each its key and the rate of each sender."""
    runs, records = [], []
    for number, (key, rates, more) in enumerate(rounds):
        name = f"attempt{number}"
        records.append(round_of(key, rates, attempt=name, **more))
        runs += [sender_run(machine, counts=[rate // 10] * 10, attempt=name, key=key)
                 for machine, rate in rates.items()]
    return CampaignContents(header, tuple(records), tuple(runs))


def test_means_intervals_ratios_and_totals():
    table = campaign_table(contents(HEADER_OF_TWO, [
        ("12|1", {"a": 1000, "b": 400}, {}), ("12|2", {"a": 1200, "b": 600}, {})]))
    (column,) = table.columns
    a, b = column.entries
    assert (a.machine, a.rate_tps, a.repeats) == ("a", pytest.approx(1100), 2)
    # t of one degree of freedom, 12.706, times the standard error, 100
    assert a.half_width_tps == pytest.approx(1270.6, rel=1e-3)
    assert (a.to_own_host, b.to_own_host) == (1.0, pytest.approx(500 / 1100))
    assert column.total_tps == pytest.approx(1600)
    assert (column.sender_count, column.target_count) == (3204, 3204)
    assert a.p99_ns == pytest.approx(50_000, rel=1e-3)
    assert column.doubts == ()
    assert {each.among: each.machines for each in column.fairness} == {"all": 2}
    assert math.isnan(a.published_tps)
    assert table.missing == ()


def test_a_round_that_does_not_count_is_left_out_and_told():
    table = campaign_table(contents(HEADER_OF_TWO, [
        ("12|1", {"a": 1000, "b": 400}, {}),
        ("12|2", {"a": 9990, "b": 9990}, {"failures": {"b": "died"}})]))
    assert table.columns[0].entries[0].rate_tps == pytest.approx(1000)
    assert table.missing == ("12|2",)
    assert table.failures == ("12|2: b: died",)
    assert math.isinf(table.columns[0].entries[0].half_width_tps)
    assert "measured once" in table.columns[0].doubts[0]


def test_loss_against_solo_rates():
    table = campaign_table(contents(HEADER_OF_TWO, [
        ("12|1", {"a": 1000, "b": 400}, {}), ("solo/a|1", {"a": 4000}, {}),
        ("solo/b|1", {"b": 400}, {})]))
    (column,) = table.columns
    assert [entry.loss for entry in column.entries] == [
        pytest.approx(0.75), pytest.approx(0.0)]


def test_skew_and_counts_that_do_not_agree_are_doubts():
    runs = contents(HEADER_OF_TWO, [("12|1", {"a": 1000}, {"skew_ns": 20_000_000})])
    (column,) = campaign_table(runs).columns
    assert "20.0 ms apart" in column.doubts[0]
    part = runs.runs[0]
    wrong = CampaignContents(runs.header, runs.rounds, (sender_run(
        "a", attempt=part.attempt, target_tally=type(part.run.target_tally)(5)),))
    assert any("the target 5" in doubt for doubt in campaign_table(wrong).columns[0].doubts)


def study_header():
    machines = tuple(
        MachineFacts(name, f"host{name[2:].split('.')[0] if name[1] == 'U' else name[3]}",
                     "DomU" if name[1] == "U" else "Dom0") for name in STUDY["12"])
    return CampaignHeader("s", "antonioli-2006", "D0.1", "host1", machines, ("12|1", "6|1"),
                          1, 1, 1.0, 0.0, "", 0.0, "0")


def test_the_study_beside_itself_agrees():
    rounds = [(f"{name}|1", {machine: round(rate) * 10 for machine, rate in
                             STUDY[name].items()}, {}) for name in ("6", "12")]
    table = campaign_table(contents(study_header(), rounds))
    assert [column.experiment for column in table.columns] == ["12", "6"]
    twelve, six = table.columns
    assert (twelve.tau, six.tau) == (1.0, pytest.approx(1.0, abs=0.4))
    assert twelve.compared == 9
    own = (1090.09 + 1004.39) / 2
    dom0 = twelve.entries[0]
    assert dom0.published_to_own_host == pytest.approx(2297.98 / own)
    assert dom0.to_own_host == pytest.approx(2298 / own, rel=1e-3)
    sets = {each.among: each for each in twelve.fairness}
    assert set(sets) == {"DomU of host1", "DomU of host2", "DomU of host3", "remote DomU",
                         "all"}
    for each in sets.values():
        assert each.jain == pytest.approx(each.published_jain, rel=1e-2)
    assert math.isnan(six.entries[0].to_own_host)  # nobody on the target's host sends
    json.dumps(table.to_plain(), allow_nan=False)


def test_the_published_numbers_are_all_there():
    assert {name: len(rates) for name, rates in STUDY.items()} == {
        "12": 9, "11": 8, "8": 6, "6": 4}
    assert sum(sum(rates.values()) for rates in STUDY.values()) == pytest.approx(26871.35)
