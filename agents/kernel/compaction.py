"""When an ended saga's ledger records may shrink to one small one (rule 9 of the design)."""

from __future__ import annotations

from collections.abc import Mapping

from agents.kernel.codec import name_of, unpack
from agents.kernel.protocol import Compact, Records, State, StepRecord


def compaction_of(
    order_id: str,
    records: Records,
    consuming_steps: Mapping[str, frozenset[str]],
    ttl_ms: int,
) -> Compact | None:
    """The request that compacts the saga, or None while something of it is unsettled.

    Settled means: no step is in flight or dead, no outcome is open, and every stored event has
    been acted on by the step that consumes it.
    """
    if not all(_settled(record) for record in records.values()):
        return None
    for record in records.values():
        for event in _stored_events(record):
            if any(not _acted(records.get(step)) for step in consuming_steps.get(event, ())):
                return None
    fences = tuple((name, record.fence) for name, record in sorted(records.items()))
    return Compact(order_id, fences, ttl_ms)


def _settled(record: StepRecord) -> bool:
    done = record.state in (State.DONE, State.COMPENSATED, State.STOPPED)
    return done and not record.open


def _acted(record: StepRecord | None) -> bool:
    return record is not None and record.state is not State.NONE


def _stored_events(record: StepRecord) -> list[str]:
    return [name_of(outgoing) for outgoing in unpack(record.blob)]
