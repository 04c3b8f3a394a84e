"""``.xrr`` files: many records in one file, each of them whole or not there.

A file is a sequence of msgpack values, so anything with a msgpack library can read it: first
a map that names the format, then for each record an array ``[kind, crc, payload]`` whose
payload is again msgpack. Where the msgpack package is missing (a guest with nothing but
Python) the same values are written as JSON, one a line, with the payload as a text. The
reader takes both; the first byte tells which it is.

* A record is appended with one write and flushed to the disk before ``append`` comes back.
  If the disk is full, what was written of it is cut off again: the file stays as it was.
* A file that was cut off anywhere, or damaged, is read up to the last whole record, and the
  reader says so.
* Records of other kinds than runs (``results.campaign`` has some) are handed out as they are:
  whoever knows a kind reads it, and an older xenrr reads what it can of a newer file.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO

from xenrr.errors import ResultFormatError
from xenrr.results.record import Run

__all__ = ["FORMAT", "RUN", "VERSION", "Contents", "RecordWriter", "mend_file",
           "merge_files", "read_file"]

FORMAT = "xrr"
# Of the file, not of the records in it; those have their own schema.
VERSION = 1
RUN = "run"
# A record of an hour at ten interim results a second is 3 MB.
MAX_RECORD_BYTES = 256 << 20
MAX_FILE_BYTES = 8 << 30


@dataclass
class Contents:
    """What was read from a file.

    Attributes:
        runs: The records, in the order they were written.
        complaint: Why reading stopped before the end of the file, else empty.
        others: Kind and content of the records that are no runs, in their order.
    """

    runs: list[Run] = field(default_factory=list)
    complaint: str = ""
    others: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def unknown(self) -> int:
        """How many records are no runs."""
        return len(self.others)


class RecordWriter:
    """Appends records to a file; a context manager.

    Args:
        path: Made if it is not there; one that is there has to be a whole ``.xrr`` file.

    Raises:
        ResultFormatError: It is something else, or was cut off.
        OSError: It cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._file = open(self._path, "r+b" if os.path.exists(self._path) else "x+b")  # noqa: SIM115
        try:
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                raise ResultFormatError(f"{self._path} is no regular file")
            self._codec = self._begin()
            self._end = self._file.seek(0, os.SEEK_END)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; everything is on the disk already."""
        self._file.close()

    def append(self, run: Run) -> None:
        """Write one record.

        Raises:
            OSError: The disk is full or gone; the file is as it was before.
            ResultFormatError: The record is larger than any reader takes.
        """
        self.append_other(RUN, run.to_plain())

    def append_other(self, kind: str, plain: Mapping[str, object]) -> None:
        """Write one record of any kind.

        Args:
            kind: Tells readers what it is.
            plain: JSON-ready values.

        Raises:
            OSError, ResultFormatError: See ``append``.
        """
        frame = self._codec.frame(kind, plain)
        if len(frame) > MAX_RECORD_BYTES:
            raise ResultFormatError(f"a record of {len(frame)} bytes is too large for a file")
        self._write(frame)

    def _begin(self) -> _Codec:
        if not self._file.seek(0, os.SEEK_END):
            codec: _Codec = _Msgpack() if _has_msgpack() else _Json()
            self._end = 0
            self._write(codec.header())
            return codec
        self._file.seek(0)
        codec = _codec_of(self._file, self._path)
        contents = _read(self._file, codec, self._path)
        if contents.complaint:
            raise ResultFormatError(f"{contents.complaint}; nothing is appended to it")
        return codec

    def _write(self, data: bytes) -> None:
        # Unbuffered and at a known place, so a short write can be undone.
        try:
            os.lseek(self._file.fileno(), self._end, os.SEEK_SET)
            view = memoryview(data)
            while view:
                view = view[os.write(self._file.fileno(), view):]
            os.fsync(self._file.fileno())
        except BaseException:  # a full disk, or an interrupt in the middle
            os.ftruncate(self._file.fileno(), self._end)
            raise
        self._end += len(data)


def read_file(path: str | os.PathLike[str]) -> Contents:
    """Read a file up to its last whole record.

    Raises:
        ResultFormatError: It is no ``.xrr`` file, or of a version this xenrr does not know.
        OSError: It cannot be read.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        return _read(file, _codec_of(file, path), path)


def mend_file(path: str | os.PathLike[str]) -> str:
    """Cut off what follows the last whole record, so that the file can be appended to.

    Returns:
        Name of a copy of the file as it was; empty when nothing was wrong with it.

    Raises:
        ResultFormatError, OSError: See ``read_file``.
    """
    path = os.fspath(path)
    contents = read_file(path)
    if not contents.complaint:
        return ""
    partial, damaged = f"{path}.{os.getpid()}.part", f"{path}.damaged"
    try:
        with RecordWriter(partial) as writer:
            for kind, plain in contents.others:
                writer.append_other(kind, plain)
            for run in contents.runs:
                writer.append(run)
        os.replace(path, damaged)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)
    return damaged


