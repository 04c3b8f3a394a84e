from __future__ import annotations

import pytest

from xenrr.netperf.output_units import byte_rate_in, sd_unit, throughput, unit_name


@pytest.mark.parametrize(("letter", "name", "rate"), [
    ("B", "Bytes", 1048576), ("K", "KBytes", 1024), ("M", "MBytes", 1),
    ("G", "GBytes", 1 / 1024),
    ("b", "10^0bits", 1048576), ("k", "10^3bits", 8388.608), ("m", "10^6bits", 8.388608),
    ("g", "10^9bits", 0.008388608), ("u", "Usec", 1e6 / 1048576), ("?", "KBytes", 1024),
    ("", "KBytes", 1024), ("x", "Trans", 8.388608)])
def test_units(letter, name, rate):
    assert unit_name(letter) == name
    assert byte_rate_in(letter, 1048576) == pytest.approx(rate)


def test_the_main_result(records):
    run = records.run(transactions=500, bytes_sent=1000, bytes_received=3000)
    assert throughput("x", run) == 500
    assert throughput("B", run) == 4000
    idle = records.run(transactions=0, elapsed_ns=0)
    assert [throughput(letter, idle) for letter in "xBu"] == [0, 0, 0]


def test_service_demand_follows_the_unit():
    assert (sd_unit("x"), sd_unit("m")) == ("usec/Tran", "usec/KB")
