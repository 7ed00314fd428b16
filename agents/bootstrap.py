"""The composition root: settings and adapters in, running agents out.

Nothing else knows which agents there are. The simulation calls `Host` with in-memory adapters and
virtual time; `chorale run` calls it with Kafka, Redis and HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from agents.choreography.graph import Choreography
from agents.choreography.rules import check
from agents.gateway import Gateway
from agents.inventory import Inventory
from agents.kernel.agent import Agent
from agents.kernel.breaker import Breaker, BreakerState, BreakerStore
from agents.kernel.errors import ConfigurationError
from agents.kernel.parts import Parts
from agents.kernel.pipeline import Pipeline
from agents.kernel.ports import AnswerStore, RateLimit, SagaStore
from agents.kernel.settings import Settings
from agents.kernel.topics import DAY_MS, Topics
from agents.notification import Notification
from agents.payment import Payment
from agents.ports import Carrier, Channels, FraudScreening, Payments, Target, Warehouses
from agents.providers.guarded import (
    CAPABILITIES,
    GuardedCarrier,
    GuardedChannels,
    GuardedPayments,
    GuardedWarehouses,
)
from agents.shipping import Shipping
from agents.tracker import Tracker, TrackerLoop, Wiring

AGENTS: tuple[type[Agent], ...] = (
    Gateway,
    Payment,
    Inventory,
    Shipping,
    Notification,
    Tracker,
)
NOTIFIED_AT_ONCE_MAX = 10
"""Orders; each is 23 calls, and those that queue for a channel too long would be given up."""
NAMES = tuple(agent.name for agent in AGENTS)


@dataclass(frozen=True, slots=True)
class Outside:
    """The outside world, not yet behind breakers."""

    payments: Payments
    warehouses: Warehouses
    first_carrier: Carrier
    second_carrier: Carrier
    channels: Channels
    screening: FraudScreening
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores beside the ledger."""

    sagas: SagaStore
    answers: AnswerStore
    rate: RateLimit
    breakers: BreakerStore


class Runs(Protocol):
    """Something that runs until it is stopped."""

    async def run(self) -> None:
        """Until stopped."""
        ...

    def stop(self) -> None:
        """Begin to stop."""
        ...


class Host:
    """Several agents in one process."""

    def __init__(
        self, names: Iterable[str], parts: Parts, outside: Outside, stores: Stores
    ) -> None:
        self.parts = parts
        self.stores = stores
        self._outside = outside
        self._graph = choreography(parts.topics, parts.settings)
        self._breakers: dict[str, Breaker] = {}
        self.running: dict[str, Runs] = {name: self._assemble(name) for name in names}

    async def run(self) -> None:
        """Until `stop`; a bug in one agent ends all, and the supervisor starts them anew."""
        async with asyncio.TaskGroup() as tasks:
            for name, agent in self.running.items():
                tasks.create_task(agent.run(), name=f"agent {name}")

    def stop(self) -> None:
        """Drain and end."""
        for agent in self.running.values():
            agent.stop()

    async def closed_routes(self) -> list[str]:
        """Capabilities with no usable route left, because every breaker of theirs is open."""
        closed = []
        for capability, names in CAPABILITIES.items():
            views = [await self._breaker(name).view() for name in names]
            if all(view.state is BreakerState.OPEN for view in views):
                closed.append(capability)
        return closed

    def _assemble(self, name: str) -> Runs:
        topics = self._graph.subscriptions(name)
        agent = self._agent(name)
        if isinstance(agent, Tracker):
            return TrackerLoop(agent, topics, self.parts)
        parts = self.parts
        if isinstance(agent, Notification):
            few = {"records_in_flight_max": NOTIFIED_AT_ONCE_MAX}
            parts = replace(parts, settings=parts.settings.model_copy(update=few))
        return Pipeline(agent, topics, parts)

    def _agent(self, name: str) -> Agent:
        outside = self._outside
        match name:
            case "gateway":
                return Gateway()
            case "payment":
                payments = GuardedPayments(outside.payments, self._breaker("payments"))
                return Payment(payments, outside.screening)
            case "inventory":
                return Inventory(GuardedWarehouses(outside.warehouses, self._breaker("warehouses")))
            case "shipping":
                carriers = (outside.first_carrier, outside.second_carrier)
                first, second = (GuardedCarrier(c, self._breaker(c.name)) for c in carriers)
                return Shipping(first, second)
            case "notification":
                return Notification(
                    GuardedChannels(outside.channels, lambda kind: self._breaker(f"ch-{kind}")),
                    outside.targets,
                )
            case "tracker":
                return Tracker(self.stores.sagas, wiring(self.parts))
            case _:
                raise ConfigurationError(
                    f"there is no agent {name!r}; agents are {', '.join(NAMES)}"
                )

    def _breaker(self, name: str) -> Breaker:
        if name not in self._breakers:
            self._breakers[name] = Breaker(
                name, self.stores.breakers, self.parts.clock, self.parts.ids
            )
        return self._breakers[name]


def choreography(topics: Topics, settings: Settings | None = None) -> Choreography:
    """The graph of all agents, with the deadlines that these settings give them."""
    return Choreography.of(AGENTS, topics, settings=settings)


def refuse_unsound(topics: Topics, settings: Settings) -> None:
    """Start nothing that `chorale check` would not pass. Raises ConfigurationError."""
    findings = check(choreography(topics, settings))
    if findings:
        sentences = "; ".join(finding.sentence for finding in findings)
        raise ConfigurationError(f"the choreography is not sound: {sentences}")


def wiring(parts: Parts) -> Wiring:
    """What the tracker knows of the choreography."""
    graph = choreography(parts.topics, parts.settings)
    retention_ms = max(t.retention_ms or 0 for t in parts.topics.all)
    return Wiring(
        consuming_steps=graph.consuming_steps,
        undone_by=graph.undone_by,
        record_ttl_ms=retention_ms + parts.settings.replay_window_ms + DAY_MS,
    )
