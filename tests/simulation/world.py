"""A whole Chorale in one thread and virtual time: unmodified agents on in-memory adapters.

    world = World(seed=1)
    world.submit(order_body("o-1", "happy"))
    world.run()
    assert world.report().balanced

A node hosts all agents; when it dies a new one is built from log and store alone, as a supervisor
would. Nothing survives a node but what the ports have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from agents.adapters.memory_log import MemoryLog, MemorySubscription
from agents.adapters.memory_sagas import MemorySagaStore
from agents.adapters.memory_stores import (
    MemoryAnswerStore,
    MemoryBreakerStore,
    MemoryLedger,
    MemoryRateLimit,
)
from agents.audit import Report, audit
from agents.bootstrap import NAMES, Host, Outside, Stores, choreography
from agents.kernel.parts import Parts
from agents.kernel.ports import Outgoing, Record
from agents.kernel.settings import Settings
from agents.kernel.telemetry import Telemetry
from agents.kernel.topics import load_topics
from agents.letters import OpenLetters
from agents.ports import Target
from agents.providers.in_process import Hooks, InProcess
from agents.providers.screening import RuleScreening
from agents.providers.simulator.journal import MemoryJournal
from agents.providers.simulator.ledger import Balance, balance
from agents.providers.simulator.world import World as Outworld
from tests.simulation.crash import CrashingLedger, CrashingLog, CrashPoints, Mortal
from tests.simulation.loop import CountedIds, SeededRandom, VirtualClock, VirtualLoop
from tests.simulation.orders import as_bytes

RESTART_S = 0.5
"""A supervisor's first back-off."""
BRISK = Settings(
    lease_ms=1_500,
    effect_timeout_ms=500,
    step_deadline_ms=4_000,
    saga_deadline_ms=60_000,
    retry_base_ms=100,
    breaker_wait_ms=12_000,
    commit_interval_ms=50,
)
"""The default settings with their waits a tenth as long: less virtual time, the same races."""
RUN_S_MAX = 600.0
"""Virtual seconds in which a world must come to rest; the saga deadline is 60."""
TARGETS = (Target("mail", "email", "customer"), Target("chat", "slack", "#orders"))
"""Two targets: enough to be several, few enough to crash at every one."""


class Node(Mortal):
    """One process hosting agents."""

    def __init__(self, world: World, names: tuple[str, ...]) -> None:
        super().__init__()
        self.log = CrashingLog(world.log, self, world.points)
        parts = Parts(
            log=self.log,
            ledger=CrashingLedger(world.ledger, self, world.points),
            clock=world.clock,
            random=world.random,
            ids=world.ids,
            topics=world.topics,
            settings=world.settings,
            telemetry=world.telemetry,
        )

        async def reach(name: str) -> None:
            await world.points.reach(self, name)

        def named(when: str) -> Callable[[str], Awaitable[None]]:
            return lambda name: reach(f"{when} {name}")

        providers = InProcess(world.outworld, world.clock, Hooks(named("before"), named("after")))
        outside = Outside(
            payments=providers.payments,
            warehouses=providers.warehouses,
            first_carrier=providers.carriers["fedex"],
            second_carrier=providers.carriers["ups"],
            channels=providers.channels,
            screening=RuleScreening(),
            targets=TARGETS,
        )
        self.host = Host(names, parts, outside, world.stores)


