"""Fetch, hand out, commit: the loop that every agent runs.

1. Fetch at most as many records as there is room for in flight; a full house only keeps its
   membership alive, and so does one whose store is away.
2. Hand each batch to `dispatch`, which owes a `settle` for every record, whenever.
3. Commit in the background, one commit at a time, up to the lowest unsettled offset of the
   assignment that the record was fetched in.
4. To stop: fetch no more, drain, commit, leave the group.

A subscription that fails is closed and made anew; nothing is lost, since nothing unsettled was
committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.kernel.errors import LogUnavailable
from agents.kernel.health import Health
from agents.kernel.ports import Clock, Log, Record, Subscription
from agents.kernel.settings import Settings
from agents.kernel.watermark import Watermarks

REJOIN_S = 1.0
"""Between two attempts to join: quick enough for a night shift, too slow to be a storm."""


@dataclass(frozen=True, slots=True)
class ConsumerParts:
    """What the loop needs."""

    log: Log
    clock: Clock
    settings: Settings
    health: Health


class Consumer:
    """One agent's membership in its consumer group."""

    def __init__(self, group: str, topics: Sequence[str], parts: ConsumerParts) -> None:
        self.group = group
        self.topics = tuple(topics)
        self._parts = parts
        self._watermarks = Watermarks()
        self._room = asyncio.Event()
        self._progress = asyncio.Event()
        self._stopping = asyncio.Event()
        self._committing = asyncio.Lock()
        self.generation = -1

    def stop(self) -> None:
        """Fetch no more; `run` returns when what is in hand is settled or the drain time over."""
        self._stopping.set()
        self._room.set()

    def settle(self, record: Record) -> None:
        """The record needs nothing more; ignored if its assignment is over."""
        if record.generation == self.generation:
            self._watermarks.settled(record.place, record.offset)
            self._progress.set()
            self._room.set()

    async def run(self, dispatch: Callable[[list[Record]], None]) -> None:
        """Until stopped: subscribe, fetch, dispatch, commit."""
        while not self._stopping.is_set():
            try:
                await self._member(dispatch)
            except LogUnavailable as error:
                self._parts.health.down("broker", str(error))
                await self._parts.clock.sleep(REJOIN_S)

    async def _member(self, dispatch: Callable[[list[Record]], None]) -> None:
        subscription = await self._parts.log.subscribe(self.group, self.topics)
        failure: LogUnavailable | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                background = self._commit_in_background(subscription)
                committing = tasks.create_task(background, name=f"commit {self.group}")
                await self._fetch_and_dispatch(subscription, dispatch)
                await self._drain(subscription)
                committing.cancel()
        except* LogUnavailable as errors:
            failure = LogUnavailable(str(errors.exceptions[0]))
        finally:
            await subscription.close()
        if failure is not None:
            raise failure

    async def _fetch_and_dispatch(
        self, subscription: Subscription, dispatch: Callable[[list[Record]], None]
    ) -> None:
        settings = self._parts.settings
        while not self._stopping.is_set():
            self._room.clear()
            room = settings.records_in_flight_max - self._watermarks.unsettled
            if "store" in self._parts.health.troubles:
                # One record at most asks whether it is back; nobody else might.
                room = 0 if self._watermarks.unsettled else 1
            if room <= 0:
                await subscription.fetch(0)
                await self._wait_for_room()
                continue
            records = await subscription.fetch(min(room, settings.fetch_records_max))
            self._parts.health.up("broker")
            if records:
                self._note(records)
                dispatch(records)

    def _note(self, records: list[Record]) -> None:
        if records[0].generation != self.generation:
            self.generation = records[0].generation
            self._watermarks = Watermarks()
        for record in records:
            self._watermarks.fetched(record.place, record.offset)

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._room.wait()
        except TimeoutError:
            return

    async def _commit_in_background(self, subscription: Subscription) -> None:
        while True:
            await self._progress.wait()
            await self._parts.clock.sleep(self._parts.settings.commit_interval_ms / 1000)
            self._progress.clear()
            await self._commit(subscription)

    async def _commit(self, subscription: Subscription) -> None:
        async with self._committing:
            watermarks, generation = self._watermarks, self.generation
            offsets = watermarks.advance()
            if offsets and await subscription.commit(offsets, generation):
                watermarks.committed(offsets)

    async def _drain(self, subscription: Subscription) -> None:
        deadline_s = self._parts.clock.monotonic_s() + self._parts.settings.drain_ms / 1000
        while self._watermarks.unsettled and self._parts.clock.monotonic_s() < deadline_s:
            self._room.clear()
            await subscription.fetch(0)
            await self._wait_for_room()
        await self._commit(subscription)
