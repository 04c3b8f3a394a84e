from __future__ import annotations

import pytest

from xenrr.netperf.interim import InterimPrinter
from xenrr.results.record import TestSpec

END = "ending at 1795417205.415\n"


def printed(outcome, records, line):
    built = outcome(line)
    printer = InterimPrinter(built.options, built.run.spec)
    return printer, printer.lines(records.point(1.011, 1.011, 70155))


@pytest.mark.parametrize("form", ["", "-- -O"])
def test_lines_of_the_table_forms(outcome, records, form):
    _, text = printed(outcome, records, f"-t TCP_RR -D 1 {form}")
    assert text == f"Interim result: 69391.69 Trans/s over 1.011 seconds {END}"


def test_csv(outcome, records):
    _, text = printed(outcome, records, "-t TCP_RR -D 1 -- -o")
    assert text == "69391.69,Trans/s,1.011,1795417205.415\n"


def test_keyval_counts_on(outcome, records):
    printer, text = printed(outcome, records, "-t TCP_RR -D 1 -- -k")
    assert text == ("NETPERF_INTERIM_RESULT[0]=69391.69\nNETPERF_UNITS[0]=Trans/s\n"
                    "NETPERF_INTERVAL[0]=1.011\nNETPERF_ENDING[0]=1795417205.415\n")
    assert "[1]=" in printer.lines(records.point(2, 1, 5))


@pytest.mark.parametrize(("unit", "text"), [
    ("k", "1110.27 10^3bits/s"), ("m", "   1.11 10^6bits/s"), ("u", "   7.21 Usec/s")])
def test_other_units(outcome, records, unit, text):
    assert printed(outcome, records, f"-t TCP_RR -D 1 -f {unit}")[1] == (
        f"Interim result: {text} over 1.011 seconds {END}")


def test_the_last_partial_interval(outcome, records):
    printer = InterimPrinter(outcome("-t TCP_RR -D 1").options, TestSpec())
    run = records.run(transactions=1500, elapsed_ns=int(1.5 * records.SECOND_NS),
                      interims=(records.point(1, 1, 1000),))
    assert printer.last_lines(run) == (
        "Interim result: 1000.00 Trans/s over 0.500 seconds ending at 1795417205.904\n")
    whole = records.run(transactions=1000, interims=(records.point(1, 1, 1000),))
    assert printer.last_lines(whole) == ""
    assert printer.last_lines(records.run(transactions=0, elapsed_ns=0)) == ""
    stalled = records.run(transactions=1000, elapsed_ns=2 * records.SECOND_NS,
                          interims=(records.point(1, 1, 1000),))
    assert printer.last_lines(stalled) == ""


@pytest.mark.parametrize(("test", "unit", "text"), [
    ("TCP_STREAM", "", "18129.13 10^6bits/s"), ("TCP_STREAM", "x", "18129.13 10^6bits/s"),
    ("TCP_MAERTS", "K", "2213028.65 KBytes/s"), ("UDP_STREAM", "g", "  18.13 10^9bits/s"),
    ("TCP_SENDFILE", "", "18129.13 10^6bits/s"), ("TCP_CRR", "", "8000.00 Trans/s"),
    ("TCP_CRR", "k", " 128.00 10^3bits/s"),
    # Older code: every connection is a unit, and units are taken for bytes.
    ("TCP_CC", "", "   0.06 10^6bits/s"), ("TCP_CC", "x", "   0.06 10^6bits/s"),
    ("TCP_CC", "k", "  64.00 10^3bits/s")])
def test_other_tests(made, records, test, unit, text):
    spec = TestSpec(test)
    printer = InterimPrinter(made(spec, unit=unit).options, spec)
    counted = spec.direction in ("rr", "none")
    point = (records.point(0.3, 0.3, 2400) if counted else
             records.point(0.3, 0.3, 0, 679842400))
    assert printer.lines(point) == (
        f"Interim result: {text} over 0.300 seconds ending at 1795417204.704\n")


@pytest.mark.parametrize(("test", "line"), [
    ("TCP_MAERTS", "Interim result:  800.00 10^6bits/s over 0.100 seconds ending at "
                   "1795417205.404\n"),
    ("TCP_SENDFILE", "")])
def test_the_rest_of_a_stream(made, records, test, line):
    spec = TestSpec(test)
    printer = InterimPrinter(made(spec).options, spec)
    run = records.stream(spec, 1000, 100_000,
                         interims=(records.point(0.9, 0.9, 0, 90_000_000),))
    assert printer.last_lines(run) == line


def test_older_tests_print_whole_intervals_only(made, records):
    spec = TestSpec("TCP_CC", interim_s=0.3)
    printer = InterimPrinter(made(spec).options, spec)
    assert printer.lines(records.point(0.62, 0.28, 1000))
    assert printer.lines(records.point(1.0, 0.1, 1000)) == ""
    spec = TestSpec("TCP_CRR", interim_s=0.3)
    assert InterimPrinter(made(spec).options, spec).lines(records.point(1.0, 0.1, 1000))
