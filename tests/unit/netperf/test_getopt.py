from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xenrr.netperf.getopt import (
    FLAG,
    NUMBER_IF_NEXT,
    VALUE,
    WORD_IF_NEXT,
    Mistake,
    Scanner,
    leading_integer,
    split_pair,
)

LETTERS = {"D": FLAG, "j": FLAG, "v": VALUE, "c": NUMBER_IF_NEXT, "k": WORD_IF_NEXT}
NAMES = {"json": FLAG, "engine": VALUE, "percentiles": NUMBER_IF_NEXT}


def scan(line):
    scanner = Scanner("netperf", line.split(), LETTERS, NAMES)
    taken = [item.text if isinstance(item, Mistake) else item for item in scanner]
    return taken, scanner.rest


@pytest.mark.parametrize(("line", "taken"), [
    ("-v 2 -D", [("v", "2"), ("D", None)]),
    ("-jDv2", [("j", None), ("D", None), ("v", "2")]),
    ("word -v -1 - other", [("v", "-1")]),
    ("-c 5 -c -D", [("c", "5"), ("c", None), ("D", None)]),
    ("-c5 -cD -c x", [("c", "5"), ("c", None), ("D", None), ("c", None)]),
    ("-k A,B -k -D -kA -k", [("k", "A,B"), ("k", None), ("D", None), ("k", "A"), ("k", None)]),
    ("-q", ["netperf: invalid option -- 'q'"]),
    ("-Dq", [("D", None), "netperf: invalid option -- 'q'"]),
    ("-v", ["netperf: option requires an argument -- 'v'"]),
    ("--json --engine pure --engine=hot --percentiles", [
        ("json", None), ("engine", "pure"), ("engine", "hot"), ("percentiles", None)]),
    ("--percentiles 50,99 --percentiles -D", [
        ("percentiles", "50,99"), ("percentiles", None), ("D", None)]),
    ("--jsn", ["netperf: unrecognized option '--jsn'\nnetperf: did you mean --json?"]),
    ("--foo --json=1 --engine", [
        "netperf: unrecognized option '--foo'",
        "netperf: option '--json' doesn't allow an argument",
        "netperf: option '--engine' requires an argument"]),
])
def test_scanning(line, taken):
    assert scan(line) == (taken, [])


def test_two_dashes_end_the_list():
    assert scan("-D -- -D -- x") == ([("D", None)], ["-D", "--", "x"])
    assert scan("-v -- -D") == ([("v", "--"), ("D", None)], [])


@pytest.mark.parametrize(("text", "copied", "single"), [
    ("a", ("a", "a"), ("a", None)), ("a,b", ("a", "b"), ("a", "b")),
    ("a,", ("a", None), ("a", None)), (",b", (None, "b"), (None, "b")),
    ("", (None, None), (None, None)), (",", (None, None), (None, None)),
    ("a,b,c", ("a", "b,c"), ("a", "b,c"))])
def test_pairs(text, copied, single):
    assert split_pair(text, copy=True) == copied
    assert split_pair(text, copy=False) == single


@pytest.mark.parametrize(("text", "number"), [
    ("2", 2), ("x", 0), ("", 0), ("-1", -1), ("3k", 3), (" 7", 7), ("+4", 4), ("1.9", 1),
    ("9" * 5000, 10**18 - 1)])
def test_atoi(text, number):
    assert leading_integer(text) == number


@given(st.lists(st.text(alphabet="Djvckq-= x1", max_size=6), max_size=6))
def test_any_line_ends(words):
    for item in Scanner("netperf", words, LETTERS, NAMES):
        assert isinstance(item, (tuple, Mistake))
