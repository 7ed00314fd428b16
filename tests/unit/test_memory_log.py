"""What the memory log offers to simulation and tests beyond the conformance suite."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from agents.adapters.memory_log import MemoryLog
from agents.kernel.ports import Outgoing, Record

TOPICS = ("inventory.events", "payment.events")


@pytest.mark.parametrize("partitions", [1, 3, 7, 12])
@pytest.mark.parametrize("members", [1, 2, 3, 5])
async def test_shares_are_those_of_kafka_when_members_join(partitions: int, members: int) -> None:
    """The same members get the same partitions as from the assignor that Kafka's clients use."""
    log = MemoryLog(partitions)
    joined = [await log.subscribe("payment", TOPICS) for _ in range(members)]

    wanted = RangePartitionAssignor.assign(
        _Cluster(partitions),
        {str(i): RangePartitionAssignor.metadata(TOPICS) for i in range(members)},
    )

    for index, member in enumerate(joined):
        shares = wanted[str(index)].partitions()
        assert member.assignment == {(place.topic, place.partition) for place in shares}


async def test_everything_comes_again_when_it_is_redelivered() -> None:
    """Redelivery is a rebalance that starts earlier than the commit, never later."""
    log = MemoryLog(1)
    await log.publish([_out(i) for i in range(6)])
    member = await log.subscribe("payment", TOPICS)
    first = await member.fetch(10)
    await member.commit({(TOPICS[1], 0): 4}, member.generation)

    log.redeliver("payment", 2)
    again = await member.fetch(10)
    log.redeliver("payment", 5)
    later = await member.fetch(10)

    assert _offsets(first) == [0, 1, 2, 3, 4, 5]
    assert _offsets(again) == _offsets(later) == [2, 3, 4, 5]
    assert first[0].generation < again[0].generation < later[0].generation
    assert log.committed("payment") == {(TOPICS[1], 0): 2}


async def test_waiting_fetch_wakes_at_once_when_a_record_comes() -> None:
    """No polling: an idle fetch ends in the turn in which there is something."""
    log = MemoryLog(1)
    member = await log.subscribe("payment", TOPICS)
    fetching = asyncio.ensure_future(member.fetch(10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    start_s = asyncio.get_running_loop().time()
    await log.publish([_out(0)])
    records = await fetching

    assert _offsets(records) == [0]
    assert asyncio.get_running_loop().time() - start_s < 0.1


async def test_partitions_take_turns_when_one_has_more_than_a_fetch_takes() -> None:
    """A busy partition does not starve the others."""
    log = MemoryLog(3)
    await log.publish([_out(i, f"order-{i}") for i in range(60)])
    member = await log.subscribe("payment", TOPICS)

    seen = {record.partition for _ in range(3) for record in await member.fetch(2)}

    assert seen == {0, 1, 2}


async def test_records_can_be_read_when_a_test_wants_to_see_them() -> None:
    """They stand there as published, and a topic that nobody named has none."""
    log = MemoryLog(2)
    await log.publish([_out(1)])

    assert [record.value for record in log.records(TOPICS[1])] == [b"1"]
    assert log.records("nobody.events") == []


def _out(number: int, key: str = "order") -> Outgoing:
    return Outgoing(TOPICS[1], key.encode(), str(number).encode())


def _offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]


class _Cluster(ClusterMetadata):  # type: ignore[misc] # the library has no types
    """Every topic has so many partitions."""

    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._count = partitions

    def partitions_for_topic(self, topic: str) -> set[int]:
        del topic
        return set(range(self._count))
