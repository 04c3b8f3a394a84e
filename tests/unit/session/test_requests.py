"""From a test to its request: which peers can be asked, and with which bytes."""

from __future__ import annotations

import pytest

from xenrr.results.record import TestSpec
from xenrr.session.requests import SenderEnd, classic_request, has_classic_form, test_length
from xenrr.wire.dialect import CLASSIC_SERVER
from xenrr.wire.message import encode_request

test_length.__test__ = False  # no test, whatever pytest makes of the name
END = SenderEnd(family=4, port=40000, address="", send_width=1, receive_width=1,
                send_bytes=1400)


@pytest.mark.parametrize(("spec", "classic"), [
    (TestSpec("TCP_RR", transactions=5), True),
    (TestSpec("TCP_CC", transactions=5), True),
    (TestSpec("TCP_CRR", duration_s=5), True),
    (TestSpec("TCP_CRR", transactions=5), False),
    (TestSpec("TCP_STREAM", limit_bytes=5), True),
    (TestSpec("TCP_MAERTS", duration_s=5), True),
    (TestSpec("TCP_MAERTS", limit_bytes=5), False),
    (TestSpec("UDP_STREAM", duration_s=5), True),
    (TestSpec("UDP_STREAM", limit_bytes=5), False),
    (TestSpec("OMNI", direction="send", connecting=True), False),
    (TestSpec("OMNI", direction="receive", protocol="udp"), False),
])
def test_what_a_peer_without_omni_can_be_asked(spec, classic):
    assert has_classic_form(spec) is classic


@pytest.mark.parametrize(("asked", "word"), [
    ({"duration_s": 0.2}, 1), ({"duration_s": 10}, 10), ({"duration_s": 10.5}, 11),
    ({"transactions": 7}, -7)])
def test_the_length_is_whole_seconds_or_minus_a_count(asked, word):
    assert test_length(TestSpec("TCP_RR", **asked)) == word


def test_a_udp_stream_for_a_target_of_unknown_age_reads_the_same_in_both_forms():
    """12 words up to 2.4.2, 13 with 2.4.3; see the layouts in xenrr/wire/streams.py."""
    request = classic_request(TestSpec("UDP_STREAM", duration_s=9.5), END, oldest=True)
    raw = encode_request(request, CLASSIC_SERVER)
    words = [int.from_bytes(raw[8 + 4 * i:12 + 4 * i], "big") for i in range(13)]
    old = {"alignment": 2, "offset": 3, "measure_cpu": 5, "length": 7, "port": 10, "family": 11}
    new = {"alignment": 3, "offset": 4, "measure_cpu": 6, "length": 8, "port": 11, "family": 12}
    assert words[1] == END.send_bytes
    for form, family in ((old, 0), (new, 4)):
        told = {name: words[word] for name, word in form.items()}
        assert told.pop("offset") in (0, 8)
        assert told == {"alignment": 8, "measure_cpu": 0, "length": 10, "port": 0,
                        "family": family}
