from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.labs import Labs, swept


@pytest.fixture
def labs(tmp_path) -> Iterator[Labs]:
    """The ``xenrr lab`` command with a name and a runtime folder of this test's own."""
    with swept(Labs(tmp_path / "runtime")) as labs:
        yield labs
