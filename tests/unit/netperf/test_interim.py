from __future__ import annotations

import pytest

from xenrr.netperf.interim import InterimPrinter

END = "ending at 1795417205.415\n"


def printed(outcome, records, line):
    printer = InterimPrinter(outcome(line).options)
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
    printer = InterimPrinter(outcome("-t TCP_RR -D 1").options)
    run = records.run(transactions=1500, elapsed_ns=int(1.5 * records.SECOND_NS),
                      interims=(records.point(1, 1, 1000),))
    assert printer.last_lines(run) == (
        "Interim result: 1000.00 Trans/s over 0.500 seconds ending at 1795417205.904\n")
    whole = records.run(transactions=1000, interims=(records.point(1, 1, 1000),))
    assert printer.last_lines(whole) == ""
    assert printer.last_lines(records.run(transactions=0, elapsed_ns=0)) == ""
