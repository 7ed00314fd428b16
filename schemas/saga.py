"""The saga's status as a pure function of the set of event types seen.

Topics give no order between them, so the status may not depend on the order of arrival, nor on
how often an event arrives: it is a function of a set. `status_of` is total over that set.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import StrEnum


class SagaStatus(StrEnum):
    """Where an order stands."""

    STARTED = "STARTED"
    PAYMENT_PENDING = "PAYMENT_PENDING"
    PAYMENT_CONFIRMED = "PAYMENT_CONFIRMED"
    INVENTORY_RESERVED = "INVENTORY_RESERVED"
    SHIPPING_INITIATED = "SHIPPING_INITIATED"
    COMPENSATING = "COMPENSATING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    @property
    def terminal(self) -> bool:
        """Whether the saga has ended."""
        return self in (SagaStatus.COMPLETED, SagaStatus.FAILED)


UNCHANGED = None

STATUS_BY_EVENT: dict[str, SagaStatus | None] = {
    "OrderPlaced": SagaStatus.STARTED,
    "PaymentCreated": SagaStatus.PAYMENT_PENDING,
    "PaymentAuthorized": SagaStatus.PAYMENT_CONFIRMED,
    "StockReserved": SagaStatus.INVENTORY_RESERVED,
    "ShipmentLabelled": SagaStatus.SHIPPING_INITIATED,
    "PaymentCaptured": SagaStatus.COMPLETED,
    "Notified": UNCHANGED,
    "OrderRejected": SagaStatus.FAILED,
    "PaymentDeclined": SagaStatus.FAILED,
    "StockRejected": SagaStatus.COMPENSATING,
    "ShipmentFailed": SagaStatus.COMPENSATING,
    "PaymentCaptureFailed": SagaStatus.COMPENSATING,
    "CancelRefused": UNCHANGED,
    "CreateFailing": UNCHANGED,
    "ConfirmFailing": UNCHANGED,
    "ReserveFailing": UNCHANGED,
    "LabelFailing": UNCHANGED,
    "CarrierSwitched": UNCHANGED,
    "CarrierAbandoned": UNCHANGED,
    "CaptureStopping": UNCHANGED,
    "OrderCancelRequested": UNCHANGED,
    "SagaTimedOut": UNCHANGED,
    "CaptureStopped": SagaStatus.COMPENSATING,
    "ShipmentCancelled": SagaStatus.COMPENSATING,
    "StockReleased": SagaStatus.COMPENSATING,
    "PaymentVoided": SagaStatus.FAILED,
    "PaymentRefunded": SagaStatus.FAILED,
}
"""The status that each event alone would give. A test holds that every event has its row."""

_PRECEDENCE = (
    SagaStatus.STARTED,
    SagaStatus.PAYMENT_PENDING,
    SagaStatus.PAYMENT_CONFIRMED,
    SagaStatus.INVENTORY_RESERVED,
    SagaStatus.SHIPPING_INITIATED,
    SagaStatus.COMPENSATING,
    SagaStatus.COMPLETED,
    SagaStatus.FAILED,
)
"""Later wins. FAILED beats COMPLETED: money that was given back is never reported as earned."""


def status_of(seen: AbstractSet[str]) -> SagaStatus:
    """The status of a saga of which these event types were seen, in whatever order.

    An OrderRejected beside a saga's own events is a contradicting second submission: it leaves
    the first saga untouched.
    """
    if "OrderRejected" in seen and len(seen) > 1:
        seen = seen - {"OrderRejected"}
    statuses = {STATUS_BY_EVENT.get(name) for name in seen} - {None}
    return max((s for s in statuses if s), key=_PRECEDENCE.index, default=SagaStatus.STARTED)
