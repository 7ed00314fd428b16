"""Magic inputs: what the simulator does on purpose, as a payment provider's test cards do.

Only the simulator knows them; events carry no fault fields, so an order behaves alike over HTTP,
from the inbox and from a plain producer. Inputs may be combined in one order.

| input | what happens |
| --- | --- |
| token `tok_visa`, and any token not below | all is well |
| token `tok_fraud` | refused by screening, before the provider (`agents/providers/screening.py`) |
| token `tok_declined` | confirm: declined by the bank |
| token `tok_capture_fails` | capture: refused for good |
| token `tok_void_fails` | cancel and refund: 503, nothing happened, on logical attempt 1 only |
| token `tok_create_doubt` | create: done, but the first reply of each key is lost |
| token `tok_confirm_doubt` | confirm: the same |
| token `tok_capture_doubt` | capture: the same |
| token `tok_chaos` | fails once somewhere, drawn from the order id (`agents/kernel/chaos.py`) |
| SKU `SKU-OUT-OF-STOCK` | reserve: refused, there is none |
| SKU `SKU-SCARCE` | reserve: there are five at birth, then none |
| SKU not on the list | reserve: refused, unknown |
| postcode `00001` | FedEx label: 503, nothing happened |
| postcode `00002` | label at every carrier: 503, nothing happened |
| postcode `00003` | FedEx label: made, but the answer comes after the caller's time-out, always |
| postcode `00004` | FedEx label: refused, a business no |

Chaos acts on logical attempt 1 only. A label drawn as refused is refused by every carrier; any
other failure drawn at the label is FedEx's alone. An order drawn at an undoing has its capture
refused as well, because otherwise nothing would ever be undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from agents.kernel.chaos import Chaos, Failure, Place, draw
from agents.kernel.errors import TransientFault

FEDEX = "fedex"
UPS = "ups"

TOKEN_CHAOS = "tok_chaos"  # noqa: S105 - a magic input, no secret
TOKEN_DECLINED = "tok_declined"  # noqa: S105 - likewise
TOKEN_CAPTURE_FAILS = "tok_capture_fails"  # noqa: S105 - likewise
TOKEN_VOID_FAILS = "tok_void_fails"  # noqa: S105 - likewise
TOKENS_OF_DOUBT = {
    "tok_create_doubt": Place.CREATE,
    "tok_confirm_doubt": Place.CONFIRM,
    "tok_capture_doubt": Place.CAPTURE,
}
SKU_OUT_OF_STOCK = "SKU-OUT-OF-STOCK"
SKU_SCARCE = "SKU-SCARCE"
SCARCE_UNITS = 5
POSTCODE_FEDEX_DOWN = "00001"
POSTCODE_ALL_DOWN = "00002"
POSTCODE_FEDEX_SLOW = "00003"
POSTCODE_FEDEX_REFUSES = "00004"
_MAGIC_TOKENS = frozenset(
    {TOKEN_CHAOS, TOKEN_DECLINED, TOKEN_CAPTURE_FAILS, TOKEN_VOID_FAILS, *TOKENS_OF_DOUBT}
)
_MAGIC_POSTCODES = frozenset(
    {POSTCODE_FEDEX_DOWN, POSTCODE_ALL_DOWN, POSTCODE_FEDEX_SLOW, POSTCODE_FEDEX_REFUSES}
)


class Delivery(StrEnum):
    """What becomes of an answer."""

    SENT = "sent"
    LOST = "lost"
    """The connection breaks before the answer."""
    LATE = "late"
    """The answer comes after the caller has given up."""


@dataclass(frozen=True, slots=True)
class Circumstance:
    """One call, as far as magic inputs look at it."""

    place: Place
    order_id: str
    attempt: int
    token: str = ""
    postcode: str = ""
    carrier: str = ""

    @property
    def magic(self) -> bool:
        """Whether any input of the call is a magic one; most calls have none and skip the rest."""
        return self.token in _MAGIC_TOKENS or self.postcode in _MAGIC_POSTCODES

    @property
    def chaos(self) -> Chaos | None:
        """The drawn failure, if the order asks for chaos and this is its first attempt."""
        if self.token != TOKEN_CHAOS or self.attempt > 1:
            return None
        return draw(self.order_id)


class Scenarios:
    """Decides what each call meets. Remembers only how often a passing failure has happened."""

    def __init__(self) -> None:
        self._failed: dict[tuple[str, Place], int] = {}

    def admit(self, call: Circumstance) -> None:
        """Let the call in, or raise TransientFault: nothing happened."""
        if not call.magic:
            return
        for why in self._closed(call):
            raise TransientFault(f"refused, nothing happened: {why}")

    def refusal(self, call: Circumstance) -> str:
        """Why the business says no; empty for a yes."""
        if not call.magic:
            return ""
        match call.place:
            case Place.CONFIRM if call.token == TOKEN_DECLINED:
                return "card_declined"
            case Place.CAPTURE if call.token == TOKEN_CAPTURE_FAILS:
                return "capture_refused"
            case Place.LABEL if call.postcode == POSTCODE_FEDEX_REFUSES and call.carrier == FEDEX:
                return "address_not_served"
        chaos = call.chaos
        if chaos is None:
            return ""
        if call.place is Place.CAPTURE and chaos.refuses_capture:
            return "capture_refused_by_chaos"
        drawn = (chaos.place, chaos.failure) == (call.place, Failure.REFUSED)
        return "refused_by_chaos" if drawn else ""

    def delivery(self, call: Circumstance, *, replayed: bool) -> Delivery:
        """What becomes of the answer to a call that was let in."""
        if not call.magic:
            return Delivery.SENT
        slow = call.place is Place.LABEL and call.postcode == POSTCODE_FEDEX_SLOW
        if slow and call.carrier == FEDEX:
            return Delivery.LATE
        if replayed:
            return Delivery.SENT
        if TOKENS_OF_DOUBT.get(call.token) is call.place:
            return Delivery.LOST
        return Delivery.LOST if _drawn(call, Failure.LOST_REPLY) else Delivery.SENT

    def _closed(self, call: Circumstance) -> Iterator[str]:
        if call.place is Place.VOID and call.token == TOKEN_VOID_FAILS and call.attempt == 1:
            yield "the payment service is in maintenance"
        down = {POSTCODE_ALL_DOWN: (FEDEX, UPS), POSTCODE_FEDEX_DOWN: (FEDEX,)}
        if call.place is Place.LABEL and call.carrier in down.get(call.postcode, ()):
            yield f"{call.carrier} is down"
        if _drawn(call, Failure.DOWN):
            yield "chaos, until the next logical attempt"
        if _drawn(call, Failure.TRANSIENT) and self._fails_again(call):
            yield "chaos, for a moment"

    def _fails_again(self, call: Circumstance) -> bool:
        chaos = call.chaos
        name = (call.order_id, call.place)
        failed = self._failed.get(name, 0)
        if chaos is None or failed >= chaos.times:
            return False
        self._failed[name] = failed + 1
        return True


def _drawn(call: Circumstance, failure: Failure) -> bool:
    chaos = call.chaos
    if chaos is None or (chaos.place, chaos.failure) != (call.place, failure):
        return False
    return call.place is not Place.LABEL or call.carrier == FEDEX
