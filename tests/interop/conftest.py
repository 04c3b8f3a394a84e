from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_cluster import Cluster, running_cluster
from peers import clean_environment


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with xenrr's netperf and netserver."""
    folder = tmp_path_factory.mktemp("shims")
    done = subprocess.run([sys.executable, "-m", "xenrr", "install-shims", str(folder)],
                          capture_output=True, text=True, env=clean_environment(), timeout=60)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A dask cluster of the tests' own, which they leave as it was."""
    with running_cluster() as running:
        yield running
