"""The embedded broker and store, started, killed and stopped for real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from redis.asyncio import Redis

from agents.adapters.children import answers
from agents.adapters.embedded import DataFolder
from agents.adapters.embedded_broker import EmbeddedBroker, forget_members
from agents.adapters.embedded_store import EmbeddedStore
from agents.kernel.errors import ConfigurationError

pytestmark = pytest.mark.embedded


async def test_broker_keeps_committed_offsets_when_it_is_stopped_and_started_again(
    tmp_path: Path,
) -> None:
    """An orderly stop loses neither records nor a group's offsets."""
    _need(EmbeddedBroker.missing())
    async with _broker(tmp_path) as (address, moved):
        assert moved is None
        await _make_topic(address, "kept")
        await _publish(address, "kept", b"one", b"two")
        assert await _read_and_commit(address, "kept", 2) == [b"one", b"two"]

    async with _broker(tmp_path) as (address, moved):
        assert moved is None
        await _publish(address, "kept", b"three")
        assert await _read_and_commit(address, "kept", 1) == [b"three"]


async def test_two_members_share_partitions_by_range(embedded_broker: str) -> None:
    """One partition number of two topics lands on one member, as the range assignor promises."""
    await _make_topic(embedded_broker, "left", partitions=3)
    await _make_topic(embedded_broker, "right", partitions=3)
    one = _consumer(embedded_broker, "left", "right", group="shared")
    two = _consumer(embedded_broker, "left", "right", group="shared")

    async with asyncio.timeout(30):
        await asyncio.gather(one.start(), two.start())
        try:
            while not _shared(one, two, partitions=6):
                await asyncio.gather(one.getmany(timeout_ms=100), two.getmany(timeout_ms=100))
            for member in (one, two):
                assert _numbers(member, "left") == _numbers(member, "right") != set()
        finally:
            await asyncio.gather(one.stop(), two.stop())


async def test_group_goes_on_when_its_killed_member_is_forgotten(embedded_broker: str) -> None:
    """The broker never expires a killed member by itself; forgetting it lets the next one in."""
    await _make_topic(embedded_broker, "widowed", partitions=3)
    member = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _MEMBER, embedded_broker, stdout=asyncio.subprocess.PIPE
    )
    assert member.stdout is not None
    assert await member.stdout.readline() == b"joined\n"
    member.kill()
    await member.wait()

    assert await forget_members(embedded_broker, "widows") == 1

    successor = _consumer(embedded_broker, "widowed", group="widows")
    async with asyncio.timeout(15):
        await successor.start()
    assert len(successor.assignment()) == 3
    await successor.stop()


async def test_topic_keeps_its_retention_when_it_is_asked_for(embedded_broker: str) -> None:
    """The retention that a topic was made with can be read back."""
    await _make_topic(embedded_broker, "retained", retention_ms=1_209_600_000)
    admin = AIOKafkaAdminClient(bootstrap_servers=embedded_broker)
    await admin.start()

    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "retained")])
    await admin.close()

    values = {entry[0]: entry[1] for entry in answers[0].resources[0][4]}
    assert values["retention.ms"] == "1209600000"


async def test_store_keeps_its_data_when_it_is_stopped_and_started_again(tmp_path: Path) -> None:
    """An orderly stop leaves the mark, and the data stays where it was."""
    _need(EmbeddedStore.missing())
    async with _store(tmp_path) as (redis, moved, _):
        assert moved is None
        await redis.set("order", "held")

    async with _store(tmp_path) as (redis, moved, _):
        assert moved is None
        assert await redis.get("order") == b"held"


async def test_store_never_evicts_and_appends_to_a_file(valkey: str) -> None:
    """The settings that the ledger counts on are in force."""
    redis = Redis.from_url(valkey)

    settings = await redis.config_get("appendonly", "appendfsync", "maxmemory-policy", "bind")
    await redis.aclose()

    assert settings == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }


async def test_data_moves_aside_when_the_store_was_killed(tmp_path: Path) -> None:
    """Without the mark nothing is trusted, nothing is deleted, and the caller learns where."""
    _need(EmbeddedStore.missing())
    async with _store(tmp_path) as (redis, _, store):
        await redis.set("order", "held")
        assert store.child is not None
        os.kill(store.child.pid, signal.SIGKILL)
        await store.child.wait()

    async with _store(tmp_path) as (redis, moved, _):
        assert moved is not None
        assert moved.parent == tmp_path
        assert any((moved / "store").rglob("*.aof"))
        assert await redis.dbsize() == 0

    async with _store(tmp_path) as (_, moved, _):
        assert moved is None


