"""Which dead letters are open: a fold of letters, decisions and later events.

A letter is closed by the first decision about it, or because the chain took its step over: a
forward step's letter is superseded by the outcome of that step's compensation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.kernel.ports import Record
from agents.kernel.topics import Topics
from schemas.dead_letter import DeadLetter, OperatorDecision

SUPERSEDED_BY = {
    "label": ("ShipmentCancelled",),
    "reserve": ("StockReleased",),
    "confirm": ("PaymentVoided", "PaymentRefunded"),
    "create": ("PaymentVoided", "PaymentRefunded"),
}
"""Outcomes of the compensation by step; a test holds it equal to the choreography."""


@dataclass(slots=True)
class OpenLetters:
    """The fold. Order of reading and repetition do not matter."""

    letters: dict[str, DeadLetter] = field(default_factory=dict)
    decided: dict[str, OperatorDecision] = field(default_factory=dict)
    """The first decision by letter id (by offset: read partitions in order)."""
    unreadable: list[str] = field(default_factory=list)
    _events: dict[str, set[str]] = field(default_factory=dict)

    def read(self, record: Record, topics: Topics) -> None:
        """Take in a record of the letters' or the decisions' topic."""
        try:
            if record.topic == topics.letters:
                letter = DeadLetter.model_validate_json(record.value or b"")
                self.letters.setdefault(letter.letter_id, letter)
            else:
                decision = OperatorDecision.model_validate_json(record.value or b"")
                self.decided.setdefault(decision.letter.letter_id, decision)
        except ValueError:
            self.unreadable.append(f"{record.topic}:{record.partition}:{record.offset}")

    def saw(self, order_id: str, event: str) -> None:
        """An event of an order was seen."""
        self._events.setdefault(order_id, set()).add(event)

    def open(self) -> list[DeadLetter]:
        """Open letters, the oldest first."""
        found = [letter for letter in self.letters.values() if self.is_open(letter)]
        return sorted(found, key=lambda letter: (letter.raised_at_ms, letter.letter_id))

    def is_open(self, letter: DeadLetter) -> bool:
        """Whether nobody has decided about it and nothing has superseded it."""
        if letter.letter_id in self.decided:
            return False
        outcomes = SUPERSEDED_BY.get(letter.step, ())
        seen = self._events.get(letter.order_id, set())
        return letter.direction == "compensation" or not seen.intersection(outcomes)

    def by_order(self) -> dict[str, int]:
        """Number of open letters by order; those of no order are left out."""
        counts: dict[str, int] = {}
        for letter in self.open():
            if letter.order_id:
                counts[letter.order_id] = counts.get(letter.order_id, 0) + 1
        return counts
