"""A dask cluster of two workers on this machine, in processes of its own.

As a program it prints the scheduler's address and the workers' process ids, by their names, as
JSON, and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from peers import clean_environment

STOP_LIMIT_S = 60


class Cluster:
    """A cluster that runs.

    Attributes:
        scheduler: Address of its scheduler.
        workers: Process ids by names, as they were at its start.
    """

    def __init__(self, scheduler: str, workers: dict[str, int]) -> None:
        self.scheduler = scheduler
        self.workers = workers

    def programs(self) -> list[int]:
        """Processes that its first workers have started."""
        found = []
        for word in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{word}/stat").read_text().rpartition(")")[2].split()
                words = Path(f"/proc/{word}/cmdline").read_bytes()
                # multiprocessing has helpers of its own.
                if int(stat[1]) in self.workers.values() and b"multiprocessing" not in words:
                    found.append(int(word))
        return found


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    with subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env=clean_environment(PYTHONPATH=str(Path(__file__).parent))
                          ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Cluster(told["scheduler"], told["workers"])
        process.communicate(timeout=STOP_LIMIT_S)


def main() -> None:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
                      dashboard_address=None) as cluster, Client(cluster) as client:
        workers = client.run(lambda dask_worker: (
            str(dask_worker.name), __import__("os").getpid()))
        print(json.dumps({"scheduler": cluster.scheduler_address,
                          "workers": dict(workers.values())}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
