"""One suite for every log: memory, the embedded broker, Apache Kafka.

What a backend need not pass stands in `logs.EXCEPTIONS`, with the reason; everything else it must.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer

from agents.adapters.kafka import KafkaLog
from agents.adapters.log_rules import RECORD_BYTES_MAX
from agents.adapters.memory_log import MemoryLog
from agents.kernel.errors import ConfigurationError, LogUnavailable, TerminalFault
from agents.kernel.ports import Record
from agents.kernel.topics import Topics
from tests.conformance.logs import (
    EXCEPTIONS,
    PARTITIONS,
    WITHIN_S,
    Backend,
    collect,
    collect_each,
    new_group,
    new_topics,
    opened,
    outgoing,
    read_all,
    stay,
    topic_named,
    until,
)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("embedded", marks=pytest.mark.embedded),
        pytest.param("kafka", marks=pytest.mark.kafka),
    ]
)
def service(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each kind of log in turn, and its address."""
    kind = str(request.param)
    reason = EXCEPTIONS.get(request.function.__name__, {}).get(kind)
    if reason is not None:
        pytest.skip(f"{kind}: {reason}")
    fixtures = {"embedded": "embedded_broker", "kafka": "apache_kafka"}
    return kind, request.getfixturevalue(fixtures[kind]) if kind in fixtures else ""


@pytest.fixture
async def backend(service: tuple[str, str]) -> AsyncIterator[Backend]:
    """The log of that kind, opened."""
    async with opened(*service) as backend:
        yield backend


async def test_records_come_in_order_when_they_share_a_key(backend: Backend) -> None:
    """What was published under one key is fetched in that order, and nothing is missing."""
    [topic] = await backend.topics()
    records = [outgoing(topic, f"order-{i % 7}", str(i)) for i in range(200)]
    await backend.log.publish(records[:120])
    await backend.log.publish(records[120:])

    member = await backend.log.subscribe(new_group(), [topic])
    fetched = await collect(member, 200)
    generation = member.generation
    await member.close()

    for key in {record.key for record in records}:
        sent = [r.value for r in records if r.key == key]
        assert [r.value for r in fetched if r.key == key] == sent
    assert {r.generation for r in fetched} == {generation}


async def test_headers_survive_when_they_repeat_or_are_empty(backend: Backend) -> None:
    """Headers come back as they were sent, in order, doubles and empty ones included."""
    [topic] = await backend.topics()
    headers = (("chorale-a", b"1"), ("chorale-a", b"2"), ("chorale-empty", b""), ("ä", b"\xff"))

    await backend.log.publish([replace(outgoing(topic, "order", "x"), headers=headers)])

    [record] = await read_all(backend, [topic])
    assert record.headers == headers
    assert record.header("chorale-a") == "2"
    assert (record.key, record.value) == (b"order", b"x")


async def test_null_values_and_headers_survive_when_an_outsider_wrote_them(
    backend: Backend,
) -> None:
    """A record without key, value or header value arrives as such and breaks nothing."""
    [topic] = await backend.topics()
    outsider = AIOKafkaProducer(bootstrap_servers=backend.address)
    await outsider.start()
    await outsider.send_and_wait(topic, None, key=b"order", headers=[("empty", None)])
    await outsider.send_and_wait(topic, b"{}", key=None, partition=0)
    await outsider.stop()

    records = {record.value: record for record in await read_all(backend, [topic])}

    assert records[None].key == b"order"
    assert records[None].header("empty") == ""
    assert records[b"{}"].key is None


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records_are_read_when_an_outsider_compressed_them(
    backend: Backend, codec: str
) -> None:
    """Whatever codec a producer uses, its orders are read."""
    pytest.importorskip("cramjam", reason="install aiokafka[all]")
    [topic] = await backend.topics()
    outsider = AIOKafkaProducer(bootstrap_servers=backend.address, compression_type=codec)
    await outsider.start()
    await outsider.send_and_wait(topic, b"x" * 500, key=b"order")
    await outsider.stop()

    [record] = await read_all(backend, [topic])

    assert record.value == b"x" * 500


async def test_key_lives_on_one_partition_number_when_topics_differ(backend: Backend) -> None:
    """An order's partition number is the same in every topic."""
    topics = await backend.topics(2)
    keys = [f"order-{i}" for i in range(30)]

    await backend.log.publish([outgoing(topic, key, "x") for key in keys for topic in topics])

    records = await read_all(backend, topics)
    for key in keys:
        assert len({r.partition for r in records if r.key == key.encode()}) == 1
    assert {r.partition for r in records} == set(range(PARTITIONS))


async def test_new_member_starts_at_the_commit_when_the_last_one_left(backend: Backend) -> None:
    """Committed records do not come again; uncommitted ones do."""
    [topic], group = await backend.topics(partitions=1), new_group()
    await backend.log.publish([outgoing(topic, "order", str(i)) for i in range(10)])
    first = await backend.log.subscribe(group, [topic])
    await collect(first, 10)
    assert await first.commit({(topic, 0): 6}, first.generation)
    await first.close()

    second = await backend.log.subscribe(group, [topic])
    fetched = await collect(second, 4)
    await second.close()

    assert [r.offset for r in fetched] == [6, 7, 8, 9]
    assert second.generation != first.generation


