from __future__ import annotations

import os

import pytest

from xenrr.cpu.meter import load_meter
from xenrr.cpu.procstat import (
    CHUNK_BYTES,
    MAX_BYTES,
    ProcStatMeter,
    read_stat,
    read_ticks,
)
from xenrr.cpu.usage import CpuShare

# user nice system idle iowait irq softirq steal guest guest_nice
ZERO = (0,) * 10


class Tree:
    """A /proc/stat that the tests write."""

    def __init__(self, path):
        self.path = path / "stat"

    def write(self, cpus, *, tail="intr 1 2 3\nctxt 5\n"):
        total = [sum(column) for column in zip(*cpus.values())]
        lines = [f"cpu  {' '.join(map(str, total))}"]
        lines += [f"cpu{cpu} {' '.join(map(str, ticks))}" for cpu, ticks in cpus.items()]
        self.path.write_text("\n".join(lines) + "\n" + tail)

    def usage(self, before, after):
        """What a meter makes of two states of the file."""
        meter = ProcStatMeter(str(self.path))
        self.write(before)
        meter.start()
        self.write(after)
        return meter.stop()


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_every_share_as_netperf_computes_it(tree):
    usage = tree.usage({0: ZERO}, {0: (10, 20, 15, 30, 5, 1, 4, 15, 0, 0)})
    assert usage.percent == 70.0
    assert (usage.user, usage.system, usage.iowait) == (10.0, 15.0, 5.0)
    assert (usage.irq, usage.softirq, usage.steal) == (1.0, 4.0, 15.0)
    assert (usage.cpus, usage.method) == (1, "S")
    assert (usage.peak_percent, usage.peak_cpu) == (70.0, 0)


def test_every_cpu_counts_the_same_however_many_ticks_it_had(tree):
    usage = tree.usage({0: ZERO, 1: ZERO}, {0: (100, 0, 0, 0), 1: (0, 0, 0, 300)})
    assert (usage.percent, usage.user, usage.cpus) == (50.0, 50.0, 2)
    assert (usage.peak_percent, usage.peak_cpu) == (100.0, 0)


def test_a_cpu_without_a_tick_counts_as_idle(tree):
    usage = tree.usage({0: ZERO, 1: ZERO}, {0: (10, 0, 0, 0, 0, 0, 0, 0, 0, 0), 1: ZERO})
    assert (usage.percent, usage.cpus) == (50.0, 2)


def test_nothing_happened(tree):
    usage = tree.usage({0: ZERO}, {0: ZERO})
    assert (usage.percent, usage.steal, usage.method) == (0.0, 0.0, "S")


def test_time_of_guests_is_not_counted_twice(tree):
    usage = tree.usage({0: ZERO}, {0: (50, 10, 0, 40, 0, 0, 0, 0, 50, 10)})
    assert (usage.percent, usage.user) == (60.0, 50.0)


@pytest.mark.parametrize("columns", range(4, 12))
def test_old_kernels_have_fewer_columns_and_new_ones_more(tree, columns):
    ticks = (10, 0, 10, 60, 5, 5, 5, 5, 0, 0, 77)[:columns]
    usage = tree.usage({3: (0,) * columns}, {3: ticks})
    total = sum(ticks[:8])
    assert usage.percent == pytest.approx(100 * (total - 60) / total)
    assert usage.user == pytest.approx(1000 / total)
    assert (usage.steal >= 0) == (columns >= 8)
    assert usage.steal in (-1.0, pytest.approx(500 / total))
    assert usage.peak_cpu == 3


def test_a_column_that_comes_or_goes_between_readings(tree):
    usage = tree.usage({0: (0, 0, 0, 0)}, {0: (10, 0, 0, 10, 0, 0, 0, 9, 0, 0)})
    assert (usage.percent, usage.steal) == (50.0, -1.0)


def test_thousands_of_cpus(tree):
    count = 3000
    before = dict.fromkeys(range(count), (10**12,) * 10)
    after = {cpu: (10**12 + cpu % 2, *[10**12] * 2, 10**12 + 1, *[10**12] * 6)
             for cpu in range(count)}
    usage = tree.usage(before, after)
    assert tree.path.stat().st_size > 5 * CHUNK_BYTES
    assert (usage.cpus, usage.percent) == (count, pytest.approx(25.0))


@pytest.mark.parametrize("extra", range(12))
def test_a_chunk_may_end_anywhere(tree, monkeypatch, extra):
    monkeypatch.setattr("xenrr.cpu.procstat.CHUNK_BYTES", 20 + extra)
    tree.write({cpu: (cpu,) * 10 for cpu in range(9)})
    assert sorted(read_ticks(str(tree.path))) == list(range(9))


def test_reading_ends_behind_the_cpus_and_at_a_limit(tree, monkeypatch):
    tree.write({0: ZERO}, tail="intr " + "0 " * MAX_BYTES)
    assert read_ticks(str(tree.path)) == {0: ZERO[:8]}
    monkeypatch.setattr("xenrr.cpu.procstat.MAX_BYTES", 1000)
    monkeypatch.setattr("xenrr.cpu.procstat.CHUNK_BYTES", 100)
    tree.write(dict.fromkeys(range(1000), ZERO))
    assert 10 < len(read_ticks(str(tree.path))) < 100


@pytest.mark.parametrize(("tail", "counts"), [
    ("intr 100 7 7\nctxt 50\nbtime 5\n", (50, 100)),
    ("intr 100 7 7", (-1, 100)),                       # cut off behind the sum
    ("intr 100", (-1, -1)),                            # cut off inside it
    ("intr many\nctxt -5\n", (-1, -1)),
    (f"intr {2**70} 1\nctxt {2**64}\n", (-1, -1)),
    ("page 1 2\n", (-1, -1)),
    ("intr 1" + " 0" * 50_000 + "\nctxt 9\n", (9, 1)),  # more than one chunk
])
def test_switches_and_interrupts(tree, tail, counts):
    tree.write({0: ZERO}, tail=tail)
    reading = read_stat(str(tree.path))
    assert reading.ticks == {0: ZERO[:8]}
    assert (reading.context_switches, reading.interrupts) == counts


