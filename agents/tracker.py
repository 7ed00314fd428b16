"""Tracker: fold what happens, notice what does not, tidy up what is over. It commands nobody.

1. Every event topic is folded by headers into one row an order; status is a function of the set
   of event types seen, so neither order nor repetition matters. The row is stored on each sighting.
2. A saga that has not ended by its deadline is a fact, `SagaTimedOut`; the payment agent decides.
   None is sent while a saga compensates or waits for a person.
3. When an ended saga is settled everywhere, its ledger records are compacted into one small one.

Nothing waits for the tracker; killing it delays what people see, and time-outs, nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from agents.kernel import codec
from agents.kernel.agent import Agent
from agents.kernel.compaction import compaction_of
from agents.kernel.consumer import Consumer, ConsumerParts
from agents.kernel.dead_letter import poison_letter
from agents.kernel.errors import PoisonRecord, StoreUnavailable
from agents.kernel.parts import Parts
from agents.kernel.persistence import Persistence
from agents.kernel.ports import Index, Outgoing, Record, SagaRow, SagaStore, Sighting
from agents.kernel.protocol import OVER, Read
from agents.kernel.topics import DAY_MS
from agents.sightings import DECISION, SagaView, sightings_of, view_of
from schemas.events import SagaTimedOut
from schemas.order import Order
from schemas.saga import SagaStatus

DUE_ROWS_MAX = 200
"""Rows of one look at the deadlines; what remains is looked at next time."""
COMPACT_AFTER_MS = 60_000
"""An ended saga is left alone this long, so that late duplicates meet full records."""
DECIDED_COMPACT_AFTER_MS = DAY_MS
"""A decision may wait for an agent that is away; its step must not be forgotten meanwhile."""
LOOK_AGAIN_MS = 5_000
"""A row that could not be acted on is looked at again after this."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What the tracker knows of the choreography, computed by bootstrap."""

    consuming_steps: Mapping[str, frozenset[str]]
    undone_by: Mapping[str, frozenset[str]]
    record_ttl_ms: int
    """How long a compacted record answers late records: retention + replay window + a day."""


class Tracker(Agent, name="tracker", observes=True):
    """The observer of every saga."""

    unprompted = (SagaTimedOut,)

    def __init__(self, store: SagaStore, wiring: Wiring) -> None:
        self.store = store
        self.wiring = wiring