async def test_everything_comes_again_when_nothing_was_committed(backend: Backend) -> None:
    """Fetching alone moves nothing: the next member gets the same records."""
    [topic], group = await backend.topics(), new_group()
    await backend.log.publish([outgoing(topic, f"order-{i}", "x") for i in range(20)])
    first = await backend.log.subscribe(group, [topic])
    before = await collect(first, 20)
    await first.close()

    second = await backend.log.subscribe(group, [topic])
    after = await collect(second, 20)
    await second.close()

    assert {(r.place, r.offset) for r in before} == {(r.place, r.offset) for r in after}


async def test_commit_changes_nothing_when_its_generation_is_over(backend: Backend) -> None:
    """A commit of an earlier assignment, or of a foreign partition, is refused."""
    [topic], group = await backend.topics(partitions=1), new_group()
    await backend.log.publish([outgoing(topic, "order", str(i)) for i in range(5)])
    first = await backend.log.subscribe(group, [topic])
    await collect(first, 5)
    old = first.generation
    second = await backend.log.subscribe(group, [topic])
    await until(lambda: first.generation != old, first, second)

    assert await first.commit({(topic, 0): 5}, old) is False
    assert await first.commit({(topic, 7): 1}, first.generation) is False
    await first.close()
    fetched = await collect(second, 5)
    await second.close()

    assert [r.offset for r in fetched] == [0, 1, 2, 3, 4]


async def test_one_member_has_all_of_an_order_when_two_share_a_group(backend: Backend) -> None:
    """Range over two topics: one partition number of both is always on the same member."""
    topics, group = await backend.topics(2), new_group()
    members = [await backend.log.subscribe(group, topics) for _ in range(2)]
    keys = [f"order-{i}" for i in range(40)]
    await backend.log.publish([outgoing(topic, key, "x") for key in keys for topic in topics])

    seen = await collect_each(members, 80)

    owners: dict[bytes | None, set[int]] = {}
    for index, records in enumerate(seen):
        for record in records:
            owners.setdefault(record.key, set()).add(index)
    assert all(len(indexes) == 1 for indexes in owners.values())
    assert all(seen), "both members have work"
    assert {len({r.partition for r in records}) for records in seen} == {1, 2}
    await asyncio.gather(*(member.close() for member in members))


async def test_partitions_move_when_a_member_leaves(backend: Backend) -> None:
    """What the leaver had not committed comes to the member that stays."""
    topics, group = await backend.topics(2), new_group()
    stays = await backend.log.subscribe(group, topics)
    leaves = await backend.log.subscribe(group, topics)
    keys = [f"order-{i}" for i in range(20)]
    await backend.log.publish([outgoing(topic, key, "x") for key in keys for topic in topics])
    before = await collect_each([stays, leaves], 40)
    generation = stays.generation

    await leaves.close()
    await until(lambda: stays.generation != generation, stays)
    after = await collect(stays, 40)
    await stays.close()

    assert before[1], "the leaver had work"
    assert {(r.place, r.offset) for r in after} == {
        (r.place, r.offset) for records in before for r in records
    }


async def test_partitions_move_when_a_member_is_lost(backend: Backend) -> None:
    """A lost member's commits are refused, and it must join again."""
    log = backend.log
    assert isinstance(log, MemoryLog)
    [topic], group = await backend.topics(), new_group()
    stays, lost = await log.subscribe(group, [topic]), await log.subscribe(group, [topic])
    await log.publish([outgoing(topic, f"order-{i}", "x") for i in range(20)])
    records = (await collect_each([stays, lost], 20))[1]

    log.drop_member(lost)

    assert len(stays.assignment) == PARTITIONS
    assert not await lost.commit({records[0].place: 1}, records[0].generation)
    with pytest.raises(LogUnavailable, match="subscribe anew"):
        await lost.fetch(1)
    assert len(await collect(stays, 20)) == 20


async def test_partitions_come_back_at_once_when_a_named_member_restarts(
    backend: Backend,
) -> None:
    """A restart under its instance name disturbs nobody, even where no session ever ends."""
    [topic], group = await backend.topics(), new_group()
    logs = [KafkaLog(backend.address, instance=name) for name in ("one", "two", "one")]
    other = await logs[1].subscribe(group, [topic])
    first = await logs[0].subscribe(group, [topic])
    await backend.log.publish([outgoing(topic, f"order-{i}", "x") for i in range(20)])
    before = (await collect_each([first, other], 20))[0]
    generation = other.generation

    await first.close()  # a named member says no goodbye, so this is a crash to the broker
    again = await logs[2].subscribe(group, [topic])
    after = await collect(again, len(before))

    assert {(r.place, r.offset) for r in after} == {(r.place, r.offset) for r in before}
    await stay(other, 2.5)  # a rebalance would be heard of with the next heartbeat, every 2 s
    assert other.generation == generation
    await asyncio.gather(other.close(), again.close(), *(log.close() for log in logs))


