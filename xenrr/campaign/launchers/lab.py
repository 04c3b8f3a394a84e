"""Processes in the machines of a lab on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from xenrr.campaign.launchers.base import Launch, tree_environment
from xenrr.campaign.launchers.local import AGENT_WORDS
from xenrr.campaign.spec import Machine
from xenrr.lab import bed
from xenrr.lab.state import Entry

__all__ = ["LabLauncher"]


class LabLauncher:
    """Starts a process in a namespace; all of them have one kernel, and so one clock.

    Args:
        entry: The lab, which has to be up for as long as the campaign runs.
    """

    same_clock = True

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def agent(self, machine: Machine) -> Launch:
        """An agent with this Python.

        Raises:
            LabError: The lab has no such machine.
        """
        return Launch(tuple(bed.enter_words(self._entry, machine.name, AGENT_WORDS)),
                      tree_environment())

    def program(self, machine: Machine, words: Sequence[str]) -> Launch:
        """Any program.

        Raises:
            LabError: The lab has no such machine.
        """
        return Launch(tuple(bed.enter_words(self._entry, machine.name, words)))
