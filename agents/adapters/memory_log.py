"""A log in this process's memory, for simulation, tests and the places that have no broker.

It keeps what `agents.kernel.ports.Log` promises, by the rules of Kafka: keys go to the same
partitions, groups share them by range, every join, leave and loss of a member raises the
generation, and after it all members start again at what was committed. Topics come into being
when somebody names them. Nothing survives the process.

Time passes only in the event loop, so that a loop with a virtual clock makes all of it
deterministic. `drop_member`, `redeliver` and `records` are for simulation and tests.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agents.adapters.log_rules import FETCH_IDLE_S, partition_of, refuse_oversized
from agents.kernel.errors import ConfigurationError, LogUnavailable
from agents.kernel.ports import Clock, Outgoing, Record
from agents.kernel.topics import Topics

Place = tuple[str, int]


@dataclass(slots=True)
class _Group:
    members: list[MemorySubscription] = field(default_factory=list)
    """In the order in which they joined, which is also the order of the range assignment."""
    committed: dict[Place, int] = field(default_factory=dict)


class MemoryLog:
    """See `agents.kernel.ports.Log` and `LogReader`."""

    def __init__(self, partitions: int, clock: Clock | None = None) -> None:
        assert partitions > 0
        self._partitions = partitions
        self._clock = clock
        self._topics: dict[str, list[list[Record]]] = {}
        self._groups: dict[str, _Group] = {}
        self._generations = itertools.count(1)

    async def open(self) -> None:
        """Nothing to reach."""

    async def close(self) -> None:
        """Nothing to end; the records stay for as long as the object does."""

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """See `agents.kernel.ports.Log`. Raises TerminalFault if a record is too large."""
        refuse_oversized(records)
        await asyncio.sleep(0)  # a broker always takes at least a turn of the loop
        now_ms = self._clock.now_ms() if self._clock else 0
        for outgoing in records:
            partitions = self._topic(outgoing.topic)
            number = partition_of(outgoing.key, len(partitions))
            kept = partitions[number]
            kept.append(
                Record(
                    outgoing.topic,
                    number,
                    len(kept),
                    outgoing.key,
                    outgoing.value,
                    outgoing.headers,
                    now_ms,
                )
            )
        self._wake({outgoing.topic for outgoing in records})

    async def subscribe(self, group: str, topics: Sequence[str]) -> MemorySubscription:
        """See `agents.kernel.ports.Log`."""
        await asyncio.sleep(0)
        for topic in topics:
            self._topic(topic)
        subscription = MemorySubscription(self, group, topics)
        self._groups.setdefault(group, _Group()).members.append(subscription)
        self._rebalance(group)
        return subscription

    async def ensure_topics(self, topics: Topics) -> None:
        """Make what is missing. Raises ConfigurationError for another partition count."""
        await asyncio.sleep(0)
        for topic in topics.all:
            found = len(self._topic(topic.name, topic.partitions))
            if found != topic.partitions:
                raise ConfigurationError(
                    f"topic {topic.name} has {found} partitions, topics.yaml wants "
                    f"{topic.partitions}; the count is fixed at birth, so make a new log"
                )

    async def read_all(self, topics: Sequence[str]) -> AsyncIterator[Record]:
        """See `agents.kernel.ports.LogReader`."""
        await asyncio.sleep(0)
        for record in [record for topic in topics for record in self.records(topic)]:
            yield record

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, one partition after the other."""
        return [record for partition in self._topics.get(topic, ()) for record in partition]

    def committed(self, group: str) -> Mapping[Place, int]:
        """What a group has committed."""
        return dict(self._groups[group].committed) if group in self._groups else {}

    def drop_member(self, subscription: MemorySubscription) -> None:
        """Its session expires: it never says goodbye, and the others share what it had."""
        group = self._groups[subscription.group]
        if subscription in group.members:
            group.members.remove(subscription)
            subscription.assign({}, next(self._generations))
            self._rebalance(subscription.group)

    def rebalance(self, group: str) -> None:
        """Assign the partitions anew, for no reason; nothing if nobody is in the group."""
        if group in self._groups:
            self._rebalance(group)

    def redeliver(self, group: str, from_offset: int = 0) -> None:
        """The group starts again at that offset of every partition, or at an earlier one."""
        committed = self._groups[group].committed
        for place, offset in committed.items():
            committed[place] = min(offset, from_offset)
        self._rebalance(group)

    def _topic(self, name: str, partitions: int = 0) -> list[list[Record]]:
        if name not in self._topics:
            self._topics[name] = [[] for _ in range(partitions or self._partitions)]
        return self._topics[name]

    def _wake(self, topics: set[str]) -> None:
        for group in self._groups.values():
            for member in group.members:
                if not topics.isdisjoint(member.topics):
                    member.wake.set()

    def _rebalance(self, name: str) -> None:
        group = self._groups[name]
        generation = next(self._generations)
        for member in group.members:
            positions = {
                place: group.committed.get(place, 0) for place in self._share(group, member)
            }
            member.assign(positions, generation)

    def _share(self, group: _Group, member: MemorySubscription) -> list[Place]:
        """The member's part of each topic, by Kafka's range assignor."""
        places: list[Place] = []
        for topic in sorted(member.topics):
            sharing = [other for other in group.members if topic in other.topics]
            each, extra = divmod(len(self._topics[topic]), len(sharing))
            index = sharing.index(member)
            start = each * index + min(index, extra)
            places += [(topic, number) for number in range(start, start + each + (index < extra))]
        return places

    def _is_member(self, subscription: MemorySubscription) -> bool:
        return subscription in self._groups[subscription.group].members

    def _after(self, place: Place, offset: int, records_max: int) -> list[Record]:
        return self._topics[place[0]][place[1]][offset : offset + records_max]

    def _commit(self, group: str, offsets: Mapping[Place, int]) -> None:
        self._groups[group].committed.update(offsets)


