"""``xenrr run``, ``show`` and ``compare``, from the command line to the file and back."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from peers import clean_environment, running_xenrr_server

from xenrr import cli
from xenrr.cli import compare
from xenrr.engine import stamps
from xenrr.results.store import RecordWriter, read_file
from xenrr.session import dataoptions

QUICK = ("-n", "2000")


@pytest.fixture(scope="module")
def port():
    with running_xenrr_server() as server:
        yield server.port


@pytest.fixture
def xenrr(capsys, port):
    """``xenrr("run", "127.0.0.1", ...)``: exit code, stdout, stderr."""

    def command(*words: str) -> tuple[int, str, str]:
        if words[0] == "run":
            words = (*words, "-p", str(port))
        try:
            code = cli.main(words)
        except SystemExit as end:  # argparse's own way out
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    return command


def test_one_run_is_drawn(xenrr):
    code, out, _ = xenrr("run", "127.0.0.1", *QUICK, "-r", "64,1400", "-b", "2")
    assert code == 0
    assert "TCP_RR  " in out
    assert "64-byte request, 1400-byte response" in out
    assert "p99.9" in out
    assert "[few-samples]" in out


def test_a_name_that_does_not_resolve(xenrr, monkeypatch):
    """On a terminal the lines end between two words."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, _, err = xenrr("run", "no-such-host.invalid", "-l", "1")
    assert code == 1
    assert max(map(len, err.splitlines())) <= 40
    words = " ".join(err.split())
    assert words.startswith("xenrr run: no-such-host.invalid: ")
    assert words.endswith("; is the name right?")


@pytest.mark.parametrize(("words", "said"), [
    (("--rate", "1e12"), "argument --rate: '1e12' is not a rate; try 1000, 12.5k or 50/flow"),
    (("--flows", "1e9"), "argument --flows: '1e9' is not a number"),
    (("-l", "10minutes"), "argument -l/--duration: '10minutes' is not a time")], ids=str)
def test_a_value_that_cannot_be_read_names_its_option_once(xenrr, words, said):
    code, _, err = xenrr("run", "127.0.0.1", *words)
    assert code == 2
    assert said in err


@pytest.mark.parametrize("host", ["ä..b", "ä" * 80])
def test_what_cannot_be_a_name_does_not_resolve(xenrr, host):
    """Python's own codec for names refuses it, with another error than the resolver's."""
    code, _, err = xenrr("run", host, "-l", "1")
    assert code == 1
    assert "; is the name right?" in err


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_stream_that_is_not_there_is_no_error(xenrr, monkeypatch, closed):
    """Python has ``None`` for a descriptor that was closed when it started."""
    monkeypatch.setattr(sys, closed, None)
    assert xenrr("run", "127.0.0.1", *QUICK)[0] == 0


def test_a_spinning_run_says_so(xenrr, monkeypatch):
    monkeypatch.setattr(dataoptions, "SO_BUSY_POLL", 9999)
    code, out, err = xenrr("run", "127.0.0.1", *QUICK, "--spin", "--busy-poll", "7",
                           "--repeat", "2")
    assert code == 0
    assert "spinning, busy poll 7 µs" in out + err
    assert err.count("does not let us busy-poll") == 1


def test_a_decomposed_run_says_where_the_time_went(xenrr, tmp_path, monkeypatch):
    path = str(tmp_path / "parts.xrr")
    assert xenrr("run", "127.0.0.1", "-l", "0.2", "--decompose", "--save", path)[0] == 0
    assert xenrr("run", "127.0.0.1", "-l", "0.2", "--decompose", "--save", path)[0] == 0
    code, out, _ = xenrr("show", path)
    assert code == 0
    assert "TCP_RR 1/1, decomposed" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["part", "p50", "p99", "mean", "share"] in rows
    shares = [float(row[-2]) for row in rows if row[:1] in (["send"], ["network"], ["wake-up"])]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(100, abs=0.2)
    (summary,) = json.loads(xenrr("show", path, "--json")[1])["summary"]
    assert list(summary["parts"]) == ["send_path_ns", "network_ns", "wakeup_ns"]
    assert sum(part["share"] for part in summary["parts"].values()) == pytest.approx(1)
    assert summary["undecomposed"] >= 0
    monkeypatch.setattr(stamps, "SO_TIMESTAMPING", 9999)
    code, out, err = xenrr("run", "127.0.0.1", "-l", "0.2", "--decompose")
    assert (code, out) == (1, "")
    assert "decompose needs Linux" in err


