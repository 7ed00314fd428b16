"""One membership of a consumer group at Kafka, and the guards that aiokafka lacks.

1. Every rebalance raises the generation at the moment in which the old assignment is revoked.
   No record is handed out between revocation and the next assignment, so what `fetch` returns
   belongs to the generation of that moment.
2. A commit of an earlier generation is refused, and one that a rebalance overtakes is cut off,
   since aiokafka would send it with the new membership.
3. A failure is for good: aiokafka has then moved its position past records that nobody got.
   Every later call raises, and the caller closes and subscribes anew, from the last commit.
4. A partition whose records wait while its position stands still is a failure (aiokafka can
   fall silent after a broker's restart or a rejoin).
5. Nothing waits for the broker without a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from agents.adapters.kafka_clients import (
    REBALANCE_MS,
    ConnectionFailed,
    KafkaClients,
    stop_within,
)
from agents.adapters.log_rules import FETCH_IDLE_S
from agents.kernel.errors import ConfigurationError, LogUnavailable
from agents.kernel.ports import Record

REJOIN_WITHIN_S = 4 * REBALANCE_MS / 1000
"""From a revocation to the next assignment; several rebalances may follow each other."""
COMMIT_WITHIN_S = 5.0
"""One request to the coordinator, or a new coordinator found."""
LOOK_EVERY_S = 5.0
"""How often positions are compared with the log's ends: one small request."""
LOOK_WITHIN_S = 5.0
"""That request; a broker that takes longer does not serve us."""
POLL_WITHIN_S = FETCH_IDLE_S + 1.0
"""A fetch with nothing to bring; only a rebalance holds the library longer."""
SILENT_AFTER_S = 20.0
"""With a look's own time this stays below 30 s, in which a silent consumer must be found."""

_NOWHERE = TopicPartition("", -1)
"""Polling this partition only keeps the membership: it has no records, and takes none away."""

