"""The benchmarks' arithmetic and what they read; nothing here puts load on the machine."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shutil
import socket
import subprocess
import sys

import pytest

from benchmarks import bed, costs, figures, overhead, peers, table
from benchmarks.__main__ import main
from benchmarks.bed import Bed, Missing, Talker, Work
from benchmarks.figures import Bound, Group, Outcome, Row
from benchmarks.paired import Ratio, Rounds, measure_rounds, median_rank


def rates(*values):
    return [{"rate": value} for value in values]


def test_rounds_alternate_after_the_noise_of_the_first():
    order = []

    def run(name):
        return lambda: order.append(name) or {"rate": 1.0}

    measure_rounds({name: run(name) for name in "abc"}, pairs=3, noise_pairs=1)
    assert "".join(order) == "aa" + "abc" + "cba" + "abc"
    order.clear()
    rounds = measure_rounds({name: run(name) for name in "abc"}, {"a": 3, "b": 3, "c": 1}, 0)
    assert "".join(order) == "abc" + "ba" + "ab"
    assert (rounds.ratio("a", "b").pairs, rounds.ratio("a", "c").pairs) == (3, 1)


def test_a_ratio_is_the_median_over_rounds():
    rounds = Rounds({"a": rates(2, 4, 9, 8, 10, 12, 14), "b": rates(1, 2, 3, 4, 5, 6, 7)},
                    [({"rate": 1.0}, {"rate": 1.1}), ({"rate": 1.0}, {"rate": 0.8})])
    ratio = rounds.ratio("a", "b")
    assert (ratio.median, ratio.low, ratio.high, ratio.pairs) == (2, 2, 3, 7)
    assert (ratio.a, ratio.b) == (9, 4)
    assert ratio.noise == pytest.approx((1 / 11 + 0.25) / 2)


def test_an_interval_leaves_out_more_the_more_pairs_there_are():
    rounds = Rounds({"a": rates(*range(1, 13)), "b": rates(*[1] * 12)}, [])
    ratio = rounds.ratio("a", "b")
    assert (ratio.low, ratio.high, ratio.noise) == (3, 10, None)


@pytest.mark.parametrize("pairs", [1, 5, 6, 8, 9, 12, 15, 17, 20, 30, 60])
def test_an_interval_misses_the_median_once_in_twenty_times_at_most(pairs):
    def missed(rank):
        return 2 * sum(math.comb(pairs, below) for below in range(rank)) / 2 ** pairs

    rank = median_rank(pairs)
    assert missed(rank) <= 0.05 or (pairs < 6 and rank == 1)
    assert missed(rank + 1) > 0.05


def test_nothing_is_no_measurement():
    with pytest.raises(ValueError, match="no measurement"):
        measure_rounds({})
    with pytest.raises(ValueError, match="no measurement"):
        measure_rounds({"a": lambda: {"rate": 1.0}}, pairs=0)


@pytest.mark.parametrize(("parse", "text", "sample"), [
    (peers.parse_netperf, "66123.42 \n", {"rate": 66123.42}),
    (peers.parse_netperf, "66123.42,13.98,29.10\n",
     {"rate": 66123.42, "p99_ns": 13980, "p999_ns": 29100}),
    (peers.parse_netperf, "1.5,Trans/s,0.100,1795562840.037\n2000.0,9.0,10.0\n",
     {"rate": 2000, "p99_ns": 9000, "p999_ns": 10000}),
    (peers.parse_floor, "73900.00 19072 30016\n",
     {"rate": 73900, "p99_ns": 19072, "p999_ns": 30016}),
    (peers.parse_floor, "24300.12\n", {"rate": 24300.12}),
    (peers.parse_qperf, "tcp_lat:\n    latency  =  8000.0 ns\n", {"rate": 62500}),
    (peers.parse_neper, "num_transactions=122037\nthroughput=122036.71\nthroughput_units=x\n",
     {"rate": 122036.71}),
    (peers.parse_iperf3, '{"end": {"sum_received": {"bits_per_second": 2.5e10}}}',
     {"rate": 25000}),
    (peers.parse_sockperf,
     "sockperf: [Total Run] RunTime=2.000 sec; Warm up time=400 msec; SentMessages=31; "
     "ReceivedMessages=30000\nsockperf: ---> percentile 99.999 = 4875.214\n"
     "sockperf: ---> percentile 99.900 =  694.550\nsockperf: ---> percentile 99.000 =  20.6\n",
     {"rate": 15000, "p99_ns": 20600, "p999_ns": 694550}),
])
def test_what_programs_say(parse, text, sample):
    assert parse(text) == pytest.approx(sample)


@pytest.mark.parametrize(("parse", "text"), [
    (peers.parse_netperf, ""), (peers.parse_netperf, "0.00\n"),
    (peers.parse_netperf, "netperf: no such thing\n"), (peers.parse_netperf, "1 2\n"),
    (peers.parse_floor, ""), (peers.parse_floor, "1 2\n"),
    (peers.parse_qperf, "failed to connect\n"), (peers.parse_qperf, "latency = 0.0 ns"),
    (peers.parse_rate, ""), (peers.parse_rate, "0.0\n"), (peers.parse_rate, "sorry\n"),
    (peers.parse_neper, "throughput=0.00\n"), (peers.parse_neper, "connect: refused\n"),
    (peers.parse_iperf3, "error"), (peers.parse_iperf3, '{"error": "busy"}'),
    (peers.parse_iperf3, "[1]"), (peers.parse_sockperf, "sockperf: ERROR\n"),
    (costs.parse_callgrind, "events: Ir\n"), (costs.parse_pss, "Rss: 12 kB\n"),
])
def test_what_cannot_be_read_is_an_error_and_never_a_zero(parse, text):
    with pytest.raises(peers.PeerOutput):
        parse(text)


def test_a_program_that_is_talked_to():
    with contextlib.closing(Talker([sys.executable, "-c", "import sys\nfor line in sys.stdin: "
                                    "print(len(line), flush=True)"])) as talker:
        assert [talker.ask("word", 30), talker.ask("", 30)] == ["5\n", "1\n"]
    with contextlib.closing(Talker([sys.executable, "-c", "pass"])) as talker:
        assert talker.ask("word", 30) == ""


def test_instructions_and_memory():
    assert costs.parse_callgrind("summary: 14918054\n\ntotals: 14918054\n") == 14918054
    assert costs.parse_pss("Rss:  900 kB\nPss:             412 kB\nPss_Dirty: 9 kB\n") == 412
    assert costs.parse_parent("42 (a ) b) S 7 42 42 0") == 7


@pytest.mark.parametrize("left", [{}, {"41": 7}, {"42": 7}, {"41": 7, "43": 8},
                                  {"41": 7, "42": 8, "43": 9}])
def test_the_ends_of_a_floor_are_two_processes(left, tmp_path):
    """A third file, of the run before, was once taken for the server's."""
    for name, total in left.items():
        (tmp_path / name).write_text(f"summary: {total}\n\ntotals: {total}\n")
    with pytest.raises(peers.PeerOutput, match="two ends"):
        costs.parse_ends(tmp_path, 42)


