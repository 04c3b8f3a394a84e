from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from peers import clean_environment


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with xenrr's netperf and netserver."""
    folder = tmp_path_factory.mktemp("shims")
    done = subprocess.run([sys.executable, "-m", "xenrr", "install-shims", str(folder)],
                          capture_output=True, text=True, env=clean_environment(), timeout=60)
    assert done.returncode == 0, done.stderr
    return folder
