"""The codec alone: bytes in, events out (pytest-benchmark)."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from xenrr.wire.control import SysinfoResponse
from xenrr.wire.dialect import NETPERF_2_7
from xenrr.wire.message import decode_frame, encode_answer, encode_request
from xenrr.wire.omni import OmniRequest, OmniResponse
from xenrr.wire.sender import PeerIdentified, SenderConnection


def test_encode_an_omni_request(benchmark: BenchmarkFixture) -> None:
    request = OmniRequest(test_length=10)
    assert len(benchmark(lambda: encode_request(request, NETPERF_2_7))) == 656


def test_decode_an_omni_request(benchmark: BenchmarkFixture) -> None:
    raw = encode_request(OmniRequest(test_length=10), NETPERF_2_7)
    layout = OmniRequest.layout(NETPERF_2_7)
    request = benchmark(lambda: layout.decode(decode_frame(raw).payload))
    assert request["test_length"] == 10


def test_identify_a_peer(benchmark: BenchmarkFixture) -> None:
    answer = encode_answer(SysinfoResponse(",Deprecated,Deprecated,Deprecated,Deprecated"),
                           NETPERF_2_7)

    def identify() -> object:
        sender = SenderConnection()
        sender.start()
        sender.probe_silent()
        sender.receive_data(answer)
        return sender.next_event()

    assert benchmark(identify) == PeerIdentified(NETPERF_2_7)


def test_encode_an_omni_response(benchmark: BenchmarkFixture) -> None:
    response = OmniResponse(data_port=4711)
    assert len(benchmark(lambda: encode_answer(response, NETPERF_2_7))) == 656
