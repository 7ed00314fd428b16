"""Every event: a happy order's in their order, refusals, own decisions, triggers, undoings.

An event is a past-tense fact. Its class name is its type; its owner and its consumers are not
written here: they follow from the agents' signatures (see `docs/choreography.md`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.order import Order


class Shipment(BaseModel):
    """One label at one carrier."""

    model_config = ConfigDict(frozen=True, extra="allow")

    carrier: str
    shipment_id: str
    tracking_number: str = ""


class Refs(BaseModel):
    """What the providers call the objects of this order, as far as it is known."""

    model_config = ConfigDict(frozen=True, extra="allow")

    payment_id: str = ""
    reservation_id: str = ""
    warehouse: str = ""
    shipment: Shipment | None = None
    abandoned: tuple[str, ...] = ()
    """Carriers that were given up while their outcome was in doubt."""


REASON_MAX = 1_000
"""Characters of a reason; what a provider says beyond that is cut."""


class Event(BaseModel):
    """A fact of one order. Fields of a newer minor version are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    major: ClassVar[int] = 1
    minor: ClassVar[int] = 0


class ChainEvent(Event):
    """An event of the saga: the order's snapshot and the provider ids travel with it."""

    order: Order
    refs: Refs = Refs()
    reason: str = Field(default="", max_length=REASON_MAX)
    by: Literal["saga", "operator"] = "saga"


# ---- a happy order ---------------------------------------------------------------------------


class OrderPlaced(ChainEvent):
    """An order was accepted; the saga starts."""


class PaymentCreated(ChainEvent):
    """The payment exists, unconfirmed: nothing is held yet."""


class PaymentAuthorized(ChainEvent):
    """The funds are held on the card, not captured."""


class StockReserved(ChainEvent):
    """Every line is reserved in one warehouse."""


class ShipmentLabelled(ChainEvent):
    """One live label exists."""


class PaymentCaptured(ChainEvent):
    """The pivot: the card is charged; the order is complete."""


class Notified(ChainEvent):
    """Every target was told or given up."""

    outcome: str = ""
    delivered: int = Field(default=0, ge=0)
    given_up: tuple[str, ...] = ()


# ---- refusals --------------------------------------------------------------------------------


class OrderRejected(Event):
    """A submitted order was invalid, or contradicts an earlier one of the same id."""

    order_id: str
    reason: str
    errors: tuple[dict[str, str], ...] = ()


class PaymentDeclined(ChainEvent):
    """Screened out, or refused by the bank; nothing is held."""


class StockRejected(ChainEvent):
    """Out of stock; nothing is reserved."""


class ShipmentFailed(ChainEvent):
    """No carrier took the parcel, and no label is left alive."""


class PaymentCaptureFailed(ChainEvent):
    """The capture was refused for good; nothing was captured."""


class CancelRefused(ChainEvent):
    """The order can no longer be stopped: its capture has begun or is done."""


# ---- decisions of an agent that stand in the log before it acts on them ------------------------


class CreateFailing(ChainEvent):
    """Creating the payment is given up, its outcome open."""


class ConfirmFailing(ChainEvent):
    """Confirming the payment is given up, its outcome open."""


class ReserveFailing(ChainEvent):
    """Reserving the stock is given up, its outcome open."""


class LabelFailing(ChainEvent):
    """Labelling is given up at every carrier, the outcome open."""


class CarrierSwitched(ChainEvent):
    """The first carrier is given up for this order; the second one takes over."""


class CarrierAbandoned(ChainEvent):
    """A label came from the second carrier while the first one's outcome was in doubt."""


class CaptureStopping(ChainEvent):
    """A stop was decided; the payment agent looks once more before it confirms."""


# ---- triggers from outside the chain -----------------------------------------------------------


class OrderCancelRequested(ChainEvent):
    """Somebody asked to cancel the order."""


class SagaTimedOut(ChainEvent):
    """A deadline passed. A fact; the payment agent decides what follows."""


# ---- undoings --------------------------------------------------------------------------------


class CaptureStopped(ChainEvent):
    """The capture will never happen; the chain starts at its tail."""


class ShipmentCancelled(ChainEvent):
    """No label is left alive."""


class StockReleased(ChainEvent):
    """Nothing is reserved any more."""


class PaymentVoided(ChainEvent):
    """No money is held; nothing was ever charged."""


class PaymentRefunded(ChainEvent):
    """What had been captured was given back."""


def _all_events() -> dict[str, type[Event]]:
    found: dict[str, type[Event]] = {}
    todo: list[type[Event]] = [Event]
    while todo:
        for cls in todo.pop().__subclasses__():
            todo.append(cls)
            if cls.__module__ == __name__ and cls is not ChainEvent:
                found[cls.__name__] = cls
    return found


EVENTS: dict[str, type[Event]] = _all_events()
"""Every event type of the contract, by name."""
