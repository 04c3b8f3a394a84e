"""A test bed on one machine: hosts with their Dom0 and DomUs as network namespaces.

``spec`` reads a declaration, ``plan`` turns it into commands without running any, ``bed`` runs
them and undoes them, ``hold`` is responsible for a lab while it lives, ``state`` remembers it.
``switch`` is a program of its own. Numbers measured in a lab are emulated and say so.
"""

from __future__ import annotations