async def test_store_answers_with_all_it_acknowledged_when_it_was_killed_and_started_again(
    tmp_path: Path,
) -> None:
    """Within one claim a killed store comes back whole: its file is written before it answers."""
    _need(EmbeddedStore.missing())
    async with _store(tmp_path) as (redis, _, store):
        await redis.set("order", "held")
        assert store.child is not None
        store.child.kill()

        again = Redis.from_url((await store.start()).address)

        assert await again.get("order") == b"held"
        await again.aclose()


async def test_folder_is_refused_when_somebody_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second `up` on the same folder must not move the first one's data away."""
    monkeypatch.setattr("agents.adapters.embedded._CLAIM_WITHIN_S", 0.0)
    holder = DataFolder(tmp_path)
    await holder.claim()

    with pytest.raises(ConfigurationError, match=f"in use by chorale {os.getpid()}"):
        await DataFolder(tmp_path).claim()

    holder.release()
    assert await DataFolder(tmp_path).claim() is None


async def test_store_and_folder_become_free_when_their_parent_is_killed(tmp_path: Path) -> None:
    """The children of a killed parent end by themselves, and only then is the folder free."""
    _need(EmbeddedStore.missing())
    if sys.platform != "linux":
        pytest.skip("a child follows its parent on Linux only")
    parent = subprocess.Popen(  # noqa: ASYNC220 - only its start is waited for
        [sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    port = int(await asyncio.to_thread(parent.stdout.readline))
    assert await answers(port)
    parent.kill()
    parent.wait()
    parent.stdout.close()

    moved = await DataFolder(tmp_path).claim()

    assert moved is not None
    assert not await answers(port)


_MEMBER = """import asyncio, sys
from tests.integration.test_embedded import _consumer
async def main():
    await _consumer(sys.argv[1], "widowed", group="widows").start()
    print("joined", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""

_PARENT = """import asyncio, pathlib, sys
from agents.adapters.embedded import DataFolder
from agents.adapters.embedded_store import EmbeddedStore
async def main():
    folder = DataFolder(pathlib.Path(sys.argv[1]))
    await folder.claim()
    started = await EmbeddedStore(folder, 0).start()
    print(started.address.partition("127.0.0.1:")[2].removesuffix("/0"), flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def _need(reason: str | None) -> None:
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


@asynccontextmanager
async def _broker(path: Path) -> AsyncIterator[tuple[str, Path | None]]:
    moved = await (folder := DataFolder(path)).claim()
    broker = EmbeddedBroker(folder, port=0)
    try:
        yield (await broker.start()).address, moved
    finally:
        await broker.stop()
        folder.release()


@asynccontextmanager
async def _store(path: Path) -> AsyncIterator[tuple[Redis, Path | None, EmbeddedStore]]:
    moved = await (folder := DataFolder(path)).claim()
    store = EmbeddedStore(folder, port=0)
    redis = Redis.from_url((await store.start()).address)
    try:
        yield redis, moved, store
    finally:
        await redis.aclose()
        await store.stop()
        folder.release()


async def _make_topic(
    address: str, name: str, partitions: int = 1, retention_ms: int = 86_400_000
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    topic = NewTopic(name, partitions, 1, topic_configs={"retention.ms": str(retention_ms)})
    await admin.create_topics([topic])
    await admin.close()


async def _publish(address: str, topic: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    await producer.start()
    for value in values:
        await producer.send_and_wait(topic, value, key=b"order")
    await producer.stop()


def _consumer(address: str, *topics: str, group: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=address,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(RangePartitionAssignor,),
    )


def _shared(one: AIOKafkaConsumer, two: AIOKafkaConsumer, partitions: int) -> bool:
    sizes = len(one.assignment()), len(two.assignment())
    return all(sizes) and sum(sizes) == partitions == len(one.assignment() | two.assignment())


def _numbers(member: AIOKafkaConsumer, topic: str) -> set[int]:
    return {place.partition for place in member.assignment() if place.topic == topic}


async def _read_and_commit(address: str, topic: str, count: int) -> list[bytes]:
    consumer = _consumer(address, topic, group="readers")
    values: list[bytes] = []
    await consumer.start()
    try:
        async with asyncio.timeout(15):
            while len(values) < count:
                for place, records in (await consumer.getmany(timeout_ms=100)).items():
                    values += [record.value for record in records]
                    await consumer.commit({TopicPartition(*place): records[-1].offset + 1})
    finally:
        await consumer.stop()
    return values
