"""Providers behind their circuit breakers. An open breaker raises BreakerOpen, and calls nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agents.kernel.breaker import Breaker
from agents.kernel.ports import Effect
from agents.ports import (
    Carrier,
    Channels,
    Intent,
    Label,
    Message,
    Payments,
    Reservation,
    Target,
    Warehouses,
)
from schemas.order import Order


class GuardedPayments:
    """The payment provider behind its breaker."""

    def __init__(self, inner: Payments, breaker: Breaker) -> None:
        self._inner = inner
        self._call = breaker.call

    async def create(self, effect: Effect, order: Order) -> Intent:
        """See `Payments.create`."""
        return await self._call(lambda: self._inner.create(effect, order))

    async def confirm(self, effect: Effect, payment_id: str) -> Intent:
        """See `Payments.confirm`."""
        return await self._call(lambda: self._inner.confirm(effect, payment_id))

    async def capture(self, effect: Effect, payment_id: str) -> Intent:
        """See `Payments.capture`."""
        return await self._call(lambda: self._inner.capture(effect, payment_id))

    async def cancel(self, effect: Effect, payment_id: str) -> Intent:
        """See `Payments.cancel`."""
        return await self._call(lambda: self._inner.cancel(effect, payment_id))

    async def refund(self, effect: Effect, payment_id: str) -> Intent:
        """See `Payments.refund`."""
        return await self._call(lambda: self._inner.refund(effect, payment_id))

    async def read(self, effect: Effect, payment_id: str) -> Intent:
        """See `Payments.read`."""
        return await self._call(lambda: self._inner.read(effect, payment_id))


class GuardedWarehouses:
    """The warehouses behind their breaker."""

    def __init__(self, inner: Warehouses, breaker: Breaker) -> None:
        self._inner = inner
        self._call = breaker.call

    async def reserve(self, effect: Effect, reservation_id: str, order: Order) -> Reservation:
        """See `Warehouses.reserve`."""
        return await self._call(lambda: self._inner.reserve(effect, reservation_id, order))

    async def release(self, effect: Effect, reservation_id: str) -> Reservation:
        """See `Warehouses.release`."""
        return await self._call(lambda: self._inner.release(effect, reservation_id))


class GuardedCarrier:
    """A carrier behind its breaker."""

    def __init__(self, inner: Carrier, breaker: Breaker) -> None:
        self._inner = inner
        self._call = breaker.call

    @property
    def name(self) -> str:
        """The carrier's name."""
        return self._inner.name

    async def label(self, effect: Effect, reference: str, order: Order) -> Label:
        """See `Carrier.label`."""
        return await self._call(lambda: self._inner.label(effect, reference, order))

    async def cancel(self, effect: Effect, reference: str) -> Label:
        """See `Carrier.cancel`."""
        return await self._call(lambda: self._inner.cancel(effect, reference))


class GuardedChannels:
    """Each notification channel behind a breaker of its own."""

    def __init__(self, inner: Channels, breaker_of: Callable[[str], Breaker]) -> None:
        self._inner = inner
        self._breaker_of = breaker_of
        self._breakers: dict[str, Breaker] = {}

    async def send(self, effect: Effect, target: Target, message: Message) -> None:
        """See `Channels.send`."""
        breaker = self._breakers.get(target.channel)
        if breaker is None:
            breaker = self._breakers[target.channel] = self._breaker_of(target.channel)
        await breaker.call(lambda: self._inner.send(effect, target, message))


CAPABILITIES: Mapping[str, tuple[str, ...]] = {
    "payment": ("payments",),
    "stock": ("warehouses",),
    "shipping": ("fedex", "ups"),
}
"""What an order needs, and the breakers of the routes to it: one usable route is enough."""