async def test_old_records_come_first_when_the_group_is_new(backend: Backend) -> None:
    """A group that starts after the first event does not skip it."""
    [topic] = await backend.topics()
    await backend.log.publish([outgoing(topic, "order", "first")])

    member = await backend.log.subscribe(new_group(), [topic])
    [record] = await collect(member, 1)
    await member.close()

    assert (record.value, record.offset) == (b"first", 0)


async def test_membership_lasts_and_nothing_is_lost_when_only_zero_is_fetched(
    backend: Backend,
) -> None:
    """A full house stays in the group longer than a session, and then gets every record."""
    [topic] = await backend.topics()
    member = await backend.log.subscribe(new_group(), [topic])
    before = member.generation
    await backend.log.publish([outgoing(topic, f"order-{i}", "x") for i in range(30)])
    some = await collect(member, 5, at_once=5)
    quiet_s = 0.0 if backend.name == "memory" else 7.0

    await stay(member, quiet_s)
    rest = await collect(member, 25)
    after = member.generation
    await member.close()

    assert after == before
    assert len({(r.place, r.offset) for r in some + rest}) == 30


async def test_fetch_returns_at_most_so_many_when_more_are_there(backend: Backend) -> None:
    """The limit is a limit, and partitions take turns below it."""
    [topic] = await backend.topics()
    await backend.log.publish([outgoing(topic, f"order-{i}", "x") for i in range(90)])
    member = await backend.log.subscribe(new_group(), [topic])

    fetched: list[Record] = []
    async with asyncio.timeout(WITHIN_S):
        while len(fetched) < 90:
            records = await member.fetch(4)
            assert len(records) <= 4
            fetched += records
    await member.close()

    for place in {r.place for r in fetched}:
        offsets = [r.offset for r in fetched if r.place == place]
        assert offsets == list(range(len(offsets)))


async def test_reading_all_ends_when_the_end_at_the_call_is_reached(backend: Backend) -> None:
    """Records that come while one reads are left for the next time, so that it ends."""
    topics = await backend.topics(2, partitions=1)
    # More than one answer of a broker holds, so that a later answer brings late records as well.
    old, late = "x" * 2_000, "late"
    await backend.log.publish([outgoing(t, f"order-{i}", old) for i in range(700) for t in topics])

    read: list[Record] = []
    async with asyncio.timeout(WITHIN_S):
        async for record in backend.log.read_all(topics):
            if len(read) % 100 == 0:
                await backend.log.publish([outgoing(topic, "order", late) for topic in topics])
            read.append(record)

    assert {r.value for r in read} == {old.encode()}
    for topic in topics:
        assert [r.offset for r in read if r.topic == topic] == list(range(700))
    assert await read_all(backend, await backend.topics()) == []


async def test_oversized_record_is_refused_when_it_is_published(backend: Backend) -> None:
    """Nothing is sent, and the fault is one that no retry can mend."""
    [topic] = await backend.topics()
    large = outgoing(topic, "order", "x" * RECORD_BYTES_MAX)
    largest = outgoing(topic, "order", "x" * (RECORD_BYTES_MAX - len("order")))

    with pytest.raises(TerminalFault, match="exceeds the limit"):
        await backend.log.publish([outgoing(topic, "order", "small"), large])
    await backend.log.publish([largest])

    assert [r.value for r in await read_all(backend, [topic])] == [largest.value]


async def test_topics_stay_as_they_are_when_they_are_ensured_twice_at_once(
    backend: Backend,
) -> None:
    """Many processes may start at the same time, and again later."""
    topics = new_topics(3, PARTITIONS)

    await asyncio.gather(backend.ensure(topics), backend.ensure(topics))
    await backend.log.publish([outgoing(topics.all[0].name, "order", "x")])
    await backend.ensure(topics)

    assert len(await read_all(backend, [topic.name for topic in topics.all])) == 1


async def test_other_partition_count_is_refused_when_a_topic_exists(backend: Backend) -> None:
    """The message names the topic, what was found and what was wanted."""
    topics = new_topics(1, 2)
    await backend.ensure(topics)
    more = Topics(tuple(replace(topic, partitions=5) for topic in topics.all), 5)

    with pytest.raises(ConfigurationError) as refused:
        await backend.ensure(more)

    for told in (topics.all[0].name, "has 2 partitions", "wants 5"):
        assert told in str(refused.value)


async def test_unknown_topic_is_refused_when_nobody_made_it(backend: Backend) -> None:
    """No broker makes a topic by accident, with a partition count of its own."""
    topic = new_topics(1, 1).all[0].name
    message = f"{topic} does not exist"

    with pytest.raises(LogUnavailable, match=message):
        await backend.log.publish([outgoing(topic, "order", "x")])
    with pytest.raises(LogUnavailable, match=message):
        await backend.log.subscribe(new_group(), [topic])
    with pytest.raises(LogUnavailable, match=message):
        await read_all(backend, [topic])

    await backend.ensure(Topics((topic_named(topic, PARTITIONS),), PARTITIONS))
