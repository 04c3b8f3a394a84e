"""The C sources compile without a warning, by two compilers and in two widths."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest
from peers import lacking

import xenrr.engine

FOLDER = Path(xenrr.engine.__file__).parent
LOOP = sorted(FOLDER.glob("rr_*.c"))
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wcast-align",
          "-Werror", "-fsyntax-only")
COMPILERS = [pytest.param(name, marks=pytest.mark.peer(name)) for name in ("gcc", "clang")]

pytestmark = pytest.mark.c_engine


def compiled(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_loop_compiles_without_a_warning(compiler, bits, tmp_path):
    probe = tmp_path / "probe.c"
    probe.write_text("#include <stdint.h>\n#include <stdio.h>\nint main(void);\n")
    width = f"-m{bits}"
    if compiled(compiler, width, "-fsyntax-only", str(probe)).returncode:
        lacking("peer", f"{compiler} has no headers for {bits} bits")
    done = compiled(compiler, width, *STRICT, *map(str, LOOP))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_glue_compiles_without_a_warning(compiler):
    done = compiled(compiler, *STRICT, f"-isystem{sysconfig.get_path('include')}",
                    str(FOLDER / "_hotmodule.c"))
    assert (done.returncode, done.stderr) == (0, "")
