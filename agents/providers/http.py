"""The providers over HTTP: clients that satisfy `agents.ports`.

What an answer means stands in `http_wire.py`. An answer that the provider replayed from its memory
may be older than the object, so the object is read again before it is believed.
"""

from __future__ import annotations

from pydantic import TypeAdapter

from agents.kernel.ports import Effect
from agents.ports import Intent, Label, Message, Reservation, Target
from agents.providers.http_wire import THE_ID, Ask, SessionFactory, Wire, open_session, part
from schemas.order import Order

CARRIERS = ("fedex", "ups")


class HttpProviders:
    """All providers behind one address."""

    def __init__(self, base_url: str, session_factory: SessionFactory = open_session) -> None:
        self._wire = Wire(base_url, session_factory)
        self.payments = HttpPayments(self._wire)
        self.warehouses = HttpWarehouses(self._wire)
        self.carriers = {name: HttpCarrier(self._wire, name) for name in CARRIERS}
        self.channels = HttpChannels(self._wire)

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()


class HttpPayments:
    """`agents.ports.Payments`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def create(self, effect: Effect, order: Order) -> Intent:
        """Create the intent, unconfirmed."""
        body = {
            "amount": order.total.amount,
            "currency": order.total.currency,
            "payment_token": order.payment_token,
        }
        ask = Ask("/payments", effect, body, reread=f"/payments/{THE_ID}")
        return await self._wire.effect(ask, _INTENT)

    async def confirm(self, effect: Effect, payment_id: str) -> Intent:
        """Hold the funds, or be declined."""
        return await self._act(effect, payment_id, "confirm")

    async def capture(self, effect: Effect, payment_id: str) -> Intent:
        """Charge what is held, or be refused."""
        return await self._act(effect, payment_id, "capture")

    async def cancel(self, effect: Effect, payment_id: str) -> Intent:
        """Give up what is held."""
        return await self._act(effect, payment_id, "cancel")

    async def refund(self, effect: Effect, payment_id: str) -> Intent:
        """Give back what was captured."""
        return await self._act(effect, payment_id, "refund")

    async def read(self, effect: Effect, payment_id: str) -> Intent:
        """The intent as it is now."""
        return await self._wire.look(f"/payments/{part(payment_id)}", effect, _INTENT)

    async def _act(self, effect: Effect, payment_id: str, verb: str) -> Intent:
        path = f"/payments/{part(payment_id)}"
        return await self._wire.effect(Ask(f"{path}/{verb}", effect, {}, reread=path), _INTENT)


class HttpWarehouses:
    """`agents.ports.Warehouses`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def reserve(self, effect: Effect, reservation_id: str, order: Order) -> Reservation:
        """Reserve every line atomically."""
        lines = [{"sku": line.sku, "quantity": line.quantity} for line in order.lines]
        path = f"/reservations/{part(reservation_id)}"
        ask = Ask(path, effect, {"lines": lines}, path, order.payment_token)
        return await self._wire.effect(ask, _RESERVATION)

    async def release(self, effect: Effect, reservation_id: str) -> Reservation:
        """Give the stock back, or leave a tombstone."""
        path = f"/reservations/{part(reservation_id)}"
        ask = Ask(f"{path}/release", effect, {}, reread=path)
        return await self._wire.effect(ask, _RESERVATION)


class HttpCarrier:
    """`agents.ports.Carrier`."""

    def __init__(self, wire: Wire, name: str) -> None:
        self._wire = wire
        self._name = name

    @property
    def name(self) -> str:
        """The carrier's name."""
        return self._name

    async def label(self, effect: Effect, reference: str, order: Order) -> Label:
        """Create the label, or be refused."""
        path = f"/carriers/{self._name}/labels/{part(reference)}"
        body = {"postcode": order.ship_to.postcode, "country": order.ship_to.country}
        return await self._wire.effect(Ask(path, effect, body, path, order.payment_token), _LABEL)

    async def cancel(self, effect: Effect, reference: str) -> Label:
        """Cancel by reference, or leave a tombstone."""
        path = f"/carriers/{self._name}/labels/{part(reference)}"
        return await self._wire.effect(Ask(f"{path}/cancel", effect, {}, reread=path), _LABEL)


class HttpChannels:
    """`agents.ports.Channels`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def send(self, effect: Effect, target: Target, message: Message) -> None:
        """Deliver once per effect key."""
        body = {
            "target": target.name,
            "address": target.address,
            "outcome": message.outcome,
            "subject": message.subject,
            "body": message.body,
        }
        path = f"/channels/{part(target.channel)}/messages"
        await self._wire.effect(Ask(path, effect, body), _MESSAGE_ID)


_INTENT = TypeAdapter(Intent)
_RESERVATION = TypeAdapter(Reservation)
_LABEL = TypeAdapter(Label)
_MESSAGE_ID = TypeAdapter(str)
