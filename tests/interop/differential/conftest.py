from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from interop.differential.runner import (
    OURS,
    REAL,
    Stage,
    running_far_end,
    write_files,
)
from peers import running_netserver, running_xenrr_server


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, shims: Path) -> Iterator[Stage]:
    """Both servers and the far ends, for all cases of this process."""
    files = tmp_path_factory.mktemp("files")
    write_files(files)
    with running_netserver() as real, running_xenrr_server() as ours, \
            running_far_end(echo=False) as sink, running_far_end(echo=True) as echo:
        yield Stage(shims, files, {REAL: real.port, OURS: ours.port}, sink, echo)


@pytest.fixture(scope="session")
def pure_stage(stage: Stage) -> Iterator[Stage]:
    """The same with xenrr's server on the pure Python engine."""
    with running_xenrr_server("--engine", "pure") as ours:
        yield Stage(stage.shims, stage.files, {**stage.ports, OURS: ours.port}, stage.sink,
                    stage.echo)
