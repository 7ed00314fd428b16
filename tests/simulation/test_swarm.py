"""Everything at once: two workers, rebalances, crashes, slow and lossy providers, cancels, replays.

One seed draws which troubles there are and when; the same seed is the same run. When the troubles
are over and every letter was replayed, nothing may be left: no order on its way, no letter, no
difference between log and ledger. `CHORALE_SEEDS=1000` in the environment draws more of them.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from agents.bootstrap import NAMES
from agents.providers.simulator.knobs import Knob
from tests.simulation.acts import cancel_request, decide
from tests.simulation.orders import SCENARIOS, order_body
from tests.simulation.world import World

SEEDS = int(os.environ.get("CHORALE_SEEDS", "12"))
"""A second each; a thousand find what one in a hundred would show."""
SERVICES = ("payments", "warehouses", "fedex", "ups")
REPLAYS_MAX = 3


class TwoWorkers(World):
    """Two nodes host all agents, and share the partitions."""

    async def _supervise(self, names: tuple[str, ...]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for n in (1, 2):
                tasks.create_task(super()._supervise(names), name=f"worker {n}")


def turn_knobs(world: World, chance: random.Random) -> None:
    for service in SERVICES:
        knob = Knob(
            latency_ms=chance.choice([0, 50, 300]),
            jitter_ms=chance.choice([0, 300]),
            failure_rate=chance.choice([0, 0.1]),
            lost_reply_rate=chance.choice([0, 0.1]),
        )
        world.outworld.knobs.turn(service, knob)


def trouble(world: World, orders: dict[str, str], chance: random.Random) -> None:
    """Rebalances and cancels, while the orders run."""

    async def rebalances() -> None:
        for _ in range(chance.choice([0, 10, 25])):
            await asyncio.sleep(chance.random() * 0.6)
            for name in NAMES:
                if chance.random() < 0.5:
                    world.log.rebalance(name)

    async def cancels() -> None:
        for order_id, scenario in orders.items():
            if chance.random() < 0.4:
                await asyncio.sleep(chance.random() * 0.7)
                await world.log.publish([cancel_request(order_id, scenario)])

    world.meanwhile(rebalances)
    world.meanwhile(cancels)


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_nothing_is_left_when_the_troubles_are_over(seed: int) -> None:
    """Every order ends, every letter can be replayed to its end, and all adds up."""
    chance = random.Random(seed)
    world = TwoWorkers(seed, crash_at=chance.choice([None, chance.randint(20, 1_500)]))
    orders = {f"o-{seed}-{n}": scenario for n, scenario in enumerate(SCENARIOS)}
    for order_id, scenario in orders.items():
        world.submit(order_body(order_id, scenario))
    turn_knobs(world, chance)
    trouble(world, orders, chance)
    world.run(idle_s=70)

    world.outworld.knobs.replace_all({})
    for _ in range(REPLAYS_MAX):
        for number, letter in enumerate(world.letters().open()):
            decide(world, letter, "replay", number)
        world.run(idle_s=15)
    world.close()

    report = world.report()
    assert report.findings == []
    assert (report.in_flight, world.letters().open()) == (0, [])
    assert report.completed + report.failed == len(orders)
