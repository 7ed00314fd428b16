"""Deterministic chaos: the same order id always fails at the same place, in the same way.

A 32-bit FNV-1a hash of the order id seeds mulberry32, and its first three numbers draw the place,
the sort and the length of the failure. Both algorithms are short enough to be written again in any
language, so a browser can say beforehand where an order will fail.

Every draw ends well: an order completes, is compensated, or waits as a dead letter for a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_MASK = 0xFFFFFFFF
_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193
_MULBERRY_STEP = 0x6D2B79F5

TRANSIENT_TIMES_MAX = 2
"""A transient failure happens at most that often; a step has three retries, so it gets through."""


class Place(StrEnum):
    """Where an order can be made to fail, in the order in which a saga comes by."""

    CREATE = "create"
    CONFIRM = "confirm"
    RESERVE = "reserve"
    LABEL = "label"
    CAPTURE = "capture"
    CANCEL = "cancel"
    """Cancelling the label."""
    RELEASE = "release"
    VOID = "void"
    """Voiding or refunding the payment."""


UNDOINGS = frozenset({Place.CANCEL, Place.RELEASE, Place.VOID})
"""Only a failed saga comes by these; so an order drawn here has its capture refused as well."""


class Failure(StrEnum):
    """How it fails there."""

    REFUSED = "refused"
    """A business no."""
    TRANSIENT = "transient"
    """Not now, a few times; nothing happened."""
    LOST_REPLY = "lost_reply"
    """It happened, and the answer got lost."""
    DOWN = "down"
    """Not now, until an operator raises the logical attempt."""


_UNREFUSABLE = (Failure.TRANSIENT, Failure.LOST_REPLY, Failure.DOWN)
_REFUSABLE = (Failure.REFUSED, *_UNREFUSABLE)
FAILURES: dict[Place, tuple[Failure, ...]] = {
    Place.CREATE: _UNREFUSABLE,
    Place.CONFIRM: _REFUSABLE,
    Place.RESERVE: _REFUSABLE,
    Place.LABEL: _REFUSABLE,
    Place.CAPTURE: _REFUSABLE,
    Place.CANCEL: _UNREFUSABLE,
    Place.RELEASE: _UNREFUSABLE,
    Place.VOID: _UNREFUSABLE,
}
"""What can be drawn where. Nobody may refuse an undoing, nor an unconfirmed payment."""


@dataclass(frozen=True, slots=True)
class Chaos:
    """What happens to one order, on its first logical attempt only."""

    place: Place
    failure: Failure
    times: int
    """How often, for a transient failure."""

    @property
    def refuses_capture(self) -> bool:
        """Whether the capture is refused, so that the saga comes by an undoing."""
        return self.place in UNDOINGS or (self.place, self.failure) == (
            Place.CAPTURE,
            Failure.REFUSED,
        )


def draw(order_id: str) -> Chaos:
    """Where and how this order fails; a function of nothing but the order id."""
    numbers = Mulberry32(hash32(order_id))
    places = tuple(Place)
    place = places[int(numbers.random() * len(places))]
    failures = FAILURES[place]
    failure = failures[int(numbers.random() * len(failures))]
    times = 1 + int(numbers.random() * TRANSIENT_TIMES_MAX)
    return Chaos(place, failure, times)


def hash32(text: str) -> int:
    """FNV-1a over the UTF-8 bytes, 32 bits."""
    value = _FNV_OFFSET
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * _FNV_PRIME) & _MASK
    return value


class Mulberry32:
    """Tommy Ettinger's generator: 32 bits of state, the same numbers in every language."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def random(self) -> float:
        """The next number in [0, 1)."""
        self._state = (self._state + _MULBERRY_STEP) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 15)) * (mixed | 1)) & _MASK
        mixed ^= (mixed + (mixed ^ (mixed >> 7)) * (mixed | 61)) & _MASK
        return (mixed ^ (mixed >> 14)) / 2**32
