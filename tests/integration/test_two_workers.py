"""Law 2 with real processes: an order's records of all topics are handled by one worker."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agents.adapters.kafka import KafkaLog
from agents.adapters.kafka_admin import ensure_topics
from agents.kernel.ports import Outgoing
from agents.kernel.topics import Topic, TopicRole, Topics

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0
"""Two processes start and a group settles, on a loaded machine."""
MOVED_WITHIN_S = 30.0
"""A killed worker's partitions: one session of 6 s, one rebalance, and a loaded machine."""
ORDERS = 60

_WORKER = """
import asyncio, json, sys
from agents.adapters.kafka import KafkaLog

async def main(address, group, *topics):
    log = KafkaLog(address, client_id="worker")
    member = await log.subscribe(group, topics)
    print(flush=True)
    while True:
        records = await member.fetch(100)
        for record in records:
            print(json.dumps([record.topic, record.partition, record.key.decode()]), flush=True)
        ends = {record.place: record.offset + 1 for record in records}
        if ends:
            await member.commit(ends, records[0].generation)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_order_stays_on_one_worker_when_two_share_its_topics(apache_kafka: str) -> None:
    """Three partitions, two topics, two processes; then one is killed and the other has all."""
    topics = _topics()
    await ensure_topics(apache_kafka, topics)
    names = [topic.name for topic in topics.all]
    group = f"g-{uuid.uuid4().hex[:12]}"
    log = KafkaLog(apache_kafka)
    news = asyncio.Event()
    async with AsyncExitStack() as stack, asyncio.timeout(WITHIN_S + MOVED_WITHIN_S):
        stack.push_async_callback(log.close)
        command = [_WORKER, apache_kafka, group, *names]
        workers = [await stack.enter_async_context(_worker(command, news)) for _ in range(2)]
        await _until_both_work(log, names, workers)

        await _publish(log, names, "shared")
        await _until_handled(workers, "shared")
        owners = _owners(workers, "shared")
        workers[0].process.kill()
        killed_s = time.monotonic()
        await _publish(log, names, "moved")
        await _until_handled(workers[1:], "moved")
        moved_s = time.monotonic() - killed_s

    assert len(owners) == ORDERS
    assert all(len(indexes) == 1 for indexes in owners.values())
    shares = [{row[1] for row in w.rows if row[2].startswith("shared")} for w in workers]
    assert sorted(map(len, shares)) == [1, 2]
    assert moved_s < MOVED_WITHIN_S


@dataclass(slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    news: asyncio.Event
    """Set whenever any worker has handled something."""
    rows: list[tuple[str, int, str]] = field(default_factory=list)
    """Topic, partition and order of each record that it has handled."""

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.strip():
                topic, partition, order = json.loads(line)
                self.rows.append((topic, partition, order))
                self.news.set()


@asynccontextmanager
async def _worker(command: Sequence[str], news: asyncio.Event) -> AsyncIterator[_Worker]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    worker = _Worker(process, news)
    listening = asyncio.create_task(worker.listen(), name="listen to a worker")
    try:
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


async def _until_both_work(
    log: KafkaLog, topics: Sequence[str], workers: Sequence[_Worker]
) -> None:
    """Publish round after round, until one round reaches both workers."""
    for number in range(1000):
        name = f"round{number}-"
        await _publish(log, topics, name)
        await _until_handled(workers, name)
        if all(any(row[2].startswith(name) for row in worker.rows) for worker in workers):
            return


async def _publish(log: KafkaLog, topics: Sequence[str], name: str) -> None:
    orders = [f"{name}{number}" for number in range(ORDERS)]
    await log.publish(
        [Outgoing(topic, order.encode(), b"{}") for order in orders for topic in topics]
    )


async def _until_handled(workers: Sequence[_Worker], name: str) -> None:
    """Until these workers have handled every order of that name in both topics."""
    while len(_handled(workers, name)) < 2 * ORDERS:
        workers[0].news.clear()
        await workers[0].news.wait()


def _handled(workers: Sequence[_Worker], name: str) -> set[tuple[str, int, str]]:
    return {row for worker in workers for row in worker.rows if row[2].startswith(name)}


def _owners(workers: Sequence[_Worker], name: str) -> dict[str, set[int]]:
    owners: dict[str, set[int]] = {}
    for index, worker in enumerate(workers):
        for _, _, order in worker.rows:
            if order.startswith(name):
                owners.setdefault(order, set()).add(index)
    return owners


def _topics() -> Topics:
    names = [f"t-{uuid.uuid4().hex[:12]}" for _ in range(2)]
    return Topics(tuple(Topic(name, name, TopicRole.EVENTS, 3, 1, 3_600_000) for name in names), 3)