def test_repeats_are_saved_shown_and_compared(xenrr, tmp_path):
    files = [str(tmp_path / name) for name in ("before.xrr", "after.xrr")]
    for path in files:
        code, out, _ = xenrr("run", "127.0.0.1", *QUICK, "--repeat", "3", "--save", path)
        assert code == 0
        assert "3 repeats" in out
        assert [run.transactions for run in read_file(path).runs] == [2000] * 3
    # A second command adds to the file.
    assert xenrr("run", "127.0.0.1", *QUICK, "-t", "udp_rr", "--save", files[0])[0] == 0
    code, out, _ = xenrr("show", files[0])
    assert code == 0
    assert out.index("TCP_RR 1/1") < out.index("3 repeats") < out.index("UDP_RR  ")
    code, out, err = xenrr("compare", *files)
    assert code == 0
    assert "TCP_RR 1/1  3 runs against 3" in out
    for quantity in ("rate", "p50", "p99.9"):
        assert f"\n  {quantity}" in out
    assert "Only in" in err
    assert "UDP_RR 1/1" in " ".join(err.split())  # lines end where the path lets them


def test_a_file_is_the_same_as_itself(xenrr, tmp_path):
    path = str(tmp_path / "runs.xrr")
    xenrr("run", "127.0.0.1", *QUICK, "--repeat", "3", "--save", path)
    code, out, _ = xenrr("compare", path, path, "--json")
    (found,) = json.loads(out)
    assert code == 0
    assert {each["verdict"] for each in found["comparisons"].values()} == {"cannot tell"}
    assert {each["ratio"] for each in found["comparisons"].values()} == {1.0}


def test_json_has_records_and_summary(xenrr, tmp_path):
    path = str(tmp_path / "runs.xrr")
    code, out, _ = xenrr("run", "127.0.0.1", *QUICK, "--repeat", "2", "--json", "--save", path)
    told = json.loads(out)
    assert code == 0
    assert [run["transactions"] for run in told["runs"]] == [2000, 2000]
    (summary,) = told["summary"]
    assert summary["repeats"] == 2
    assert summary["result"]["low"] < summary["result"]["estimate"]
    assert set(summary["latency_ns"]) == {"p50", "p90", "p99", "p99.9"}
    assert "few-samples" in {doubt["code"] for doubt in summary["doubts"]}
    shown = json.loads(xenrr("show", path, "--json")[1])
    assert shown["runs"] == told["runs"]
    assert shown["summary"] == told["summary"]


def test_until_goes_on_until_the_mean_is_known(xenrr):
    code, out, _ = xenrr("run", "127.0.0.1", *QUICK, "--until", "40%", "--json")
    (summary,) = json.loads(out)["summary"]
    assert code == 0
    assert summary["repeats"] >= 5
    half = (summary["result"]["high"] - summary["result"]["low"]) / 2
    assert half <= 0.4 * summary["result"]["estimate"] or summary["repeats"] == 100


@pytest.mark.parametrize(("words", "code", "said"), [
    (("run", "127.0.0.1", "-l", "10minutes"), 2, "not a time"),
    (("run", "127.0.0.1", "-t", "TCP_RX"), 2, "there is no test TCP_RX"),
    (("run", "127.0.0.1", "-r", "0"), 2, "request size"),
    (("run", "127.0.0.1", "--repeat", "0"), 2, "--repeat"),
    (("run", "127.0.0.1", "-t", "TCP_CRR", "--spin"), 2, "round trips on one connection"),
    (("run", "127.0.0.1", "--busy-poll", "1g"), 2, "busy_poll_us"),
    (("run", "127.0.0.1", "--decompose", "-b", "1"), 2, "one request at a time"),
    (("run", "127.0.0.1", "--until", "0%"), 2, "--until"),
    (("run", "127.0.0.1", "--until", "2%", "--repeat", "3"), 2, "not allowed with"),
    (("run", "no-such-host.invalid"), 1, "no-such-host.invalid: "),
    (("run", "127.0.0.1", "--save", "/nowhere/at/all.xrr"), 1, "/nowhere/at/all.xrr"),
    (("run", "127.0.0.1", "--save", "/dev/full"), 1, "no regular file"),
    (("show", "/nowhere/at/all.xrr"), 1, "No such file"),
    (("compare", "/nowhere/a.xrr", "/nowhere/b.xrr"), 1, "No such file"),
])
def test_mistakes_are_one_sentence(xenrr, words, code, said):
    got, out, err = xenrr(*words)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_other_files_are_refused(xenrr, tmp_path):
    (tmp_path / "notes").write_text("hello")
    with RecordWriter(tmp_path / "empty.xrr"):
        pass
    assert "is no xrr file" in xenrr("show", str(tmp_path / "notes"))[2]
    assert "there is no run" in xenrr("show", str(tmp_path / "empty.xrr"))[2]
    before = (tmp_path / "notes").read_bytes()
    assert xenrr("run", "127.0.0.1", *QUICK, "--save", str(tmp_path / "notes"))[0] == 1
    assert (tmp_path / "notes").read_bytes() == before


