from __future__ import annotations

import pytest

from xenrr.cpu.usage import METHODS, CpuUsage, service_demand_us


def test_the_letters_stand_at_netperfs_numbers():
    assert (METHODS[0], METHODS[8], METHODS[12]) == ("U", "S", "O")


def test_service_demand():
    # 10 % of 4 CPUs are 0.4 s of CPU time per second.
    assert service_demand_us(CpuUsage(10.0, cpus=4), 1000) == pytest.approx(400.0)


def test_no_utilisation_no_service_demand():
    assert service_demand_us(CpuUsage(-1.0), 1000) == -1.0


@pytest.mark.parametrize("rate", [0, -1.0])
def test_a_rate_that_divides_by_nothing_is_our_own_mistake(rate):
    with pytest.raises(ValueError, match="positive rate"):
        service_demand_us(CpuUsage(10.0), rate)
