"""What goes wrong at a real broker, and what then must be true."""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.record.util import calc_crc32c_py

from agents.adapters import kafka, kafka_admin, kafka_subscription
from agents.adapters.children import free_port
from agents.adapters.kafka import KafkaLog
from agents.adapters.kafka_admin import ensure_topics
from agents.adapters.kafka_clients import PUBLISH_WITHIN_S
from agents.adapters.kafka_subscription import KafkaSubscription
from agents.kernel.errors import ConfigurationError, LogUnavailable
from agents.kernel.ports import Outgoing
from agents.kernel.topics import Topic, TopicRole, Topics

WITHIN_S = 30.0

_SPOILED = "spoiled-name"


@pytest.fixture(
    params=[
        pytest.param("embedded_broker", marks=pytest.mark.embedded),
        pytest.param("apache_kafka", marks=pytest.mark.kafka),
    ]
)
def broker(request: pytest.FixtureRequest) -> str:
    """The address of each broker in turn."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def log(broker: str) -> AsyncIterator[KafkaLog]:
    """A log at that broker, not yet opened."""
    log = KafkaLog(broker)
    yield log
    await log.close()


async def test_every_call_says_what_to_do_when_the_broker_is_absent() -> None:
    """The message names the address and the setting, and comes within the time limit."""
    address = f"127.0.0.1:{free_port(0)}"
    log = KafkaLog(address)
    calls = [
        log.open(),
        log.publish([Outgoing("payment.events", b"order", b"x")]),
        log.subscribe("payment", ["payment.events"]),
        _read(log, "payment.events"),
        ensure_topics(address, _topics()),
    ]

    async with asyncio.timeout(PUBLISH_WITHIN_S):
        for call in calls:
            with pytest.raises(LogUnavailable, match=f"{address}.*CHORALE_BOOTSTRAP"):
                await call
    await log.close()


async def test_every_call_ends_in_time_when_the_broker_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A port that takes connections and says nothing is the worst kind of broker."""
    for limit in ("OPEN_WITHIN_S", "PUBLISH_WITHIN_S", "JOIN_WITHIN_S", "READ_WITHIN_S"):
        monkeypatch.setattr(kafka, limit, 0.2)
    monkeypatch.setattr(kafka_admin, "ENSURE_WITHIN_S", 0.2)
    deaf = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    address = f"127.0.0.1:{deaf.sockets[0].getsockname()[1]}"
    log = KafkaLog(address)

    async with asyncio.timeout(WITHIN_S):
        for call in (
            log.open(),
            log.publish([Outgoing("payment.events", b"order", b"x")]),
            log.subscribe("payment", ["payment.events"]),
            _read(log, "payment.events"),
            ensure_topics(address, _topics()),
        ):
            with pytest.raises(LogUnavailable, match="no answer in time"):
                await call
        await log.close()
    deaf.close()


async def test_publish_works_again_when_the_sending_task_died(log: KafkaLog, broker: str) -> None:
    """A producer without its task would fail every later publish until a restart."""
    [topic] = await _made(broker)
    await log.publish([Outgoing(topic, b"order", b"before")])
    dead = log._producer
    assert dead is not None
    dead._sender.sender_task.cancel()
    await asyncio.wait([dead._sender.sender_task])

    await log.publish([Outgoing(topic, b"order", b"after")])

    assert log._producer is not dead
    assert [record.value for record in await _read(log, topic)] == [b"before", b"after"]


async def test_batch_is_read_when_a_header_name_is_not_text(log: KafkaLog, broker: str) -> None:
    """One bad header of somebody else's must not block a partition, nor cost other orders."""
    [topic] = await _made(broker)
    outsider = AIOKafkaProducer(bootstrap_servers=broker)
    await outsider.start()
    batch = outsider.create_batch()
    for number in range(3):
        name = _SPOILED if number == 1 else "fine"
        value = str(number).encode()
        batch.append(key=b"order", value=value, timestamp=None, headers=[(name, b"v")])
    batch._build = lambda build=batch._build: _spoiled(build())
    await (await outsider.send_batch(batch, topic, partition=0))
    await outsider.stop()

    records = await _read(log, topic)

    assert [record.value for record in records] == [b"0", b"1", b"2"]
    assert [record.headers[0][0] for record in records] == [
        "fine",
        "\ufffd" * len(_SPOILED),
        "fine",
    ]
    assert {record.headers[0][1] for record in records} == {b"v"}


