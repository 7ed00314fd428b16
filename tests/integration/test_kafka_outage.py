"""Apache Kafka killed and started again: who notices, how soon, and what is lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from agents.adapters.apache_kafka import ApacheKafka
from agents.adapters.kafka import KafkaLog
from agents.adapters.kafka_admin import ensure_topics
from agents.adapters.kafka_subscription import KafkaSubscription
from agents.kernel.errors import LogUnavailable
from agents.kernel.ports import Outgoing, Record
from agents.kernel.topics import Topic, TopicRole, Topics

NOTICED_WITHIN_S = 30.0
RESTARTED_WITHIN_S = 90.0

TOPIC = "orders"


# The mark comes from the fixture, which also tells what is missing; its broker is left alone.
@pytest.mark.usefixtures("apache_kafka")
async def test_nothing_is_lost_when_the_broker_is_killed_and_comes_back(tmp_path: Path) -> None:
    """An idle member and a publisher notice the outage; afterwards all goes on from the commit."""
    kafka = ApacheKafka(tmp_path)
    address = (await kafka.start()).address
    log = KafkaLog(address)
    try:
        await ensure_topics(
            address, Topics((Topic(TOPIC, "x", TopicRole.EVENTS, 1, 1, 3_600_000),), 1)
        )
        member = await log.subscribe("group", [TOPIC])
        await log.publish([_order(0), _order(1)])
        records = await _some(member, 2)
        assert await member.commit({(TOPIC, 0): 1}, member.generation)

        assert kafka.child is not None
        kafka.child.kill()
        noticed_s = await _until_unavailable(member)
        with pytest.raises(LogUnavailable, match=address):
            await log.publish([_order(2)])
        await member.close()
        await kafka.start()

        async with asyncio.timeout(RESTARTED_WITHIN_S):
            await _publish_until_it_works(log, _order(2))
            again = await log.subscribe("group", [TOPIC])
            after = await _some(again, 2)
            await again.close()
    finally:
        await log.close()
        await kafka.stop()

    assert [record.value for record in records] == [b"0", b"1"]
    assert noticed_s < NOTICED_WITHIN_S
    assert [record.value for record in after][:2] == [b"1", b"2"]


def _order(number: int) -> Outgoing:
    return Outgoing(TOPIC, b"order", str(number).encode())


async def _some(member: KafkaSubscription, count: int) -> list[Record]:
    records: list[Record] = []
    while len(records) < count:
        records += await member.fetch(100)
    return records


async def _until_unavailable(member: KafkaSubscription) -> float:
    """How long an idle member takes to raise."""
    start_s = time.monotonic()
    async with asyncio.timeout(2 * NOTICED_WITHIN_S):
        while True:
            try:
                await member.fetch(100)
            except LogUnavailable:
                return time.monotonic() - start_s


async def _publish_until_it_works(log: KafkaLog, order: Outgoing) -> None:
    while True:
        try:
            return await log.publish([order])
        except LogUnavailable:
            await asyncio.sleep(0.5)
