"""A rebalance in the middle of work: nothing is lost, and nothing old piles up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from agents.adapters.memory_log import MemoryLog
from agents.bootstrap import NAMES
from agents.kernel.errors import LogUnavailable
from agents.kernel.pipeline import Pipeline
from agents.kernel.ports import Outgoing
from tests.simulation.orders import order_body
from tests.simulation.world import World

ORDERS = 20
REBALANCES = 6


@pytest.fixture
def world() -> Iterator[World]:
    """A world of its own for each case."""
    made = World(seed=1)
    yield made
    made.close()


class RefusingLog(MemoryLog):
    """Acknowledges nothing while `refuses`."""

    refuses = False

    async def publish(self, records: Sequence[Outgoing]) -> None:
        if self.refuses:
            raise LogUnavailable
        await super().publish(records)


def test_records_of_an_old_assignment_do_not_pile_up(world: World) -> None:
    """However often the group rebalances while nothing can be published, lanes stay short."""
    log = RefusingLog(world.topics.partitions)
    world.log = log
    held: list[int] = []

    async def rebalance_while_refused() -> None:
        log.refuses = True
        for _ in range(REBALANCES):
            await world.clock.sleep(2.0)
            other = await log.subscribe("gateway", [world.topics.inbox, world.topics.decisions])
            await world.clock.sleep(1.0)
            await other.close()
            await world.clock.sleep(1.0)
            door = world.nodes[0].host.running["gateway"]
            assert isinstance(door, Pipeline)
            held.append(door.waiting)
        log.refuses = False

    for n in range(ORDERS):
        world.submit(order_body(f"o-{n}"))
    world.meanwhile(rebalance_while_refused)
    world.run(NAMES, idle_s=REBALANCES * 5.0)

    assert max(held) <= 2 * ORDERS, held
    assert world.report().completed == ORDERS
    assert world.report().balanced
