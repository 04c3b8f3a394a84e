"""How hypothesis runs here: no example is judged by its time, which the machine decides."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("xenrr", deadline=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xenrr")
