"""A world of its own for each story."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """A world of its own for each story."""
    made = World(seed=1)
    yield made
    made.close()
