"""The tracker's store in Redis or Valkey: a cache of the log's fold, one script for every call.

Adding is a merge that neither order nor repetition changes, filing is ordered by the row's
version, so every call is safe to send twice. Only live sagas stand in the sorted sets for good:
of ended ones each list keeps the newest `ENDED_LISTED_MAX`, and their rows expire.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agents.adapters.redis_client import RedisClient, Script, StoreEpoch
from agents.adapters.store_limits import ENDED_LISTED_MAX, SAGA_KEPT_MS
from agents.kernel.ports import Fact, Index, SagaRow, Sighting

BATCH_MAX = 256
"""Sightings of one script call: the server serves nobody else meanwhile, for some 10 ms."""

_SCRIPT = Script.load("saga_store.lua")
_SEPARATOR = "\x1f"


class RedisSagaStore:
    """`agents.kernel.ports.SagaStore` in one Redis or Valkey primary.

    It compares the same epoch as the ledger, whose `guard` it is given: a store that forgot is
    doubtful, not empty.
    """

    def __init__(
        self,
        client: RedisClient,
        guard: StoreEpoch,
        prefix: str = "chorale:",
        kept_ms: int = SAGA_KEPT_MS,
    ) -> None:
        self._client = client
        self._guard = guard
        self._prefix = prefix
        self._kept_ms = kept_ms

    async def add(self, sightings: Sequence[Sighting]) -> list[SagaRow]:
        """See `SagaStore`."""
        rows: list[SagaRow] = []
        for start in range(0, len(sightings), BATCH_MAX):
            rows += await self._add(sightings[start : start + BATCH_MAX])
        return rows

    async def file(self, entries: Sequence[Index]) -> None:
        """See `SagaStore`."""
        for start in range(0, len(entries), BATCH_MAX):
            await self._file(entries[start : start + BATCH_MAX])

    async def get(self, order_id: str) -> SagaRow | None:
        """See `SagaStore`."""
        rows = await self._run(kind="get", order=order_id)
        return rows[0] if rows else None

    async def find(self, status: str, started_before_ms: int, rows_max: int) -> list[SagaRow]:
        """See `SagaStore`."""
        return await self._run(
            kind="find", status=status, started_before=started_before_ms, rows_max=rows_max
        )

    async def due(self, now_ms: int, rows_max: int) -> list[SagaRow]:
        """See `SagaStore`."""
        return await self._run(kind="due", now=now_ms, rows_max=rows_max)

    async def _add(self, sightings: Sequence[Sighting]) -> list[SagaRow]:
        orders = list(dict.fromkeys(sighting.order_id for sighting in sightings))
        written = [_write(sighting) for sighting in sightings]
        found = await self._run(kind="add", sightings=written, orders=orders)
        rows = {row.order_id: row for row in found}
        return [rows.get(s.order_id) or SagaRow(s.order_id, {}) for s in sightings]

    async def _file(self, entries: Sequence[Index]) -> None:
        written = [
            (
                entry.order_id,
                entry.version,
                entry.status,
                entry.live,
                entry.started_ms,
                entry.due_ms,
            )
            for entry in entries
        ]
        await self._run(
            kind="file", entries=written, kept_ms=self._kept_ms, listed_max=ENDED_LISTED_MAX
        )

    async def _run(self, **request: Any) -> list[SagaRow]:
        text = json.dumps(request, ensure_ascii=False, separators=(",", ":"))
        answer = await self._client.run(
            _SCRIPT, [self._guard.key], (self._guard.known, self._prefix, text)
        )
        if answer[0] != b"ok":
            raise self._guard.doubt(answer[1])
        return [_read(order, fields) for order, fields in json.loads(answer[1])]


def _write(sighting: Sighting) -> Sequence[Any]:
    fact = sighting.fact
    event, packed = "", ""
    if sighting.event and fact is not None:
        event_id = fact.event_id.replace(_SEPARATOR, "")
        parts = (str(fact.time_ms), event_id, fact.cause.replace(_SEPARATOR, ""), fact.reason)
        event, packed = sighting.event, _SEPARATOR.join(parts)
    return (
        sighting.order_id,
        event,
        packed,
        sighting.snapshot,
        sighting.saga_deadline_ms,
        sighting.letter_opened.partition("|")[0],
        sighting.letter_opened,
        sighting.letter_closed,
    )


def _read(order_id: str, fields: Sequence[str]) -> SagaRow:
    facts: dict[str, Fact] = {}
    letters: dict[str, str] = {}
    closed: list[str] = []
    others: dict[str, str] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        kind, rest = name[:2], name[2:]
        if kind == "f:":
            # A row of an earlier version has no reason.
            time_ms, event_id, cause, reason = (*value.split(_SEPARATOR, 3), "")[:4]
            facts[rest] = Fact(event_id, int(time_ms), cause, reason)
        elif kind == "o:":
            letters[rest] = value
        elif kind == "c:":
            closed.append(rest)
        else:
            others[name] = value
    version = len(facts) + len(letters) + len(closed)
    for letter_id in closed:
        letters.pop(letter_id, None)
    deadline_ms = int(others.get("deadline", 0))
    return SagaRow(order_id, facts, others.get("snapshot", ""), deadline_ms, letters, version)
