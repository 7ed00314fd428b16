"""Orders are shown to those whose they are, and to nobody else."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.unit.http_gateway import SECRET_TEXT, World, assert_problem, lived


async def placed(world: World) -> str:
    """The id of an order of ada."""
    answer = await world.place()
    return str(answer.json()["order_id"])


def told(answer: httpx2.Response) -> tuple[dict[str, Any], dict[str, str]]:
    """Body and headers without what must differ between two requests."""
    body = {k: v for k, v in answer.json().items() if k not in ("instance", "trace_id")}
    headers = {k: v for k, v in answer.headers.items() if k != "content-length"}
    return body, headers


@lived
async def test_order_is_shown_when_the_tracker_has_not_seen_it(world: World) -> None:
    """Straight after the 202 the order exists: the ledger's record of its placing tells."""
    order_id = await placed(world)

    answer = await world.show(order_id)

    assert answer.status_code == 200
    assert answer.json() == {
        "order_id": order_id,
        "status": "STARTED",
        "waiting_for_person": False,
        "letters_open": 0,
        "total": {"amount": 900, "currency": "USD", "exponent": 2},
        "timeline": [],
        "links": {"self": f"/orders/{order_id}", "cancel": f"/orders/{order_id}/cancel"},
    }
    assert answer.headers["cache-control"] == "no-store"


@lived
async def test_order_is_shown_as_the_tracker_sees_it(world: World) -> None:
    """Status, timeline in order of time, and no link to cancel what has ended."""
    order_id = await placed(world)
    await world.track(order_id, "OrderPlaced", "PaymentCreated", "PaymentCaptured")
    world.ledger.failing.add("apply")

    answer = await world.show(order_id)

    assert answer.status_code == 200, "the tracker's memory is enough"
    assert answer.json()["status"] == "COMPLETED"
    assert answer.json()["timeline"] == [
        {"event": "OrderPlaced", "time": "2023-11-14T22:13:20.000Z"},
        {"event": "PaymentCreated", "time": "2023-11-14T22:13:20.001Z"},
        {"event": "PaymentCaptured", "time": "2023-11-14T22:13:20.002Z"},
    ]
    assert answer.json()["links"] == {"self": f"/orders/{order_id}"}


@lived
async def test_order_is_shown_when_the_tracker_missed_its_first_event(world: World) -> None:
    """Topics have no order between them: a later event may be seen first."""
    order_id = await placed(world)
    await world.track(order_id, "PaymentCreated")

    answer = await world.show(order_id)

    assert answer.json()["status"] == "PAYMENT_PENDING"
    assert (await world.show(order_id, "bob")).status_code == 404


@pytest.mark.parametrize(
    ("letter", "events", "letters_open"),
    [
        ("l1|void|compensation|1|TerminalFault", (), 1),
        ("l1|label|forward|1|TerminalFault", (), 1),
        ("l1|label|forward|1|TerminalFault", ("ShipmentCancelled",), 0),
    ],
)
@lived
async def test_order_waits_for_a_person_when_a_letter_is_open(
    world: World, letter: str, events: tuple[str, ...], letters_open: int
) -> None:
    """Plainly shown, and only while it is so."""
    order_id = await placed(world)
    await world.track(order_id, "OrderPlaced", "StockReleased", *events, letter=letter)

    answer = await world.show(order_id)

    assert answer.json()["status"] == "COMPENSATING"
    assert answer.json()["letters_open"] == letters_open
    assert answer.json()["waiting_for_person"] is bool(letters_open)


@lived
async def test_decisions_are_no_part_of_the_timeline(world: World) -> None:
    """What operators decide stays with them."""
    order_id = await placed(world)
    await world.track(order_id, "OrderPlaced", "decision:d1")

    answer = await world.show(order_id)

    assert [m["event"] for m in answer.json()["timeline"]] == ["OrderPlaced"]


@pytest.mark.parametrize("tracked", [True, False])
@lived
async def test_order_of_somebody_else_is_as_if_it_were_not_there(
    world: World, tracked: bool
) -> None:
    """Neither shown nor cancelled, and not told apart from an unknown one."""
    order_id = await placed(world)
    if tracked:
        await world.track(order_id, "OrderPlaced")
    unknown_id = order_id[:-1] + "-"

    foreign, unknown = await world.show(order_id, "bob"), await world.show(unknown_id, "bob")
    cancelled = await world.cancel(order_id, "bob")

    for answer in (foreign, unknown, cancelled):
        assert_problem(answer, 404, "not-found")
    assert told(foreign) == told(unknown)
    assert told(foreign)[0] == told(cancelled)[0]
    assert world.log.events() == ["OrderPlaced"]


@pytest.mark.parametrize(
    "order_id", ["%00", "a%0Ab", "o-1%0a", "a:b", "%2e%2e%2fetc", "x" * 65, "-a", "%C3%A9", "*"]
)
@lived
async def test_order_id_is_not_found_when_it_can_be_none(world: World, order_id: str) -> None:
    """No store is asked for such a thing."""
    shown = await world.show(order_id)
    cancelled = await world.cancel(order_id)

    assert (shown.status_code, cancelled.status_code) == (404, 404)
    assert shown.headers["content-type"] == "application/problem+json"
    assert world.sagas.calls == world.ledger.calls == []


@pytest.mark.parametrize("fault", ["failing", "hanging"])
@pytest.mark.parametrize(("port", "method"), [("sagas", "get"), ("ledger", "apply")])
@lived
async def test_order_is_not_shown_when_the_store_is_away(
    world: World, port: str, method: str, fault: str
) -> None:
    """503 and a time to try again, never a false 404."""
    order_id = await placed(world)
    getattr(getattr(world, port), fault).add(method)

    for answer in (await world.show(order_id), await world.cancel(order_id)):
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "2"
        assert SECRET_TEXT not in answer.text


@lived
async def test_order_is_not_shown_when_nobody_asks(world: World) -> None:
    """A token is needed for every look."""
    order_id = await placed(world)

    for method, path in (("GET", ""), ("POST", "/cancel")):
        answer = await world.client.request(method, f"/orders/{order_id}{path}")
        assert_problem(answer, 401, "unauthenticated")
