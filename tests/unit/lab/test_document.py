from __future__ import annotations

import pytest

from xenrr.errors import SpecError
from xenrr.lab import document
from xenrr.lab.document import parse_document, read_document

TEXT = """\
# A comment with key = 1 and [brackets].
name = "one"
text = \"\"\"
fake = 1
[not.a.table]
\"\"\"
spread = [
    1,  # first
    [2, 3],
]
a.b.c = 1
inline = { x = 1, y = { z = 2 } }

[table]
key = 'value'
[table."dotted.name"]
k = 1

[[host]]
name = "h1"
[host.link]
rate = "1mbit"
[[host.guests]]
name = "g1"
[[host]]
name = "h2"
[[host.guests]]
name = "g2"
[[host.guests]]
name = "g3"
"""


@pytest.mark.parametrize(("key", "line"), [
    (("name",), 2), (("text",), 3), (("spread",), 7), (("spread", 1, 0), 7),
    (("a", "b", "c"), 11), (("inline", "y", "z"), 12), (("table",), 14), (("table", "key"), 15),
    (("table", "dotted.name", "k"), 17), (("host", 0), 19), (("host", 0, "name"), 20),
    (("host", 0, "link", "rate"), 22), (("host", 0, "guests", 0, "name"), 24),
    (("host", 1), 25), (("host", 1, "guests", 0, "name"), 28),
    (("host", 1, "guests", 1, "name"), 30), (("host", 1, "guests", 1, "missing"), 29),
    (("missing",), None), (("fake",), None),
])
def test_every_key_has_its_line(key, line):
    assert parse_document(TEXT, "x.toml").line(key) == line


@pytest.mark.parametrize(("text", "line"), [
    ("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ("[t\n", 1), ('a = "open', 1), ("= 3", 1),
])
def test_what_is_no_toml_is_told_with_its_line(text, line):
    with pytest.raises(SpecError, match="no TOML") as told:
        parse_document(text, "x.toml")
    assert (told.value.file, told.value.line) == ("x.toml", line)
    assert str(told.value).startswith(f"x.toml:{line}: ")


def test_a_file_that_is_not_utf8(tmp_path):
    file = tmp_path / "x.toml"
    file.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(SpecError, match="UTF-8") as told:
        read_document(str(file))
    assert told.value.line == 2


def test_a_file_that_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "MAX_FILE_BYTES", 100)
    file = tmp_path / "x.toml"
    file.write_text("#" * 101)
    with pytest.raises(SpecError, match="longer than 100 bytes"):
        read_document(str(file))


def test_a_statement_of_many_lines_does_not_take_forever(monkeypatch):
    monkeypatch.setattr(document, "MAX_STATEMENT_LINES", 10)
    found = parse_document("before = 1\na = [\n" + "1,\n" * 50 + "]\n", "x.toml")
    assert len(found.data["a"]) == 50
    assert found.line(("before",)) == 1


def test_nesting_is_bounded():
    with pytest.raises(SpecError, match=r"nested|no TOML"):
        parse_document("a = " + "[" * 100_000, "x.toml")


@pytest.mark.parametrize(("getter", "arguments", "text", "expected"), [
    ("text", ("a word",), "k = 3", "k: expected a word, found 3"),
    ("text", ("a word",), "k = ''", "k: expected a word, found ''"),
    ("whole", (1, 9), "k = 10", "k: expected a whole number from 1 to 9, found 10"),
    ("whole", (0, 9), "k = true",
     "k: expected a whole number from 0 to 9, found true or false"),
    ("whole", (0, 9), "k = 1.0", "k: expected a whole number from 0 to 9, found 1.0"),
    ("number", (0, 2), "k = nan", "k: expected a number from 0 to 2, found nan"),
    ("number", (0, 2), "k = 'x'", "k: expected a number from 0 to 2, found 'x'"),
    ("listed", ("a list of words",), "k = 1", "k: expected a list of words, found 1"),
    ("table", (), "k = []", "k: expected a table, [k] or k = { ... }, found a list"),
    ("tables", (), "k = {}", "k: expected tables, each one opened by [[k]], found a table"),
])
def test_a_wrong_value_says_what_was_expected(getter, arguments, text, expected):
    top = parse_document(f"\n{text}\n", "x.toml").top
    with pytest.raises(SpecError) as told:
        getattr(top, getter)("k", *arguments)
    assert str(told.value) == f"x.toml:2: {expected}"


def test_an_unknown_key_says_what_was_meant():
    top = parse_document("nmae = 1\n", "x.toml").top
    with pytest.raises(SpecError, match="no key 'nmae' is known here; did you mean name"):
        top.only(("name", "host"))
    with pytest.raises(SpecError, match="expected one of host"):
        top.only(("host",))
