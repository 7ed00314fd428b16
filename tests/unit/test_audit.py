"""The audit objects to what should never be, and adds up each currency by itself."""

from __future__ import annotations

import dataclasses

import pytest

from agents.audit import Sums, audit
from agents.kernel import codec
from agents.kernel.ports import Record
from agents.kernel.topics import load_topics
from agents.providers.simulator.ledger import Balance, OrderBalance
from schemas.events import (
    ChainEvent,
    OrderPlaced,
    PaymentCaptured,
    PaymentVoided,
)
from tests.unit.test_codec import order, record, stamp

TOPICS = load_topics()
GOOD = OrderBalance(
    authorised=3_000,
    captured=3_000,
    payments=1,
    live_labels={"fedex": ("o-1:label",)},
    live_reservations=("o-1:reserve",),
)


def told(*types: type[ChainEvent]) -> list[Record]:
    return [record(codec.encode(cls(order=order()), stamp())) for cls in types]


def of(orders: dict[str, OrderBalance]) -> Balance:
    return Balance(orders, {}, {}, 1, ())


def findings(types: tuple[type[ChainEvent], ...], held: OrderBalance) -> list[str]:
    return audit(told(*types), of({"o-1": held}), TOPICS).findings


def test_a_completed_order_that_is_paid_and_labelled_balances() -> None:
    """Charged its total, reserved once, labelled once: nothing to find, and a sum by currency."""
    report = audit(told(OrderPlaced, PaymentCaptured), of({"o-1": GOOD}), TOPICS)

    assert report.balanced
    assert (report.completed, report.money) == (1, {"USD": Sums(captured=3_000)})


@pytest.mark.parametrize(
    ("types", "change", "says"),
    [
        ((OrderPlaced, PaymentCaptured), {"captured": 2_999}, "2999 is charged"),
        ((OrderPlaced, PaymentCaptured), {"refunded": 1}, "2999 is charged"),
        ((OrderPlaced, PaymentCaptured), {"live_labels": {}}, "without a live label"),
        ((OrderPlaced, PaymentCaptured), {"live_reservations": ()}, "0 reservations"),
        ((OrderPlaced, PaymentCaptured), {"payments": 2}, "2 payments"),
        (
            (OrderPlaced, PaymentCaptured),
            {"live_labels": {"fedex": ("a",), "ups": ("b",)}},
            "2 labels are alive",
        ),
        ((OrderPlaced, PaymentCaptured, PaymentVoided), {}, "both a completed and a failed"),
        ((OrderPlaced, PaymentVoided), {}, "is charged and not refunded"),
        ((OrderPlaced, PaymentVoided), {"captured": 0, "held": 5}, "still held"),
        ((OrderPlaced, PaymentVoided), {"captured": 0}, "stock is still reserved"),
        ((OrderPlaced,), {}, "no label was ever reported"),
    ],
)
def test_what_should_never_be_is_found(
    types: tuple[type[ChainEvent], ...], change: dict[str, object], says: str
) -> None:
    """Each leak of money, stock or labels is a sentence that names it."""
    held = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]

    assert any(says in text for text in findings(types, held)), findings(types, held)


def test_an_order_that_only_the_providers_know_is_found() -> None:
    """An effect without any event is a leak."""
    report = audit([], of({"o-9": GOOD}), TOPICS)

    assert report.findings == ["o-9: the providers know it, the log does not"]


def test_one_event_id_with_two_bodies_is_found() -> None:
    """The same id is always the same bytes."""
    first, second = told(OrderPlaced)[0], told(OrderPlaced)[0]
    changed = dataclasses.replace(second, value=(second.value or b"").replace(b"Alice", b"Mallory"))

    report = audit([first, changed], of({}), TOPICS)

    assert any("two different bodies" in text for text in report.findings)