def test_whose_instructions_are_whose(tmp_path):
    for name, total in (("43", 9), ("42", 8)):
        (tmp_path / name).write_text(f"totals: {total}\n")
    assert costs.parse_ends(tmp_path, 42) == {"client": 8, "server": 9}


def test_the_run_that_compiles_modules_is_not_counted(monkeypatch, tmp_path):
    runs = []

    class Folder(Bed):
        folder = tmp_path

        def start(self, kind, place, prefix=()):
            return 7, subprocess.Popen(["true"])

        def run(self, command):
            transactions = -int(command[command.index("-l") + 1])
            grind = [word for word in command if word.startswith("--callgrind-out-file=")]
            runs.append((transactions, bool(grind)))
            for word in grind:
                compiling = 1000_000 if len(runs) == 1 else 0
                (tmp_path / word.rpartition("/")[2]).write_text(
                    f"totals: {100 * transactions + 5000 + compiling}\n")
            return ""

    monkeypatch.setattr(costs, "need", lambda program: None)
    measure = costs.instructions(Folder(0, None, 0.5), "client x", Work())
    assert measure() == {"instructions": 100}
    assert runs[0] == (1, False)
    assert [grind for _, grind in runs[1:]] == [True, True]


def interims(*steps):
    return "".join(f"Interim result: {rate:7.2f} Trans/s over {took:.3f} seconds ending at "
                   f"{end:.3f}\n" for rate, took, end in steps)


def test_many_netperf_are_summed_while_all_run():
    one = interims((9999, 3, 12), (100, 1, 13), (100, 2, 15), (9999, 1, 16))
    other = interims((50, 2, 12.5), (40, 2, 14.5)) + "  45.00 \n"
    # The first was stopped until 11; the other told nothing of the last half second.
    assert peers.rate_in_common([one, other], 10, 15) == 145


def test_many_netperf_that_tell_nothing_are_no_figure():
    told = interims((100, 4, 15))
    with pytest.raises(peers.PeerOutput, match="2 of 12"):
        peers.rate_in_common([told] * 10 + ["", "0.00\n"], 10, 15)
    with pytest.raises(peers.PeerOutput, match="0 of 0"):
        peers.rate_in_common([], 10, 15)
    assert peers.rate_in_common([told] * 19 + [""], 10, 15) == pytest.approx(2000)


