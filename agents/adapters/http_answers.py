"""The documents that leave and enter over HTTP, as they stand in the OpenAPI document."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from schemas.money import Money
from schemas.order import Text
from schemas.saga import SagaStatus

REASON_CHARACTERS_MAX = 1_000
"""What an event's reason holds."""


class _Leaving(BaseModel):
    model_config = ConfigDict(frozen=True)


class Links(_Leaving):
    """Where to go from here."""

    self: str = Field(description="The order's status.")
    cancel: str | None = Field(default=None, description="Where to cancel it, while it lives.")


class Accepted(_Leaving):
    """The order is in the log; its saga runs."""

    order_id: str
    status: SagaStatus
    links: Links


class Moment(_Leaving):
    """One event of the order."""

    event: str
    time: str = Field(description="RFC 3339, in UTC.")


class OrderStatus(_Leaving):
    """Where an order stands."""

    order_id: str
    status: SagaStatus
    waiting_for_person: bool = Field(
        description="Whether a dead letter is open; can also be true beside FAILED."
    )
    letters_open: int
    total: Money
    timeline: tuple[Moment, ...] = Field(description="The events seen so far, the oldest first.")
    links: Links


class CancelRequest(BaseModel):
    """Why an order is cancelled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Text = Field(default="", max_length=REASON_CHARACTERS_MAX)


class Fault(_Leaving):
    """One thing that is wrong with a body."""

    pointer: str = Field(description="JSON pointer (RFC 6901) to the member.")
    detail: str


class Problem(_Leaving):
    """Why a request was not done (RFC 9457)."""

    type: str = Field(description="What kind of problem; can be looked up at the gateway.")
    title: str
    status: int
    detail: str = Field(description="What to do.")
    instance: str = Field(description="The path of the request.")
    trace_id: str = Field(description="The W3C trace id under which it can be found.")
    errors: tuple[Fault, ...]


class ProblemKind(_Leaving):
    """One kind of problem, explained."""

    type: str
    title: str
    status: int
    advice: str


def self_links(order_id: str, *, ended: bool = False) -> Links:
    """The links of an order."""
    path = f"/orders/{order_id}"
    return Links(self=path, cancel=None if ended else f"{path}/cancel")


def accepted(order_id: str, status: SagaStatus) -> str:
    """The body of a 202: a pure function of the order's id and status, byte for byte."""
    answer = Accepted(order_id=order_id, status=status, links=self_links(order_id))
    return answer.model_dump_json()
