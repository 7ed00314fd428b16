"""Store or broker away: agents wait, guess nothing, and go on by themselves when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from agents.adapters.memory_log import MemoryLog
from agents.adapters.memory_stores import MemoryLedger
from agents.kernel.errors import LogUnavailable, StoreUnavailable
from agents.kernel.ports import Outgoing
from agents.kernel.protocol import Finish, Reply, Request
from tests.simulation.acts import decide
from tests.simulation.orders import as_bytes, order_body
from tests.simulation.world import World

AWAY_S = 40.0
"""Longer than two leases, shorter than the saga deadline."""


@pytest.fixture
def world() -> Iterator[World]:
    """A world of its own for each outage."""
    made = World(seed=1)
    yield made
    made.close()


class AwayLedger:
    """A ledger that does not answer for a while, from a given request on."""

    def __init__(self, world: World, after: int) -> None:
        self._inner, self._clock, self._left = world.ledger, world.clock, after
        self._back_s = float("inf")

    epoch = 0

    async def create_epoch(self) -> int:
        return await self._inner.create_epoch()

    async def apply(self, requests: Sequence[Request]) -> list[Reply]:
        self._left -= 1
        if self._left == 0:
            self._back_s = self._clock.monotonic_s() + AWAY_S
        if self._left <= 0 and self._clock.monotonic_s() < self._back_s:
            raise StoreUnavailable
        return await self._inner.apply(requests)


@pytest.mark.parametrize("after", range(1, 14, 2))
def test_an_order_waits_for_the_store_and_completes(world: World, after: int) -> None:
    """Wherever the store goes away, the order goes on from there when it is back."""
    world.ledger = cast("MemoryLedger", AwayLedger(world, after))
    world.submit(order_body("o-1"))
    world.run()

    assert world.loop.virtual_s > AWAY_S
    assert world.report().completed == 1
    assert world.report().balanced


def test_an_agent_finds_out_by_itself_that_the_store_is_back(world: World) -> None:
    """Trouble noted by somebody who has given up since must not stop the consumer for ever."""

    async def trouble() -> None:
        await asyncio.sleep(0.5)
        world.nodes[0].host.parts.health.down("store", "somebody's last try failed")
        await asyncio.sleep(2.0)
        await world.log.publish(
            [Outgoing(world.topics.inbox, b"o-1", as_bytes(order_body("o-1")), ())]
        )

    world.meanwhile(trouble)
    world.run(idle_s=10.0)

    assert world.report().completed == 1
    assert world.nodes[0].host.parts.health.ready


class AwayLog(MemoryLog):
    """A broker that acknowledges nothing for a while; what it was sent may be in the log."""

    def __init__(self, world: World, keeps: bool) -> None:
        super().__init__(world.topics.partitions)
        self._time, self._keeps = world.clock, keeps

    async def publish(self, records: Sequence[Outgoing]) -> None:
        away = 0.0 < self._time.monotonic_s() < AWAY_S
        if not away or self._keeps:
            await super().publish(records)
        if away:
            raise LogUnavailable


@pytest.mark.parametrize("keeps", [True, False])
def test_an_order_waits_for_the_broker_and_completes(world: World, keeps: bool) -> None:
    """Not acknowledged means unknown: the same bytes go out again, and change nothing."""
    world.log = AwayLog(world, keeps)
    world.submit(order_body("o-1"))
    world.run()

    assert world.report().completed == 1
    assert world.report().balanced


def test_a_store_that_has_forgotten_everything_is_not_believed(world: World) -> None:
    """After a flush nobody claims a step, and the agents are not ready."""
    world.submit(order_body("o-1"))
    world.run()
    world.ledger.flush()
    world.submit(order_body("o-2"))
    with pytest.raises(AssertionError, match="not at rest"):
        world.run()

    assert set(world.balance().orders) - {""} == {"o-1"}
    assert "store" in world.nodes[-1].host.parts.health.troubles


class BuggyLedger(AwayLedger):
    """A ledger whose client fails in a way that nobody foresaw, a number of times."""

    def __init__(self, world: World, times: int) -> None:
        super().__init__(world, after=10**9)
        self._times = times

    async def apply(self, requests: Sequence[Request]) -> list[Reply]:
        ours = isinstance(requests[0], Finish) and requests[0].step == "capture"
        if ours and self._times:
            self._times -= 1
            raise ValueError("a library's bad moment")
        return await super().apply(requests)


def test_a_bug_that_passes_costs_time_only(world: World) -> None:
    """The capture was made, its outcome could not be stored once: it is found under its key."""
    world.ledger = cast("MemoryLedger", BuggyLedger(world, times=2))
    world.submit(order_body("o-1"))
    world.run()

    assert world.report().completed == 1
    assert world.report().balanced


def test_a_bug_that_stays_is_a_letter_about_the_order_and_its_money(world: World) -> None:
    """Step, order and what is owed stand in the letter; a replay heals it."""
    ledger = BuggyLedger(world, times=10**9)
    world.ledger = cast("MemoryLedger", ledger)
    world.submit(order_body("o-1"))
    world.run()
    letter = world.letters().open()[0]
    assert (letter.step, letter.order_id) == ("capture", "o-1")
    assert letter.owed.money is not None

    ledger._times = 0
    decide(world, letter, "replay")
    world.run()

    assert world.report().completed == 1
    assert world.report().balanced
