"""Selector output in the forms that Debian's netperf 2.7.0 printed."""

from __future__ import annotations

import pytest

from xenrr.netperf.ending import Ending
from xenrr.netperf.options import CSV, HUMAN, KEYVAL
from xenrr.netperf.selectors import (
    MAX_FILE_CHARACTERS,
    csv_text,
    human_text,
    keyval_text,
    names_text,
    read_selection,
    unknown_text,
)
from xenrr.results.record import EndSpec, TestSpec


def shown(outcome, form, argument, line="-t TCP_RR"):
    selection, _ = read_selection(argument, form)
    write = {CSV: csv_text, KEYVAL: keyval_text, HUMAN: human_text}[form]
    return write(selection, outcome(line))


def test_csv_default(outcome):
    assert shown(outcome, CSV, None) == (
        "Local Send Socket Size Final,Local Recv Socket Size Final,"
        "Remote Recv Socket Size Final,Remote Send Socket Size Final,"
        "Request Size Bytes,Response Size Bytes,"
        "Elapsed Time (sec),Throughput,Throughput Units\n"
        "4194304,131072,131072,4194304,1,1,1.00,72016.00,Trans/s\n")
    assert shown(outcome, CSV, None, "-t TCP_RR -P 0") == (
        "4194304,131072,131072,4194304,1,1,1.00,72016.00,Trans/s\n")


def test_keyval_default(outcome):
    assert shown(outcome, KEYVAL, None) == (
        "LSS_SIZE_END=4194304\nLSR_SIZE_END=131072\nRSR_SIZE_END=131072\nRSS_SIZE_END=4194304\n"
        "REQUEST_SIZE=1\nRESPONSE_SIZE=1\nELAPSED_TIME=1.00\nTHROUGHPUT=72016.00\n"
        "THROUGHPUT_UNITS=Trans/s\n")


def test_human_default(outcome):
    assert shown(outcome, HUMAN, None) == (
        "Local       Local       Remote      Remote      Request Response Elapsed Throughput "
        "Throughput \n"
        "Send Socket Recv Socket Recv Socket Send Socket Size    Size     Time               "
        "Units      \n"
        "Size        Size        Size        Size        Bytes   Bytes    (sec)              "
        "           \n"
        "Final       Final       Final       Final                                           "
        "           \n"
        "4194304     131072      131072      4194304     1       1        1.00    72016.00   "
        "Trans/s    \n")


@pytest.mark.parametrize(("test", "names"), [
    ("TCP_STREAM", "LSS_SIZE_END RSR_SIZE_END LOCAL_SEND_SIZE"),
    ("UDP_STREAM", "LSS_SIZE_END RSR_SIZE_END LOCAL_SEND_SIZE"),
    ("TCP_MAERTS", "RSS_SIZE_END LSR_SIZE_END REMOTE_SEND_SIZE"),
    ("TCP_CRR", "LSS_SIZE_END LSR_SIZE_END RSR_SIZE_END RSS_SIZE_END REQUEST_SIZE "
                "RESPONSE_SIZE")])
@pytest.mark.parametrize("measured", [False, True])
def test_the_columns_of_a_test(made, test, names, measured):
    built = made(TestSpec(test, remote=EndSpec(measure_cpu=measured)))
    shown_names = [line.split("=")[0] for line in keyval_text([], built).splitlines()]
    result = ["ELAPSED_TIME", "THROUGHPUT", "THROUGHPUT_UNITS"]
    cpus = [f"{end}_CPU_{part}" for end in ("LOCAL", "REMOTE") for part in (
        "UTIL", "PERCENT_USER", "PERCENT_SYSTEM", "PERCENT_IOWAIT", "PERCENT_IRQ",
        "PERCENT_SWINTR", "METHOD")] + ["LOCAL_SD", "REMOTE_SD", "SD_UNITS"]
    assert shown_names == names.split() + result + (cpus if measured else [])


def test_human_blocks(outcome):
    text = shown(outcome, HUMAN, "THROUGHPUT,THROUGHPUT_UNITS;MIN_LATENCY,MEAN_LATENCY")
    assert text == (
        "Throughput Throughput \n"
        "           Units      \n"
        "                      \n"
        "                      \n"
        "72016.00   Trans/s    \n"
        "\n"
        "Minimum      Mean         \n"
        "Latency      Latency      \n"
        "Microseconds Microseconds \n"
        "                          \n"
        "13           13.77        \n")
    assert shown(outcome, HUMAN, "THROUGHPUT;PROTOCOL", "-t TCP_RR -P 0") == (
        "72016.00   \n\nTCP      \n")


def test_human_columns_count_the_end_of_the_value(outcome):
    assert shown(outcome, HUMAN, "SOCKET_TYPE,PROTOCOL,OUTPUT_NONE").splitlines()[0::4] == [
        "Socket  Protocol    ", "Stream  TCP         "]


def test_names_in_any_case_and_any_percentile(outcome):
    assert shown(outcome, KEYVAL, "throughput, p99.9_latency,P9999_Latency") == (
        "THROUGHPUT=72016.00\nP99.9_LATENCY=90.00\nP9999_LATENCY=90.00\n")
    assert shown(outcome, KEYVAL, "THROUGHPUT;ELAPSED_TIME,;") == (
        "THROUGHPUT=72016.00\nELAPSED_TIME=1.00\n")


