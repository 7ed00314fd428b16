"""Shipping: one live label an order, from the first carrier or, unnoticed, from the second.

Which carrier is tried is decided in the log: after CarrierSwitched no worker goes back to the
first one. A carrier whose outcome is in doubt is remembered in the events (`refs.abandoned`), and
whatever it may hold is cancelled there by reference (docs/adr/0005-carrier-fallback.md).
"""

from __future__ import annotations

from typing import Any

from agents.kernel.agent import (
    Agent,
    GivenUp,
    Handler,
    StepContext,
    compensation,
    continues,
    follow,
    retriable,
    settles,
    step,
)
from agents.kernel.errors import BreakerOpen
from agents.ports import Carrier, Label, LabelStatus
from schemas.events import (
    CaptureStopped,
    CarrierAbandoned,
    CarrierSwitched,
    ChainEvent,
    LabelFailing,
    PaymentCaptureFailed,
    Refs,
    Shipment,
    ShipmentCancelled,
    ShipmentFailed,
    ShipmentLabelled,
    StockReserved,
)


class Shipping(Agent, name="shipping"):
    """Labels and cancels shipments. The reference belongs to the order, not to the attempt."""

    def __init__(self, first: Carrier, second: Carrier) -> None:
        self.first = first
        self.second = second

    @step(failing=CarrierSwitched, by_hand=ShipmentFailed)
    async def label(
        self, reserved: StockReserved, ctx: StepContext
    ) -> ShipmentLabelled | CarrierSwitched:
        """A label from the first carrier; refused, or its breaker open, the second takes over."""
        try:
            label = await self.first.label(ctx.effect, _reference(ctx), reserved.order)
        except BreakerOpen as closed_door:
            return self._switch(reserved, ctx, str(closed_door))
        if label.status is not LabelStatus.LIVE:
            return self._switch(reserved, ctx, label.reason or label.status)
        return follow(reserved, ShipmentLabelled, refs=_labelled(reserved, label))

    @continues("label", failing=LabelFailing, by_hand=ShipmentFailed)
    async def label_again(
        self, switched: CarrierSwitched, ctx: StepContext
    ) -> ShipmentLabelled | tuple[ShipmentLabelled, CarrierAbandoned] | LabelFailing:
        """A label from the second carrier; a first one in doubt is abandoned in the same finish."""
        label = await self.second.label(ctx.effect, _reference(ctx), switched.order)
        if label.status is not LabelStatus.LIVE:
            return follow(
                switched,
                LabelFailing,
                reason=label.reason or label.status,
                refs=_doubting(switched.refs, self.second, doubt=ctx.doubt),
            )
        labelled = follow(switched, ShipmentLabelled, refs=_labelled(switched, label))
        if not switched.refs.abandoned:
            return labelled
        return labelled, follow(switched, CarrierAbandoned, refs=labelled.refs)

    @settles("label", by_hand=ShipmentFailed)
    async def settle_label(self, failing: LabelFailing, ctx: StepContext) -> ShipmentFailed:
        """Cancel at every carrier that may hold a label."""
        await self._cancel_at(failing.refs.abandoned, ctx)
        return follow(failing, ShipmentFailed, reason=failing.reason)

    @retriable()
    async def abandon(self, abandoned: CarrierAbandoned, ctx: StepContext) -> None:
        """Cancel what the abandoned carrier may hold; its tombstone refuses a late label."""
        await self._cancel_at(abandoned.refs.abandoned, ctx)

    @compensation(undoes="label", by_hand=ShipmentCancelled)
    async def cancel(
        self, undone: PaymentCaptureFailed | CaptureStopped, ctx: StepContext
    ) -> ShipmentCancelled:
        """Leave no label alive: where it is known to be, else at both carriers."""
        shipment = undone.refs.shipment
        where = (shipment.carrier,) if shipment else (self.first.name, self.second.name)
        await self._cancel_at(where, ctx)
        return follow(undone, ShipmentCancelled, reason=undone.reason)

    def give_up(self, handler: Handler, trigger: Any, ctx: StepContext, error: str) -> GivenUp:
        """Exhausted at the first carrier: switch; at the second: settle, then fail."""
        if handler.name == "label":
            return GivenUp(self._switch(trigger, ctx, error))
        if handler.name == "label_again":
            refs = _doubting(trigger.refs, self.second, doubt=ctx.doubt)
            return GivenUp(follow(trigger, LabelFailing, reason=error, refs=refs))
        return super().give_up(handler, trigger, ctx, error)

    def _switch(self, trigger: ChainEvent, ctx: StepContext, reason: str) -> CarrierSwitched:
        refs = _doubting(trigger.refs, self.first, doubt=ctx.doubt)
        return follow(trigger, CarrierSwitched, reason=reason, refs=refs)

    async def _cancel_at(self, names: tuple[str, ...], ctx: StepContext) -> None:
        for carrier in (self.first, self.second):
            if carrier.name in names:
                await carrier.cancel(ctx.undo_effect("label"), _reference(ctx))


def _reference(ctx: StepContext) -> str:
    return f"{ctx.order_id}:label"


def _labelled(event: ChainEvent, label: Label) -> Refs:
    shipment = Shipment(
        carrier=label.carrier,
        shipment_id=label.shipment_id,
        tracking_number=label.tracking_number,
    )
    return event.refs.model_copy(update={"shipment": shipment})


def _doubting(refs: Refs, carrier: Carrier, *, doubt: bool) -> Refs:
    if not doubt or carrier.name in refs.abandoned:
        return refs
    return refs.model_copy(update={"abandoned": (*refs.abandoned, carrier.name)})
