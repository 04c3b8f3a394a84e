"""flent drives xenrr's netperf against xenrr's server and does not notice."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from peers import Server

pytestmark = [pytest.mark.peer("flent", "fping"), pytest.mark.timeout(180)]

LENGTH_S = 5
STEP_S = 0.2


def flent(test: str, server: Server, shims: Path, folder: Path) -> tuple[dict, str]:
    """Run one of flent's tests.

    Returns:
        The data file it wrote, and what it printed.
    """
    environment = {**os.environ, "PATH": f"{shims}{os.pathsep}{os.environ['PATH']}"}
    # -v, because only then it says what a netperf that failed has printed.
    done = subprocess.run(
        ["flent", test, "-v", "-H", "127.0.0.1", "-l", str(LENGTH_S), "-s", str(STEP_S), "-4",
         "--netperf-control-port", str(server.port), "-D", str(folder), "-f", "summary"],
        capture_output=True, text=True, timeout=150, env=environment, cwd=folder)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    written = list(folder.glob("*.flent.gz"))
    assert len(written) == 1, said
    with gzip.open(written[0], "rt") as file:
        return json.load(file), said


def netperf_series(data: dict) -> dict[str, dict]:
    """What flent kept of each series that a netperf measured."""
    return {name: series for name, series in data["metadata"]["SERIES_META"].items()
            if "netperf" in str(series.get("COMMAND", ""))}


@pytest.mark.parametrize(("test", "netperfs"), [
    ("tcp_1up_noping", {"TCP_STREAM": 1}),
    ("tcp_bidirectional", {"TCP_STREAM": 1, "TCP_MAERTS": 1}),
    # Three of its pings are UDP_RR where there is no irtt.
    ("rrul_be", {"TCP_STREAM": 4, "TCP_MAERTS": 4, "UDP_RR": 3}),
])
def test_flent(xenrr_server, shims, tmp_path, test, netperfs):
    data, said = flent(test, xenrr_server, shims, tmp_path)
    assert not re.search(r"(?i)warning|error|traceback|no data points", said), said
    series = netperf_series(data)
    commands = [meta["COMMAND"] for meta in series.values()]
    for name, count in netperfs.items():
        assert sum(f"-t {name} " in command for command in commands) == count, said
    assert all(command.startswith(str(shims)) for command in commands)
    for name, values in data["results"].items():
        points = [value for value in values if value is not None]
        # The first and the last steps of a series may lie outside the test.
        assert len(points) >= LENGTH_S / STEP_S / 2, f"{name}: {values}"
        assert all(value >= 0 for value in points)
    for name, meta in series.items():
        assert meta["MEAN_VALUE"] > 0, name
