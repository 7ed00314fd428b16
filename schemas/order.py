"""What a customer submits (`OrderRequest`) and the snapshot that every event carries (`Order`)."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.money import AMOUNT_MINOR_MAX, Money

LINES_MAX = 100
"""More lines than any cart we know; it bounds the record that every later event carries."""
QUANTITY_MAX = 10_000
"""A billion of one item is a typing error or an attack, not an order."""

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$")]
"""An order id: safe in a URL path, a Redis key and an effect key (it holds no colon)."""
IdempotencyKey = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")]
"""Up to 255 visible ASCII characters, as payment providers accept."""


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _printable(text: str) -> str:
    if _UNPRINTABLE.search(text):
        raise ValueError("control characters and lone surrogates are not accepted")
    return text


Text = Annotated[str, AfterValidator(_printable)]
Principal = Annotated[Text, Field(min_length=1, max_length=255)]


class _Strict(BaseModel):
    """Input of a stranger: an unknown field is a mistake worth telling."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Kept(BaseModel):
    """Part of an event: a field of a newer minor version is kept and passed on."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Line(_Kept):
    """One item of an order."""

    sku: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    quantity: int = Field(ge=1, le=QUANTITY_MAX, strict=True)
    unit_price: Money


class Address(_Kept):
    """Where the parcel goes."""

    name: Text = Field(min_length=1, max_length=200)
    street: Text = Field(min_length=1, max_length=200)
    city: Text = Field(min_length=1, max_length=200)
    postcode: Text = Field(min_length=1, max_length=20)
    country: str = Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2 code.")


class OrderContent(_Kept):
    """What is bought, paid and shipped; its sums and currencies agree."""

    lines: tuple[Line, ...] = Field(min_length=1, max_length=LINES_MAX)
    total: Money
    payment_token: str = Field(
        pattern="^tok_[a-z0-9_]{1,60}$", description="A token of the payment provider, never a card"
    )
    ship_to: Address
    email: Text = Field(default="", max_length=254)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        currencies = {line.unit_price.currency for line in self.lines} | {self.total.currency}
        if len(currencies) > 1:
            raise ValueError(f"mixed currencies: {', '.join(sorted(currencies))}; use one")
        total = sum(line.unit_price.times(line.quantity) for line in self.lines)
        if total != self.total.amount:
            raise ValueError(f"total is {self.total.amount}, but the lines add up to {total}")
        if not 0 < total <= AMOUNT_MINOR_MAX:
            raise ValueError(f"total must be between 1 and {AMOUNT_MINOR_MAX} minor units")
        return self


class OrderRequest(OrderContent, _Strict):
    """An order as submitted, over HTTP or into `orders.inbox`.

    Over HTTP `order_id`, `idempotency_key` and `customer` are refused: the first two come from
    the header and the third from the token.
    """

    order_id: Id | None = None
    idempotency_key: IdempotencyKey | None = None
    customer: Principal | None = None

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        """What came through JSON's escapes (a lone surrogate) may have no bytes of its own."""
        try:
            self.model_dump_json()
        except ValueError as error:
            raise ValueError("some text in it cannot be written as UTF-8; remove it") from error
        return self


class Order(OrderContent):
    """The order's snapshot; every chain event carries it, so that no agent needs a join."""

    order_id: Id
    customer: Principal
