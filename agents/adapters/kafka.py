"""The log at Kafka: publish a batch, join a group, read everything up to now.

1. `publish` returns when all in-sync replicas have every record, or raises: TerminalFault
   before anything is sent if a record is too large, else LogUnavailable with the outcome open.
2. A topic that does not exist is an error: a broker that makes topics by itself would make it
   with one partition, and the orders in it would live elsewhere than in the other topics.
3. A producer whose sending task died is replaced by the next publish.
4. Everything has a time limit (`kafka_clients`, `kafka_subscription`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError, UnknownTopicOrPartitionError

from agents.adapters.kafka_clients import (
    PUBLISH_WITHIN_S,
    REBALANCE_MS,
    SESSION_MS,
    ConnectionFailed,
    KafkaClients,
    stop_within,
)
from agents.adapters.kafka_subscription import KafkaSubscription, record_of
from agents.adapters.log_rules import FETCH_IDLE_S, refuse_oversized
from agents.kernel.errors import TerminalFault
from agents.kernel.ports import Outgoing, Record

OPEN_WITHIN_S = 10.0
"""To reach a broker and learn of its topics."""
JOIN_WITHIN_S = 4 * REBALANCE_MS / 1000
"""To join a group whose other members come and go as well."""
READ_WITHIN_S = 15.0
"""Without a single new record, although the log has more: reading has failed."""
READ_RECORDS_MAX = 500
"""Of one answer while everything is read."""


class KafkaLog:
    """See `agents.kernel.ports.Log` and `LogReader`. One object per process and cluster."""

    def __init__(
        self,
        bootstrap: str,
        security: Mapping[str, Any] | None = None,
        client_id: str = "chorale",
        session_ms: int = SESSION_MS,
        instance: str = "",
    ) -> None:
        self._clients = KafkaClients(bootstrap, security, client_id, session_ms, instance)
        self._generations = itertools.count(1)
        self._producer: AIOKafkaProducer | None = None
        self._producing = asyncio.Lock()
        self._known: set[str] = set()

    async def open(self) -> None:
        """Reach the broker. Raises LogUnavailable; `publish` will then try by itself."""
        try:
            async with asyncio.timeout(OPEN_WITHIN_S):
                await self._live_producer()
        except ConnectionFailed as error:
            raise self._clients.unavailable("opening the log", error) from error

    async def close(self) -> None:
        """End the producer; subscriptions are closed by those who made them."""
        async with self._producing:
            producer, self._producer = self._producer, None
            if producer is not None:
                await stop_within(producer)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """See `agents.kernel.ports.Log`. Raises TerminalFault if a record is too large."""
        refuse_oversized(records)
        if not records:
            return
        try:
            async with asyncio.timeout(PUBLISH_WITHIN_S):
                producer = await self._live_producer()
                await self._refuse_missing(producer, {record.topic for record in records})
                await _send_all(producer, records)
        except MessageSizeTooLargeError as error:
            topics = ", ".join(sorted({record.topic for record in records}))
            raise TerminalFault(
                f"the broker {self._clients.bootstrap} takes no record of that size ({error}); "
                f"raise max.message.bytes of {topics}"
            ) from error
        except ConnectionFailed as error:
            raise self._clients.unavailable("publishing", error) from error

    async def subscribe(self, group: str, topics: Sequence[str]) -> KafkaSubscription:
        """See `agents.kernel.ports.Log`."""
        consumer = self._clients.member(group)
        subscription = KafkaSubscription(self._clients, consumer, self._generations)
        joined = False
        try:
            async with asyncio.timeout(JOIN_WITHIN_S):
                await consumer.start()
                _refuse_unknown(topics, await consumer.topics())
                await subscription.join(topics)
            joined = True
        except ConnectionFailed as error:
            raise self._clients.unavailable(f"joining the group {group}", error) from error
        finally:
            if not joined:
                await subscription.close()
        return subscription

    async def read_all(self, topics: Sequence[str]) -> AsyncIterator[Record]:
        """See `agents.kernel.ports.LogReader`."""
        consumer = self._clients.reader()
        try:
            ends = await self._ends(consumer, topics)
            heard_s = _now_s()
            while await self._unread(consumer, ends):
                polled = await self._poll(consumer)
                if polled:
                    heard_s = _now_s()
                elif _now_s() - heard_s > READ_WITHIN_S:
                    raise self._clients.unavailable("reading the log", TimeoutError())
                for place, batch in polled.items():
                    for one in batch:
                        if one.offset < ends[place]:
                            yield record_of(one, 0)
        finally:
            await stop_within(consumer)

    async def _ends(
        self, consumer: AIOKafkaConsumer, topics: Sequence[str]
    ) -> dict[TopicPartition, int]:
        """Where each partition ends now; reading begins at its beginning."""
        try:
            async with asyncio.timeout(OPEN_WITHIN_S):
                await consumer.start()
                _refuse_unknown(topics, await consumer.topics())
                consumer.subscribe(list(topics))
                await consumer.getmany(TopicPartition("", -1), timeout_ms=0)
                places = consumer.assignment()
                ends: dict[TopicPartition, int] = await consumer.end_offsets(list(places))
                return ends
        except ConnectionFailed as error:
            raise self._clients.unavailable("reading the log", error) from error

    async def _poll(self, consumer: AIOKafkaConsumer) -> Mapping[Any, Sequence[Any]]:
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                polled: Mapping[Any, Sequence[Any]] = await consumer.getmany(
                    timeout_ms=int(FETCH_IDLE_S * 1000), max_records=READ_RECORDS_MAX
                )
                return polled
        except ConnectionFailed as error:
            raise self._clients.unavailable("reading the log", error) from error

    async def _unread(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                for place, end in ends.items():
                    if await consumer.position(place) < end:
                        return True
                return False
        except ConnectionFailed as error:
            raise self._clients.unavailable("reading the log", error) from error

    async def _live_producer(self) -> AIOKafkaProducer:
        async with self._producing:
            if self._producer is not None and _is_dead(self._producer):
                dead, self._producer = self._producer, None
                await stop_within(dead)
            if self._producer is None:
                producer = self._clients.producer()
                try:
                    await producer.start()
                except BaseException:
                    await stop_within(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _refuse_missing(self, producer: AIOKafkaProducer, topics: set[str]) -> None:
        if not topics <= self._known:
            # Asking for all topics makes none, unlike asking for one by name.
            cluster = await producer.client.fetch_all_metadata()
            _refuse_unknown(topics, cluster.topics())
            self._known |= topics


async def _send_all(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> None:
    deliveries: list[asyncio.Future[Any]] = []
    try:
        for record in records:
            delivery = await producer.send(
                record.topic, record.value, key=record.key, headers=list(record.headers)
            )
            deliveries.append(delivery)
        await asyncio.gather(*deliveries)
    finally:
        # Nobody waits for the rest any more. This takes back nothing that was sent.
        for delivery in deliveries:
            delivery.cancel()


def _is_dead(producer: AIOKafkaProducer) -> bool:
    sender = producer._sender.sender_task  # noqa: SLF001 - there is no public sign of life
    return sender is None or bool(sender.done())


def _refuse_unknown(wanted: Iterable[str], found: Iterable[str]) -> None:
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise UnknownTopicOrPartitionError(
            f"topic {missing[0]} does not exist; `chorale up` and `chorale run` make the topics "
            "of topics.yaml"
        )


def _now_s() -> float:
    return asyncio.get_running_loop().time()
