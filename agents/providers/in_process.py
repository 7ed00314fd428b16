"""The providers' ports directly on the simulator's rules: no HTTP, no real time.

For unit tests, the simulation and benchmarks. It raises what the HTTP clients raise, lost replies
and time-outs included. Time passes on the injected clock only. The hooks are awaited around each
effect, so a simulation can crash a worker just before or just after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from agents.kernel.errors import ChoraleError, InDoubt, TransientFault
from agents.kernel.ports import Clock, Effect
from agents.ports import Intent, Label, Message, Reservation, Target
from agents.providers.simulator.carriers import CarrierRules, Parcel
from agents.providers.simulator.desk import Answered
from agents.providers.simulator.payments import Purchase
from agents.providers.simulator.scenarios import Delivery
from agents.providers.simulator.warehouse import Demand
from agents.providers.simulator.world import READ, Visit, World
from schemas.order import Order

T = TypeVar("T")
Hook = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Awaited with the call's name, such as `payments.capture`, before and after its effect."""

    before: Hook | None = None
    after: Hook | None = None


_NO_HOOKS = Hooks()


class InProcess:
    """All providers of one world."""

    def __init__(self, world: World, clock: Clock, hooks: Hooks = _NO_HOOKS) -> None:
        line = _Line(world, clock, hooks)
        self.world = world
        self.payments = InProcessPayments(line)
        self.warehouses = InProcessWarehouses(line)
        self.carriers = {
            name: InProcessCarrier(line, rules) for name, rules in world.carriers.items()
        }
        self.channels = InProcessChannels(line)


class InProcessPayments:
    """`agents.ports.Payments`."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._rules = line.world.payments

    async def create(self, effect: Effect, order: Order) -> Intent:
        """Create the intent, unconfirmed."""
        purchase = Purchase(order.total.amount, order.total.currency, order.payment_token)
        visit = Visit("payments", "create", effect)
        return await self._line.call(visit, lambda: self._rules.create(effect, purchase))

    async def confirm(self, effect: Effect, payment_id: str) -> Intent:
        """Hold the funds, or be declined."""
        visit = Visit("payments", "confirm", effect)
        return await self._line.call(visit, lambda: self._rules.confirm(effect, payment_id))

    async def capture(self, effect: Effect, payment_id: str) -> Intent:
        """Charge what is held, or be refused."""
        visit = Visit("payments", "capture", effect)
        return await self._line.call(visit, lambda: self._rules.capture(effect, payment_id))

    async def cancel(self, effect: Effect, payment_id: str) -> Intent:
        """Give up what is held."""
        visit = Visit("payments", "cancel", effect)
        return await self._line.call(visit, lambda: self._rules.cancel(effect, payment_id))

    async def refund(self, effect: Effect, payment_id: str) -> Intent:
        """Give back what was captured."""
        visit = Visit("payments", "refund", effect)
        return await self._line.call(visit, lambda: self._rules.refund(effect, payment_id))

    async def read(self, effect: Effect, payment_id: str) -> Intent:
        """The intent as it is now."""
        visit = Visit("payments", READ, effect)

        def look() -> Answered[Intent]:
            intent = self._rules.read(payment_id)
            return Answered(intent, intent)

        try:
            return await self._line.call(visit, look)
        except InDoubt as error:
            # Looking has no effect, so a lost look is nothing to be in doubt about.
            raise TransientFault(str(error)) from error


class InProcessWarehouses:
    """`agents.ports.Warehouses`."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._rules = line.world.warehouses

    async def reserve(self, effect: Effect, reservation_id: str, order: Order) -> Reservation:
        """Reserve every line atomically."""
        lines = tuple((line.sku, line.quantity) for line in order.lines)
        demand = Demand(lines, order.payment_token)
        visit = Visit("warehouses", "reserve", effect)
        return await self._line.call(
            visit, lambda: self._rules.reserve(effect, reservation_id, demand)
        )

    async def release(self, effect: Effect, reservation_id: str) -> Reservation:
        """Give the stock back, or leave a tombstone."""
        visit = Visit("warehouses", "release", effect)
        return await self._line.call(visit, lambda: self._rules.release(effect, reservation_id))


class InProcessCarrier:
    """`agents.ports.Carrier`."""

    def __init__(self, line: _Line, rules: CarrierRules) -> None:
        self._line = line
        self._rules = rules

    @property
    def name(self) -> str:
        """The carrier's name."""
        return self._rules.name

    async def label(self, effect: Effect, reference: str, order: Order) -> Label:
        """Create the label, or be refused."""
        parcel = Parcel(order.ship_to.postcode, order.ship_to.country, order.payment_token)
        visit = Visit(self.name, "label", effect)
        return await self._line.call(visit, lambda: self._rules.label(effect, reference, parcel))

    async def cancel(self, effect: Effect, reference: str) -> Label:
        """Cancel by reference, or leave a tombstone."""
        visit = Visit(self.name, "cancel", effect)
        return await self._line.call(visit, lambda: self._rules.cancel(effect, reference))


class InProcessChannels:
    """`agents.ports.Channels`."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._rules = line.world.channels

    async def send(self, effect: Effect, target: Target, message: Message) -> None:
        """Deliver once per effect key."""
        visit = Visit(target.channel, "send", effect)
        await self._line.call(visit, lambda: self._rules.send(effect, target, message))


class _Line:
    """The line between a worker and the world."""

    def __init__(self, world: World, clock: Clock, hooks: Hooks) -> None:
        self.world = world
        self._clock = clock
        self._hooks = hooks

    async def call(self, visit: Visit, act: Callable[[], Answered[T]]) -> T:
        """One call. Raises what an HTTP client would."""
        if self._hooks.before is not None:
            await self._hooks.before(visit.name)
        waited = _Waited(self._clock, visit.effect.timeout_s)
        try:
            answered = await self.world.serve(visit, act, waited.sleep)
        except ChoraleError as error:
            if waited.too_long:
                raise _timed_out(visit) from error
            raise
        if self._hooks.after is not None:
            await self._hooks.after(visit.name)
        if waited.too_long:
            raise _timed_out(visit)
        match answered.delivery:
            case Delivery.SENT:
                return answered.present
            case Delivery.LOST:
                raise InDoubt(f"{visit.name}: the connection broke before the answer")
            case Delivery.LATE:
                await self._clock.sleep(visit.effect.timeout_s)
                raise _timed_out(visit)


class _Waited:
    """Waits for a slow service, but never longer than the caller would."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self.too_long = False
        self._clock = clock
        self._timeout_s = timeout_s

    async def sleep(self, seconds: float) -> None:
        self.too_long = seconds >= self._timeout_s
        await self._clock.sleep(min(seconds, self._timeout_s))


def _timed_out(visit: Visit) -> InDoubt:
    return InDoubt(f"{visit.name}: no answer within {visit.effect.timeout_s:g} s")
