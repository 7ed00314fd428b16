"""What the participants need from the outside world: payments, stock, carriers, channels.

Every call carries an `Effect`: the idempotency key under which the provider knows it. A method
returns the object's *present* state, also for a repeated call; a business "no" is a state of the
object, never an exception. Faults are `TransientFault` (nothing happened), `InDoubt` (unknown)
and `TerminalFault` (a person must look), all of `agents.kernel.errors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agents.kernel.ports import Effect
from schemas.order import Order


class IntentStatus(StrEnum):
    """Life of a payment intent: created, confirmed (held), captured; or dead."""

    UNCONFIRMED = "unconfirmed"
    DECLINED = "declined"
    AUTHORIZED = "authorized"
    CAPTURE_REFUSED = "capture_refused"
    CAPTURED = "captured"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class Intent:
    """One payment at the provider. Amounts are minor units of the order's currency."""

    id: str
    status: IntentStatus
    amount: int
    captured: int = 0
    refunded: int = 0
    reason: str = ""


class Payments(Protocol):
    """A payment provider with idempotency keys that it remembers for at least 24 hours."""

    async def create(self, effect: Effect, order: Order) -> Intent:
        """Create the intent, unconfirmed: nothing is held."""
        ...

    async def confirm(self, effect: Effect, payment_id: str) -> Intent:
        """Hold the funds: AUTHORIZED, or DECLINED by the bank."""
        ...

    async def capture(self, effect: Effect, payment_id: str) -> Intent:
        """Charge what is held: CAPTURED, or CAPTURE_REFUSED for good."""
        ...

    async def cancel(self, effect: Effect, payment_id: str) -> Intent:
        """Give up what is held. A captured intent is returned as it is, untouched."""
        ...

    async def refund(self, effect: Effect, payment_id: str) -> Intent:
        """Give back all that was captured."""
        ...

    async def read(self, effect: Effect, payment_id: str) -> Intent:
        """The intent as it is now."""
        ...


class ReservationStatus(StrEnum):
    """A reservation holds stock, was refused (remembered), or is released (a tombstone)."""

    RESERVED = "reserved"
    REJECTED = "rejected"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Reservation:
    """All lines of one order in one warehouse, or nothing."""

    id: str
    status: ReservationStatus
    warehouse: str = ""
    reason: str = ""


class Warehouses(Protocol):
    """The stock of all warehouses. The reservation id belongs to the order, not to the attempt."""

    async def reserve(self, effect: Effect, reservation_id: str, order: Order) -> Reservation:
        """Reserve every line atomically. An id already released stays RELEASED."""
        ...

    async def release(self, effect: Effect, reservation_id: str) -> Reservation:
        """Give the stock back; an unknown id becomes a tombstone that refuses a late reserve."""
        ...


class LabelStatus(StrEnum):
    """A label is live, was cancelled (or is a tombstone), or was refused by the carrier."""

    LIVE = "live"
    CANCELLED = "cancelled"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Label:
    """One shipment at one carrier."""

    carrier: str
    shipment_id: str
    status: LabelStatus
    tracking_number: str = ""
    reason: str = ""


class Carrier(Protocol):
    """One carrier. The reference belongs to the order, not to the attempt."""

    @property
    def name(self) -> str:
        """The carrier's name in events and breakers."""
        ...

    async def label(self, effect: Effect, reference: str, order: Order) -> Label:
        """Create the label: LIVE or REFUSED; a cancelled reference stays CANCELLED."""
        ...

    async def cancel(self, effect: Effect, reference: str) -> Label:
        """Cancel by reference; an unknown one becomes a tombstone that refuses a late label."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """One place that is told how an order ended."""

    name: str
    channel: str
    address: str


@dataclass(frozen=True, slots=True)
class Message:
    """What a target is told."""

    order_id: str
    outcome: str
    subject: str
    body: str


class Channels(Protocol):
    """The notification channels: e-mail, push, chat, endpoints."""

    async def send(self, effect: Effect, target: Target, message: Message) -> None:
        """Deliver once per effect key, where the channel knows keys."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What fraud screening says of an order."""

    accepted: bool
    score: int
    reasons: tuple[str, ...] = ()


class FraudScreening(Protocol):
    """Judges an order before its payment is confirmed."""

    async def screen(self, order: Order) -> Verdict:
        """The verdict; deterministic for the same order, so that a repeat agrees."""
        ...
