"""Events to records and back: ids are pure, bodies survive, and what is wrong is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.kernel import codec
from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Outgoing, Record
from schemas.events import OrderPlaced
from schemas.order import Order
from tests.simulation.orders import order_body


def order(order_id: str = "o-1") -> Order:
    body = order_body(order_id)
    return Order.model_validate(body)


def stamp(**changes: Any) -> codec.Stamp:
    fields: dict[str, Any] = {
        "agent": "gateway",
        "topic": "gateway.events",
        "order_id": "o-1",
        "step": "place",
        "effect_key": "o-1:place:1",
        "attempt": 1,
        "now_ms": 1_700_000_000_000,
        "cause": "place",
        "saga_deadline_ms": 1_700_000_060_000,
        "step_deadline_ms": 1_700_000_015_000,
        "traceparent": "",
    }
    return codec.Stamp(**{**fields, **changes})


def record(out: Outgoing, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "topic": out.topic,
        "partition": 0,
        "offset": 7,
        "key": out.key,
        "value": out.value,
        "headers": out.headers,
    }
    return Record(**{**fields, **changes})


def headers(out: Outgoing) -> dict[str, str]:
    return {name: value.decode() for name, value in out.headers}


def test_an_event_survives_the_way_to_the_log_and_back() -> None:
    """Body, id, order, deadline and trace of an event are read as they were written."""
    out = codec.encode(OrderPlaced(order=order()), stamp())

    trigger = codec.decode(record(out))

    assert trigger.event == OrderPlaced(order=order())
    assert trigger.id == "o-1:place:OrderPlaced:1"
    assert (trigger.type, trigger.order_id) == ("OrderPlaced", "o-1")
    assert trigger.saga_deadline_ms == 1_700_000_060_000
    assert trigger.time_ms == 1_700_000_000_000
    assert trigger.traceparent == headers(out)["traceparent"]


def test_the_same_event_is_the_same_bytes_whenever_it_is_made() -> None:
    """Id, span and body do not depend on the time of making; only `ce_time` does."""
    early = codec.encode(OrderPlaced(order=order()), stamp())
    late = codec.encode(OrderPlaced(order=order()), stamp(now_ms=1_700_000_999_000))

    assert early.value == late.value
    changed = {k for k in headers(early) if headers(early)[k] != headers(late)[k]}
    assert changed == {"ce_time"}


def test_headers_follow_cloudevents_binary_mode_and_w3c_trace_context() -> None:
    """The required CloudEvents attributes are there, and the trace context has W3C form."""
    found = headers(codec.encode(OrderPlaced(order=order()), stamp()))

    assert found["ce_specversion"] == "1.0"
    assert found["ce_type"] == "dev.chorale.OrderPlaced.v1"
    assert found["ce_source"] == "/chorale/gateway"
    assert found["ce_time"] == "2023-11-14T22:13:20.000Z"
    assert found["content-type"] == "application/json"
    version, trace, span, flags = found["traceparent"].split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")


def test_a_trace_is_continued_when_the_trigger_has_one() -> None:
    """The trace id of the trigger stays; the span is new."""
    parent = f"00-{'a' * 32}-{'b' * 16}-01"

    found = headers(codec.encode(OrderPlaced(order=order()), stamp(traceparent=parent)))

    assert found["traceparent"].startswith(f"00-{'a' * 32}-")
    assert "b" * 16 not in found["traceparent"]


def test_structured_mode_is_read_too() -> None:
    """One JSON envelope with `data` is as good as headers."""
    body = {
        "specversion": "1.0",
        "id": "e-1",
        "type": "dev.chorale.OrderPlaced.v1",
        "source": "/elsewhere",
        "data": {"order": order().model_dump(mode="json")},
    }
    outer = Record(
        "gateway.events",
        0,
        0,
        b"o-1",
        json.dumps(body).encode(),
        (("content-type", b"application/cloudevents+json; charset=utf-8"),),
    )

    trigger = codec.decode(outer)

    assert (trigger.id, trigger.type, trigger.order_id) == ("e-1", "OrderPlaced", "o-1")


def test_a_newer_minor_version_is_kept_and_understood() -> None:
    """A field we do not know is read, and passed on when the order is."""
    out = codec.encode(OrderPlaced(order=order()), stamp())
    body = json.loads(out.value)
    body["order"]["gift_wrap"] = True
    body["campaign"] = "spring"
    newer = record(out, value=json.dumps(body).encode())

    trigger = codec.decode(newer)

    assert json.loads(trigger.event.model_dump_json())["campaign"] == "spring"
    assert json.loads(trigger.event.order.model_dump_json())["gift_wrap"] is True


def with_type(text: str) -> dict[str, Any]:
    return {"headers": (("ce_type", text.encode()),)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (with_type("dev.chorale.OrderPlaced.v2"), "major version 2"),
        (with_type("dev.chorale.Unheard.v1"), "unknown here"),
        (with_type("com.example.OrderPlaced.v1"), "not an event of ours"),
        (with_type("dev.chorale.OrderPlaced.vX"), "not an event of ours"),
        ({"headers": ()}, "not an event of ours"),
        ({"value": None}, "no body"),
        ({"value": b"\xff\xfe"}, "OrderPlaced at /"),
        ({"value": b"{}"}, "/order"),
        ({"key": b"other"}, "has the key"),
    ],
)
def test_what_cannot_be_read_is_poison_and_says_why(changes: dict[str, Any], says: str) -> None:
    """Each fault of a record is a PoisonRecord that names it."""
    out = codec.encode(OrderPlaced(order=order()), stamp())

    with pytest.raises(PoisonRecord, match=says):
        codec.decode(record(out, **changes))


def test_a_stored_outcome_is_published_byte_for_byte() -> None:
    """What the ledger stores unpacks to the very records."""
    out = [codec.encode(OrderPlaced(order=order("o-é".replace("é", "e"))), stamp())]

    assert codec.unpack(codec.pack(out)) == out
    assert codec.unpack("") == []
