"""xenrr: request/response network benchmark, wire-compatible with netperf."""

from __future__ import annotations

__version__ = "0.1.0"
