"""Whatever is written into a topic: it is kept, its cause is said, and the partition moves on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.events import OrderPlaced
from schemas.order import Order
from tests.simulation.acts import decide, raw
from tests.simulation.orders import as_bytes, order_body
from tests.simulation.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """A world of its own for each case."""
    made = World(seed=1)
    yield made
    made.close()


def broken(**changes: Any) -> dict[str, Any]:
    body = order_body("o-bad")
    for path, value in changes.items():
        target: Any = body
        *parents, last = path.split("__")
        for part in parents:
            target = target[int(part) if part.isdigit() else part]
        target[last] = value
    return body


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (broken(lines=[]), "/lines"),
        (broken(lines__0__quantity=0), "/lines/0/quantity"),
        (broken(lines__0__quantity=10**9), "/lines/0/quantity"),
        (broken(lines__0__quantity="2"), "/lines/0/quantity"),
        (broken(lines__0__quantity=1.5), "/lines/0/quantity"),
        (broken(lines__0__unit_price__amount=-1), "/lines/0/unit_price/amount"),
        (broken(lines__0__unit_price__amount=2**63), "/lines/0/unit_price/amount"),
        (broken(lines__1__unit_price__currency="EUR"), ""),
        (broken(total__amount=1), ""),
        (broken(total__currency="XXX"), "/total"),
        (broken(total__exponent=3), "/total"),
        (broken(payment_token="4111111111111111"), "/payment_token"),
        (broken(ship_to__country="usa"), "/ship_to/country"),
        (broken(ship_to__name="Al\u0000ice"), "/ship_to/name"),
        (broken(surprise=1), "/surprise"),
        ({**order_body("o-bad"), "a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_an_invalid_order_is_rejected_with_a_pointer(
    world: World, body: dict[str, Any], pointer: str
) -> None:
    """OrderRejected names the field; nothing was called; the next order is served."""
    world.submit(body)
    world.submit(order_body("o-good"))
    world.run()

    rejected = [r for r in world.records() if "OrderRejected" in r.header("ce_type")]
    errors = json.loads(rejected[0].value or b"")["errors"]
    assert pointer in [e["pointer"] for e in errors], errors
    assert set(world.balance().orders) - {""} == {"o-good"}
    assert world.report().completed == 1
    assert world.report().balanced


@pytest.mark.parametrize("value", [b"", b"\xff\x00garbage", b"[1, 2]", b'{"half":'])
def test_an_unreadable_submission_is_a_letter_with_its_bytes(world: World, value: bytes) -> None:
    """What nothing can be read from is kept byte for byte, once."""
    world.publish(world.topics.inbox, "o-good", value)
    world.submit(order_body("o-good"))
    world.run()

    letters = world.letters().open()
    assert [raw(letter) for letter in letters] == [value]
    assert letters[0].origin.topic == world.topics.inbox
    assert letters[0].cause == "poison"
    assert world.report().completed == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ce_type": "dev.chorale.PaymentCaptured.v1"},
        {"ce_type": "dev.chorale.PaymentCaptured.v2"},
        {"ce_type": "dev.chorale.SomethingNew.v1"},
    ],
)
def test_an_unreadable_event_is_one_letter_and_the_partition_moves_on(
    world: World, headers: dict[str, str]
) -> None:
    """Several agents read the topic; a person sees one letter, and the next order is served."""
    for topic in ("payment.events", "shipping.events"):
        encoded = tuple((k, v.encode()) for k, v in headers.items())
        world.publish_raw(topic, b"o-good", b"\xfe\xedgarbage", encoded)
    world.submit(order_body("o-good"))
    world.run()

    handled = headers.get("ce_type", "").endswith("PaymentCaptured.v1")
    topics = sorted({x.origin.topic for x in world.letters().open()})
    assert topics == (["payment.events"] if handled else ["payment.events", "shipping.events"])
    assert len(world.letters().open()) == len(topics)
    assert all(raw(x) == b"\xfe\xedgarbage" for x in world.letters().open())
    assert world.report().completed == 1


def test_a_replayed_unreadable_submission_that_still_cannot_be_read_is_a_new_letter(
    world: World,
) -> None:
    """The second reading has its own letter, so that nobody loses sight of it."""
    world.publish(world.topics.inbox, "o-1", b"{")
    world.run()
    first = world.letters().open()[0]

    decide(world, first, "replay")
    world.run()

    second = world.letters().open()
    assert [x.attempt for x in second] == [2]
    assert raw(second[0]) == b"{"


def test_an_edited_submission_is_placed(world: World) -> None:
    """A person mends the bytes; the order is placed under the record's own id."""
    world.publish(world.topics.inbox, "o-1", b"{")
    world.run()
    letter = world.letters().open()[0]

    decide(world, letter, "replay_edited", edited=as_bytes(order_body("o-mended")))
    world.run()

    assert world.report().completed == 1
    assert world.balance().orders["o-mended"].captured == 3_000


