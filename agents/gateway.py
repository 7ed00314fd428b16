"""Gateway: believe an order or refuse it, whichever door it came through.

Over HTTP and through `orders.inbox` an order is the same: a submission with an order id that is a
function of what was submitted. The step `place` is in the ledger, so a repeat is the same order,
and the same id with another body is refused with the first saga untouched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from agents.kernel.agent import Agent, StepContext, intake, retriable
from agents.kernel.codec import Trigger
from agents.kernel.submission import Submission, json_pointer
from schemas.events import OrderCancelRequested, OrderPlaced, OrderRejected
from schemas.order import Order, OrderRequest

ERRORS_MAX = 20
"""Enough to mend an order in one go, too few to echo an attack."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody asks to cancel an order that was placed."""

    order: Order
    reason: str


class InvalidOrder(ValueError):
    """The order cannot be accepted; `errors` says why, with a JSON pointer each."""

    def __init__(self, errors: tuple[dict[str, str], ...]) -> None:
        super().__init__("; ".join(f"{e['pointer']}: {e['detail']}" for e in errors)[:1000])
        self.errors = errors


class Gateway(Agent, name="gateway"):
    """Starts sagas."""

    @intake("place")
    async def place(self, submitted: Submission, ctx: StepContext) -> OrderPlaced | OrderRejected:
        """Accept the order, or refuse it with the reasons."""
        try:
            order = read_order(submitted)
        except InvalidOrder as invalid:
            return OrderRejected(order_id=ctx.order_id, reason=str(invalid), errors=invalid.errors)
        return OrderPlaced(order=order)

    @retriable()
    async def cancel(self, asked: CancelAsked, ctx: StepContext) -> OrderCancelRequested:
        """Put the wish into the log; the payment agent decides whether it comes in time."""
        del ctx
        return OrderCancelRequested(order=asked.order, reason=asked.reason)

    def contradiction(self, trigger: Trigger) -> OrderRejected:
        """The same order id came with another body."""
        return OrderRejected(
            order_id=trigger.order_id,
            reason=(
                f"order {trigger.order_id} was submitted before with another content; "
                "submit a changed order under a new id"
            ),
        )


def read_order(submission: Submission) -> Order:
    """The order of a submission. Raises InvalidOrder."""
    try:
        request = OrderRequest.model_validate(submission.body)
        content = request.model_dump(exclude={"order_id", "idempotency_key", "customer"})
        named = {"order_id": submission.order_id, "customer": submission.customer}
        return Order.model_validate({**content, **named})
    except ValidationError as error:
        raise InvalidOrder(_errors(error)) from error


def _errors(error: ValidationError) -> tuple[dict[str, str], ...]:
    found: list[Any] = error.errors(include_url=False, include_input=False)[:ERRORS_MAX]
    return tuple({"pointer": json_pointer(e["loc"]), "detail": _detail(e)} for e in found)


def _detail(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field; remove it"
    return str(error["msg"]).removeprefix("Value error, ")
