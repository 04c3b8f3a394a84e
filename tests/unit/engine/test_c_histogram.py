"""Histograms beside the main one: their counts are small, and what runs over is kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import xenrr.engine

FOLDER = Path(xenrr.engine.__file__).parent
# One value more often than 16 bits hold, one as often as they do, one once.
PROGRAM = """
#include "rr_common.h"
#include <stdio.h>

int
main(void)
{
    struct histogram histogram;
    struct blocks blocks = {0};
    uint64_t pair[2];
    size_t at;
    long i;

    rr_clear_histogram(&histogram);
    for (i = 0; i < 200000; i++)
        count_in(&histogram, 5000000);
    for (i = 0; i < 65536; i++)
        count_in(&histogram, 40);
    count_in(&histogram, 41);
    rr_put_histogram(&blocks, &histogram);
    for (at = 4 * sizeof(int64_t); at < blocks.used; at += sizeof pair) {
        memcpy(pair, blocks.memory + at, sizeof pair);
        printf("%lu %lu\\n", (unsigned long) pair[0], (unsigned long) pair[1]);
    }
    rr_free_histogram(&histogram);
    free(blocks.memory);
    return 0;
}
"""

pytestmark = pytest.mark.c_engine


@pytest.mark.peer("gcc")
def test_counts_that_run_over_are_whole(tmp_path):
    source, program = tmp_path / "counts.c", tmp_path / "counts"
    source.write_text(f"#include <stdlib.h>\n#include <string.h>\n{PROGRAM}")
    subprocess.run(
        ["gcc", f"-I{FOLDER}", "-include", str(FOLDER / "rr_platform.h"), "-o", str(program),
         str(source), *map(str, sorted(FOLDER.glob("rr_*.c"))), "-lm", "-lpthread"],
        check=True, timeout=120)
    done = subprocess.run([program], capture_output=True, text=True, check=True, timeout=60)
    pairs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [count for _, count in pairs] == [65536, 1, 200000]
    assert [index for index, _ in pairs[:2]] == [40, 41]
