"""The payment provider: an intent is created, confirmed (money is held), captured; or it dies.

    UNCONFIRMED ──confirm──> AUTHORIZED | DECLINED
    AUTHORIZED ──capture──> CAPTURED | CAPTURE_REFUSED (for good)
    UNCONFIRMED | AUTHORIZED | DECLINED | CAPTURE_REFUSED ──cancel──> CANCELLED
    CAPTURED ──refund──> REFUNDED

A call that does not fit the intent's state changes nothing and returns the intent as it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from agents.kernel.chaos import Place
from agents.kernel.ports import Effect
from agents.ports import Intent, IntentStatus
from agents.providers.simulator.desk import Answered, Call, Decision, Desk, NotFound
from agents.providers.simulator.idempotency import fingerprint
from agents.providers.simulator.ledger import Entry
from agents.providers.simulator.scenarios import Circumstance

SERVICE = "payments"

_CANCELLABLE = frozenset(
    {
        IntentStatus.UNCONFIRMED,
        IntentStatus.AUTHORIZED,
        IntentStatus.DECLINED,
        IntentStatus.CAPTURE_REFUSED,
    }
)
_HOLDING = frozenset({IntentStatus.AUTHORIZED, IntentStatus.CAPTURE_REFUSED})


@dataclass(frozen=True, slots=True)
class Purchase:
    """What the payment provider is told of an order."""

    amount: int
    currency: str
    token: str


@dataclass(frozen=True, slots=True)
class _Payment:
    intent: Intent
    order_id: str
    purchase: Purchase


class PaymentRules:
    """All intents."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._payments: dict[str, _Payment] = {}

    def create(self, effect: Effect, purchase: Purchase) -> Answered[Intent]:
        """Create an intent; its id follows from the key."""
        circumstance = Circumstance(
            Place.CREATE, effect.order_id, effect.attempt, token=purchase.token
        )
        print_ = fingerprint(effect.order_id, purchase.amount, purchase.currency, purchase.token)
        call = Call(f"{SERVICE}.create", effect, print_, circumstance)
        answered = self._desk.once(
            self,
            call,
            lambda: Decision(
                "payment.created",
                self._fresh_id(effect.key),
                amount=purchase.amount,
                currency=purchase.currency,
                facts={"token": purchase.token},
            ),
        )
        return self._up_to_date(answered)

    def confirm(self, effect: Effect, payment_id: str) -> Answered[Intent]:
        """Hold the money, or be declined."""
        return self._act(Place.CONFIRM, "confirm", effect, payment_id)

    def capture(self, effect: Effect, payment_id: str) -> Answered[Intent]:
        """Charge what is held, or be refused for good."""
        return self._act(Place.CAPTURE, "capture", effect, payment_id)

    def cancel(self, effect: Effect, payment_id: str) -> Answered[Intent]:
        """Give up what is held; captured money is left alone."""
        return self._act(Place.VOID, "cancel", effect, payment_id)

    def refund(self, effect: Effect, payment_id: str) -> Answered[Intent]:
        """Give back what was captured, once."""
        return self._act(Place.VOID, "refund", effect, payment_id)

    def read(self, payment_id: str) -> Intent:
        """The intent as it is now. Raises NotFound."""
        return self._find(payment_id).intent

    def fold(self, entry: Entry) -> Intent:
        """Change the intent as the entry says."""
        if entry.kind == "payment.created":
            purchase = Purchase(entry.amount, entry.currency, entry.facts.get("token", ""))
            intent = Intent(entry.object_id, IntentStatus.UNCONFIRMED, entry.amount)
            self._payments[entry.object_id] = _Payment(intent, entry.order_id, purchase)
            return intent
        payment = self._find(entry.object_id)
        intent = _moved(payment.intent, entry)
        self._payments[intent.id] = _Payment(intent, payment.order_id, payment.purchase)
        return intent

    def _act(self, place: Place, verb: str, effect: Effect, payment_id: str) -> Answered[Intent]:
        payment = self._find(payment_id)
        circumstance = Circumstance(
            place, payment.order_id, effect.attempt, token=payment.purchase.token
        )
        call = Call(f"{SERVICE}.{verb}", effect, fingerprint(payment_id), circumstance)
        answered = self._desk.once(self, call, lambda: self._decide(verb, payment, circumstance))
        return self._up_to_date(answered)

    def _decide(self, verb: str, payment: _Payment, circumstance: Circumstance) -> Decision:
        intent = payment.intent
        kind, amount, reason = "payment.answered", 0, ""
        match verb, intent.status:
            case "confirm", IntentStatus.UNCONFIRMED:
                reason = self._desk.scenarios.refusal(circumstance)
                kind = "payment.declined" if reason else "payment.authorized"
                amount = 0 if reason else intent.amount
            case "capture", IntentStatus.AUTHORIZED:
                reason = self._desk.scenarios.refusal(circumstance)
                kind = "payment.capture_refused" if reason else "payment.captured"
                amount = 0 if reason else intent.amount
            case "cancel", status if status in _CANCELLABLE:
                kind = "payment.voided"
                amount = intent.amount if status in _HOLDING else 0
            case "refund", IntentStatus.CAPTURED:
                kind, amount = "payment.refunded", intent.captured
        return Decision(
            kind,
            intent.id,
            amount=amount,
            currency=payment.purchase.currency,
            facts={"reason": reason} if reason else {},
        )

    def _up_to_date(self, answered: Answered[Intent]) -> Answered[Intent]:
        if not answered.replayed:
            return answered
        return replace(answered, present=self.read(answered.first.id))

    def _find(self, payment_id: str) -> _Payment:
        found = self._payments.get(payment_id)
        if found is None:
            raise NotFound(f"no payment {payment_id}; use the id that create returned")
        return found

    def _fresh_id(self, key: str) -> str:
        # A key that was forgotten makes a second intent, as it would at a real provider.
        times, name = 1, _intent_id(key)
        while name in self._payments:
            times += 1
            name = _intent_id(f"{key}#{times}")
        return name


_STATUS_BY_KIND = {
    "payment.authorized": IntentStatus.AUTHORIZED,
    "payment.declined": IntentStatus.DECLINED,
    "payment.captured": IntentStatus.CAPTURED,
    "payment.capture_refused": IntentStatus.CAPTURE_REFUSED,
    "payment.voided": IntentStatus.CANCELLED,
    "payment.refunded": IntentStatus.REFUNDED,
}


def _moved(intent: Intent, entry: Entry) -> Intent:
    status = _STATUS_BY_KIND.get(entry.kind)
    if status is None:
        return intent
    return Intent(
        id=intent.id,
        status=status,
        amount=intent.amount,
        captured=entry.amount if status is IntentStatus.CAPTURED else intent.captured,
        refunded=entry.amount if status is IntentStatus.REFUNDED else intent.refunded,
        reason=entry.facts.get("reason", intent.reason),
    )


def _intent_id(text: str) -> str:
    return f"pi_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
