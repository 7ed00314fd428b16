"""The guards around a group membership, with a consumer that does what the test says."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError, KafkaError
from aiokafka.structs import ConsumerRecord

from agents.adapters import kafka_subscription
from agents.adapters.kafka_clients import KafkaClients
from agents.adapters.kafka_subscription import KafkaSubscription
from agents.kernel.errors import LogUnavailable

PLACE = TopicPartition("payment.events", 0)


async def test_records_carry_the_new_generation_when_a_rebalance_came_while_they_were_awaited() -> (
    None
):
    """The generation is that of the moment in which the library hands the records out."""
    consumer, subscription = _joined()
    old = subscription.generation

    def rebalance() -> None:
        subscription.on_revoked()
        subscription.on_assigned()
        consumer.records = [_fetched(7)]

    consumer.before_answer = rebalance
    [record] = await subscription.fetch(10)

    assert record.generation == subscription.generation != old
    assert (record.offset, record.headers) == (7, (("empty", b""),))


async def test_fetch_brings_nothing_when_a_rebalance_is_under_way() -> None:
    """Between revocation and assignment nobody owns anything."""
    consumer, subscription = _joined()
    consumer.records = [_fetched(7)]

    subscription.on_revoked()

    assert await subscription.fetch(10) == []
    assert not await subscription.commit({PLACE: 1}, subscription.generation)
    subscription.on_assigned()
    assert len(await subscription.fetch(10)) == 1


async def test_commit_is_cut_off_when_a_rebalance_overtakes_it() -> None:
    """The library would send it again with the new membership: offsets would go backwards."""
    consumer, subscription = _joined()
    consumer.commit_hangs = True

    committing = asyncio.ensure_future(subscription.commit({PLACE: 1}, subscription.generation))
    await asyncio.sleep(0)
    subscription.on_revoked()

    async with asyncio.timeout(5):
        assert await committing is False
    subscription.on_assigned()
    assert await subscription.fetch(10) == []


async def test_commit_says_no_when_the_broker_refuses_it() -> None:
    """A refused commit is no failure of the log; the next assignment starts where it must."""
    consumer, subscription = _joined()
    consumer.error = CommitFailedError()

    assert await subscription.commit({PLACE: 1}, subscription.generation) is False


async def test_commit_is_not_sent_when_it_is_not_of_this_assignment() -> None:
    """An earlier generation or a foreign partition does not even reach the broker."""
    consumer, subscription = _joined()
    generation = subscription.generation

    assert not await subscription.commit({PLACE: 1}, generation - 1)
    assert not await subscription.commit({("payment.events", 9): 1}, generation)
    assert await subscription.commit({PLACE: 2}, generation)

    assert consumer.committed == [{PLACE: 2}]


async def test_everything_fails_when_the_log_failed_once() -> None:
    """After a failed fetch the library has passed over records that nobody got."""
    consumer, subscription = _joined()
    consumer.error = KafkaConnectionError("gone")

    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1: .*gone.*CHORALE_BOOTSTRAP"):
        await subscription.fetch(10)
    consumer.error = None
    for call in (subscription.fetch(0), subscription.commit({}, subscription.generation)):
        with pytest.raises(LogUnavailable, match="gone"):
            await call


async def test_commit_fails_in_time_when_the_broker_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library alone would try for ever."""
    monkeypatch.setattr(kafka_subscription, "COMMIT_WITHIN_S", 0.01)
    consumer, subscription = _joined()
    consumer.commit_hangs = True

    with pytest.raises(LogUnavailable, match=r"committing failed .* no answer in time"):
        await subscription.commit({PLACE: 1}, subscription.generation)


async def test_fetch_fails_when_the_consumer_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records wait, the position stands still, and no error comes: only looking finds that."""
    monkeypatch.setattr(kafka_subscription, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(kafka_subscription, "SILENT_AFTER_S", 0.02)
    consumer, subscription = _joined()
    consumer.end = 5

    with pytest.raises(LogUnavailable, match="offset 0 of 5 did not come"):
        await _fetch_for_ever(subscription)


async def test_fetch_goes_on_when_nothing_waits_or_a_full_house_lets_it_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An idle topic is not silence, and neither is our own refusal to take more."""
    monkeypatch.setattr(kafka_subscription, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(kafka_subscription, "SILENT_AFTER_S", -1.0)
    consumer, subscription = _joined()

    for _ in range(3):
        assert await subscription.fetch(10) == []
    consumer.end = 5
    for _ in range(3):
        await subscription.fetch(0)
        await subscription.fetch(10)


async def test_fetch_fails_when_a_listener_failed() -> None:
    """The library only logs it."""
    _, subscription = _joined()

    subscription.on_listener_failed(ValueError("bug"))

    with pytest.raises(LogUnavailable, match="bug"):
        await subscription.fetch(10)


async def test_fetch_fails_when_no_assignment_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that never settles is as good as no group."""
    monkeypatch.setattr(kafka_subscription, "REJOIN_WITHIN_S", 0.0)
    _, subscription = _joined()
    subscription.on_revoked()

    with pytest.raises(LogUnavailable, match="waiting for an assignment"):
        await subscription.fetch(10)


def _joined() -> tuple[_Consumer, KafkaSubscription]:
    consumer = _Consumer()
    clients = KafkaClients("127.0.0.1:1")
    subscription = KafkaSubscription(clients, consumer, itertools.count(1))
    subscription.on_revoked()
    subscription.on_assigned()
    return consumer, subscription


async def _fetch_for_ever(subscription: KafkaSubscription) -> None:
    async with asyncio.timeout(5):
        while True:
            await subscription.fetch(10)


def _fetched(offset: int) -> ConsumerRecord[Any, Any]:
    return ConsumerRecord(
        PLACE.topic, 0, offset, 0, 0, b"order", b"{}", None, 5, 2, (("empty", None),)
    )


class _Consumer:
    """One partition; answers and fails as told."""

    def __init__(self) -> None:
        self.records: list[ConsumerRecord[Any, Any]] = []
        self.end = 0
        self.error: KafkaError | None = None
        self.commit_hangs = False
        self.committed: list[dict[TopicPartition, int]] = []
        self.before_answer: Any = lambda: None

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset({PLACE})

    async def getmany(self, *places: TopicPartition, timeout_ms: int, max_records: int = 0) -> Any:
        if self.error is not None:
            raise self.error
        await asyncio.sleep(0)
        self.before_answer()
        records, self.records = ([], self.records) if places else (self.records, [])
        return {PLACE: records} if records else {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.error is not None:
            raise self.error
        if self.commit_hangs:
            await asyncio.Event().wait()
        self.committed.append(dict(offsets))

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self.end)

    async def position(self, place: TopicPartition) -> int:
        return 0
