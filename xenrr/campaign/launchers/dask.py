"""Processes on the workers of a dask cluster that is there already.

For those who have outgrown a list of hosts: a cluster that dask's own deployers made (over
SSH, on Kubernetes, under Slurm) places the agents. ``dask_relay`` is a process here that is to
a worker what ``ssh`` is to a host, so everything that holds for ssh holds here too: the guest
core goes over the same connection, clocks are compared by round trips through it, and GO is an
instant on the clock there. dask carries messages before and after a test, and nothing in it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence

from xenrr.campaign.launchers.base import Launch, tree_environment
from xenrr.campaign.launchers.ssh import BOOT, guest_core_zip
from xenrr.campaign.spec import Machine
from xenrr.errors import SpecError

__all__ = ["DaskLauncher"]

RELAY = "xenrr.campaign.launchers.dask_relay"


class DaskLauncher:
    """Starts a process on a worker.

    Machines that name no worker get one each, in the order of the workers' names; those that
    others name are left out.

    Args:
        scheduler: Address of the cluster's scheduler.
        machines: All that are reached through it.

    Raises:
        SpecError: dask.distributed is not installed here.
    """

    same_clock = False

    def __init__(self, scheduler: str, machines: Iterable[Machine]) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise SpecError("the launcher dask needs dask.distributed here: "
                            "pip install 'xenrr[scale]'")
        self._scheduler = scheduler
        found = list(machines)
        self._taken = sorted({machine.worker for machine in found if machine.worker})
        free = (machine.name for machine in found if not machine.worker)
        self._places = {name: place for place, name in enumerate(free)}

    def agent(self, machine: Machine) -> Launch:
        """An agent from the guest core that is sent along."""
        core = guest_core_zip()
        words = self._words(machine, [machine.python, "-u", "-c", BOOT])
        return Launch(words, tree_environment(), preamble=b"%010d" % len(core) + core)

    def program(self, machine: Machine, words: Sequence[str]) -> Launch:
        """Any program that is there."""
        return Launch(self._words(machine, words), tree_environment())

    def _words(self, machine: Machine, words: Sequence[str]) -> tuple[str, ...]:
        where = (["--worker", machine.worker] if machine.worker else
                 ["--place", str(self._places[machine.name]),
                  *(word for name in self._taken for word in ("--taken", name))])
        return (sys.executable, "-m", RELAY, "--scheduler", self._scheduler, *where, "--",
                *words)
