"""The tracker's store in memory: the same folds, lists and limits as `redis_sagas`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agents.adapters.store_limits import ENDED_LISTED_MAX, SAGA_KEPT_MS
from agents.kernel.ports import Clock, Fact, Index, SagaRow, Sighting


@dataclass(slots=True)
class _Saga:
    facts: dict[str, Fact] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    snapshot: str = ""
    deadline_ms: int = 0
    filed: Index | None = None
    expires_ms: float = float("inf")

    def row(self, order_id: str) -> SagaRow:
        return SagaRow(
            order_id,
            dict(self.facts),
            self.snapshot,
            self.deadline_ms,
            {name: text for name, text in self.opened.items() if name not in self.closed},
            len(self.facts) + len(self.opened) + len(self.closed),
        )


class MemorySagaStore:
    """`agents.kernel.ports.SagaStore` in this process."""

    def __init__(self, clock: Clock, kept_ms: int = SAGA_KEPT_MS) -> None:
        self._clock = clock
        self._kept_ms = kept_ms
        self._sagas: dict[str, _Saga] = {}
        self._due: dict[str, int] = {}
        self._lists: defaultdict[tuple[bool, str], dict[str, int]] = defaultdict(dict)
        """Start by order, by (live, status); the status '' lists all."""

    async def add(self, sightings: Sequence[Sighting]) -> list[SagaRow]:
        """See `SagaStore`."""
        for sighting in sightings:
            saga = self._saga(sighting.order_id) or _Saga()
            _merge(saga, sighting)
            if saga != _Saga():
                self._sagas[sighting.order_id] = saga
        return [self._sagas.get(s.order_id, _Saga()).row(s.order_id) for s in sightings]

    async def file(self, entries: Sequence[Index]) -> None:
        """See `SagaStore`."""
        for entry in entries:
            saga = self._saga(entry.order_id)
            if saga is not None and (saga.filed is None or saga.filed.version <= entry.version):
                self._unfile(entry.order_id, saga)
                self._file(entry, saga)

    async def get(self, order_id: str) -> SagaRow | None:
        """See `SagaStore`."""
        return next(iter(self._rows([order_id])), None)

    async def find(self, status: str, started_before_ms: int, rows_max: int) -> list[SagaRow]:
        """See `SagaStore`."""
        listed = [
            (started_ms, order)
            for live in (True, False)
            for order, started_ms in self._lists[live, status].items()
            if started_ms < started_before_ms
        ]
        return self._rows(order for _, order in sorted(listed, reverse=True)[:rows_max])

    async def due(self, now_ms: int, rows_max: int) -> list[SagaRow]:
        """See `SagaStore`."""
        late = sorted((due_ms, order) for order, due_ms in self._due.items() if due_ms <= now_ms)
        return self._rows(order for _, order in late[:rows_max])

    def _saga(self, order_id: str) -> _Saga | None:
        saga = self._sagas.get(order_id)
        if saga is not None and saga.expires_ms <= self._clock.now_ms():
            self._unfile(order_id, saga)
            del self._sagas[order_id]
            return None
        return saga

    def _rows(self, orders: Iterable[str]) -> list[SagaRow]:
        found = [(order, self._saga(order)) for order in orders]
        return [saga.row(order) for order, saga in found if saga is not None]

    def _unfile(self, order_id: str, saga: _Saga) -> None:
        self._due.pop(order_id, None)
        if saga.filed is not None:
            for status in ("", saga.filed.status):
                self._lists[saga.filed.live, status].pop(order_id, None)

    def _file(self, entry: Index, saga: _Saga) -> None:
        saga.filed = entry
        now_ms = self._clock.now_ms()
        saga.expires_ms = float("inf") if entry.live else now_ms + self._kept_ms
        if entry.live and entry.due_ms:
            self._due[entry.order_id] = entry.due_ms
        for status in ("", entry.status):
            listed = self._lists[entry.live, status]
            listed[entry.order_id] = entry.started_ms
            if not entry.live and len(listed) > ENDED_LISTED_MAX:
                del listed[min(listed, key=lambda order: (listed[order], order))]


def _merge(saga: _Saga, sighting: Sighting) -> None:
    fact = sighting.fact
    if sighting.event and fact is not None:
        known = saga.facts.get(sighting.event, fact)
        earliest = min(known, fact, key=lambda f: (f.time_ms, f.event_id))
        saga.facts[sighting.event] = earliest
    saga.snapshot = saga.snapshot or sighting.snapshot
    if sighting.saga_deadline_ms:
        known_ms = saga.deadline_ms or sighting.saga_deadline_ms
        saga.deadline_ms = min(known_ms, sighting.saga_deadline_ms)
    if sighting.letter_opened:
        letter_id = sighting.letter_opened.partition("|")[0]
        saga.opened.setdefault(letter_id, sighting.letter_opened)
    if sighting.letter_closed:
        saga.closed.add(sighting.letter_closed)