async def test_silent_consumer_is_found_when_records_wait(
    log: KafkaLog, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that gets nothing although the log goes on is given up, and a new one reads."""
    monkeypatch.setattr(kafka_subscription, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(kafka_subscription, "SILENT_AFTER_S", 0.5)
    [topic] = await _made(broker)
    member = await log.subscribe("silent", [topic])
    # Paused behind our back: heartbeats go on, nothing comes, nothing fails.
    member._consumer.pause(TopicPartition(topic, 0))
    await log.publish([Outgoing(topic, b"order", b"x")])

    with pytest.raises(LogUnavailable, match=f"reading {topic} 0 .* offset 0 of 1 did not come"):
        await _fetch_for_ever(member)
    await member.close()

    again = await log.subscribe("silent", [topic])
    async with asyncio.timeout(WITHIN_S):
        while not (records := await again.fetch(10)):
            pass
    await again.close()
    assert records[0].value == b"x"


async def test_topic_is_refused_when_it_would_lose_records_too_early(broker: str) -> None:
    """The ledger counts on the retention of topics.yaml; more is fine, less is not."""
    topics = _topics()
    await ensure_topics(broker, topics)

    await ensure_topics(broker, _kept(topics, 1_000))
    for longer in (7_200_000, None):
        with pytest.raises(ConfigurationError, match=r"retention\.ms=3600000.*kafka-configs"):
            await ensure_topics(broker, _kept(topics, longer))


async def test_replication_is_refused_when_there_are_too_few_brokers(broker: str) -> None:
    """The message names the key to change."""
    topics = Topics(tuple(replace(topic, replication=3) for topic in _topics().all), 1)

    with pytest.raises(ConfigurationError, match=r"`replication` in topics\.yaml"):
        await ensure_topics(broker, topics)


async def test_topic_is_made_without_a_setting_when_the_broker_knows_it_not(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is refused is left out, and the caller learns of it."""
    settings = kafka_admin._settings
    monkeypatch.setattr(
        kafka_admin, "_settings", lambda topic: {**settings(topic), "no.such.setting": "1"}
    )
    topics = _topics()
    name = topics.all[0].name

    ensured = await ensure_topics(broker, topics)

    assert ensured.made == (name,)
    assert ensured.refused_settings == (f"{name}: no.such.setting",)


async def _fetch_for_ever(member: KafkaSubscription) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            assert await member.fetch(10) == []


def _topics(partitions: int = 1) -> Topics:
    name = f"t-{uuid.uuid4().hex[:12]}"
    return Topics((Topic(name, name, TopicRole.EVENTS, partitions, 1, 3_600_000),), partitions)


def _kept(topics: Topics, retention_ms: int | None) -> Topics:
    return Topics(
        tuple(replace(topic, retention_ms=retention_ms) for topic in topics.all),
        topics.partitions,
    )


async def _made(address: str) -> list[str]:
    topics = _topics()
    await ensure_topics(address, topics)
    return [topic.name for topic in topics.all]


async def _read(log: KafkaLog, topic: str) -> list[Any]:
    return [record async for record in log.read_all([topic])]


def _spoiled(batch: bytearray) -> bytes:
    """The batch with bytes that are not UTF-8 as a header name, and a checksum that fits."""
    at = batch.index(_SPOILED.encode())
    batch[at : at + len(_SPOILED)] = b"\xff" * len(_SPOILED)
    struct.pack_into(">I", batch, 17, calc_crc32c_py(bytes(batch[21:])))
    return bytes(batch)
