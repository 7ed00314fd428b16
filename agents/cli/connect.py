"""From settings to opened connections: the log, the ledger, the stores, the providers.

1. Nothing here waits for a server: connections are made when they are first used, and an agent
   that finds broker or store away waits by itself.
2. What is left is closed in the reverse order, each within `CLOSE_WITHIN_S`, whatever happens.
3. `adopt_store` refuses an empty store beside a log that holds events (law 6): it has forgotten
   which steps are done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from agents.adapters.kafka import KafkaLog
from agents.adapters.redis_client import RedisClient
from agents.adapters.redis_ledger import RedisLedger
from agents.adapters.redis_stores import (
    RedisAnswerStore,
    RedisBreakerStore,
    RedisRateLimit,
    RedisSagaStore,
)
from agents.adapters.system import SystemClock, SystemIds, SystemRandom
from agents.bootstrap import Outside, Stores
from agents.cli.running import needed
from agents.kernel.coalesce import coalesced
from agents.kernel.errors import ChoraleError, ConfigurationError
from agents.kernel.health import Health
from agents.kernel.parts import Parts
from agents.kernel.ports import Effect, Record
from agents.kernel.settings import Settings
from agents.kernel.telemetry import Telemetry
from agents.kernel.topics import TopicRole, Topics
from agents.notification import load_targets
from agents.ports import Channels, Message, Target
from agents.providers.http import HttpProviders
from agents.providers.screening import RuleScreening

MESSAGES_AT_ONCE = 64
"""A core sends some five hundred messages a second: an eighth of a second of work, no more."""
CLOSE_WITHIN_S = 6.0
"""One close; the log's own limit is five seconds. A stop must not hang on a dead server."""


@dataclass(frozen=True, slots=True)
class Connections:
    """Everything that agents are run with."""

    parts: Parts
    outside: Outside
    stores: Stores
    log: KafkaLog
    ledger: RedisLedger


@dataclass(frozen=True, slots=True)
class Store:
    """One server, and what is kept in it."""

    client: RedisClient
    ledger: RedisLedger
    stores: Stores


class BoundedChannels:
    """The channels, a bounded number of messages at a time.

    An order has 23 targets, and an agent a thousand orders in flight: called all at once they
    would wait for this machine, not for the channel, and their time-outs would run meanwhile.
    """

    def __init__(self, inner: Channels, at_once: int = MESSAGES_AT_ONCE) -> None:
        self._inner = inner
        self._room = asyncio.Semaphore(at_once)

    async def send(self, effect: Effect, target: Target, message: Message) -> None:
        """See `Channels.send`."""
        async with self._room:
            await self._inner.send(effect, target, message)


@asynccontextmanager
async def connections(
    settings: Settings, topics: Topics, telemetry: Telemetry
) -> AsyncIterator[Connections]:
    """All that agents need. Raises NotRunning if an address is missing."""
    needed(settings, "bootstrap", "store_url", "providers_url")
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(log_of(settings))
        store = await stack.enter_async_context(store_of(settings))
        providers = HttpProviders(settings.providers_url)
        stack.push_async_callback(_closed, providers.close)
        merged = coalesced(store.ledger)
        stack.push_async_callback(_closed, merged.close)
        parts = Parts(
            log=log,
            ledger=merged,
            clock=SystemClock(),
            random=SystemRandom(),
            ids=SystemIds(),
            topics=topics,
            settings=settings,
            health=Health(),
            telemetry=telemetry,
        )
        yield Connections(parts, outside_of(providers), store.stores, log, store.ledger)


@asynccontextmanager
async def log_of(settings: Settings) -> AsyncIterator[KafkaLog]:
    """The log. Raises NotRunning if its address is missing."""
    log = KafkaLog(needed(settings, "bootstrap").bootstrap, instance=settings.instance)
    try:
        yield log
    finally:
        await _closed(log.close)


@asynccontextmanager
async def store_of(settings: Settings) -> AsyncIterator[Store]:
    """The store. Raises NotRunning if its address is missing."""
    client = RedisClient(needed(settings, "store_url").store_url)
    prefix = settings.key_prefix
    ledger = RedisLedger(client, prefix)
    rate = RedisRateLimit(client, prefix, settings.rate_limit_a_minute)
    stores = Stores(
        sagas=RedisSagaStore(client, ledger.guard, prefix),
        answers=RedisAnswerStore(client, prefix),
        rate=rate,
        breakers=RedisBreakerStore(client, prefix),
    )
    try:
        yield Store(client, ledger, stores)
    finally:
        await _closed(rate.close)
        await _closed(client.close)


def outside_of(providers: HttpProviders) -> Outside:
    """The outside world behind one address."""
    first, second = providers.carriers.values()
    return Outside(
        payments=providers.payments,
        warehouses=providers.warehouses,
        first_carrier=first,
        second_carrier=second,
        channels=BoundedChannels(providers.channels),
        screening=RuleScreening(),
        targets=load_targets(),
    )


async def adopt_store(
    ledger: RedisLedger, log: KafkaLog, topics: Topics, *, accept_empty: bool = False
) -> int:
    """Adopt the store's epoch, or mark a new store beside a new log; returns the epoch.

    Raises ConfigurationError for an empty store beside events, unless they are to be accepted.
    """
    epoch = await ledger.open()
    if epoch:
        return epoch
    if not accept_empty and await holds_events(log, topics):
        raise ConfigurationError(
            "the store is empty, but the event topics are not: it has forgotten which steps are "
            "done, and a late or repeated record would act again; restore the store, or go on "
            "without its memory by `--accept-empty-store`"
        )
    return await ledger.create_epoch()


async def holds_events(log: KafkaLog, topics: Topics) -> bool:
    """Whether any event topic holds a record."""
    records = cast("AsyncGenerator[Record, None]", log.read_all(event_topics(topics)))
    async with contextlib.aclosing(records):
        return await anext(records, None) is not None


def event_topics(topics: Topics) -> Sequence[str]:
    """The agents' topics."""
    return [topic.name for topic in topics.all if topic.role is TopicRole.EVENTS]


async def _closed(close: Callable[[], Awaitable[None]]) -> None:
    with _forgiven():
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await close()


@contextlib.contextmanager
def _forgiven() -> Iterator[None]:
    """A server that is gone cannot be said goodbye to; that is no failure of the command."""
    with contextlib.suppress(ChoraleError, OSError):
        yield
