"""Which engine runs.

``auto`` takes the fastest one that loads: the extension module if it was built from the
sources that are here, else the same C loop through ctypes if a compiler is here or was
once, else pure Python. An engine that is asked
for by name runs or is an error; a silent fallback is a wrong measurement.
"""

from __future__ import annotations

import os

from xenrr.engine.base import Engine
from xenrr.errors import EngineUnavailable

__all__ = ["ENGINES", "load_engine"]

ENGINES = ("auto", "hot", "pure")
STALE = ("the extension module _hot was built from other sources; build it again with: "
         "pip install -e .")


def load_engine(wanted: str = "auto") -> Engine:
    """Load an engine.

    Args:
        wanted: ``hot``, ``pure``, or ``auto``: then the environment variable
            ``XENRR_ENGINE`` decides, and without it whatever loads.

    Raises:
        EngineUnavailable: The engine asked for does not load, or there is no such engine.
    """
    if wanted == "auto":
        wanted = os.environ.get("XENRR_ENGINE") or "auto"
    if wanted not in ENGINES:
        raise EngineUnavailable(f"there is no engine {wanted!r}; there are "
                                f"{', '.join(ENGINES)}")
    if wanted != "pure":
        try:
            return _load_hot()
        except EngineUnavailable:
            if wanted == "hot":
                raise
    from xenrr.engine.pure import PureEngine

    return PureEngine()


def _load_hot() -> Engine:
    from xenrr.engine.hot import HotEngine, is_current

    try:
        import xenrr.engine._hot as _hot
    except ImportError as exc:
        missing = str(exc)
    else:
        if is_current(_hot):
            return HotEngine(_hot)
        missing = STALE
    try:
        from xenrr.engine.shared import load_shared
    except ImportError as exc:  # a Python without ctypes
        raise EngineUnavailable(f"the C engine does not load: {missing}; {exc}") from exc
    try:
        return HotEngine(load_shared())
    except EngineUnavailable as exc:
        raise EngineUnavailable(f"the C engine does not load: {missing}; {exc}") from exc
