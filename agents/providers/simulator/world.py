"""The outside world as plain synchronous rules: payments, warehouses, carriers, channels.

A world is a fold of its journal: opened on the same entries it is the same world, idempotency keys
included. It reads no clock and draws no number by itself. `serve` puts the knobs around one call
and is shared by the HTTP application and the in-process variant, so that both behave alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from agents.kernel.errors import TransientFault
from agents.kernel.ports import Effect, Random
from agents.providers.simulator.carriers import CARRIERS, CarrierRules
from agents.providers.simulator.channels import CHANNELS, ChannelRules
from agents.providers.simulator.desk import Answered, Desk, Service
from agents.providers.simulator.journal import Journal
from agents.providers.simulator.knobs import UNTOUCHED, Knobs
from agents.providers.simulator.payments import SERVICE as PAYMENTS
from agents.providers.simulator.payments import PaymentRules
from agents.providers.simulator.scenarios import Delivery
from agents.providers.simulator.stock import INITIAL_STOCK, Shelves
from agents.providers.simulator.stock import SERVICE as STOCK
from agents.providers.simulator.warehouse import SERVICE as WAREHOUSES
from agents.providers.simulator.warehouse import WarehouseRules

T = TypeVar("T")

READ = "read"
"""The verb of a call without effect."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One call of one service."""

    service: str
    verb: str
    effect: Effect

    @property
    def name(self) -> str:
        """The operation's name, such as `payments.capture`."""
        return f"{self.service}.{self.verb}"


class World:
    """Everything outside of Chorale."""

    def __init__(
        self,
        journal: Journal,
        now_ms: Callable[[], int],
        random: Random,
        stock: Mapping[str, Mapping[str, int]] = INITIAL_STOCK,
    ) -> None:
        self._desk = Desk(journal, now_ms)
        self.knobs = Knobs(random)
        self.payments = PaymentRules(self._desk)
        self.shelves = Shelves(self._desk)
        self.warehouses = WarehouseRules(self._desk, self.shelves)
        self.carriers = {name: CarrierRules(self._desk, name) for name in CARRIERS}
        self.channels = ChannelRules(self._desk)
        services: dict[str, Service[Any]] = {
            PAYMENTS: self.payments,
            STOCK: self.shelves,
            WAREHOUSES: self.warehouses,
            **self.carriers,
            **dict.fromkeys(CHANNELS, self.channels),
        }
        for entry in journal.stored():
            self._desk.refold(services[entry.operation.partition(".")[0]], entry)
        opened = self.shelves.levels()
        for warehouse, lines in stock.items():
            if warehouse not in opened:
                self.shelves.open(warehouse, lines)

    @property
    def entries(self) -> int:
        """Number of ledger entries so far."""
        return self._desk.seq

    async def serve(
        self,
        visit: Visit,
        act: Callable[[], Answered[T]],
        sleep: Callable[[float], Awaitable[None]],
    ) -> Answered[T]:
        """One call with what the knobs do to it. Raises what the rules raise."""
        drawn = self.knobs.draw(visit.service)
        if drawn is UNTOUCHED:
            return act()
        keys = self._desk.keys
        # Two looks at once are no conflict.
        alone = (
            nullcontext() if visit.verb == READ else keys.in_progress(visit.name, visit.effect.key)
        )
        with alone:
            if drawn.delay_s:
                await sleep(drawn.delay_s)
            if drawn.refused:
                raise TransientFault(f"refused, nothing happened: {drawn.refused}")
            answered = act()
        return replace(answered, delivery=Delivery.LOST) if drawn.reply_lost else answered
