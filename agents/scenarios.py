"""The stories that an order can live, by name: what to submit, and how each must end.

One table for `chorale order --scenario`, the demo and the tests. A story is magic inputs of the
simulator and nothing else (`agents/providers/simulator/scenarios.py`), so it is the same over
HTTP, from `orders.inbox` and from a plain producer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agents.kernel.chaos import UNDOINGS, Failure, Place, draw
from agents.providers.screening import FRAUD_TOKEN
from agents.providers.simulator import scenarios as magic


class End(StrEnum):
    """How a story ends."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    PERSON = "waiting for a person"


class Also(StrEnum):
    """What is done beside submitting the order once."""

    NOTHING = ""
    REPEAT = "repeat"
    """Submit the very same order a second time."""
    CANCEL = "cancel"
    """Ask for its cancellation as soon as the stock is reserved."""


@dataclass(frozen=True, slots=True)
class Ends:
    """How a story ends by itself, and after the replay of its dead letter if it has one."""

    first: End
    replayed: End


_COMPLETED = Ends(End.COMPLETED, End.COMPLETED)
_FAILED = Ends(End.FAILED, End.FAILED)
_UNDONE_BY_REPLAY = Ends(End.PERSON, End.FAILED)
_DONE_BY_REPLAY = Ends(End.PERSON, End.COMPLETED)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story."""

    name: str
    says: str
    ends: Ends | None
    """None: it depends on the order id, see `ends_of`."""
    token: str = "tok_visa"  # noqa: S105 - a token of the simulator, no secret
    sku: str = "SKU-1"
    postcode: str = "94103"
    also: Also = Also.NOTHING

    def ends_of(self, order_id: str) -> Ends:
        """How the order with this id must end."""
        return self.ends or chaos_ends(order_id)

    def body(self, quantity: int = 1, unit_amount: int = 4_200) -> dict[str, Any]:
        """The order to submit, without id and key."""
        price = {"amount": unit_amount, "currency": "USD"}
        return {
            "lines": [{"sku": self.sku, "quantity": quantity, "unit_price": price}],
            "total": {"amount": quantity * unit_amount, "currency": "USD"},
            "payment_token": self.token,
            "ship_to": {
                "name": "Ada Lovelace",
                "street": "12 Market Street",
                "city": "San Francisco",
                "postcode": self.postcode,
                "country": "US",
            },
            "email": "ada@example.com",
        }


def chaos_ends(order_id: str) -> Ends:
    """How a `chaos` order ends, which its id alone decides."""
    chaos = draw(order_id)
    down, refused = chaos.failure is Failure.DOWN, chaos.failure is Failure.REFUSED
    if chaos.place in UNDOINGS:
        return _UNDONE_BY_REPLAY if down else _FAILED
    match chaos.place:
        case Place.CREATE if down:
            # Settling occupies the create key, which is down as well.
            return _UNDONE_BY_REPLAY
        case Place.CAPTURE if down:
            # Past the pivot an order only goes forward.
            return _DONE_BY_REPLAY
        case Place.LABEL if not refused:
            # Everything but a refusal is the first carrier's alone.
            return _COMPLETED
    return _FAILED if down or refused else _COMPLETED


_SLOW = magic.POSTCODE_FEDEX_SLOW
_TOLD = (
    Scenario("happy", "all goes well", _COMPLETED),
    Scenario("payment-declined", "the bank declines", _FAILED, token=magic.TOKEN_DECLINED),
    Scenario("screened", "fraud screening refuses the order", _FAILED, token=FRAUD_TOKEN),
    Scenario("out-of-stock", "nobody has the item", _FAILED, sku=magic.SKU_OUT_OF_STOCK),
    Scenario("fedex-down", "UPS steps in", _COMPLETED, postcode=magic.POSTCODE_FEDEX_DOWN),
    Scenario("slow-carrier", "UPS steps in, FedEx's late label goes", _COMPLETED, postcode=_SLOW),
    Scenario("all-carriers-down", "all is undone", _FAILED, postcode=magic.POSTCODE_ALL_DOWN),
    Scenario("capture-fails", "all is undone", _FAILED, token=magic.TOKEN_CAPTURE_FAILS),
    Scenario(
        "void-fails",
        "out of stock, and the hold on the card stays until an operator replays the letter",
        _UNDONE_BY_REPLAY,
        token=magic.TOKEN_VOID_FAILS,
        sku=magic.SKU_OUT_OF_STOCK,
    ),
    Scenario("duplicate-order", "sent twice, charged once", _COMPLETED, also=Also.REPEAT),
    Scenario("cancel", "cancelled in mid-order", _FAILED, postcode=_SLOW, also=Also.CANCEL),
    Scenario("create-doubt", "a lost answer", _COMPLETED, token="tok_create_doubt"),  # noqa: S106
    Scenario("confirm-doubt", "a lost answer", _COMPLETED, token="tok_confirm_doubt"),  # noqa: S106
    Scenario("capture-doubt", "a lost answer", _COMPLETED, token="tok_capture_doubt"),  # noqa: S106
    Scenario("chaos", "fails where its order id says", None, token=magic.TOKEN_CHAOS),
)
SCENARIOS: Mapping[str, Scenario] = {told.name: told for told in _TOLD}
