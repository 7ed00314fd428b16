"""The provider variants that the conformance suite runs against, and an order to try them with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agents.kernel.ports import Effect
from agents.ports import (
    Carrier,
    Channels,
    Intent,
    Payments,
    Warehouses,
)
from agents.providers.http import HttpProviders
from agents.providers.in_process import InProcess
from agents.providers.simulator.app import SimulatorApp
from agents.providers.simulator.journal import FileJournal, MemoryJournal
from agents.providers.simulator.ledger import Balance, Entry, balance, parse_line
from agents.providers.simulator.world import World
from schemas.order import Order

PATIENT_S = 60.0
"""No test waits that long; a busy machine may need more than the default."""


class VirtualClock:
    """Time that passes only when somebody sleeps or says so."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        await asyncio.sleep(0)


class FixedRandom:
    """Chance that always says the same."""

    def random(self) -> float:
        return 0.5


@dataclass
class Variant:
    """One way to reach a world."""

    payments: Payments
    warehouses: Warehouses
    carriers: Mapping[str, Carrier]
    channels: Channels
    world: World
    clock: VirtualClock
    entries: Callable[[], Iterable[Entry]]

    def audit(self) -> Balance:
        return balance(self.entries())

    async def created(self, order: Order) -> Intent:
        return await self.payments.create(effect(order, "create"), order)

    async def authorized(self, order: Order) -> Intent:
        created = await self.created(order)
        return await self.payments.confirm(effect(order, "confirm"), created.id)

    async def captured(self, order: Order) -> Intent:
        held = await self.authorized(order)
        return await self.payments.capture(effect(order, "capture"), held.id)


def effect(order: Order, step: str, attempt: int = 1, fence: str = "1.1") -> Effect:
    key = f"{order.order_id}:{step}:1"
    return Effect(key, order.order_id, attempt, fence, timeout_s=PATIENT_S)


def an_order(
    order_id: str = "o-1",
    token: str = "tok_visa",
    postcode: str = "85001",
    lines: tuple[tuple[str, int], ...] = (("SKU-1", 2), ("SKU-2", 1)),
) -> Order:
    return Order.model_validate(
        {
            "order_id": order_id,
            "customer": "ada",
            "lines": [
                {"sku": sku, "quantity": n, "unit_price": {"amount": 500, "currency": "USD"}}
                for sku, n in lines
            ],
            "total": {"amount": 500 * sum(n for _, n in lines), "currency": "USD"},
            "payment_token": token,
            "ship_to": {
                "name": "Ada",
                "street": "1 Main St",
                "city": "Phoenix",
                "postcode": postcode,
                "country": "US",
            },
        }
    )


@asynccontextmanager
async def in_process() -> AsyncIterator[Variant]:
    clock = VirtualClock()
    journal = MemoryJournal()
    world = World(journal, clock.now_ms, FixedRandom())
    near = InProcess(world, clock)
    yield Variant(
        near.payments,
        near.warehouses,
        near.carriers,
        near.channels,
        world,
        clock,
        lambda: journal.entries,
    )


@asynccontextmanager
async def over_http(ledger: Path) -> AsyncIterator[Variant]:
    clock = VirtualClock()
    journal = FileJournal(ledger)
    world = World(journal, clock.now_ms, FixedRandom())
    stop = asyncio.Event()
    app = SimulatorApp(world, journal, stop).application()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    far = HttpProviders(f"http://127.0.0.1:{runner.addresses[0][1]}")

    def entries() -> Iterable[Entry]:
        return (parse_line(line) for line in ledger.read_bytes().splitlines())

    yield Variant(far.payments, far.warehouses, far.carriers, far.channels, world, clock, entries)
    await far.close()
    stop.set()
    await runner.cleanup()
    await journal.close()


VARIANTS = ("in_process", "http")


def reach(kind: str, folder: Path) -> AbstractAsyncContextManager[Variant]:
    """One of `VARIANTS`, with a ledger in that folder if it keeps one."""
    return over_http(folder / "ledger.ndjson") if kind == "http" else in_process()