def merge_files(paths: Iterable[str | os.PathLike[str]],
                into: str | os.PathLike[str]) -> Contents:
    """Put the records of several files into a new one, each once.

    Args:
        paths: Read in this order; what one of them has lost at its end is lost.
        into: Must not be there yet. It appears whole or not at all.

    Returns:
        What was written; ``complaint`` names the inputs that were cut off.

    Raises:
        FileExistsError: ``into`` is there.
        ResultFormatError, OSError: See ``read_file`` and ``RecordWriter``.
    """
    into = os.fspath(into)
    if os.path.exists(into):
        raise FileExistsError(17, "there is such a file already", into)
    merged = Contents()
    complaints = []
    seen = set()
    partial = f"{into}.{os.getpid()}.part"
    try:
        with RecordWriter(partial) as writer:
            for path in paths:
                contents = read_file(path)
                for kind, plain in contents.others:
                    identity = json.dumps([kind, plain], sort_keys=True)
                    if identity not in seen:
                        seen.add(identity)
                        writer.append_other(kind, plain)
                        merged.others.append((kind, plain))
                if contents.complaint:
                    complaints.append(contents.complaint)
                for run in contents.runs:
                    # Identical to the last count: the same run, read twice.
                    identity = json.dumps(run.to_plain(), sort_keys=True)
                    if identity not in seen:
                        seen.add(identity)
                        writer.append(run)
                        merged.runs.append(run)
        os.link(partial, into)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)
    merged.complaint = "; ".join(complaints)
    return merged


class _Cut(Exception):
    """The file ends inside a value, or holds something that no xenrr wrote there."""


class _Codec:
    """How values are laid out in a file."""

    def header(self) -> bytes:
        return self.value({"format": FORMAT, "version": VERSION})

    def frame(self, kind: str, plain: Mapping[str, object]) -> bytes:
        payload = self.payload(plain)
        return self.value([kind, zlib.crc32(payload), self.carried(payload)])

    def value(self, value: object) -> bytes:
        raise NotImplementedError

    def payload(self, plain: Mapping[str, object]) -> bytes:
        raise NotImplementedError

    def carried(self, payload: bytes) -> object:
        """A payload as it stands in a frame."""
        return payload

    def values(self, file: BinaryIO) -> Iterator[object]:
        """The values of a file; raises ``_Cut`` where it breaks off."""
        raise NotImplementedError

    def unpack(self, carried: object, crc: object) -> object:
        """What a frame carries; raises ``_Cut`` when it is damaged."""
        raise NotImplementedError


class _Json(_Codec):
    def value(self, value: object) -> bytes:
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"

    def payload(self, plain: Mapping[str, object]) -> bytes:
        return json.dumps(plain, separators=(",", ":")).encode()

    def carried(self, payload: bytes) -> object:
        return payload.decode()

    def values(self, file: BinaryIO) -> Iterator[object]:
        while line := file.readline(MAX_RECORD_BYTES):
            if not line.endswith(b"\n"):
                raise _Cut
            yield self._loads(line)

    def unpack(self, carried: object, crc: object) -> object:
        if not isinstance(carried, str) or zlib.crc32(carried.encode()) != crc:
            raise _Cut
        return self._loads(carried.encode())

    def _loads(self, text: bytes) -> object:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise _Cut from exc


class _Msgpack(_Codec):
    def __init__(self) -> None:
        self._msgpack = _load_msgpack()

    def value(self, value: object) -> bytes:
        packed: bytes = self._msgpack.packb(value)
        return packed

    def payload(self, plain: Mapping[str, object]) -> bytes:
        return self.value(plain)

    def values(self, file: BinaryIO) -> Iterator[object]:
        unpacker = self._msgpack.Unpacker(file, max_buffer_size=MAX_RECORD_BYTES)
        whole = 0
        while True:
            try:
                value = unpacker.unpack()
            except self._msgpack.OutOfData:
                if unpacker.tell() != whole or file.read(1) or self._rest(file, whole):
                    raise _Cut from None
                return
            except (ValueError, RecursionError, self._msgpack.UnpackException) as exc:
                raise _Cut from exc
            whole = unpacker.tell()
            yield value

    def _rest(self, file: BinaryIO, whole: int) -> bool:
        return file.seek(0, os.SEEK_END) != whole

    def unpack(self, carried: object, crc: object) -> object:
        if not isinstance(carried, bytes) or zlib.crc32(carried) != crc:
            raise _Cut
        try:
            return self._msgpack.unpackb(carried)
        except (ValueError, RecursionError, struct.error,
                self._msgpack.UnpackException) as exc:
            raise _Cut from exc


def _load_msgpack() -> Any:
    import msgpack

    return msgpack


def _has_msgpack() -> bool:
    try:
        _load_msgpack()
    except ImportError:
        return False
    return True


def _codec_of(file: BinaryIO, path: str) -> _Codec:
    """The layout of a file, which is left at its beginning."""
    first = file.read(1)
    file.seek(0)
    if first == b"{":
        return _Json()
    if not _has_msgpack():
        raise ResultFormatError(f"{path}: reading it needs the msgpack package")
    return _Msgpack()


def _read(file: BinaryIO, codec: _Codec, path: str) -> Contents:
    if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
        raise ResultFormatError(f"{path}: more than {MAX_FILE_BYTES >> 30} GiB")
    values = codec.values(file)
    try:
        header = next(values, None)
    except _Cut:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ResultFormatError(f"{path} is no {FORMAT} file")
    if header.get("version") != VERSION:
        raise ResultFormatError(f"{path}: this xenrr reads files of version {VERSION}, "
                                f"not {header.get('version')!r}")
    contents = Contents()
    try:
        for value in values:
            if not isinstance(value, list) or len(value) != 3:
                raise _Cut
            kind, crc, carried = value
            plain = codec.unpack(carried, crc)
            if kind != RUN:
                contents.others.append((str(kind), plain if isinstance(plain, dict) else {}))
                continue
            if not isinstance(plain, dict):
                raise _Cut
            contents.runs.append(Run.from_plain(plain))
    except _Cut:
        contents.complaint = (f"{path} was cut off or damaged after "
                              f"{_records(len(contents.runs) + contents.unknown)}")
    return contents


def _records(count: int) -> str:
    return f"{count} whole record{'' if count == 1 else 's'}"
