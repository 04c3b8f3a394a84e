from __future__ import annotations

import pytest

from xenrr.netperf.tcp_info_text import tcp_info_text
from xenrr.results.record import TestSpec


def test_text(records):
    fields = {"tcpi_rto": 201000, "tcpi_ato": 40000, "tcpi_pmtu": 65535,
              "tcpi_rcv_ssthresh": 65483, "tcpi_rtt": 21, "tcpi_rttvar": 5,
              "tcpi_snd_ssthresh": 0x7FFFFFFF, "tcpi_snd_cwnd": 10, "tcpi_reordering": 3,
              "tcpi_total_retrans": 1, "tcpi_state": 1}
    assert tcp_info_text(records.run(tcp_info=fields)) == (
        "tcpi_rto 201000 tcpi_ato 40000 tcpi_pmtu 65535 tcpi_rcv_ssthresh 65483\n"
        "tcpi_rtt 21 tcpi_rttvar 5 tcpi_snd_ssthresh 2147483647 tpci_snd_cwnd 10\n"
        "tcpi_reordering 3 tcpi_total_retrans 1\n")


def test_words_are_signed_and_may_be_missing(records):
    run = records.run(tcp_info={"tcpi_snd_ssthresh": 0xFFFFFFFF})
    assert "tcpi_snd_ssthresh -1 tpci_snd_cwnd 0\n" in tcp_info_text(run)


@pytest.mark.parametrize("test", ["TCP_CRR", "TCP_CC", "TCP_SENDFILE"])
def test_tests_that_are_not_asked(records, test):
    one = records.stream if test == "TCP_SENDFILE" else records.run
    assert tcp_info_text(one(TestSpec(test), tcp_info={"tcpi_rtt": 1})) == ""


def test_nothing_is_nothing(records):
    assert tcp_info_text(records.run(TestSpec("UDP_RR"))) == ""