def test_counts_of_the_host_and_shares_of_each_cpu(tree):
    meter = ProcStatMeter(str(tree.path))
    tree.write({0: ZERO, 1: ZERO}, tail="intr 10 1\nctxt 100\n")
    meter.start()
    tree.write({0: (10, 20, 15, 30, 5, 1, 4, 15, 0, 0), 1: ZERO},
               tail="intr 15 1\nctxt 170\n")
    usage = meter.stop()
    assert (usage.context_switches, usage.interrupts) == (70, 5)
    assert usage.per_cpu == (CpuShare(0, 10.0, 20.0, 15.0, 30.0, 5.0, 1.0, 4.0, 15.0),
                             CpuShare(1, idle=100.0, steal=0.0))
    assert (usage.nice, usage.idle) == (10.0, 65.0)
    assert usage.idle + usage.percent == 100
    assert usage.percent_without_steal == pytest.approx(27.5)


def test_cpus_that_come_and_go_are_left_out(tree):
    usage = tree.usage({0: ZERO, 1: ZERO, 2: (9,) * 10},
                       {0: (10, 0, 0, 10), 2: (29, 9, 9, 9), 3: (1000, 0, 0, 0)})
    assert (usage.cpus, usage.percent, usage.peak_cpu) == (2, 75.0, 2)


def test_no_cpu_is_in_both_readings(tree):
    usage = tree.usage({0: ZERO}, {1: ZERO})
    assert (usage.percent, usage.method) == (-1.0, "U")


def test_a_kernel_that_tells_no_cpu_apart(tree):
    meter = ProcStatMeter(str(tree.path))
    tree.path.write_text("cpu 0 0 0 0\npage 1 2\n")
    meter.start()
    tree.path.write_text("cpu 30 0 0 10\npage 1 2\n")
    usage = meter.stop()
    assert (usage.percent, usage.cpus) == (75.0, os.cpu_count())
    assert (usage.peak_percent, usage.peak_cpu) == (-1.0, -1)


def test_idle_and_iowait_may_step_back_a_little(tree):
    usage = tree.usage({0: (100, 0, 0, 500, 50, 0, 0, 0)}, {0: (150, 0, 0, 550, 49, 0, 0, 0)})
    assert (usage.percent, usage.iowait) == (50.0, 0.0)
    usage = tree.usage({0: (100, 0, 0, 500, 50, 0, 0, 0)}, {0: (150, 0, 0, 499, 50, 0, 0, 0)})
    assert usage.percent == 100.0


def test_counters_of_32_bits_overflow(tree):
    usage = tree.usage({0: (2**32 - 10, 0, 0, 0)}, {0: (20, 0, 0, 30)})
    assert usage.percent == 50.0


def test_everything_started_anew(tree):
    """A guest that was restored elsewhere: no negative share, whatever is left."""
    usage = tree.usage({0: (2**40,) * 8, 1: (2**33,) * 8}, {0: (5,) * 8, 1: (7,) * 8})
    assert (usage.percent, usage.steal) == (0.0, 0.0)


@pytest.mark.parametrize("text", [
    "", "intr 1 2\n", "cpu\n", "cpu 1 2 3\n", "cpu0 1 2 three 4\n", "cpu0 -1 2 3 4\n",
    "cpu0 1 2 3 99999999999999999999\n", "cpufreq 1 2 3 4\n", "cpu 1 2 3 4", "\0\xff\n"])
def test_what_is_no_proc_stat_is_not_believed(tmp_path, text):
    path = tmp_path / "stat"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"stat|invalid literal"):
        read_ticks(str(path))
    usage = load_meter(path=str(path)).stop()
    assert (usage.method, usage.percent, usage.steal) == ("U", -1.0, -1.0)


def test_a_missing_file_is_method_u(tmp_path):
    meter = load_meter(5, path=str(tmp_path / "none"))
    meter.start()
    usage = meter.stop()
    assert (usage.method, usage.percent, usage.cpus) == ("U", -1.0, os.cpu_count() or 5)


def test_the_given_number_counts_where_the_system_tells_none(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    for given, cpus in ((5, 5), (None, 1)):
        assert load_meter(given, path=str(tmp_path / "none")).stop().cpus == cpus


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_goes_away(tree, when):
    meter = ProcStatMeter(str(tree.path))
    if when == "after":
        tree.write({0: ZERO})
    meter.start()
    tree.write({0: (1, 1, 1, 1)})
    if when == "after":
        tree.path.unlink()
    usage = meter.stop()
    assert (usage.method, usage.percent) == ("U", -1.0)


def test_a_meter_measures_again_and_only_what_was_begun(tree):
    meter = ProcStatMeter(str(tree.path))
    tree.write({0: ZERO})
    meter.start()
    tree.write({0: (1, 0, 0, 3)})
    assert meter.stop().percent == 25.0
    assert meter.stop().method == "U"
    meter.start()
    tree.write({0: (2, 0, 0, 3)})
    assert meter.stop().percent == 100.0


def test_this_host(tmp_path):
    if not os.path.exists("/proc/stat"):
        assert load_meter().stop().method == "U"
        return
    meter = load_meter()
    meter.start()
    usage = meter.stop()
    assert usage.method == "S"
    assert 0 <= usage.percent <= 100
    assert usage.cpus == len(read_ticks())
