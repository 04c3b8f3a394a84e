from __future__ import annotations

from xenrr.netperf.tcp_info_text import tcp_info_text


def test_text():
    fields = {"tcpi_rto": 201000, "tcpi_ato": 40000, "tcpi_pmtu": 65535,
              "tcpi_rcv_ssthresh": 65483, "tcpi_rtt": 21, "tcpi_rttvar": 5,
              "tcpi_snd_ssthresh": 0x7FFFFFFF, "tcpi_snd_cwnd": 10, "tcpi_reordering": 3,
              "tcpi_total_retrans": 1, "tcpi_state": 1}
    assert tcp_info_text(fields) == (
        "tcpi_rto 201000 tcpi_ato 40000 tcpi_pmtu 65535 tcpi_rcv_ssthresh 65483\n"
        "tcpi_rtt 21 tcpi_rttvar 5 tcpi_snd_ssthresh 2147483647 tpci_snd_cwnd 10\n"
        "tcpi_reordering 3 tcpi_total_retrans 1\n")


def test_words_are_signed_and_may_be_missing():
    assert "tcpi_snd_ssthresh -1 tpci_snd_cwnd 0\n" in tcp_info_text(
        {"tcpi_snd_ssthresh": 0xFFFFFFFF})


def test_nothing_is_nothing():
    assert tcp_info_text({}) == ""