def ratio(median, noise=0.0):
    return Ratio(median, median, median, noise, 2000.0, 1000.0, 7)


@pytest.mark.parametrize(("bound", "median", "noise", "met"), [
    (Bound(1.02), 1.02, 0, True), (Bound(1.02), 1.01, 0.5, False),
    (Bound(0.5, most=True), 0.5, 0, True), (Bound(0.5, most=True), 0.51, 0, False),
    (figures.TAIL, 1.08, 0.1, True), (figures.TAIL, 1.2, 0.1, False),
])
def test_a_bound_is_met_by_the_median(bound, median, noise, met):
    row = Row("P0", "this / that", "a", "b", bound)
    assert figures.verdict(Outcome(row, ratio(median, noise))) == ("met" if met else "missed")


@pytest.mark.parametrize(("bound", "reached", "said"), [
    (Bound(1.12), 1.11, "missed (floor 1.110)"), (Bound(1.12), None, "missed"),
    (Bound(1.05), 1.11, "met"), (None, 1.11, "")])
def test_a_missed_row_tells_what_its_floor_reached(bound, reached, said):
    row = Row("P0", "this / that", "a", "b", bound, ceilings=("floor",))
    outcome = Outcome(row, ratio(1.1), ratio(reached) if reached else None)
    assert figures.verdict(outcome) == said
    assert table.summary([outcome]).startswith(
        "0 met, 1 missed" if said.startswith("missed") else f"{int(said == 'met')} met, 0")


@pytest.mark.parametrize(("most", "best"), [(False, 3.0), (True, 2.0)])
def test_the_better_of_two_floors_is_the_ceiling(most, best):
    rates = {"ours": 1.0, "theirs": 1.0, "epoll": 2.0, "uring": 3.0}

    def how(_bed, name, _work):
        if name not in rates:
            raise Missing("a kernel")
        return lambda: {"rate": rates[name]}

    row = Row("X", "ours", "ours", "theirs", Bound(1.5, most),
              ceilings=("epoll", "uring", "absent"), pairs=9)
    (outcome,) = figures.measure_group(Bed(0, None, 0.5), Group(Work(), (row,), how), 7)
    assert outcome.ceiling.median == best
    assert outcome.ratio.pairs == outcome.ceiling.pairs == 9


def test_a_floor_that_fails_leaves_the_row_without_a_ceiling():
    def how(_bed, name, _work):
        def run():
            if name == "floor":
                raise peers.PeerOutput("fell over")
            return {"rate": 1.0}
        return run

    row = Row("X", "ours", "ours", "theirs", Bound(1.5), ceilings=("floor",))
    (outcome,) = figures.measure_group(Bed(0, None, 0.5), Group(Work(), (row,), how), 7)
    assert figures.verdict(outcome) == "missed"


def test_every_target_has_its_rows():
    assert figures.ids() == ["P1", "P2", "P3", "P4", "P4b", "P5", "P6", "P7", "P8", "P9",
                             "P10", "P11", "twin", "decompose"]
    rows = [row for group in figures.GROUPS for row in group.rows]
    assert all(any(row.id == id and row.bound for row in rows) for id in figures.ids())
    assert len({(row.id, row.what) for row in rows}) == len(rows)
    assert max(len(row.what) for row in rows) <= table.WIDTH


@pytest.mark.parametrize("id", ["P1", "P4b", "twin"])
def test_an_id_alone_runs_nothing_else(id):
    kept = figures.chosen([id])
    assert {row.id for group in kept for row in group.rows} == {id}
    assert sum(len(group.rows) for group in kept) == sum(
        row.id == id for group in figures.GROUPS for row in group.rows)


def test_what_is_missing_or_fails_takes_only_its_own_rows_along():
    runs = itertools.count()

    def how(_bed, name, _work):
        if name == "absent":
            raise Missing("a peer")

        def run():
            if name == "late" and next(runs) == 2:
                raise peers.PeerOutput("out of words")
            return {"rate": 3.0 if name == "fast" else 1.5}

        return run

    group = Group(Work(), (
        Row("X", "well", "fast", "slow", Bound(1.5)), Row("X", "absent", "fast", "absent"),
        Row("X", "late", "fast", "late", Bound(1.0)),
        Row("X", "tail", "fast", "slow", figures.TAIL, "p99_ns")), how, noise_pairs=1)
    outcomes = figures.measure_group(Bed(0, None, 0.5), group, 6)
    assert [figures.verdict(each) for each in outcomes] == [
        "met", "not measured: a peer is missing", "failed: late: out of words",
        "failed: no p99_ns was told"]
    assert table.summary(outcomes) == "1 met, 0 missed, 2 not measured"


