"""Orders that outsiders write into `orders.inbox`: bare JSON, any client, any language.

Order id: the body's, else derived from its idempotency key, else from topic, partition and
offset; so a redelivery is the same order, and a repeat with the same idempotency key is too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Record

SUBMISSION_BYTES_MAX = 65_536
"""A hundred lines with long names need 20 kB; more is an attack or a mistake."""
DEPTH_MAX = 16
"""An order nests four deep."""
DIRECT_CUSTOMER = "direct"
"""The customer of a submission that names none."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")


@dataclass(frozen=True, slots=True)
class Submission:
    """One order as somebody sent it, not yet believed."""

    order_id: str
    customer: str
    body: dict[str, Any]

    @property
    def body_hash(self) -> str:
        """Of the content, whatever the order of its keys; ids and keys are not content."""
        content = {k: v for k, v in self.body.items() if k not in _NOT_CONTENT}
        text = json.dumps([self.customer, content], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


_NOT_CONTENT = ("order_id", "idempotency_key", "customer")


def order_id_of(customer: str, idempotency_key: str) -> str:
    """The order id of a customer's idempotency key; another customer's key is another order."""
    scoped = json.dumps([customer, idempotency_key])
    return f"o-{hashlib.sha256(scoped.encode()).hexdigest()[:24]}"


def submission_of(record: Record) -> Submission:
    """The submission in an inbox record. Raises PoisonRecord if nothing can be read from it."""
    body = parse_body(record.value)
    customer = body.get("customer")
    customer = customer if isinstance(customer, str) and customer else DIRECT_CUSTOMER
    order_id, key = body.get("order_id"), body.get("idempotency_key")
    if isinstance(order_id, str) and _ID.fullmatch(order_id):
        return Submission(order_id, customer, body)
    if order_id is None and isinstance(key, str) and key:
        return Submission(order_id_of(customer, key), customer, body)
    place = f"{record.topic}:{record.partition}:{record.offset}"
    return Submission(f"o-{hashlib.sha256(place.encode()).hexdigest()[:24]}", customer, body)


def json_pointer(place: Sequence[int | str]) -> str:
    """RFC 6901: where in a body; the empty pointer is all of it."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def parse_body(value: bytes | None) -> dict[str, Any]:
    """A JSON object of reasonable size and depth. Raises PoisonRecord."""
    if value is None or not value.strip():
        raise PoisonRecord("the record has no body; send one JSON object, an order")
    if len(value) > SUBMISSION_BYTES_MAX:
        raise PoisonRecord(f"the body has {len(value)} bytes, at most {SUBMISSION_BYTES_MAX}")
    try:
        parsed = json.loads(value.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PoisonRecord(f"the body is not JSON in UTF-8: {str(error)[:200]}") from error
    if not isinstance(parsed, dict):
        raise PoisonRecord(f"the body is a JSON {type(parsed).__name__}, not an object")
    if _depth(parsed) > DEPTH_MAX:
        raise PoisonRecord(f"the body is nested deeper than {DEPTH_MAX}")
    return parsed


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth(value: Any, depth: int = 1) -> int:
    if depth > DEPTH_MAX or not isinstance(value, dict | list):
        return depth
    inside = value.values() if isinstance(value, dict) else value
    return max((_depth(item, depth + 1) for item in inside), default=depth)