class TrackerLoop:
    """Runs the tracker: one consumer, one look at the deadlines every so often."""

    def __init__(self, tracker: Tracker, topics: Sequence[str], parts: Parts) -> None:
        self._store = tracker.store
        self._wiring = tracker.wiring
        self._parts = parts
        self._persistence = Persistence(parts)
        self._batches: asyncio.Queue[list[Record]] = asyncio.Queue()
        self.consumer = Consumer(
            tracker.name,
            topics,
            ConsumerParts(parts.log, parts.clock, parts.settings, parts.health),
        )

    async def run(self) -> None:
        """Until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            folding = tasks.create_task(self._fold(), name="tracker fold")
            watching = tasks.create_task(self._watch(), name="tracker deadlines")
            await self.consumer.run(self._batches.put_nowait)
            folding.cancel()
            watching.cancel()

    def stop(self) -> None:
        """Stop fetching; `run` returns after the drain."""
        self.consumer.stop()

    # ---- the fold ---------------------------------------------------------------------

    async def _fold(self) -> None:
        while True:
            records = await self._batches.get()
            sightings: list[Sighting] = []
            for record in records:
                try:
                    sightings.extend(sightings_of(record, self._parts))
                except PoisonRecord as error:
                    await self._bury(record, error)
            if sightings:
                await self._patiently(partial(self._store_all, sightings))
            for record in records:
                self.consumer.settle(record)

    async def _store_all(self, sightings: list[Sighting]) -> None:
        rows = await self._store.add(sightings)
        await self._store.file([self._index(row) for row in rows])

    def _index(self, row: SagaRow) -> Index:
        view = view_of(row, self._wiring.undone_by)
        return Index(
            order_id=row.order_id,
            version=row.version,
            status=view.status,
            live=True,
            started_ms=view.started_ms,
            due_ms=self._due_ms(view),
        )

    def _due_ms(self, view: SagaView) -> int:
        """When to look: at the deadline, or some time after the end; 0 for never."""
        if view.waiting_for_person:
            return 0
        if view.status.terminal:
            decided = any(name.startswith(DECISION) for name in view.row.facts)
            # From now, not from its end: letters may still be on their way to a late tracker.
            after_ms = DECIDED_COMPACT_AFTER_MS if decided else COMPACT_AFTER_MS
            return self._parts.clock.now_ms() + after_ms
        if view.status is SagaStatus.COMPENSATING or "SagaTimedOut" in view.row.facts:
            return 0
        decided_ms = max(
            (f.time_ms for name, f in view.row.facts.items() if name.startswith(DECISION)),
            default=0,
        )
        # A saga that a person sent on gets its time anew.
        grace_ms = decided_ms + self._parts.settings.saga_deadline_ms if decided_ms else 0
        return max(view.row.saga_deadline_ms, grace_ms)

    # ---- deadlines and the end --------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await self._parts.clock.sleep(self._parts.settings.tracker_scan_ms / 1000)
            await self._patiently(self._look)

    async def _look(self) -> None:
        for row in await self._store.due(self._parts.clock.now_ms(), DUE_ROWS_MAX):
            view = view_of(row, self._wiring.undone_by)
            if view.waiting_for_person:
                # Its letter was seen after the row was filed; it is nobody's turn but a person's.
                live, due_ms = True, 0
            elif view.status.terminal:
                live, due_ms = await self._compact(row)
            else:
                live, due_ms = True, await self._time_out(row)
            entry = Index(row.order_id, row.version, view.status, live, view.started_ms, due_ms)
            await self._store.file([entry])

    async def _time_out(self, row: SagaRow) -> int:
        """Publish the fact; returns when to look again, 0 for never."""
        if not row.snapshot:
            return self._parts.clock.now_ms() + LOOK_AGAIN_MS
        await self._persistence.publish([self._timed_out(row)])
        return 0

    def _timed_out(self, row: SagaRow) -> Outgoing:
        settings, now_ms = self._parts.settings, self._parts.clock.now_ms()
        order = Order.model_validate(json.loads(row.snapshot)["order"])
        event = SagaTimedOut(order=order, reason="the order was not completed in time")
        stamp = codec.Stamp(
            agent="tracker",
            topic=self._parts.topics.of_owner("tracker"),
            order_id=row.order_id,
            step="timeout",
            effect_key=f"{row.order_id}:timeout:1",
            attempt=1,
            now_ms=now_ms,
            cause=next(iter(row.facts.values())).event_id,
            saga_deadline_ms=row.saga_deadline_ms,
            step_deadline_ms=now_ms + settings.step_deadline_ms,
            traceparent="",
        )
        return codec.encode(event, stamp)

    async def _compact(self, row: SagaRow) -> tuple[bool, int]:
        """Whether the row is still live, and when to look again."""
        reply = await self._persistence.apply(Read(row.order_id))
        records = dict(reply.records)
        if not records or OVER in records:
            return False, 0
        request = compaction_of(
            row.order_id,
            records,
            self._wiring.consuming_steps,
            self._wiring.record_ttl_ms,
        )
        if request is None:
            return True, self._parts.clock.now_ms() + COMPACT_AFTER_MS
        await self._persistence.apply(request)
        return False, 0

    # ---- helpers ----------------------------------------------------------------------

    async def _patiently(self, act: Callable[[], Awaitable[None]]) -> None:
        """Repeat until the store answers; everything here may be done twice."""
        while True:
            try:
                await act()
            except StoreUnavailable as error:
                self._parts.health.down("saga store", str(error))
                await self._parts.clock.sleep(1.0)
            else:
                self._parts.health.up("saga store")
                return

    async def _bury(self, record: Record, error: PoisonRecord) -> None:
        now_ms, topic = self._parts.clock.now_ms(), self._parts.topics.letters
        await self._persistence.publish([poison_letter(record, error, now_ms, topic)])
