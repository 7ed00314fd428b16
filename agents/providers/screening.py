"""Fraud screening by a few plain rules, each of which can be read aloud to a customer.

The verdict is a function of the order alone: no clock, no memory, no call, so that a repeat after
a crash agrees with the first verdict. Scores add up; from `REJECT_FROM` on the order is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agents.ports import Verdict
from schemas.order import Order

REJECT_FROM = 100

FRAUD_TOKEN = "tok_fraud"  # noqa: S105 - a magic input of the simulator, no secret
"""The magic payment token of an order that screening refuses."""

TOTAL_MAX_MAJOR = {
    "AUD": 75_000,
    "CAD": 70_000,
    "CHF": 45_000,
    "EUR": 50_000,
    "GBP": 40_000,
    "JPY": 7_500_000,
    "USD": 50_000,
}
"""About fifty thousand dollars: no cart of ours has come near. Other currencies have no limit."""

QUANTITY_MAX = 500
"""Items in one order; a reseller buys more and is asked by mail, which a second sign decides."""

BLOCKED_COUNTRIES = frozenset({"KP"})
"""Where our carriers may not deliver."""

DISPOSABLE_DOMAINS = frozenset(
    {
        "10minutemail.com",
        "guerrillamail.com",
        "mailinator.com",
        "sharklasers.com",
        "temp-mail.org",
        "trashmail.com",
        "yopmail.com",
    }
)
"""Mailboxes that anybody can open and that are gone in an hour."""


@dataclass(frozen=True, slots=True)
class ScreeningLimits:
    """The limits of the rules."""

    total_max_major: Mapping[str, int] = field(default_factory=lambda: TOTAL_MAX_MAJOR)
    quantity_max: int = QUANTITY_MAX
    blocked_countries: frozenset[str] = BLOCKED_COUNTRIES
    disposable_domains: frozenset[str] = DISPOSABLE_DOMAINS


_DEFAULT_LIMITS = ScreeningLimits()


class RuleScreening:
    """`agents.ports.FraudScreening` by rules."""

    def __init__(self, limits: ScreeningLimits = _DEFAULT_LIMITS) -> None:
        self._limits = limits

    async def screen(self, order: Order) -> Verdict:
        """The verdict of this order, always the same one."""
        return judge(order, self._limits)


def judge(order: Order, limits: ScreeningLimits = _DEFAULT_LIMITS) -> Verdict:
    """Add up the scores of the rules that the order breaks."""
    signs = tuple(_signs(order, limits))
    score = sum(points for points, _ in signs)
    return Verdict(score < REJECT_FROM, score, tuple(reason for _, reason in signs))


def _signs(order: Order, limits: ScreeningLimits) -> Iterator[tuple[int, str]]:
    if order.payment_token == FRAUD_TOKEN:
        yield 100, "the payment provider marks this card as stolen"
    most = limits.total_max_major.get(order.total.currency)
    if most is not None and order.total.amount > most * 10**order.total.exponent:
        yield 100, f"the total is above {most} {order.total.currency}"
    if order.ship_to.country in limits.blocked_countries:
        yield 100, f"no delivery to {order.ship_to.country}"
    quantity = sum(line.quantity for line in order.lines)
    if quantity > limits.quantity_max:
        yield 60, f"{quantity} items are more than {limits.quantity_max}"
    domain = order.email.rpartition("@")[2].strip().lower()
    if domain in limits.disposable_domains:
        yield 60, f"{domain} gives out disposable mailboxes"
