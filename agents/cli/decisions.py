"""Operators' decisions: what may be decided about a letter, and the record that says so.

1. A letter is decided once. The first decision in the topic counts, so a race between two people
   does no harm; here the second one is told by whom it was decided.
2. Each decision carries the hash of the one before it on its partition, so that the topic, which
   is the audit log, shows if something was taken out. Two writers at the same instant may fork
   the chain; that is seen, and harmless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agents.adapters.log_rules import partition_of
from agents.kernel import codec
from agents.kernel.errors import ChoraleError, PoisonRecord
from agents.kernel.ports import Outgoing, Record
from agents.kernel.topics import Topics
from agents.letters import OpenLetters
from schemas import envelope
from schemas.dead_letter import Action, DeadLetter, OperatorDecision
from schemas.money import Money


class NotDecidable(ChoraleError):
    """Nothing can be decided about this letter."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person decides, and why."""

    action: Action
    who: str
    why: str
    now_ms: int
    edited_value_base64: str | None = None


@dataclass(slots=True)
class Desk:
    """All letters and decisions as they are now."""

    topics: Topics
    letters: OpenLetters = field(default_factory=OpenLetters)
    _last: dict[int, str] = field(default_factory=dict)
    """Hash of the latest decision by partition."""

    @classmethod
    def of(cls, records: Iterable[Record], topics: Topics) -> Desk:
        """The desk after reading all topics."""
        desk = cls(topics)
        for record in records:
            desk.read(record)
        return desk

    def read(self, record: Record) -> None:
        """Take in a record of any topic."""
        if record.topic in (self.topics.letters, self.topics.decisions):
            self.letters.read(record, self.topics)
            if record.topic == self.topics.decisions:
                self._last[record.partition] = hash_of(record.value or b"")
            return
        if record.topic == self.topics.inbox:
            return
        try:
            name, _ = codec.type_of(record)
        except PoisonRecord:
            return
        self.letters.saw(record.header(envelope.CE_SUBJECT), name)

    def letter(self, letter_id: str) -> DeadLetter:
        """The letter. Raises NotDecidable if there is none."""
        found = self.letters.letters.get(letter_id)
        if found is None:
            raise NotDecidable(f"there is no letter {letter_id}; see them by `chorale dlq list`")
        return found

    def decidable(self, letter_id: str) -> DeadLetter:
        """The letter, if it is open. Raises NotDecidable that says by whom it was decided."""
        letter = self.letter(letter_id)
        decided = self.letters.decided.get(letter_id)
        if decided is not None:
            raise NotDecidable(
                f"letter {letter_id} was decided already: {decided.action} by {decided.who} at "
                f"{codec.iso_time(decided.when_ms)}, because: {decided.why}"
            )
        if not self.letters.is_open(letter):
            raise NotDecidable(
                f"letter {letter_id} needs no decision: the saga has undone its step meanwhile"
            )
        return letter

    def decide(self, letter: DeadLetter, verdict: Verdict, decision_id: str) -> Outgoing:
        """The record of a decision; the next one on its partition will name it."""
        key = (letter.order_id or letter.letter_id).encode()
        partition = partition_of(key, self.topics.partitions)
        decision = OperatorDecision(
            decision_id=decision_id,
            letter=letter,
            action=verdict.action,
            who=verdict.who,
            why=verdict.why,
            when_ms=verdict.now_ms,
            previous_hash=self._last.get(partition, ""),
            edited_value_base64=verdict.edited_value_base64,
        )
        value = decision.model_dump_json().encode()
        self._last[partition] = hash_of(value)
        self.letters.decided.setdefault(letter.letter_id, decision)
        headers = {
            envelope.CONTENT_TYPE: envelope.CONTENT_TYPE_JSON.decode(),
            envelope.CE_SPECVERSION: envelope.SPEC_VERSION,
            envelope.CE_TYPE: envelope.event_type("OperatorDecision", 1),
            envelope.CE_SOURCE: "/chorale/operator",
            envelope.CE_ID: decision_id,
            envelope.CE_SUBJECT: letter.order_id or letter.letter_id,
            envelope.CE_TIME: codec.iso_time(verdict.now_ms),
            envelope.AGENT: letter.agent,
            envelope.LETTER_ID: letter.letter_id,
        }
        encoded = tuple((name, text.encode()) for name, text in headers.items())
        return Outgoing(self.topics.decisions, key, value, encoded)

    def owed(self) -> Mapping[str, Money]:
        """What all open letters owe, by currency."""
        sums: dict[str, Money] = {}
        for letter in self.letters.open():
            money = letter.owed.money
            if money is not None:
                before = sums[money.currency].amount if money.currency in sums else 0
                sums[money.currency] = Money(amount=before + money.amount, currency=money.currency)
        return sums


def hash_of(value: bytes) -> str:
    """How a decision names the one before it."""
    return hashlib.sha256(value).hexdigest()