def test_blanks_separate_names_too(outcome):
    assert shown(outcome, KEYVAL, "THROUGHPUT  ELAPSED_TIME,PROTOCOL") == (
        "THROUGHPUT=72016.00\nELAPSED_TIME=1.00\nPROTOCOL=TCP\n")
    assert shown(outcome, KEYVAL, "Elapsed Time (sec),PROTOCOL") == (
        "ELAPSED_TIME=1.00\nPROTOCOL=TCP\n")


def test_all_is_netperfs_list(outcome):
    lines = shown(outcome, KEYVAL, "All").splitlines()
    # 174 names without the blank column and the tag that was not given.
    assert len(lines) == 172
    assert lines[0] == "SOCKET_TYPE=Stream" and lines[-1].startswith("COMMAND_LINE=\"netperf ")
    assert not any(line.startswith(("P999", "LOST")) for line in lines)
    assert shown(outcome, HUMAN, "all", "-t TCP_RR -P 0").count("\n\n") == 3


@pytest.mark.parametrize(("names", "line"), [
    ("RESULT_BRAND", ","), ("THROUGHPUT,RESULT_BRAND,ELAPSED_TIME", "72016.00,, 1.00"),
    ("RESULT_BRAND,ELAPSED_TIME", ", 1.00"), ("ELAPSED_TIME,RESULT_BRAND", "1.00,,"),
    ("LOCAL_FILL_FILE,ELAPSED_TIME,OUTPUT_NONE", ",1.00, ")])
def test_missing_values_in_csv_are_netperfs_way(outcome, names, line):
    assert shown(outcome, CSV, names, "-t TCP_RR -P 0") == f"{line}\n"


def test_tags(outcome):
    line = "-t TCP_RR -P 0 -B tag"
    assert shown(outcome, CSV, "RESULT_BRAND,PROTOCOL", line) == '"tag",TCP\n'
    assert shown(outcome, KEYVAL, "RESULT_BRAND", line) == 'RESULT_BRAND="tag"\n'
    assert shown(outcome, KEYVAL, "RESULT_BRAND,PROTOCOL") == "PROTOCOL=TCP\n"


def test_names_nobody_knows(outcome):
    selection, unknown = read_selection("MIN_LATENCY,bogus,P99_LATENCYS", KEYVAL)
    assert unknown == ["bogus", "P99_LATENCYS"]
    assert keyval_text(selection, outcome()) == "MIN_LATENCY=13\n"
    assert unknown_text(unknown) == ("there is no output selector bogus, P99_LATENCYS "
                                     "(did you mean P99_LATENCY?)")
    assert shown(outcome, HUMAN, "THROUGHPUT,bogus").splitlines()[-1] == "72016.00    "
    with pytest.raises(Ending) as caught:
        read_selection("THROUGHPUT,bogus", CSV)
    assert caught.value.exit_code == 1 and caught.value.out == ""


def test_the_list_of_names():
    with pytest.raises(Ending) as caught:
        read_selection("?", CSV)
    assert (caught.value.exit_code, caught.value.out) == (1, names_text())
    assert names_text().startswith("OUTPUT_NONE,SOCKET_TYPE,")
    assert "LOST_TRANSACTIONS" in names_text()


def test_files_are_read_to_a_limit(outcome, tmp_path):
    chosen = tmp_path / "selectors"
    chosen.write_text("THROUGHPUT" + " " * MAX_FILE_CHARACTERS + "\nELAPSED_TIME\n")
    assert shown(outcome, KEYVAL, str(chosen)) == "THROUGHPUT=72016.00\n"


def test_files(outcome, tmp_path):
    chosen = tmp_path / "selectors"
    chosen.write_text("throughput,Elapsed Time (sec)\nMIN_LATENCY\n")
    assert shown(outcome, KEYVAL, str(chosen)) == (
        "THROUGHPUT=72016.00\nELAPSED_TIME=1.00\nMIN_LATENCY=13\n")
    assert shown(outcome, HUMAN, str(chosen), "-t TCP_RR -P 0") == (
        "72016.00   1.00    \n\n13           \n")


def test_what_means_nothing_in_a_file_is_a_blank_column(outcome, tmp_path):
    """Seen with Debian's netperf 2.7.0; a list on the command line is another matter."""
    chosen = tmp_path / "selectors"
    chosen.write_text("THROUGHPUT,bogus,Elapsed Time (sec)\n\nPROTOCOL")
    assert shown(outcome, KEYVAL, str(chosen)) == (
        "THROUGHPUT=72016.00\nOUTPUT_NONE= \nELAPSED_TIME=1.00\nOUTPUT_NONE= \n"
        "PROTOCOL=TCP\n")
    assert shown(outcome, CSV, str(chosen)) == (
        "Throughput, ,Elapsed Time (sec), ,Protocol\n72016.00, ,1.00, ,TCP\n")
    assert shown(outcome, HUMAN, str(chosen)).splitlines() == [
        "Throughput    Elapsed ", "              Time    ", "              (sec)   ",
        "                      ", "72016.00      1.00    ", "", *["   "] * 5, "",
        "Protocol ", *["         "] * 3, "TCP      "]
    assert read_selection(str(chosen), CSV)[1] == ["bogus"]


@pytest.mark.parametrize(("name", "number"), [("missing", 2), (".", 21)])
def test_files_that_cannot_be_read(tmp_path, monkeypatch, name, number):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Ending) as caught:
        read_selection(name, KEYVAL)
    assert (caught.value.exit_code, caught.value.out) == (
        255, f"Could not open output selection file '{name}' errno {number}\n")