def test_tables():
    row = Row("P8", "one / other, wall time", "a", "b", Bound(2.0, most=True), "seconds")
    done = Outcome(row, Ratio(1.5, 1.25, 1.75, 0.01, 0.09, 0.06, 7))
    absent = Outcome(row, missing="a compiler is missing")
    assert table.line(done).split() == [
        "P8", "one", "/", "other,", "wall", "time", "1.500", "[1.250,", "1.750]", "0.010",
        "90.0", "ms", "60.0", "ms", "<=", "2.00", "met"]
    assert table.line(absent).endswith("not measured: a compiler is missing")
    once = Outcome(row, Ratio(1.5, 1.5, 1.5, None, 0.09, 0.06, 1))
    assert table.line(once).split()[7:10] == ["[1.500,", "1.500]", "90.0"]
    text = table.markdown([done, absent], ["Linux", "7 pairs"])
    assert text.startswith("Linux · 7 pairs\n\n| id | what |")
    assert ("| P8 | one / other, wall time | 1.500 | 1.250 to 1.750 | 0.010 | 90.0 ms | "
            "60.0 ms | <= 2.00 | met |\n") in text
    assert json.loads(json.dumps(table.plain(done)))["verdict"] == "met"
    page = f"# Title\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.put_into(page, "new\n") == (
        f"# Title\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n")
    assert table.put_into("", "new\n") == "new\n"


def test_another_program_of_that_name_is_not_taken_for_neper(tmp_path, monkeypatch):
    with pytest.raises(Missing, match="neper's tcp_rr"):
        monkeypatch.setenv("PATH", str(tmp_path))
        Bed(0, 1, 0.5).rate("neper", Work(place="both", flows=100))
    other = tmp_path / "udp_rr"
    other.write_text("#!/bin/sh\necho usage: udp_rr\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Missing, match="on PATH is not"):
        Bed(0, 1, 0.5).rate("neper", Work("UDP_RR", place="both", flows=100))


def test_who_listens_is_seen_without_connecting():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not bed.is_listened_on(port)
        listener.listen()
        assert bed.is_listened_on(port)


def test_the_page_of_figures_has_a_place_for_them():
    page = (bed.ROOT / "docs/method/performance.md").read_text()
    assert "new" in table.put_into(page, "new")
    assert table.put_into(page, "new") != "new"


@pytest.mark.parametrize("wrong", [["P99"], ["--pairs", "5"], ["--seconds", "0"]])
def test_what_cannot_be_asked(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err


def test_a_place_that_needs_a_second_processor_says_so():
    alone = Bed(3, None, 0.5)
    assert alone.bound("one", "x") == ["taskset", "-c", "3", "x"]
    for place in ("apart", "both"):
        with pytest.raises(Missing, match="a second processor"):
            alone.bound(place, "x")
    two = Bed(0, 1, 0.5)
    assert two.bound("both", "x")[2] == "0,1"
    assert (two.bound("apart", "x")[2], two.bound("apart", "x", far=True)[2]) == ("0", "1")


@pytest.mark.c_engine
@pytest.mark.parametrize("name", sorted(path.stem for path in bed.FLOORS.glob("*.c")))
def test_floors_build_without_a_warning(name, tmp_path):
    compiler = shutil.which("cc") or pytest.skip("no C compiler is called cc")
    done = subprocess.run(
        [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
         str(bed.FLOORS / f"{name}.c")], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.c_engine
def test_a_floor_says_what_is_read():
    with Bed(min(bed.os.sched_getaffinity(0)), None, 0.5) as one:
        text = one.run([one.floor("rr"), "udp", "-200", str(one.cpu)])
        sample = peers.parse_floor(text)
        assert sample["p99_ns"] <= sample["p999_ns"]
        with pytest.raises(peers.PeerOutput, match="usage: rr"):
            one.run([one.floor("rr")])


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_the_floor_in_python_says_what_is_read(kind):
    with Bed(min(bed.os.sched_getaffinity(0)), None, 0.1) as one:
        assert one.rate("python", Work(f"{kind.upper()}_RR"))()["rate"] > 0


@pytest.mark.c_engine
def test_a_floor_that_yields():
    with Bed(min(bed.os.sched_getaffinity(0)), None, 0.1) as one:
        assert set(one.rate("yield", Work("UDP_RR"))()) == {"rate", "p99_ns", "p999_ns"}


@pytest.mark.c_engine
@pytest.mark.parametrize("kind", overhead.KINDS)
def test_a_sender_that_stays_open_tells_the_rate_of_each_kind(kind):
    with Bed(min(bed.os.sched_getaffinity(0)), None, 0.1) as one:
        assert costs.overhead(one, kind, Work("TCP_RR"))()["rate"] > 0
