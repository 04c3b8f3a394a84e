"""What all launchers have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import xenrr
from xenrr.campaign.spec import Machine

__all__ = ["Launch", "Launcher", "tree_environment"]


@dataclass(frozen=True)
class Launch:
    """A process to start on this machine.

    Attributes:
        words: Its command line.
        environment: Changes to the environment.
        preamble: Bytes that its standard input begins with.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    preamble: bytes = b""


class Launcher(Protocol):
    """How processes are started on a machine.

    Attributes:
        same_clock: Whether the monotonic clock there is the one here.
    """

    same_clock: bool

    def agent(self, machine: Machine) -> Launch:
        """How to start ``xenrr.agent`` there."""

    def program(self, machine: Machine, words: Sequence[str]) -> Launch:
        """How to run any program there."""


def tree_environment() -> dict[str, str]:
    """So that a Python started from here finds this xenrr, installed or not."""
    tree = str(Path(xenrr.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (tree, os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path}
