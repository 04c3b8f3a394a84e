"""The C loop on a machine that has a compiler but no Python headers.

The ``rr_*.c`` know nothing of Python, so one ``cc`` call makes a shared object of them and
``ctypes``, which lets go of the GIL during a call, runs it.

The object is kept per user. Whoever can write it can run code as that user, so neither a
directory nor an object of somebody else is ever used, and the name carries a digest of
everything the object is made from: an object of another release, machine or compiler is
never found.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from xenrr.engine.hot import TALLY_FIELDS
from xenrr.errors import EngineUnavailable
from xenrr.stats.histogram import COUNTS_LENGTH

__all__ = ["SharedLibrary", "build_shared", "cache_directory", "find_compiler", "load_shared",
           "object_path"]

SOURCES = ("rr_platform.h", "rr_loop.h", "rr_common.h", "rr_many.h", "rr_pool.h",
           "rr_blocks.c", "rr_burst.c", "rr_common.c", "rr_decompose.c", "rr_sender.c",
           "rr_numbered.c", "rr_target.c", "rr_connect.c", "rr_stream.c", "rr_many.c",
           "rr_many_numbered.c",
           "rr_schedule.c", "rr_pool.c", "rr_crowd.c", "rr_epoll.c", "rr_uring.c",
           "rr_thread.c", "rr_loop.c")
COMPILERS = ("cc", "gcc", "clang")
BUILD_TIMEOUT_S = 60.0

RR_INTERRUPTED = 1


class SharedLibrary:
    """The loop in a shared object.

    Args:
        path: The object, as ``build_shared`` made it.

    Raises:
        OSError: It is not a shared object for this process.
        AttributeError: It is one without the loop in it.
    """

    loaded_as = "ctypes"

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path), use_errno=True)
        self._open = library.rr_open
        self._open.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
        self._open.restype = ctypes.c_void_p
        self._run = library.rr_run
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._run.restype = ctypes.c_int
        self._blocks = library.rr_blocks
        self._blocks.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]
        self._blocks.restype = ctypes.c_void_p
        self._pollers = library.rr_pollers
        self._pollers.argtypes = []
        self._pollers.restype = ctypes.c_int
        self._close = library.rr_close
        self._close.argtypes = [ctypes.c_void_p]
        self._close.restype = None

    def pollers(self) -> int:
        """See ``hot.HotLibrary``."""
        return int(self._pollers())

    def run(self, spec: bytes) -> tuple[bytes, bytes, bytes]:
        """Run one data phase; see ``hot.HotLibrary``."""
        counts = (ctypes.c_uint64 * COUNTS_LENGTH)()
        tally = (ctypes.c_int64 * len(TALLY_FIELDS))()
        loop = self._open(spec, len(spec), counts)
        if not loop:
            raise _last_error()
        try:
            # Python runs its signal handlers at the loop's turn; one that raises ends it.
            while self._run(loop, tally) == RR_INTERRUPTED:
                pass
            size = ctypes.c_size_t()
            blocks = self._blocks(loop, ctypes.byref(size))
            if not blocks:
                raise _last_error()
            return bytes(tally), bytes(counts), ctypes.string_at(blocks, size.value)
        finally:
            self._close(loop)


def find_compiler() -> list[str]:
    """The C compiler as a command: ``CC`` from the environment, else cc, gcc or clang.

    Raises:
        EngineUnavailable: There is none.
    """
    asked = shlex.split(os.environ.get("CC", ""))
    if asked:
        if shutil.which(asked[0]) is None:
            raise EngineUnavailable(f"there is no C compiler {asked[0]}, which CC names")
        return asked
    for name in COMPILERS:
        found = shutil.which(name)
        if found:
            return [found]
    raise EngineUnavailable("there is no C compiler: none of "
                            f"{', '.join(COMPILERS)} is on PATH")


def cache_directory() -> Path:
    """Where built objects are kept: made if missing, ours alone.

    Returns:
        ``xenrr`` in ``XDG_CACHE_HOME``, else in ``~/.cache``; where that cannot be
        written, a private temporary directory of this process.

    Raises:
        EngineUnavailable: The directory belongs to another user or others may write it.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    directory = Path(base if os.path.isabs(base) else "~/.cache").expanduser() / "xenrr"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        usable = os.access(directory, os.W_OK | os.X_OK)
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        usable = False
    if not usable:
        return _private_directory()
    _refuse_foreign(directory)
    return directory


