"""Many senders against one target: declared, planned, started together, recorded."""

from __future__ import annotations
