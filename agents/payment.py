"""Payment: hold the money, charge it only when the parcel has its label, give it back otherwise.

Create and confirm are two steps on purpose: whoever undoes a payment that may or may not exist
first creates it under the same key, unconfirmed, and then cancels it. The key is spent, and no
money was ever held (docs/adr/0004-occupy-the-key.md).
"""

from __future__ import annotations

from agents.kernel.agent import (
    Agent,
    StepContext,
    compensation,
    confirms_stop,
    follow,
    pivot,
    settles,
    step,
    stops,
)
from agents.kernel.errors import TerminalFault, TransientFault
from agents.ports import FraudScreening, Intent, IntentStatus, Payments
from schemas.events import (
    CancelRefused,
    CaptureStopped,
    CaptureStopping,
    ChainEvent,
    ConfirmFailing,
    CreateFailing,
    OrderCancelRequested,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCaptureFailed,
    PaymentCreated,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    Refs,
    SagaTimedOut,
    ShipmentLabelled,
    StockRejected,
    StockReleased,
)

HELD = (IntentStatus.AUTHORIZED, IntentStatus.CAPTURE_REFUSED, IntentStatus.CAPTURED)
"""The bank said yes once. A repeat after a lost store may find the payment further on."""


class Payment(Agent, name="payment"):
    """Authorises, captures, voids and refunds."""

    def __init__(self, payments: Payments, screening: FraudScreening) -> None:
        self.payments = payments
        self.screening = screening

    @step(failing=CreateFailing, by_hand=PaymentDeclined)
    async def create(self, placed: OrderPlaced, ctx: StepContext) -> PaymentCreated | CreateFailing:
        """Screen the order and create its payment, unconfirmed."""
        verdict = await self.screening.screen(placed.order)
        if not verdict.accepted:
            return follow(placed, CreateFailing, reason=f"screened: {'; '.join(verdict.reasons)}")
        intent = await self.payments.create(ctx.effect, placed.order)
        if intent.status in (IntentStatus.CANCELLED, IntentStatus.REFUNDED):
            return follow(placed, CreateFailing, reason=f"the payment is {intent.status} already")
        return follow(placed, PaymentCreated, refs=_refs(placed, intent))

    @settles("create", by_hand=PaymentDeclined)
    async def settle_create(self, failing: CreateFailing, ctx: StepContext) -> PaymentDeclined:
        """Occupy the key, so that a late create meets a dead object."""
        intent = await self._find(failing, ctx)
        _undone(await self.payments.cancel(ctx.undo_effect("create"), intent.id))
        return follow(failing, PaymentDeclined, reason=failing.reason, refs=_refs(failing, intent))

    @step(failing=ConfirmFailing, by_hand=PaymentDeclined)
    async def confirm(
        self, created: PaymentCreated, ctx: StepContext
    ) -> PaymentAuthorized | PaymentDeclined:
        """Hold the funds."""
        intent = await self.payments.confirm(ctx.effect, created.refs.payment_id)
        if intent.status in HELD:
            return follow(created, PaymentAuthorized)
        return follow(created, PaymentDeclined, reason=intent.reason or intent.status)

    @settles("confirm", by_hand=PaymentDeclined)
    async def settle_confirm(self, failing: ConfirmFailing, ctx: StepContext) -> PaymentDeclined:
        """Let go of what may be held."""
        _undone(await self.payments.cancel(ctx.undo_effect("confirm"), failing.refs.payment_id))
        return follow(failing, PaymentDeclined, reason=failing.reason)

    @pivot(by_hand=PaymentCaptureFailed)
    async def capture(
        self, labelled: ShipmentLabelled, ctx: StepContext
    ) -> PaymentCaptured | PaymentCaptureFailed:
        """Charge the card: stock is reserved and a label is in hand."""
        intent = await self.payments.capture(ctx.effect, labelled.refs.payment_id)
        if intent.status is IntentStatus.CAPTURED:
            return follow(labelled, PaymentCaptured)
        return follow(labelled, PaymentCaptureFailed, reason=intent.reason or intent.status)

    @compensation(undoes="confirm", also_refuses=("create",), by_hand=PaymentVoided)
    async def void(
        self, undone: StockRejected | StockReleased, ctx: StepContext
    ) -> PaymentVoided | PaymentRefunded:
        """Give the money back, whatever became of it: void what is held, refund what is charged."""
        intent = await self._find(undone, ctx)
        intent = await self.payments.cancel(ctx.undo_effect("confirm"), intent.id)
        if intent.status is IntentStatus.CAPTURED:
            intent = await self.payments.refund(ctx.undo_effect("capture"), intent.id)
        refs = _refs(undone, intent)
        if intent.status is IntentStatus.REFUNDED:
            return follow(undone, PaymentRefunded, reason=undone.reason, refs=refs)
        if intent.status is not IntentStatus.CANCELLED:
            raise TransientFault(f"payment {intent.id} is {intent.status} after its cancellation")
        return follow(undone, PaymentVoided, reason=undone.reason, refs=refs)

    @stops("capture")
    async def stop(
        self, asked: OrderCancelRequested | SagaTimedOut, ctx: StepContext
    ) -> CaptureStopping | CancelRefused | PaymentCaptured:
        """Decide in the log that the capture shall not happen, unless it has begun."""
        if ctx.begun:
            return follow(asked, CancelRefused, reason="the capture has begun")
        intent = await self._find(asked, ctx)
        refs = _refs(asked, intent)
        if intent.status is IntentStatus.CAPTURED:
            return follow(asked, PaymentCaptured, refs=refs)
        return follow(asked, CaptureStopping, reason=asked.reason, refs=refs)

    @confirms_stop("capture", by_hand=CaptureStopped)
    async def confirm_stop(
        self, stopping: CaptureStopping, ctx: StepContext
    ) -> CaptureStopped | CancelRefused | PaymentCaptured:
        """Look again: only what is still not captured is stopped for good."""
        if ctx.begun:
            return follow(stopping, CancelRefused, reason="the capture has begun")
        intent = await self._find(stopping, ctx)
        if intent.status is IntentStatus.CAPTURED:
            return follow(stopping, PaymentCaptured)
        return follow(stopping, CaptureStopped, reason=stopping.reason)

    async def _find(self, event: ChainEvent, ctx: StepContext) -> Intent:
        """The order's payment: by its id if it is known, else by the key that made or makes it."""
        if event.refs.payment_id:
            return await self.payments.read(ctx.effect, event.refs.payment_id)
        return await self.payments.create(await ctx.forward_effect("create"), event.order)


def _undone(intent: Intent) -> None:
    """A captured payment must not be reported as declined; a person has to look."""
    if intent.status is IntentStatus.CAPTURED:
        raise TerminalFault(f"payment {intent.id} is captured; it cannot have failed before that")


def _refs(event: ChainEvent, intent: Intent) -> Refs:
    return event.refs.model_copy(update={"payment_id": intent.id})