def object_path(directory: Path, compiler: list[str]) -> Path:
    """Where the object of these sources, machine, Python and compiler belongs."""
    digest = hashlib.sha256()
    for part in (platform.machine(), sys.platform, str(ctypes.sizeof(ctypes.c_void_p)),
                 *_command(compiler), _compiler_identity(compiler[0])):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    for name in SOURCES:
        digest.update(_source(name) + b"\0")
    return directory / f"rr_loop-{digest.hexdigest()[:24]}.so"


def build_shared(directory: Path | None = None) -> Path:
    """Build the loop with one compiler call, unless that was done before.

    Args:
        directory: Where to keep the object, ``cache_directory()`` if not given.

    Returns:
        The shared object.

    Raises:
        EngineUnavailable: No compiler, no sources, it failed or took too long, or the
            place is not ours.
    """
    compiler = find_compiler()
    if directory is None:
        directory = cache_directory()
    try:
        path = object_path(directory, compiler)
        _refuse_foreign(directory)
        if path.exists():
            _refuse_foreign(path)
            return path
        with tempfile.TemporaryDirectory(prefix="build-", dir=str(directory)) as room:
            # From copies, so that a package inside a zip file can be built too.
            for name in SOURCES:
                (Path(room) / name).write_bytes(_source(name))
            made = Path(room) / "rr_loop.so"
            command = _command(compiler)
            command[-1:-1] = ["-o", str(made)]
            done = subprocess.run(command, cwd=room, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=BUILD_TIMEOUT_S, check=False)
            if done.returncode != 0 or not made.exists():
                said = done.stdout.decode("utf-8", "replace").strip()[:500]
                raise EngineUnavailable(f"{compiler[0]} does not build the C engine: "
                                        f"{said or f'exit code {done.returncode}'}")
            made.chmod(0o700)
            made.replace(path)
    except subprocess.TimeoutExpired as exc:
        raise EngineUnavailable(f"{compiler[0]} took longer than {BUILD_TIMEOUT_S:g} s to "
                                "build the C engine") from exc
    except OSError as exc:
        raise EngineUnavailable(f"the C engine cannot be built: {exc}") from exc
    return path


def load_shared(directory: Path | None = None) -> SharedLibrary:
    """Build the loop if that was not done before, and load it.

    Raises:
        EngineUnavailable: It cannot be built or does not load.
    """
    path = build_shared(directory)
    try:
        return SharedLibrary(path)
    except (OSError, AttributeError) as exc:
        raise EngineUnavailable(f"{path} does not load: {exc}") from exc


def _last_error() -> OSError:
    errno = ctypes.get_errno()
    return OSError(errno, os.strerror(errno))


@cache
def _private_directory() -> Path:
    made = Path(tempfile.mkdtemp(prefix="xenrr-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _command(compiler: list[str]) -> list[str]:
    command = [*compiler, "-std=c99", "-O2", "-shared", "-fPIC",
               *(name for name in SOURCES if name.endswith(".c"))]
    # glibc before 2.17 keeps clock_gettime in librt; later ones have an empty one.
    return [*command, "-lm", *(["-lrt"] if sys.platform.startswith("linux") else [])]


def _compiler_identity(program: str) -> str:
    found = os.path.realpath(shutil.which(program) or program)
    facts = os.stat(found)
    return f"{found} {facts.st_size} {facts.st_mtime_ns}"


def _source(name: str) -> bytes:
    loader = __spec__.loader if __spec__ is not None else None
    path = os.path.join(os.path.dirname(__file__), name)
    if loader is not None and hasattr(loader, "get_data"):
        return bytes(loader.get_data(path))
    return Path(path).read_bytes()


def _refuse_foreign(path: Path) -> None:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        raise EngineUnavailable(f"{path} is a link; the C engine is not loaded through links")
    if facts.st_uid != os.geteuid():
        raise EngineUnavailable(f"{path} belongs to another user (uid {facts.st_uid}); the C "
                                "engine is not loaded from there")
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineUnavailable(f"other users may write {path}; the C engine is not loaded "
                                "from there")
