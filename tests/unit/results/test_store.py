from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xenrr.errors import ResultFormatError
from xenrr.results import store
from xenrr.results.record import Run, TestSpec
from xenrr.results.store import RecordWriter, merge_files, read_file
from xenrr.stats.histogram import Histogram


def make_run(transactions: int = 3) -> Run:
    latency_ns = Histogram()
    latency_ns.record_many(range(20_000, 20_000 + transactions))
    return Run(
        spec=TestSpec(duration_s=1), target="dom0", target_address="127.0.0.1:1",
        local_address="127.0.0.1:2", peer="xenrr", engine="pure", started_epoch_s=1.5e9,
        elapsed_ns=10**9, transactions=transactions, requests_sent=transactions, in_flight=0,
        lost=0, late=0, malformed=0, drained=0, bytes_sent=transactions,
        bytes_received=transactions, send_calls=transactions, recv_calls=transactions,
        ended="time", error="", latency_ns=latency_ns, host={"kernel": "6.1"})


RUNS = [make_run(count) for count in (3, 5, 8)]


@pytest.fixture(params=["msgpack", "json"])
def path(request, tmp_path, monkeypatch) -> Path:
    """A file that does not exist yet, for each of the two layouts."""
    if request.param == "json":
        monkeypatch.setattr(store, "_has_msgpack", lambda: False)
    return tmp_path / "results.xrr"


def write(path: Path, runs=RUNS) -> bytes:
    with RecordWriter(path) as writer:
        for run in runs:
            writer.append(run)
    return path.read_bytes()


def test_what_was_written_is_read(path):
    write(path)
    contents = read_file(path)
    assert (contents.runs, contents.complaint, contents.unknown) == (RUNS, "", 0)


def test_records_are_appended(path):
    write(path, RUNS[:1])
    write(path, RUNS[1:])
    assert read_file(path).runs == RUNS


def test_an_empty_file_of_records_is_one(path):
    write(path, [])
    assert read_file(path) == store.Contents()


def test_a_file_cut_anywhere_is_read_to_the_last_whole_record(path):
    ends = []
    for count in range(len(RUNS) + 1):
        ends.append(len(write(path, RUNS[:count])))
        path.unlink()
    data = write(path)
    # Every place near a boundary, and a sample of those between.
    places = {end + step for end in ends for step in (-2, -1, 0, 1, 2)} | set(
        range(ends[0], len(data), 97))
    for place in sorted(place for place in places if ends[0] <= place <= len(data)):
        path.write_bytes(data[:place])
        contents = read_file(path)
        whole = sum(end <= place for end in ends) - 1
        assert contents.runs == RUNS[:whole], place
        assert (contents.complaint == "") == (place in ends), place


def test_a_cut_file_says_so_and_takes_no_more(path):
    data = write(path)
    path.write_bytes(data[:-1])
    assert "after 2 whole records" in read_file(path).complaint
    with pytest.raises(ResultFormatError, match="nothing is appended"):
        RecordWriter(path)
    assert path.read_bytes() == data[:-1]


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_damage_ends_the_reading(path, place):
    data = bytearray(write(path))
    data[int(len(data) * place)] ^= 0x55
    path.write_bytes(data)
    contents = read_file(path)
    assert contents.complaint
    assert contents.runs == RUNS[:len(contents.runs)]


