"""What a campaign leaves in a file, and the window in which all of its senders ran."""

from __future__ import annotations

from dataclasses import replace

import pytest
from campaigns import HEADER_OF_TWO, round_of, sender_run

from xenrr.errors import ResultFormatError
from xenrr.results.campaign import (
    HEADER,
    ROUND,
    SENDER_RUN,
    CampaignHeader,
    RoundRecord,
    SenderRun,
    count_in_window,
    rate_in_window,
    read_campaign,
    window_of,
)
from xenrr.results.record import SECOND_NS
from xenrr.results.store import RecordWriter, mend_file, merge_files, read_file

MS = 1_000_000


def test_the_window_is_where_all_ran():
    runs = [sender_run("a", start_ns=0, end_ns=1000 * MS),
            sender_run("b", start_ns=3 * MS, end_ns=1003 * MS),
            sender_run("c", start_ns=1 * MS, end_ns=900 * MS)]
    window = window_of(runs)
    assert (window.start_ns, window.end_ns, window.skew_ns) == (3 * MS, 900 * MS, 3 * MS)
    assert window_of(runs, 100 * MS).start_ns == 103 * MS
    assert window_of(runs, 2000 * MS) is None
    assert window_of([]) is None


def test_counts_come_from_the_series_and_cut_intervals_by_their_share():
    # 100 transactions in each of ten intervals of 100 ms, from 5 ms on.
    part = sender_run("a", start_ns=5 * MS, end_ns=1005 * MS, counts=[100] * 10)
    assert count_in_window(part, 5 * MS, 1005 * MS) == pytest.approx(1000)
    assert count_in_window(part, 5 * MS, 55 * MS) == pytest.approx(50)
    assert count_in_window(part, 155 * MS, 255 * MS) == pytest.approx(100)
    assert rate_in_window(part, 205 * MS, 705 * MS) == pytest.approx(1000)
    assert rate_in_window(part, 0, 0) == 0.0


def test_what_came_after_the_last_interim_counts_too():
    part = sender_run("a", start_ns=0, end_ns=1000 * MS, counts=[100] * 9, transactions=980)
    assert count_in_window(part, 0, 1000 * MS) == pytest.approx(980)
    assert count_in_window(part, 0, 950 * MS) == pytest.approx(940)


def test_without_a_series_the_whole_run_is_one_interval():
    part = sender_run("a", start_ns=0, end_ns=SECOND_NS, counts=[], transactions=400)
    assert rate_in_window(part, SECOND_NS // 4, SECOND_NS // 2) == pytest.approx(400)


def test_records_come_back():
    part, one = sender_run("a"), round_of("12|1", ("a", "b"), failures={"b": "died"})
    assert SenderRun.from_plain(part.to_plain()) == part
    assert RoundRecord.from_plain(one.to_plain()) == one
    assert CampaignHeader.from_plain(HEADER_OF_TWO.to_plain()) == HEADER_OF_TWO
    assert not one.complete


@pytest.mark.parametrize("plain", [{}, {"schema": 99}, {"schema": 1},
                                   {**HEADER_OF_TWO.to_plain(), "machines": [1]}])
def test_a_damaged_record_is_refused(plain):
    for kind in (CampaignHeader, SenderRun, RoundRecord):
        with pytest.raises(ResultFormatError):
            kind.from_plain(plain)


def write(path, *records):
    with RecordWriter(path) as writer:
        for kind, record in records:
            writer.append_other(kind, record.to_plain())


def test_a_file_of_a_campaign(tmp_path):
    path = str(tmp_path / "c.xrr")
    first, again = round_of("12|1", ("b", "a"), attempt="x", stopped=True), round_of(
        "12|1", ("b", "a"), attempt="y")
    write(path, (HEADER, HEADER_OF_TWO), (SENDER_RUN, sender_run("a", attempt="x")),
          (ROUND, first), (SENDER_RUN, sender_run("a", attempt="y")),
          (SENDER_RUN, sender_run("b", attempt="y")), (ROUND, again))
    contents = read_campaign(path)
    assert contents.complete() == [again]
    assert contents.missing() == ["12|2"]
    assert [run.machine for run in contents.runs_of(again)] == ["b", "a"]
    merge_files([path, path], tmp_path / "m.xrr")
    assert read_campaign(str(tmp_path / "m.xrr")) == contents


def test_a_file_that_was_cut_off_is_mended_and_the_old_one_kept(tmp_path):
    path = tmp_path / "c.xrr"
    write(path, (HEADER, HEADER_OF_TWO), (ROUND, round_of("12|1", ("a",))),
          (ROUND, round_of("12|2", ("a",))))
    assert mend_file(path) == ""
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert mend_file(path) == f"{path}.damaged"
    assert not read_file(path).complaint
    assert read_campaign(str(path)).missing() == ["12|2"]
    assert (tmp_path / "c.xrr.damaged").read_bytes() == whole[:-5]


def test_a_file_without_a_campaign_or_with_two(tmp_path):
    write(tmp_path / "none.xrr", (ROUND, round_of("12|1", ("a",))))
    with pytest.raises(ResultFormatError, match="no campaign"):
        read_campaign(str(tmp_path / "none.xrr"))
    write(tmp_path / "two.xrr", (HEADER, HEADER_OF_TWO),
          (HEADER, replace(HEADER_OF_TWO, seed=5)))
    with pytest.raises(ResultFormatError, match="two different"):
        read_campaign(str(tmp_path / "two.xrr"))
