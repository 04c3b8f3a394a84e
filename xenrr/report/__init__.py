"""What records say about machines: tables, fairness, published numbers."""

from __future__ import annotations
