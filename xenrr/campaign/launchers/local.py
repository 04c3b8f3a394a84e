"""Processes on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from xenrr.campaign.launchers.base import Launch, tree_environment
from xenrr.campaign.spec import Machine

__all__ = ["AGENT_WORDS", "LocalLauncher"]

AGENT_WORDS = (sys.executable, "-m", "xenrr.agent")


class LocalLauncher:
    """Starts a process beside this one."""

    same_clock = True

    def agent(self, machine: Machine) -> Launch:
        """An agent with this Python."""
        return Launch(AGENT_WORDS, tree_environment())

    def program(self, machine: Machine, words: Sequence[str]) -> Launch:
        """The program as it is."""
        return Launch(tuple(words))
