"""Following an order: what a sight says, and when the waiting ends."""

from __future__ import annotations

import pytest

from agents.cli.follow import Sight, TookTooLong, follow, sight_of_answer, sight_of_view, until
from agents.cli.output import Speaker
from agents.kernel.ports import Fact, SagaRow
from agents.scenarios import End
from agents.sightings import view_of

ANSWER = {
    "order_id": "o-1",
    "status": "COMPLETED",
    "waiting_for_person": False,
    "timeline": [
        {"event": "OrderPlaced", "time": "2026-01-01T00:00:00.000Z"},
        {"event": "PaymentCaptured", "time": "2026-01-01T00:00:01.500Z"},
        {"event": "Notified", "time": "2026-01-01T00:00:09.000Z"},
    ],
}


def row(**letters: str) -> SagaRow:
    facts = {"OrderPlaced": Fact("a", 1_000), "StockRejected": Fact("b", 3_000)}
    return SagaRow("o-1", facts, letters=letters)


def test_duration_leaves_notifications_out_when_an_order_has_ended() -> None:
    """The customer waits for the end, not for the messages about it."""
    sight = sight_of_answer(ANSWER)

    assert sight.end is End.COMPLETED
    assert sight.duration_s == 1.5


def test_order_waits_for_a_person_when_a_letter_is_open() -> None:
    """An open letter is an end of its own."""
    going = sight_of_view(view_of(row(), {}))
    waiting = sight_of_view(view_of(row(l1="l1|confirm|compensation|1|TransientFault"), {}))

    assert going.end is None
    assert waiting.end is End.PERSON
    assert waiting.events == ((1_000, "OrderPlaced"), (3_000, "StockRejected"))


async def test_waiting_ends_with_advice_when_it_takes_too_long() -> None:
    """The error says where the order stands and where to look."""

    async def look() -> Sight | None:
        return sight_of_view(view_of(row(), {}))

    with pytest.raises(TookTooLong, match=r"COMPENSATING.*`chorale status`"):
        await until(look, lambda sight: sight.end is not None, 0.01)


async def test_stages_are_lines_when_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """Piped output is plain: one line for each stage that has changed."""

    async def look() -> Sight | None:
        return sight_of_answer(ANSWER)

    await follow(look, Speaker(as_json=False), 1.0)

    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert told.splitlines() == ["  Gateway ok", "  Notify ok", "  Complete ok"]