class World:
    """Log, stores, providers, time; nodes come and go."""

    def __init__(
        self, seed: int = 0, crash_at: int | None = None, telemetry: Telemetry | None = None
    ) -> None:
        self.loop = VirtualLoop(seed)
        self.clock = VirtualClock(self.loop)
        self.random = SeededRandom(seed)
        self.ids = CountedIds()
        self.settings = BRISK
        self.telemetry = telemetry or Telemetry()
        self.topics = load_topics()
        self.points = CrashPoints(crash_at)
        self.log = MemoryLog(self.topics.partitions)
        self.ledger = MemoryLedger(self.clock)
        self.stores = Stores(
            sagas=MemorySagaStore(self.clock),
            answers=MemoryAnswerStore(self.clock),
            rate=MemoryRateLimit(self.clock),
            breakers=MemoryBreakerStore(self.clock),
        )
        self.journal = MemoryJournal()
        self.outworld = Outworld(self.journal, self.clock.now_ms, SeededRandom(seed + 1))
        self.nodes: list[Node] = []
        graph = choreography(self.topics)
        self._subscribed = {name: graph.subscriptions(name) for name in NAMES}
        self._before: list[Outgoing] = []
        self._acts: list[Callable[[], Awaitable[None]]] = []

    # ---- what a test does ---------------------------------------------------------------------

    def submit(self, body: dict[str, Any]) -> None:
        """An outsider writes an order into the inbox before the agents start."""
        self.publish(self.topics.inbox, str(body["order_id"]), as_bytes(body))

    def publish(self, topic: str, key: str, value: bytes, **headers: str) -> None:
        """Any record, before the agents start."""
        self.publish_raw(topic, key.encode(), value, _encoded(headers))

    def publish_raw(
        self, topic: str, key: bytes, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        """The same, byte for byte."""
        self._before.append(Outgoing(topic, key, value, headers))

    def meanwhile(self, act: Callable[[], Awaitable[None]]) -> None:
        """Something that happens while the agents run."""
        self._acts.append(act)

    def run(self, names: tuple[str, ...] = NAMES, idle_s: float = 0.0) -> None:
        """Run these agents until nothing moves any more, and that many seconds longer."""
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._run(names, idle_s))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        finally:
            asyncio.set_event_loop(None)

    def close(self) -> None:
        """Free the loop."""
        self.loop.close()

    # ---- what a test looks at -------------------------------------------------------------------

    def records(self) -> list[Record]:
        """Every record of every topic."""
        return [r for topic in self.topics.all for r in self.log.records(topic.name)]

    def balance(self) -> Balance:
        """What the providers' ledger adds up to."""
        return balance(self.journal.stored())

    def report(self) -> Report:
        """The audit of this world."""
        return audit(self.records(), self.balance(), self.topics)

    def letters(self) -> OpenLetters:
        """The fold of letters, decisions and events."""
        found = OpenLetters()
        for record in self.records():
            if record.topic in (self.topics.letters, self.topics.decisions):
                found.read(record, self.topics)
            elif record.topic != self.topics.inbox:
                name = record.header("ce_type").removeprefix("dev.chorale.").partition(".")[0]
                found.saw(record.header("ce_subject"), name)
        return found

    def events(self, order_id: str) -> list[str]:
        """Event types of one order by topic and offset, repetitions included."""
        return [
            r.header("ce_type").removeprefix("dev.chorale.").partition(".")[0]
            for r in self.records()
            if r.header("ce_subject") == order_id and r.topic.endswith(".events")
        ]

    # ---- how it runs --------------------------------------------------------------------------

    async def _run(self, names: tuple[str, ...], idle_s: float) -> None:
        if not self.ledger.epoch:
            await self.ledger.create_epoch()
        await self.log.publish(self._before)
        self._before.clear()
        async with asyncio.TaskGroup() as tasks:
            supervising = tasks.create_task(self._supervise(names), name="supervisor")
            for n, act in enumerate(self._acts):
                tasks.create_task(_as_coroutine(act), name=f"meanwhile {n}")
            self._acts.clear()
            await self._rest(names)
            await asyncio.sleep(idle_s)
            await self._rest(names)
            supervising.cancel()

    async def _supervise(self, names: tuple[str, ...]) -> None:
        while True:
            node = Node(self, names)
            self.nodes.append(node)
            await self._live(node)
            await asyncio.sleep(RESTART_S)

    async def _live(self, node: Node) -> None:
        """Until the node dies; then the broker notices that its memberships are over."""
        task = asyncio.ensure_future(node.host.run())
        node.task = task
        try:
            await asyncio.wait([task])
        finally:
            if not task.done():
                node.die()
                await asyncio.wait([task])
            failure = None if task.cancelled() else task.exception()
            for membership in node.log.memberships:
                assert isinstance(membership, MemorySubscription)
                self.log.drop_member(membership)
        if failure is not None and not node.dead:
            raise failure

    async def _rest(self, names: tuple[str, ...]) -> None:
        """Wait until every group has committed everything and nothing happens any more."""
        limit_s = self.loop.virtual_s + RUN_S_MAX
        quiet = 0
        while quiet < 2:
            await asyncio.sleep(1.0)
            assert self.loop.virtual_s < limit_s, f"not at rest: {self._unrest(names)}"
            quiet = quiet + 1 if not self._unrest(names) else 0

    def _unrest(self, names: tuple[str, ...]) -> str:
        """The first topic that some agent has not committed to its end; empty at rest."""
        for group in names:
            topics = self._subscribed[group]
            committed = self.log.committed(group)
            ends: dict[tuple[str, int], int] = {}
            for topic in topics:
                for record in self.log.records(topic):
                    ends[record.place] = max(ends.get(record.place, 0), record.offset + 1)
            for place, end in ends.items():
                if committed.get(place, 0) < end:
                    return f"{group} has {place} committed to {committed.get(place, 0)} of {end}"
        return ""


def _encoded(headers: dict[str, str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, text.encode()) for name, text in headers.items())


async def _as_coroutine(act: Callable[[], Awaitable[None]]) -> None:
    await act()
