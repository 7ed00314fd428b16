"""Events to records and back.

What is published is built once, when a step finishes, and stored in the ledger as it is: a crash
from there on publishes the same bytes under the same ids again. Ids of events, letters, traces
and spans are pure functions of the order, the step, the event and the logical attempt.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Outgoing, Record
from schemas import envelope
from schemas.events import EVENTS, Event

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Trigger:
    """A decoded event with the headers that matter."""

    event: Any
    type: str
    id: str
    order_id: str
    time_ms: int
    body_hash: str
    saga_deadline_ms: int
    step_deadline_ms: int
    traceparent: str

    @property
    def fingerprint(self) -> str:
        """`id#hash`: the same id with another hash is poison, never a repeat."""
        return f"{self.id}#{self.body_hash}"


def type_of(record: Record) -> tuple[str, int]:
    """Name and major version of the event in a record, without decoding its body.

    Raises PoisonRecord if the record does not say.
    """
    text = record.header(envelope.CE_TYPE)
    if not text and _structured(record):
        text = str(_json_object(record.value).get("type", ""))
    parsed = envelope.parse_event_type(text)
    if parsed is None:
        raise PoisonRecord(f"header {envelope.CE_TYPE} is {text[:80]!r}, not an event of ours")
    return parsed


def decode(record: Record) -> Trigger:
    """The event in a record. Raises PoisonRecord that says what is wrong and where."""
    name, major = type_of(record)
    model = EVENTS.get(name)
    if model is None:
        raise PoisonRecord(f"event type {name} is unknown here; upgrade this agent, then replay")
    if major != model.major:
        raise PoisonRecord(
            f"{name} has major version {major}, this agent reads {model.major}; "
            "upgrade the agent, then replay"
        )
    value, head = record.value, record.header
    if _structured(record):
        outer = _json_object(value)
        value = json.dumps(outer.get("data")).encode()
        head = _structured_head(outer, record)
    if value is None:
        raise PoisonRecord(f"{name} has no body")
    event = parse_event(model, value)
    order_id = _order_id(event)
    if record.key is not None and record.key != order_id.encode():
        raise PoisonRecord(f"{name} of order {order_id} has the key {record.key[:64]!r}")
    return Trigger(
        event=event,
        type=name,
        id=head(envelope.CE_ID) or f"{record.topic}:{record.partition}:{record.offset}",
        order_id=order_id,
        time_ms=_time_ms(head(envelope.CE_TIME), record.timestamp_ms),
        body_hash=body_hash(value),
        saga_deadline_ms=number(head(envelope.SAGA_DEADLINE_MS)),
        step_deadline_ms=number(head(envelope.STEP_DEADLINE_MS)),
        traceparent=head(envelope.TRACEPARENT),
    )


def parse_event(model: type[Event], value: bytes) -> Event:
    """A validated event. Raises PoisonRecord with the place of the first fault."""
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        raise PoisonRecord(f"{model.__name__} at /{where}: {first['msg']}") from error


@dataclass(frozen=True, slots=True)
class Stamp:
    """Everything about an event to be emitted that is not in its body."""

    agent: str
    topic: str
    order_id: str
    step: str
    effect_key: str
    attempt: int
    now_ms: int
    cause: str
    saga_deadline_ms: int
    step_deadline_ms: int
    traceparent: str
    suffix: str = ""
    """Tells apart events that several triggers may bring about."""


def encode(event: Event, stamp: Stamp) -> Outgoing:
    """The record of an event."""
    name = type(event).__name__
    event_id = f"{stamp.order_id}:{stamp.step}:{name}:{stamp.attempt}{stamp.suffix}"
    key = stamp.order_id.encode()
    headers = {
        envelope.CE_SPECVERSION: envelope.SPEC_VERSION,
        envelope.CE_ID: event_id,
        envelope.CE_SOURCE: f"/chorale/{stamp.agent}",
        envelope.CE_TYPE: envelope.event_type(name, event.major),
        envelope.CE_SUBJECT: stamp.order_id,
        envelope.CE_TIME: iso_time(stamp.now_ms),
        envelope.CE_PARTITIONKEY: stamp.order_id,
        envelope.CE_CAUSATIONID: stamp.cause,
        envelope.CONTENT_TYPE: envelope.CONTENT_TYPE_JSON.decode(),
        envelope.TRACEPARENT: child_traceparent(stamp.traceparent, stamp.order_id, event_id),
        envelope.SCHEMA_VERSION: f"{event.major}.{event.minor}",
        envelope.STEP: stamp.step,
        envelope.ATTEMPT: str(stamp.attempt),
        envelope.EFFECT_KEY: stamp.effect_key,
        envelope.SAGA_DEADLINE_MS: str(stamp.saga_deadline_ms),
        envelope.STEP_DEADLINE_MS: str(stamp.step_deadline_ms),
    }
    reason = getattr(event, "reason", "")
    if reason:
        headers[envelope.REASON] = reason[: envelope.REASON_HEADER_MAX]
    encoded = tuple((name, text.encode()) for name, text in headers.items())
    return Outgoing(stamp.topic, key, event.model_dump_json().encode(), encoded)


def pack(records: Sequence[Outgoing]) -> str:
    """Records as the text that the ledger stores."""
    return json.dumps(
        [
            [r.topic, r.key.decode(), r.value.decode(), [[k, v.decode()] for k, v in r.headers]]
            for r in records
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def unpack(blob: str) -> list[Outgoing]:
    """The records of a stored outcome; none for an empty one."""
    if not blob:
        return []
    return [
        Outgoing(topic, key.encode(), value.encode(), tuple((k, v.encode()) for k, v in headers))
        for topic, key, value, headers in json.loads(blob)
    ]


def name_of(record: Outgoing) -> str:
    """The event type of a record of ours; `DeadLetter` for a letter."""
    for name, value in record.headers:
        if name == envelope.CE_TYPE:
            parsed = envelope.parse_event_type(value.decode())
            return parsed[0] if parsed else ""
    return ""


def body_hash(value: bytes) -> str:
    """Sixteen hex digits of SHA-256: enough to tell two bodies of one id apart."""
    return hashlib.sha256(value).hexdigest()[:16]


def child_traceparent(parent: str, order_id: str, event_id: str) -> str:
    """The W3C trace context of an event: the order's trace, a span named by the event's id."""
    match = _TRACEPARENT.fullmatch(parent)
    trace = match[1] if match else hashlib.sha256(order_id.encode()).hexdigest()[:32]
    span = hashlib.sha256(event_id.encode()).hexdigest()[:16]
    return f"00-{trace}-{span}-{match[3] if match else '01'}"


def iso_time(now_ms: int) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    moment = datetime.fromtimestamp(now_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _order_id(event: Event) -> str:
    order = getattr(event, "order", None)
    return str(order.order_id if order is not None else getattr(event, "order_id", ""))


def _structured(record: Record) -> bool:
    return (
        record.header(envelope.CONTENT_TYPE).encode().startswith(envelope.CONTENT_TYPE_STRUCTURED)
    )


def _structured_head(outer: dict[str, Any], record: Record) -> Any:
    def head(name: str) -> str:
        value = outer.get(name.removeprefix("ce_"))
        return str(value) if value is not None else record.header(name)

    return head


def _json_object(value: bytes | None) -> dict[str, Any]:
    try:
        parsed = json.loads(value or b"")
    except (ValueError, RecursionError) as error:
        raise PoisonRecord(f"the body is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise PoisonRecord("the body is not a JSON object")
    return parsed


def _time_ms(text: str, otherwise_ms: int) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        return otherwise_ms


def number(text: str) -> int:
    """A count of milliseconds in a header; 0 if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else 0
