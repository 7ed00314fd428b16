"""What may be decided about a letter, and the chain that decisions form."""

from __future__ import annotations

import pytest

from agents.adapters.log_rules import partition_of
from agents.cli.decisions import Desk, NotDecidable, Verdict, hash_of
from agents.kernel.ports import Outgoing, Record
from agents.kernel.topics import load_topics
from schemas import envelope
from schemas.dead_letter import DeadLetter, OperatorDecision, Origin, Owed
from schemas.money import Money

TOPICS = load_topics()
VERDICT = Verdict("replay", "ada", "it is fixed", now_ms=1_000)


def letter(order_id: str, step: str = "confirm", direction: str = "compensation") -> DeadLetter:
    return DeadLetter(
        letter_id=f"{order_id}:{step}:{direction}:1",
        order_id=order_id,
        agent="payment",
        step=step,
        direction=direction,  # type: ignore[arg-type]
        cause="exhausted",
        error_type="TransientFault",
        error="503",
        owed=Owed(money=Money(amount=4_200, currency="USD")),
        raised_at_ms=1,
        origin=Origin(topic="inventory.events", partition=0, offset=7),
    )


def record(topic: str, key: bytes, value: bytes) -> Record:
    return Record(topic, partition_of(key, TOPICS.partitions), 0, key, value)


def letters(*found: DeadLetter) -> list[Record]:
    return [
        record(TOPICS.letters, one.order_id.encode(), one.model_dump_json().encode())
        for one in found
    ]


def as_record(sent: Outgoing) -> Record:
    return record(sent.topic, sent.key, sent.value)


def test_decision_names_letter_and_person_when_it_is_written() -> None:
    """The record is keyed by the order, and its headers name agent and letter."""
    desk = Desk.of(letters(letter("o-1")), TOPICS)

    sent = desk.decide(desk.decidable("o-1:confirm:compensation:1"), VERDICT, "d-1")

    headers = dict(sent.headers)
    decision = OperatorDecision.model_validate_json(sent.value)
    assert (sent.topic, sent.key) == (TOPICS.decisions, b"o-1")
    assert headers[envelope.AGENT] == b"payment"
    assert headers[envelope.LETTER_ID] == b"o-1:confirm:compensation:1"
    assert (decision.who, decision.why, decision.previous_hash) == ("ada", "it is fixed", "")


def test_second_decision_is_refused_when_somebody_was_first() -> None:
    """A letter is decided once, and the second person is told by whom."""
    desk = Desk.of(letters(letter("o-1")), TOPICS)
    sent = desk.decide(desk.decidable("o-1:confirm:compensation:1"), VERDICT, "d-1")

    for later in (desk, Desk.of([*letters(letter("o-1")), as_record(sent)], TOPICS)):
        with pytest.raises(NotDecidable, match=r"replay by ada .* it is fixed"):
            later.decidable("o-1:confirm:compensation:1")


def test_decisions_are_chained_when_they_share_a_partition() -> None:
    """Each decision carries the hash of the one before it on its partition, also across runs."""
    first, second = letter("o-1"), letter("o-1", "reserve")
    desk = Desk.of(letters(first, second), TOPICS)
    sent = desk.decide(first, VERDICT, "d-1")

    in_this_run = desk.decide(second, VERDICT, "d-2")
    later = Desk.of([*letters(first, second), as_record(sent)], TOPICS)
    in_a_later_run = later.decide(second, VERDICT, "d-2")

    assert in_this_run == in_a_later_run
    decision = OperatorDecision.model_validate_json(in_this_run.value)
    assert decision.previous_hash == hash_of(sent.value)


def test_unknown_letter_is_refused_when_it_is_named() -> None:
    """A letter that nobody wrote cannot be decided about."""
    with pytest.raises(NotDecidable, match="`chorale dlq list`"):
        Desk(TOPICS).decidable("nothing")


def test_letter_needs_no_decision_when_its_step_was_undone() -> None:
    """A forward letter is superseded by the compensation of its step."""
    desk = Desk.of(letters(letter("o-1", "reserve", "forward")), TOPICS)
    headers = {envelope.CE_TYPE: "dev.chorale.StockReleased.v1", envelope.CE_SUBJECT: "o-1"}
    encoded = tuple((name, text.encode()) for name, text in headers.items())

    desk.read(Record("inventory.events", 0, 0, b"o-1", b"{}", encoded))

    with pytest.raises(NotDecidable, match="undone"):
        desk.decidable("o-1:reserve:forward:1")


def test_debt_is_that_of_open_letters_when_it_is_summed() -> None:
    """What was decided about is owed no more."""
    desk = Desk.of(letters(letter("o-1"), letter("o-2")), TOPICS)
    assert str(desk.owed()["USD"]) == "84.00 USD"

    desk.decide(desk.decidable("o-1:confirm:compensation:1"), VERDICT, "d-1")

    assert str(desk.owed()["USD"]) == "42.00 USD"
