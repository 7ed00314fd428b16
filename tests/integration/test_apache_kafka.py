"""Apache Kafka, started, killed and started again for real."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.adapters.apache_kafka import ApacheKafka
from agents.adapters.children import answers


async def test_topic_is_not_made_by_accident_when_somebody_writes_to_it(apache_kafka: str) -> None:
    """Writing to an unknown topic waits for it, and leaves no topic with a wrong shape."""
    producer = AIOKafkaProducer(bootstrap_servers=apache_kafka)
    await producer.start()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await producer.send_and_wait("never-made", b"lost")
    topics = await producer.client.fetch_all_metadata()
    await producer.stop()

    assert "never-made" not in topics.topics()


@pytest.mark.kafka
async def test_broker_keeps_what_it_acknowledged_when_it_is_killed_and_started_again(
    tmp_path: Path,
) -> None:
    """A fault test may kill it: same port, same records."""
    reason = ApacheKafka.missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)
    kafka = ApacheKafka(tmp_path)
    try:
        first = await kafka.start()
        await _publish(first.address, b"held")
        assert kafka.child is not None
        kafka.child.kill()

        second = await kafka.start()

        assert second.address == first.address
        assert await _read(second.address) == b"held"
    finally:
        await kafka.stop()
    assert not await answers(int(first.address.rpartition(":")[2]))


async def _publish(address: str, value: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    await producer.start()
    async with asyncio.timeout(15):
        await producer.send_and_wait("kept", value, key=b"order")
    await producer.stop()


async def _read(address: str) -> bytes | None:
    consumer = AIOKafkaConsumer("kept", bootstrap_servers=address, auto_offset_reset="earliest")
    try:
        async with asyncio.timeout(15):
            await consumer.start()
            record = await consumer.getone()
    finally:
        await consumer.stop()
    value: bytes | None = record.value
    return value