def test_a_cut_file_is_shown_as_far_as_it_goes(xenrr, tmp_path):
    path = tmp_path / "runs.xrr"
    xenrr("run", "127.0.0.1", *QUICK, "--repeat", "3", "--save", str(path))
    path.write_bytes(path.read_bytes()[:-20])
    code, out, err = xenrr("show", str(path))
    assert code == 0
    assert "2 repeats" in out
    assert "cut off or damaged after 2 whole records" in " ".join(err.split())


def test_files_without_a_common_test_are_not_compared(xenrr, tmp_path):
    files = [str(tmp_path / name) for name in ("a.xrr", "b.xrr")]
    for path, test, length in zip(files, ("TCP_RR", "TCP_STREAM"), (QUICK, ("-l", "0.1"))):
        xenrr("run", "127.0.0.1", *length, "-t", test, "--save", path)
    code, _, err = xenrr("compare", *files)
    assert code == 2
    assert "no test in common" in err


@pytest.mark.parametrize("width", [60, 100])
def test_one_test_each_is_compared_by_its_name(xenrr, tmp_path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    files = [str(tmp_path / name) for name in ("a.xrr", "b.xrr")]
    for path, burst in zip(files, ("0", "3")):
        xenrr("run", "127.0.0.1", "-n", "500", "-b", burst, "--repeat", "3", "--save", path)
    code, out, err = xenrr("compare", *files)
    assert (code, err) == (0, "")
    assert "TCP_RR 1/1 against TCP_RR 1/1, burst 3 3 runs against 3" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= width
    assert ("effect" in out) == (width == 100)


def test_a_change_beyond_reading_in_percent_is_a_factor():
    assert [compare._change(ratio) for ratio in (0.5, 1.0, 9.99, 10, 3e4, math.inf, 0)] == [
        "-50.0 %", "+0.0 %", "+899.0 %", "10 x", "30000 x", "?", "?"]


def test_one_run_a_side_cannot_tell_and_says_what_would(xenrr, tmp_path):
    path = str(tmp_path / "runs.xrr")
    xenrr("run", "127.0.0.1", *QUICK, "--save", path)
    code, out, _ = xenrr("compare", path, path)
    assert code == 0
    assert "cannot tell" in out
    assert "make at least 3" in out


def test_a_full_disk_is_said_and_costs_nothing(xenrr, tmp_path, monkeypatch):
    path = str(tmp_path / "runs.xrr")
    xenrr("run", "127.0.0.1", *QUICK, "--save", path)

    def full(self, run):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "append", full)
    code, out, err = xenrr("run", "127.0.0.1", *QUICK, "--repeat", "3", "--save", path)
    assert code == 1
    assert "transactions/s" in out
    assert "No space left on device; this run is above only." in " ".join(err.split())
    assert len(read_file(path).runs) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_complete(tmp_path, port, number):
    path = tmp_path / "runs.xrr"
    command = [sys.executable, "-m", "xenrr", "run", "127.0.0.1", "-p", str(port), "-l", "0.3",
               "--repeat", "1000", "--save", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=clean_environment()) as process:
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up and not (
                path.exists() and os.path.getsize(path) > 1000):
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "transactions/s" in out
    assert "Interrupted" in err
    contents = read_file(path)
    assert contents.complaint == ""
    assert len(contents.runs) >= 1


def test_a_missing_package_is_named(xenrr, monkeypatch):
    def missing(args):
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr("xenrr.cli.run._rule", missing)
    code, out, err = xenrr("run", "127.0.0.1", *QUICK)
    assert (code, out) == (1, "")
    assert "needs the package numpy" in err
