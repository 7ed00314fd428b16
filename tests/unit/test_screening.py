"""Fraud screening judges by plain rules, and always alike."""

from __future__ import annotations

import pytest

from agents.providers.screening import RuleScreening, judge
from schemas.order import Order


def an_order(amount: int = 1_000, quantity: int = 1, currency: str = "USD", **words: str) -> Order:
    """An ordinary order; `words` may give token, country and email."""
    return Order.model_validate(
        {
            "order_id": "o-1",
            "customer": "ada",
            "lines": [
                {
                    "sku": "SKU-1",
                    "quantity": quantity,
                    "unit_price": {"amount": amount, "currency": currency},
                }
            ],
            "total": {"amount": amount * quantity, "currency": currency},
            "payment_token": words.get("token", "tok_visa"),
            "email": words.get("email", "ada@example.com"),
            "ship_to": {
                "name": "Ada",
                "street": "1 Main St",
                "city": "Phoenix",
                "postcode": "85001",
                "country": words.get("country", "US"),
            },
        }
    )


async def test_plain_order_is_accepted_without_a_sign() -> None:
    """An ordinary order scores nothing."""
    verdict = await RuleScreening().screen(an_order())

    assert (verdict.accepted, verdict.score, verdict.reasons) == (True, 0, ())


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (an_order(token="tok_fraud"), "stolen"),
        (an_order(amount=5_000_001), "above 50000 USD"),
        (an_order(amount=7_500_001, currency="JPY"), "above 7500000 JPY"),
        (an_order(country="KP"), "no delivery to KP"),
        (an_order(quantity=501, email="x@Mailinator.com"), "mailinator.com"),
    ],
)
def test_order_is_refused_when_its_signs_add_up(order: Order, reason: str) -> None:
    """Each strong sign alone, or two weak ones, refuse the order and say why."""
    verdict = judge(order)

    assert not verdict.accepted
    assert any(reason in each for each in verdict.reasons)


@pytest.mark.parametrize(
    "order",
    [
        an_order(amount=5_000_000),
        an_order(quantity=501, amount=1),
        an_order(email="x@yopmail.com"),
        an_order(amount=7_000_000_000, currency="IDR"),
    ],
)
def test_order_is_accepted_with_one_weak_sign(order: Order) -> None:
    """At the limit, or with one weak sign, a customer is not turned away."""
    assert judge(order).accepted
