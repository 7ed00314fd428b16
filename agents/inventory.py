"""Inventory: reserve every line of an order in one warehouse, or nothing; give it back."""

from __future__ import annotations

from agents.kernel.agent import Agent, StepContext, compensation, follow, settles, step
from agents.ports import ReservationStatus, Warehouses
from schemas.events import (
    PaymentAuthorized,
    ReserveFailing,
    ShipmentCancelled,
    ShipmentFailed,
    StockRejected,
    StockReleased,
    StockReserved,
)


class Inventory(Agent, name="inventory"):
    """Reserves and releases stock. The reservation id belongs to the order, not to the attempt."""

    def __init__(self, warehouses: Warehouses) -> None:
        self.warehouses = warehouses

    @step(failing=ReserveFailing, by_hand=StockRejected)
    async def reserve(
        self, paid: PaymentAuthorized, ctx: StepContext
    ) -> StockReserved | StockRejected:
        """Reserve all lines atomically; a refusal is remembered by the warehouse."""
        found = await self.warehouses.reserve(ctx.effect, _reservation(ctx), paid.order)
        if found.status is not ReservationStatus.RESERVED:
            return follow(paid, StockRejected, reason=found.reason or found.status)
        refs = paid.refs.model_copy(
            update={"reservation_id": found.id, "warehouse": found.warehouse}
        )
        return follow(paid, StockReserved, refs=refs)

    @settles("reserve", by_hand=StockRejected)
    async def settle_reserve(self, failing: ReserveFailing, ctx: StepContext) -> StockRejected:
        """Release whatever was reserved; the tombstone refuses a late reservation."""
        await self.warehouses.release(ctx.undo_effect("reserve"), _reservation(ctx))
        return follow(failing, StockRejected, reason=failing.reason)

    @compensation(undoes="reserve", by_hand=StockReleased)
    async def release(
        self, undone: ShipmentFailed | ShipmentCancelled, ctx: StepContext
    ) -> StockReleased:
        """Give the stock back; what was never reserved is refused from now on."""
        await self.warehouses.release(ctx.undo_effect("reserve"), _reservation(ctx))
        return follow(undone, StockReleased, reason=undone.reason)


def _reservation(ctx: StepContext) -> str:
    return f"{ctx.order_id}:reserve"
