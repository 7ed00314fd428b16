"""Adopting a store (law 6), and the bound on messages in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from agents.adapters.kafka import KafkaLog
from agents.adapters.redis_ledger import RedisLedger
from agents.cli.connect import BoundedChannels, adopt_store
from agents.kernel.errors import ConfigurationError
from agents.kernel.ports import Effect, Record
from agents.kernel.topics import load_topics
from agents.ports import Message, Target

TOPICS = load_topics()


class OneLog:
    """A log that holds a number of records."""

    def __init__(self, records: int) -> None:
        self.records = records
        self.asked: list[str] = []

    async def read_all(self, topics: Sequence[str]) -> AsyncIterator[Record]:
        self.asked += topics
        for offset in range(self.records):
            yield Record(topics[0], 0, offset, b"o-1", b"{}")


class OneStore:
    """A store with an epoch, or none."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    async def open(self) -> int:
        return self.epoch

    async def create_epoch(self) -> int:
        self.epoch = self.epoch or 77
        return self.epoch


async def adopted(epoch: int, records: int, *, accept: bool = False) -> int:
    log, store = cast("KafkaLog", OneLog(records)), cast("RedisLedger", OneStore(epoch))
    return await adopt_store(store, log, TOPICS, accept_empty=accept)


async def test_store_is_adopted_when_it_has_an_epoch() -> None:
    """A store that knows its birth is taken as it is."""
    assert await adopted(5, records=3) == 5


async def test_store_is_marked_when_store_and_log_are_new() -> None:
    """A new installation begins by itself."""
    assert await adopted(0, records=0) == 77


async def test_empty_store_is_refused_when_the_log_holds_events() -> None:
    """A store that has forgotten is never taken for a new one, unless a person says so."""
    with pytest.raises(ConfigurationError, match="--accept-empty-store"):
        await adopted(0, records=1)
    assert await adopted(0, records=1, accept=True) == 77


async def test_only_event_topics_count_when_the_store_is_empty() -> None:
    """An order in the inbox that nobody has read yet has no step to forget."""
    log = OneLog(0)
    await adopt_store(cast("RedisLedger", OneStore(0)), cast("KafkaLog", log), TOPICS)

    assert TOPICS.inbox not in log.asked
    assert TOPICS.letters not in log.asked
    assert "payment.events" in log.asked


class Counting:
    """Channels that count how many messages are in flight."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def send(self, effect: Effect, target: Target, message: Message) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1


async def test_messages_wait_their_turn_when_many_are_sent() -> None:
    """No more than the bound is in flight, and all get through."""
    counting = Counting()
    channels = BoundedChannels(counting, at_once=3)
    nothing: Any = None
    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(channels.send(nothing, nothing, nothing), name=f"send {number}")

    assert counting.most == 3