def test_a_full_disk_leaves_the_file_as_it_was(path, monkeypatch):
    before = write(path, RUNS[:2])
    real = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) > 100:
            return real(descriptor, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with RecordWriter(path) as writer:
        monkeypatch.setattr(store.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            writer.append(RUNS[2])
        assert path.read_bytes() == before
        monkeypatch.setattr(store.os, "write", real)
        writer.append(RUNS[2])
    assert read_file(path).runs == RUNS


def test_a_kind_from_the_future_is_passed_over(path):
    write(path, RUNS[:1])
    with RecordWriter(path) as writer:
        writer.append_other("hologram", {"depth": 3})
        writer.append(RUNS[1])
    contents = read_file(path)
    assert (contents.runs, contents.unknown) == (RUNS[:2], 1)


@pytest.mark.parametrize("content", [
    b"", b"{", b"\x00", b"hello", b"[1,2]\n", b'{"format":"xrr"}\n', b"\xc1" * 50,
    b'{"format":"xrr","version":2}\n', b"\x93" * 100_000, b"[" * 100_000])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ResultFormatError, match="other"):
        read_file(path)


def test_a_length_that_no_record_has_takes_no_memory(path):
    write(path, RUNS[:1])
    with open(path, "ab") as file:
        file.write(b"\xdd\xff\xff\xff\xff" if path.read_bytes()[:1] != b"{" else b'"x')
    assert read_file(path).complaint


def test_too_large_a_record_is_refused(path, monkeypatch):
    before = write(path, RUNS[:1])
    monkeypatch.setattr(store, "MAX_RECORD_BYTES", 100)
    assert "after 0 whole records" in read_file(path).complaint
    monkeypatch.undo()
    with RecordWriter(path) as writer:
        monkeypatch.setattr(store, "MAX_RECORD_BYTES", 100)
        with pytest.raises(ResultFormatError, match="too large"):
            writer.append(RUNS[1])
    assert path.read_bytes() == before


def test_a_damaged_record_names_itself(path):
    write(path, RUNS[:1])
    with RecordWriter(path) as writer:
        writer.append_other("run", {"schema": 99})
    with pytest.raises(ResultFormatError, match="schema"):
        read_file(path)


def test_msgpack_alone_reads_a_file(tmp_path):
    import msgpack

    path = tmp_path / "results.xrr"
    write(path)
    with path.open("rb") as file:
        header, *frames = msgpack.Unpacker(file)
    assert header == {"format": "xrr", "version": 1}
    assert [msgpack.unpackb(payload)["transactions"] for _, _, payload in frames] == [3, 5, 8]


def test_json_files_are_text(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_has_msgpack", lambda: False)
    path = tmp_path / "results.xrr"
    write(path)
    kind, _, payload = json.loads(path.read_text().splitlines()[1])
    assert (kind, json.loads(payload)["transactions"]) == ("run", 3)


def test_without_msgpack_its_files_ask_for_it(tmp_path, monkeypatch):
    path = tmp_path / "results.xrr"
    write(path)
    monkeypatch.setattr(store, "_has_msgpack", lambda: False)
    with pytest.raises(ResultFormatError, match="msgpack"):
        read_file(path)


def test_files_are_merged_and_each_run_stands_once(tmp_path):
    one, two, into = (tmp_path / name for name in ("one.xrr", "two.xrr", "all.xrr"))
    write(one, RUNS[:2])
    data = write(two, [RUNS[1], RUNS[2], replace(RUNS[0], target="domU")])
    merged = merge_files([one, two], into)
    assert read_file(into).runs == merged.runs == [*RUNS, replace(RUNS[0], target="domU")]
    assert sorted(tmp_path.iterdir()) == sorted([one, two, into])
    with pytest.raises(FileExistsError):
        merge_files([one], into)
    two.write_bytes(data[:-5])
    assert "two.xrr was cut off" in merge_files([one, two], tmp_path / "again.xrr").complaint


def test_a_merge_that_fails_leaves_nothing(tmp_path):
    write(tmp_path / "one.xrr")
    (tmp_path / "two.xrr").write_text("no")
    with pytest.raises(ResultFormatError):
        merge_files([tmp_path / "one.xrr", tmp_path / "two.xrr"], tmp_path / "all.xrr")
    assert not (tmp_path / "all.xrr").exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_importing_it_loads_no_msgpack():
    import subprocess

    code = "import sys, xenrr.results.store; print('msgpack' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          cwd=Path(store.__file__).parents[2], check=True)
    assert done.stdout == "False\n"