_Overtaken = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class KafkaSubscription:
    """See `agents.kernel.ports.Subscription`. Made by `KafkaLog.subscribe`."""

    def __init__(
        self, clients: KafkaClients, consumer: AIOKafkaConsumer, generations: Iterator[int]
    ) -> None:
        self._clients = clients
        self._consumer = consumer
        self._generations = generations
        self._generation = next(generations)
        self._assigned = asyncio.Event()
        self._revoked_s = 0.0
        self._commits: set[asyncio.Timeout] = set()
        self._failure: str | None = None
        self._looked_s = _now_s()
        self._moved: dict[TopicPartition, tuple[int, float]] = {}

    @property
    def generation(self) -> int:
        """The present assignment; never given out twice by one `KafkaLog`."""
        return self._generation

    async def join(self, topics: Sequence[str]) -> None:
        """Join the group and wait for the first assignment; the caller sets the limit."""
        self._consumer.subscribe(list(topics), listener=_Rebalances(self))
        await self._consumer.getmany(_NOWHERE, timeout_ms=0)
        await self._assigned.wait()
        counts = {t: len(self._consumer.partitions_for_topic(t) or ()) for t in topics}
        if len(set(counts.values())) > 1:
            raise ConfigurationError(
                f"the topics of one group have different partition counts: {counts}; an order "
                "would live on several workers. Make them anew with one count"
            )

    async def fetch(self, records_max: int) -> list[Record]:
        """See `agents.kernel.ports.Subscription`."""
        self._refuse_failed()
        if not self._assigned.is_set():
            await self._wait_for_assignment()
            return []
        if records_max == 0:
            await self._stay()
            return []
        await self._look_if_due()
        polled = await self._poll(records_max)
        # No turn of the loop lies between the library's drain and this line, so the generation
        # is that of the records.
        generation = self._generation
        return [record_of(one, generation) for batch in polled.values() for one in batch]

    async def commit(self, offsets: Mapping[tuple[str, int], int], generation: int) -> bool:
        """See `agents.kernel.ports.Subscription`."""
        self._refuse_failed()
        places = {TopicPartition(*place): offset for place, offset in offsets.items()}
        if not self._is_ours(places, generation):
            return False
        limit = asyncio.timeout(COMMIT_WITHIN_S)
        self._commits.add(limit)
        try:
            async with limit:
                await self._consumer.commit(places)
        except _Overtaken:
            return False
        except ConnectionFailed as error:
            if generation != self._generation:
                return False
            raise self._failed("committing", error) from error
        finally:
            self._commits.discard(limit)
        return True

    async def close(self) -> None:
        """Leave the group; bounded, and never raises what the broker does."""
        self._failure = self._failure or "the subscription is closed; subscribe anew"
        await stop_within(self._consumer)

    def on_revoked(self) -> None:
        """The assignment is over: count on, and cut off the commits that are under way."""
        self._generation = next(self._generations)
        self._assigned.clear()
        self._revoked_s = _now_s()
        for limit in self._commits:
            if not limit.expired():
                limit.reschedule(self._revoked_s)

    def on_assigned(self) -> None:
        """A new assignment: nothing is known of its positions yet."""
        self._moved.clear()
        self._looked_s = _now_s()
        self._assigned.set()

    def on_listener_failed(self, error: Exception) -> None:
        """The library only logs what a listener raises; the next call must fail."""
        self._failure = f"a rebalance went wrong ({error!r}); subscribe anew"

    def _is_ours(self, places: Mapping[TopicPartition, int], generation: int) -> bool:
        present = generation == self._generation and self._assigned.is_set()
        return present and places.keys() <= self._consumer.assignment()

    async def _stay(self) -> None:
        try:
            await self._consumer.getmany(_NOWHERE, timeout_ms=0)
        except ConnectionFailed as error:
            raise self._failed("staying in the group", error) from error
        # Records wait in the client meanwhile; that is our doing, not a silent consumer.
        self._moved.clear()
        await asyncio.sleep(0)

    async def _poll(self, records_max: int) -> Mapping[Any, Sequence[Any]]:
        try:
            async with asyncio.timeout(POLL_WITHIN_S):
                polled: Mapping[Any, Sequence[Any]] = await self._consumer.getmany(
                    timeout_ms=int(FETCH_IDLE_S * 1000), max_records=records_max
                )
                return polled
        except TimeoutError:
            return {}  # a rebalance began in the midst of it, or the loop was blocked
        except ConnectionFailed as error:
            raise self._failed("fetching", error) from error

    async def _wait_for_assignment(self) -> None:
        try:
            async with asyncio.timeout(FETCH_IDLE_S):
                await self._assigned.wait()
        except TimeoutError as error:
            if _now_s() - self._revoked_s > REJOIN_WITHIN_S:
                raise self._failed("waiting for an assignment", error) from error

    async def _look_if_due(self) -> None:
        if _now_s() - self._looked_s < LOOK_EVERY_S:
            return
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                await self._look()
        except IllegalStateError:
            return  # a rebalance took the partition away while we looked
        except ConnectionFailed as error:
            if self._assigned.is_set():
                raise self._failed("asking how far the log goes", error) from error

    async def _look(self) -> None:
        places = self._consumer.assignment()
        ends = await self._consumer.end_offsets(list(places)) if places else {}
        positions = {place: await self._consumer.position(place) for place in ends}
        now_s = self._looked_s = _now_s()
        for place, position in positions.items():
            before, since_s = self._moved.get(place, (None, now_s))
            if position != before or position >= ends[place]:
                self._moved[place] = position, now_s
            elif now_s - since_s > SILENT_AFTER_S:
                raise self._failed(
                    f"reading {place.topic} {place.partition}",
                    f"offset {position} of {ends[place]} did not come for {now_s - since_s:.0f} s",
                )

    def _refuse_failed(self) -> None:
        if self._failure is not None:
            raise LogUnavailable(self._failure)

    def _failed(self, doing: str, error: BaseException | str) -> LogUnavailable:
        failure = self._clients.unavailable(doing, error)
        self._failure = str(failure)
        return failure


def record_of(fetched: Any, generation: int) -> Record:
    """The library's record as ours."""
    return Record(
        fetched.topic,
        fetched.partition,
        fetched.offset,
        fetched.key,
        fetched.value,
        # Kafka knows headers without a value; nobody here tells them from empty ones.
        tuple((name, value or b"") for name, value in fetched.headers),
        fetched.timestamp,
        generation,
    )


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc] # the library has no types
    """Passes the library's calls on, and keeps what goes wrong from being swallowed."""

    def __init__(self, subscription: KafkaSubscription) -> None:
        self._subscription = subscription

    def on_partitions_revoked(self, revoked: object) -> None:
        """Called before the group is joined again."""
        del revoked
        self._pass_on(self._subscription.on_revoked)

    def on_partitions_assigned(self, assigned: object) -> None:
        """Called after the group was joined."""
        del assigned
        self._pass_on(self._subscription.on_assigned)

    def _pass_on(self, event: Callable[[], None]) -> None:
        try:
            event()
        except Exception as error:  # noqa: BLE001 - reported by the next fetch
            self._subscription.on_listener_failed(error)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
