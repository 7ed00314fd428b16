"""What the tracker remembers of a saga: read from records, and read by people.

`sightings_of` turns a record into what it adds; `view_of` turns the sum into a status. Both are
pure, so that every arrival order, with any repetition, gives every reader the same saga.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.kernel import codec
from agents.kernel.errors import PoisonRecord
from agents.kernel.parts import Parts
from agents.kernel.ports import Fact, Record, SagaRow, Sighting
from schemas import envelope
from schemas.dead_letter import DeadLetter, OperatorDecision
from schemas.events import EVENTS
from schemas.saga import SagaStatus, status_of

DECISION = "decision:"
"""Prefix of the facts that are decisions, not events."""


@dataclass(frozen=True, slots=True)
class SagaView:
    """A row, read: what people are told of a saga."""

    row: SagaRow
    status: SagaStatus
    letters_open: Mapping[str, str]
    started_ms: int
    updated_ms: int

    @property
    def waiting_for_person(self) -> bool:
        """Whether a dead letter of this saga is open."""
        return bool(self.letters_open)


def view_of(row: SagaRow, undone_by: Mapping[str, frozenset[str]]) -> SagaView:
    """The view of a row: pure, so that every reader sees the same saga."""
    events = {name for name in row.facts if name in EVENTS}
    letters = {
        letter_id: text
        for letter_id, text in row.letters.items()
        if not _superseded(text, events, undone_by)
    }
    times = [fact.time_ms for fact in row.facts.values()]
    return SagaView(row, status_of(events), letters, min(times, default=0), max(times, default=0))


def _superseded(letter: str, events: set[str], undone_by: Mapping[str, frozenset[str]]) -> bool:
    """A forward step's letter is closed by the compensation of its step."""
    _, step, direction, *_ = letter.split("|")
    return direction != "compensation" and bool(undone_by.get(step, frozenset()) & events)


def sightings_of(record: Record, parts: Parts) -> list[Sighting]:
    """What a record adds to the tracker's memory. Raises PoisonRecord."""
    try:
        if record.topic == parts.topics.letters:
            letter = DeadLetter.model_validate_json(record.value or b"")
            return [_opened(letter)] if letter.order_id else []
        if record.topic == parts.topics.decisions:
            decision = OperatorDecision.model_validate_json(record.value or b"")
            return [_closed(decision)] if decision.letter.order_id else []
    except ValueError as error:
        # Whoever owns the topic has written nonsense; nothing of a saga can be read from it.
        raise PoisonRecord(f"not a letter or decision: {str(error)[:200]}") from error
    name, major = codec.type_of(record)
    snapshot = ""
    unread = name not in EVENTS or major != EVENTS[name].major or record.value is None
    if unread or name == "OrderPlaced":
        # The one body that is kept must be an order; the others are folded by their headers.
        snapshot = codec.decode(record).event.model_dump_json()
    order_id = record.header(envelope.CE_SUBJECT) or (record.key or b"").decode("utf-8", "replace")
    if not order_id:
        order_id = codec.decode(record).order_id
    return [
        Sighting(
            order_id=order_id,
            event=name,
            fact=Fact(
                event_id=record.header(envelope.CE_ID),
                time_ms=record.timestamp_ms,
                cause=record.header(envelope.CE_CAUSATIONID),
                reason=_printable(record.header(envelope.REASON)),
            ),
            snapshot=snapshot,
            saga_deadline_ms=codec.number(record.header(envelope.SAGA_DEADLINE_MS)),
        )
    ]


def _opened(letter: DeadLetter) -> Sighting:
    text = f"{letter.letter_id}|{letter.step}|{letter.direction}|{letter.attempt}"
    return Sighting(letter.order_id, letter_opened=f"{text}|{letter.error_type}")


def _closed(decision: OperatorDecision) -> Sighting:
    fact = Fact(
        decision.decision_id,
        decision.when_ms,
        decision.letter.letter_id,
        _printable(f"{decision.action} by {decision.who}: {decision.why}"),
    )
    return Sighting(
        decision.letter.order_id,
        event=f"{DECISION}{decision.decision_id}",
        fact=fact,
        letter_closed=decision.letter.letter_id,
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