def test_a_forged_decision_is_a_letter_too(world: World) -> None:
    """Nonsense in the decisions' topic is kept, and no agent stumbles."""
    world.publish(world.topics.decisions, "o-1", b'{"who": 1}')
    world.submit(order_body("o-1"))
    world.run()

    assert {x.origin.topic for x in world.letters().open()} == {world.topics.decisions}
    assert world.report().completed == 1


STRUCTURED = (("content-type", b"application/cloudevents+json"),)
PLACED = (("ce_type", b"dev.chorale.OrderPlaced.v1"), ("ce_subject", b"o-x"))
PILLS: dict[str, tuple[str, bytes, tuple[tuple[str, bytes], ...]]] = {
    "larger than a letter": ("orders.inbox", b'{"a":"' + b"x" * 800_000 + b'"}', ()),
    "half a surrogate as type": ("payment.events", b'{"type": "\\ud800"}', STRUCTURED),
    "half a surrogate as id": (
        "gateway.events",
        b'{"id": "\\ud800", "type": "dev.chorale.OrderPlaced.v1", "data": {}}',
        STRUCTURED,
    ),
    "headers of a megabyte": ("payment.events", b"{}", tuple([("h", b"x" * 30_000)] * 30)),
    "long once escaped": ("orders.inbox", b"[" * 400_000, (("\x01" * 65_000, b""),)),
    "placed without an order": ("gateway.events", b"{}", PLACED),
    "placed with garbage": ("gateway.events", b"\xfe\xed", PLACED),
}
"""Records that once ended an agent, and would have again after every restart."""


CUT = ("larger than a letter", "headers of a megabyte", "long once escaped")


@pytest.mark.parametrize("pill", PILLS)
def test_no_record_ends_an_agent(world: World, pill: str) -> None:
    """One letter, no crash, the next order is served, and time-outs go on."""
    topic, value, headers = PILLS[pill]
    world.publish_raw(topic, b"o-x", value, headers)
    world.submit(order_body("o-good"))
    world.run(idle_s=world.settings.saga_deadline_ms / 1000 + 10)

    assert len(world.nodes) == 1, "no agent had to be started anew"
    letters = world.letters().open()
    assert len(letters) == 1
    assert letters[0].origin.cut == (pill in CUT)
    assert world.report().completed == 1


def test_a_letter_that_holds_only_a_part_is_not_replayed_as_the_whole(world: World) -> None:
    """What was cut cannot be sent again from the letter; that is said, in a letter."""
    topic, value, headers = PILLS["larger than a letter"]
    world.publish_raw(topic, b"o-x", value, headers)
    world.run()

    decide(world, world.letters().open()[0], "replay")
    world.run()

    second = world.letters().open()
    assert [x.attempt for x in second] == [2]
    assert "only a part" in second[0].error


def test_an_order_placed_in_structured_mode_times_out_like_any_other(world: World) -> None:
    """The tracker keeps the order itself, whatever mode it came in."""
    order = Order.model_validate(order_body("o-1"))
    body = {
        "id": "e-1",
        "type": "dev.chorale.OrderPlaced.v1",
        "data": OrderPlaced(order=order).model_dump(mode="json"),
    }
    world.publish_raw("gateway.events", b"o-1", json.dumps(body).encode(), STRUCTURED)
    world.run(("tracker",), idle_s=world.settings.saga_deadline_ms / 1000 + 10)

    row = world.loop.run_until_complete(world.stores.sagas.get("o-1"))
    assert row is not None
    assert json.loads(row.snapshot)["order"]["order_id"] == "o-1"
