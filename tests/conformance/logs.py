"""The logs under test, what each of them need not pass, and what the tests share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agents.adapters.kafka import KafkaLog
from agents.adapters.kafka_admin import ensure_topics
from agents.adapters.kafka_subscription import KafkaSubscription
from agents.adapters.memory_log import MemoryLog, MemorySubscription
from agents.kernel.ports import Outgoing, Record
from agents.kernel.topics import Topic, TopicRole, Topics

PARTITIONS = 3
WITHIN_S = 40.0
"""A group settles in one heartbeat (2 s) as a rule, in one session (6 s) after a loss."""

EXCEPTIONS = {
    "test_null_values_and_headers_survive_when_an_outsider_wrote_them": {
        "memory": "nobody but us can write to it, and we write no null values",
    },
    "test_compressed_records_are_read_when_an_outsider_compressed_them": {
        "memory": "nobody but us can write to it",
    },
    "test_unknown_topic_is_refused_when_nobody_made_it": {
        "memory": "topics come into being when somebody names them",
    },
    "test_partitions_move_when_a_member_is_lost": {
        "embedded": "it never ends a session: what a lost member had waits for its restart under "
        "the same instance name",
        "kafka": "a member is lost by killing its process: tests/integration/test_two_workers.py",
    },
    "test_partitions_come_back_at_once_when_a_named_member_restarts": {
        "memory": "members have no names: whoever joins gets a share at once",
    },
}

Member = MemorySubscription | KafkaSubscription


@dataclass(frozen=True, slots=True)
class Backend:
    """One log under test, and what only its kind can do."""

    name: str
    address: str
    log: MemoryLog | KafkaLog
    ensure: Callable[[Topics], Awaitable[object]]

    async def topics(self, count: int = 1, partitions: int = PARTITIONS) -> list[str]:
        """So many new topics."""
        made = new_topics(count, partitions)
        await self.ensure(made)
        return [topic.name for topic in made.all]


@asynccontextmanager
async def opened(kind: str, address: str) -> AsyncIterator[Backend]:
    """The log of that kind."""
    if kind == "memory":
        memory = MemoryLog(PARTITIONS)
        yield Backend(kind, address, memory, memory.ensure_topics)
        return
    kafka = KafkaLog(address)
    await kafka.open()
    yield Backend(kind, address, kafka, lambda topics: ensure_topics(address, topics))
    await kafka.close()


def topic_named(name: str, partitions: int) -> Topic:
    """A topic whose records are kept for an hour."""
    return Topic(name, name, TopicRole.EVENTS, partitions, 1, 3_600_000)


def new_topics(count: int, partitions: int) -> Topics:
    """Topics with names that nobody has used."""
    names = [f"t-{uuid.uuid4().hex[:12]}" for _ in range(count)]
    return Topics(tuple(topic_named(name, partitions) for name in names), partitions)


def new_group() -> str:
    """A group that nobody has used."""
    return f"g-{uuid.uuid4().hex[:12]}"


def outgoing(topic: str, key: str, value: str) -> Outgoing:
    """A record to publish."""
    return Outgoing(topic, key.encode(), value.encode())


async def read_all(backend: Backend, topics: Sequence[str]) -> list[Record]:
    """All that the topics hold."""
    async with asyncio.timeout(WITHIN_S):
        return [record async for record in backend.log.read_all(topics)]


async def collect(member: Member, count: int, at_once: int = 500) -> list[Record]:
    """So many different records."""
    return (await collect_each([member], count, at_once))[0]


async def collect_each(
    members: Sequence[Member], count: int, at_once: int = 500
) -> list[list[Record]]:
    """So many different records of the present assignments, by member."""
    seen: list[list[Record]] = [[] for _ in members]
    async with asyncio.timeout(WITHIN_S):
        while len({(r.place, r.offset) for records in seen for r in records}) < count:
            fetched = await asyncio.gather(*(member.fetch(at_once) for member in members))
            for index, (member, records) in enumerate(zip(members, fetched, strict=True)):
                present = [r for r in seen[index] if r.generation == member.generation]
                seen[index] = present + records
    return seen


async def stay(member: Member, seconds: float) -> None:
    """Be in the group for so long without taking anything."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() <= deadline:
        assert await member.fetch(0) == []
        await asyncio.sleep(seconds / 20)


async def until(reached: Callable[[], bool], *members: Member) -> None:
    """Let the members stay in their group until that is so."""
    async with asyncio.timeout(WITHIN_S):
        while not reached():
            await asyncio.gather(*(member.fetch(0) for member in members))
            await asyncio.sleep(0.05)
