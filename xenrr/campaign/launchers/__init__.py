"""Ways to start a process on a machine: here, in a lab's namespace, over ssh, through dask.

A launcher turns words into words; nothing here starts anything. What is started ends when its
standard input does, so that nothing outlives the campaign; ``ssh`` passes that on, and so does
``dask_relay``.
"""

from __future__ import annotations

from xenrr.campaign.launchers.base import Launch, Launcher
from xenrr.campaign.launchers.dask import DaskLauncher
from xenrr.campaign.launchers.lab import LabLauncher
from xenrr.campaign.launchers.local import LocalLauncher
from xenrr.campaign.launchers.ssh import SshLauncher

__all__ = ["DaskLauncher", "LabLauncher", "Launch", "Launcher", "LocalLauncher", "SshLauncher"]