class MemorySubscription:
    """See `agents.kernel.ports.Subscription`. Made by `MemoryLog.subscribe`."""

    def __init__(self, log: MemoryLog, group: str, topics: Sequence[str]) -> None:
        self.group = group
        self.topics = frozenset(topics)
        self.wake = asyncio.Event()
        self._log = log
        self._positions: dict[Place, int] = {}
        self._generation = 0

    @property
    def generation(self) -> int:
        """The present assignment; never given out twice by one log."""
        return self._generation

    @property
    def assignment(self) -> frozenset[Place]:
        """What this member reads."""
        return frozenset(self._positions)

    async def fetch(self, records_max: int) -> list[Record]:
        """See `agents.kernel.ports.Subscription`."""
        await asyncio.sleep(0)
        self._refuse_dropped()
        if records_max == 0:
            return []
        taken = self._take(records_max)
        if taken:
            return taken
        self.wake.clear()
        try:
            async with asyncio.timeout(FETCH_IDLE_S):
                await self.wake.wait()
        except TimeoutError:
            return []
        self._refuse_dropped()
        return self._take(records_max)

    async def commit(self, offsets: Mapping[Place, int], generation: int) -> bool:
        """See `agents.kernel.ports.Subscription`."""
        await asyncio.sleep(0)
        if generation != self._generation or not offsets.keys() <= self._positions.keys():
            return False
        self._log._commit(self.group, offsets)  # noqa: SLF001 - two halves of one adapter
        return True

    async def close(self) -> None:
        """Leave the group; the other members share what this one had."""
        await asyncio.sleep(0)
        self._log.drop_member(self)

    def assign(self, positions: dict[Place, int], generation: int) -> None:
        """Take a new assignment; called by the log in a rebalance."""
        self._positions = positions
        self._generation = generation
        self.wake.set()

    def _take(self, records_max: int) -> list[Record]:
        taken: list[Record] = []
        for place in list(self._positions):
            if len(taken) == records_max:
                break
            # Whoever was served goes to the back, so that no partition starves.
            position = self._positions.pop(place)
            records = self._log._after(  # noqa: SLF001
                place, position, records_max - len(taken)
            )
            self._positions[place] = position + len(records)
            taken += [replace(record, generation=self._generation) for record in records]
        return taken

    def _refuse_dropped(self) -> None:
        if not self._log._is_member(self):  # noqa: SLF001
            raise LogUnavailable(
                f"this member is no longer in the group {self.group}; subscribe anew"
            )
