"""From a failure to a dead letter, and from a letter back to the record that caused it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Outgoing, Record
from schemas import envelope
from schemas.dead_letter import Cause, DeadLetter, Direction, Known, Origin, Owed
from schemas.events import ChainEvent

ERROR_CHARACTERS_MAX = 2_000
"""A longer message is a body in disguise."""
KEY_CHARACTERS_MAX = 1_000
"""An order id has 64."""
BODY_BYTES_MAX = 400_000
"""In base64 and with all else a letter then stays below what a broker takes (a megabyte)."""
LETTER_BYTES_MAX = 900_000
"""A broker takes a megabyte; the letter's own headers need some of it."""
HEADER_BYTES_MAX = 65_536
"""Of all headers together; ours need two kilobytes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, where."""

    agent: str
    """Empty for a record that nobody can read: then it concerns all who read its topic."""
    error: Exception
    cause: Cause
    step: str = ""
    direction: Direction = "none"
    attempt: int = 1
    tries: int = 0
    known: Known = "unknown"
    order_id: str = ""


def letter_of(failure: Failure, record: Record, trigger: Any, now_ms: int) -> DeadLetter:
    """The letter of a failure; its id is a pure function of what failed."""
    if failure.step:
        letter_id = f"{failure.order_id}:{failure.step}:{failure.direction}:{failure.attempt}"
    else:
        letter_id = f"{record.topic}:{record.partition}:{record.offset}:{failure.attempt}"
    return DeadLetter(
        letter_id=letter_id,
        order_id=_text_of(failure.order_id),
        agent=failure.agent,
        step=failure.step,
        direction=failure.direction,
        attempt=failure.attempt,
        cause=failure.cause,
        known=failure.known,
        error_type=type(failure.error).__name__,
        error=_text_of(str(failure.error))[:ERROR_CHARACTERS_MAX],
        tries=failure.tries,
        owed=_owed(trigger, failure),
        raised_at_ms=now_ms,
        origin=_origin(record),
    )


def poison_letter(
    record: Record, error: Exception, now_ms: int, topic: str, *, reading: int = 1
) -> Outgoing:
    """The letter of a record that nobody can read: bytes, cause and origin."""
    failure = Failure(agent="", error=error, cause="poison", attempt=reading)
    letter = letter_of(failure, record, None, now_ms)
    return encode_letter(letter, topic, record.header(envelope.TRACEPARENT))


def encode_letter(letter: DeadLetter, topic: str, traceparent: str) -> Outgoing:
    """The record of a letter, with the headers that Kafka's own dead letters carry (KIP-1191)."""
    origin = letter.origin
    key = _text_of(letter.order_id or letter.letter_id)[:KEY_CHARACTERS_MAX]
    headers = {
        envelope.CONTENT_TYPE: envelope.CONTENT_TYPE_JSON.decode(),
        envelope.CE_TYPE: envelope.event_type("DeadLetter", 1),
        envelope.CE_ID: letter.letter_id,
        envelope.CE_SUBJECT: key,
        envelope.LETTER_ID: letter.letter_id,
        envelope.AGENT: letter.agent,
        envelope.STEP: letter.step,
        envelope.ATTEMPT: str(letter.attempt),
        envelope.TRACEPARENT: traceparent,
        "__dlq.errors.topic": origin.topic,
        "__dlq.errors.partition": str(origin.partition),
        "__dlq.errors.offset": str(origin.offset),
        "__dlq.errors.group": letter.agent,
        "__dlq.errors.delivery.count": str(letter.tries),
        "__dlq.errors.message": letter.error[:200],
    }
    encoded = tuple((name, text.encode("utf-8", "replace")) for name, text in headers.items())
    return Outgoing(topic, key.encode(), _fitting(letter).model_dump_json().encode(), encoded)


def _fitting(letter: DeadLetter) -> DeadLetter:
    """The letter, without its headers if they (escaped in JSON) would make it too long."""
    if len(letter.model_dump_json()) <= LETTER_BYTES_MAX:
        return letter
    origin = letter.origin.model_copy(update={"headers": (), "cut": True})
    return letter.model_copy(update={"origin": origin})


def record_of(letter: DeadLetter, edited_value_base64: str | None = None) -> Record:
    """The record that the letter was written about, edited if the decision says so.

    Raises PoisonRecord if the letter holds only a part of it and nobody has supplied the rest.
    """
    origin = letter.origin
    if origin.cut and edited_value_base64 is None:
        raise PoisonRecord(
            f"the letter holds only a part of {origin.topic}:{origin.partition}:{origin.offset}; "
            "send the whole record anew, then discard the letter"
        )
    value = edited_value_base64 if edited_value_base64 is not None else origin.value_base64
    return Record(
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
        key=_bytes(origin.key_base64),
        value=_bytes(value),
        headers=tuple((name, base64.b64decode(text)) for name, text in origin.headers),
        timestamp_ms=origin.timestamp_ms,
    )


def _text_of(text: str) -> str:
    """The text with what UTF-8 cannot say (half a surrogate pair) made visible."""
    return text.encode("utf-8", "backslashreplace").decode()


def _origin(record: Record) -> Origin:
    """The record; what is too long is cut, and its hash tells whether somebody has the rest."""
    value = record.value or b""
    headers, left = [], HEADER_BYTES_MAX
    for name, header in record.headers:
        left -= len(name) + len(header or b"")
        if left >= 0:
            headers.append((_text_of(name), base64.b64encode(header or b"").decode()))
    cut = len(value) > BODY_BYTES_MAX or left < 0 or len(record.key or b"") > HEADER_BYTES_MAX
    return Origin(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        key_base64=_text(record.key and record.key[:HEADER_BYTES_MAX]),
        value_base64=_text(record.value and value[:BODY_BYTES_MAX]),
        headers=tuple(headers),
        cut=cut,
        sha256=hashlib.sha256(value).hexdigest(),
    )


def _owed(trigger: Any, failure: Failure) -> Owed:
    """What stays held while the letter is open: as the trigger's own ids tell it."""
    if not isinstance(trigger, ChainEvent) or failure.cause == "given_up":
        return Owed()
    refs = trigger.refs
    undone = _UNDONE_BY_THEN.get(type(trigger).__name__, "")
    shipment = None if undone else refs.shipment
    return Owed(
        money=trigger.order.total if refs.payment_id else None,
        stock=trigger.order.lines if refs.reservation_id and undone != "stock" else (),
        shipment=f"{shipment.carrier} {shipment.shipment_id}" if shipment else "",
    )


_UNDONE_BY_THEN = {
    "ShipmentCancelled": "shipment",
    "ShipmentFailed": "shipment",
    "StockReleased": "stock",
    "StockRejected": "stock",
}
"""How far the chain has come when these events trigger the next link (stock: shipment too)."""


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
