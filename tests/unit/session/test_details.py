"""What two xenrr tell each other of their hosts: pages, bounds, and peers that misbehave."""

from __future__ import annotations

import errno
import json
import random

import pytest
from ends import FakeTarget, RawSender, accepted, listener_for, run, serving

from xenrr.cpu.usage import CpuShare, CpuUsage
from xenrr.results.record import TestSpec
from xenrr.session import details
from xenrr.session.details import (
    HOST,
    MAX_FACTS,
    MAX_PAGES,
    USAGE,
    ask_details,
    encode_pages,
    facts_from,
    usage_pages,
    with_details,
)
from xenrr.session.sender import open_sender
from xenrr.wire.control import (
    PAGE_CHARACTERS,
    DetailsRequest,
    DetailsResponse,
    ErrorResponse,
)
from xenrr.wire.omni import OmniFlags, OmniResponse, OmniResults
from xenrr.wire.target import TargetConnection

BARE = CpuUsage(50.0, steal=1.0, cpus=2, method="S")
SHARES = (CpuShare(0, 10.0, 1.0, 20.0, 60.0, 2.0, 3.0, 3.0, 1.0), CpuShare(3, idle=100.0))
FULL = CpuUsage(50.0, steal=1.0, cpus=2, method="S", nice=1.0, idle=50.0, per_cpu=SHARES,
                context_switches=70, interrupts=5)


def pages_of(pages):
    return lambda page: DetailsResponse(len(pages), pages[page])


def test_pages_are_put_together_again():
    facts = {f"fact {number}": "x" * 100 for number in range(40)}
    pages = encode_pages(facts)
    assert len(pages) > 3
    assert all(len(page) <= PAGE_CHARACTERS for page in pages)
    assert facts_from(ask_details(pages_of(pages))) == facts


def test_what_is_too_long_is_not_told():
    assert encode_pages("x" * (MAX_PAGES * PAGE_CHARACTERS)) == []


def test_a_usage_comes_through():
    assert with_details(BARE, "".join(usage_pages(FULL))) == FULL
    assert usage_pages(None) == []


def test_cpus_are_left_out_where_there_are_too_many_for_the_pages():
    many = CpuUsage(50.0, idle=50.0, per_cpu=tuple(CpuShare(cpu) for cpu in range(1000)))
    told = with_details(BARE, "".join(usage_pages(many)))
    assert (told.idle, told.per_cpu) == (50.0, ())


@pytest.mark.parametrize("answer", [
    ErrorResponse(errno.ENODATA), DetailsResponse(0, ""), DetailsResponse(2**32 - 1, "{}"),
    DetailsResponse(MAX_PAGES + 1, "{}")])
def test_a_peer_without_pages_or_with_too_many(answer):
    asked = []

    def ask(page):
        asked.append(page)
        return answer

    assert facts_from(ask_details(ask)) == {}
    assert len(asked) <= MAX_PAGES


@pytest.mark.parametrize("text", [
    "", "{", "[]", "5", "null", '{"a": 5}', '{"a": {"b": "c"}}', "[" * 9000, '{"a": NaN}'])
def test_what_is_no_facts(text):
    assert facts_from(text) == {}
    assert with_details(BARE, text) == BARE


def test_facts_are_bounded_and_printable():
    facts = facts_from(json.dumps({f"{number}\x1b[31m": "\n\ud800" + "y" * 9999
                                   for number in range(2 * MAX_FACTS)}))
    assert len(facts) == MAX_FACTS
    assert list(facts.items())[1] == ("1[31m", "y" * (details.MAX_CHARACTERS - 2))


@pytest.mark.parametrize("text", [
    '{"idle": NaN}', '{"idle": true}', '{"idle": "5"}', '{"interrupts": 1e300}',
    '{"idle": -5}', '{"per_cpu": 5}', '{"per_cpu": [5, [1], [1,2,3,4,5,6,7,8,"9"]]}',
    '{"per_cpu": [[1,2,3,4,5,6,7,8,Infinity]]}', '{"interrupts": %s}' % ("9" * 4000)])
def test_numbers_that_make_no_sense_are_unknown(text):
    assert with_details(BARE, text) == BARE


def test_damaged_pages_are_never_an_error():
    """Invariant: any text ends in bounded texts and in a usage of numbers."""
    whole = "".join(usage_pages(FULL))
    for number in range(2000):
        dice = random.Random(number)
        text = list(whole)
        for _ in range(dice.randint(1, 6)):
            text[dice.randrange(len(text))] = chr(dice.choice([34, 44, 91, 93, 45, 48, 101, 0]))
        usage = with_details(BARE, "".join(text))
        assert all(isinstance(share, CpuShare) for share in usage.per_cpu), number
        assert len(facts_from("".join(text))) <= MAX_FACTS


def test_a_target_tells_a_xenrr():
    async def ask():
        async with serving() as server, RawSender(server.port) as sender:
            await sender.identify()
            host = await sender.ask(DetailsRequest(HOST, 0))
            assert '"kernel":' in host.text
            for topic, page in ((HOST, host.pages), (HOST, 2**32 - 1), (USAGE, 0), (7, 0)):
                answer = await sender.ask(DetailsRequest(topic, page))
                assert answer == ErrorResponse(errno.ENODATA, answer.kind)

    run(ask())


def target(after_results):
    """A script: one round trip, its results, and then what a test wants."""
    def script(fake: FakeTarget) -> None:
        codec = TargetConnection()
        fake.answer_probe(codec)
        fake.request(codec)
        with listener_for() as data:
            fake.sock.sendall(codec.send(OmniResponse(
                data_port=data.getsockname()[1], flags=OmniFlags.MEASURE_CPU)))
            with accepted(data) as sock:
                while sock.recv(1):
                    sock.sendall(b"x")
        fake.sock.sendall(codec.send(OmniResults(trans_received=5, elapsed_time=0.1)))
        after_results(fake, codec)

    return FakeTarget(script)


def hang_up(fake, codec):
    fake.request(codec)


def refuse(fake, codec):
    while fake.request(codec) is not None:
        fake.sock.sendall(codec.send(ErrorResponse(998)))


def talk_nonsense(fake, codec):
    fake.request(codec)
    fake.sock.sendall(b"\xff" * 656)


def be_silent(fake, codec):
    fake.request(codec)
    fake.request(codec)


@pytest.mark.parametrize("after_results", [hang_up, refuse, talk_nonsense, be_silent])
def test_a_run_stands_whatever_becomes_of_the_details(after_results, monkeypatch):
    monkeypatch.setattr("xenrr.session.sender.DETAILS_LIMIT_S", 0.5)
    with target(after_results) as fake, open_sender("127.0.0.1", fake.port) as sender:
        measured = sender.run(TestSpec("TCP_RR", transactions=5))
    assert (measured.transactions, measured.error, measured.remote_host) == (5, "", {})


def test_the_host_is_asked_for_once(monkeypatch):
    asked = []

    def answer(fake, codec):
        while (request := fake.request(codec)) is not None and hasattr(request, "topic"):
            asked.append(request)
            fake.sock.sendall(codec.send(DetailsResponse(1, '{"kernel":"K"}')))

    with target(answer) as fake, open_sender("127.0.0.1", fake.port) as sender:
        measured = sender.run(TestSpec("TCP_RR", transactions=5))
        assert measured.remote_host == {"kernel": "K"}
        assert sender._details(None) is None
    assert [request.topic for request in asked] == [HOST, USAGE]
