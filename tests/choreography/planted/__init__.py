"""Defects planted into the real choreography, and sound variants of it, each by its name."""

from __future__ import annotations

from tests.choreography.planted import (
    defects_of_events,
    defects_of_places,
    defects_of_steps,
    defects_of_undoing,
    sound,
)
from tests.choreography.planted.variations import DEFECTS, SOUND, Defect

__all__ = [
    "DEFECTS",
    "SOUND",
    "Defect",
    "defects_of_events",
    "defects_of_places",
    "defects_of_steps",
    "defects_of_undoing",
    "sound",
]
