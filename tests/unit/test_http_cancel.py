"""The wish to cancel an order: into the log once, and never into a saga that is over."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agents.adapters.http_outcome import PERFORM_TIMEOUT_S
from agents.kernel.ports import Outgoing
from agents.kernel.protocol import Compact, Read
from agents.kernel.routing import Job
from schemas import envelope
from tests.unit.http_gateway import World, assert_problem, lived


async def placed(world: World) -> str:
    """The id of an order of ada."""
    answer = await world.place()
    return str(answer.json()["order_id"])


async def compacted(world: World, order_id: str) -> None:
    records = (await world.memory_ledger.apply([Read(order_id)]))[0].records
    fences = tuple((name, record.fence) for name, record in records)
    await world.memory_ledger.apply([Compact(order_id, fences, 30 * 86_400_000)])


@lived
async def test_wish_to_cancel_is_in_the_log_when_accepted(world: World) -> None:
    """The event carries the order, the reason, and the deadline and trace of its saga."""
    order_id = await placed(world)
    await asyncio.sleep(7)

    answer = await world.cancel(order_id, reason="changed my mind")

    assert answer.status_code == 202
    assert answer.json()["status"] == "STARTED"
    assert answer.headers["location"] == f"/orders/{order_id}"
    assert answer.headers["ratelimit"].startswith('"requests";r=18')
    first, wish = world.log.records
    body = json.loads(wish.value)
    assert world.log.events() == ["OrderPlaced", "OrderCancelRequested"]
    assert body["order"] == json.loads(first.value)["order"]
    assert body["reason"] == "changed my mind"
    assert wish.key == order_id.encode()
    for header in (envelope.SAGA_DEADLINE_MS, envelope.TRACEPARENT):
        before, after = world.log.header(first, header), world.log.header(wish, header)
        assert before.split("-")[:2] == after.split("-")[:2]


@lived
async def test_wish_to_cancel_is_one_when_asked_twice(world: World) -> None:
    """The first reason stands; the same event is published again, under the same id."""
    order_id = await placed(world)
    await world.cancel(order_id, reason="first")

    answer = await world.cancel(order_id, reason="second")

    assert answer.status_code == 202
    assert len(world.log.ids()) == 2
    assert world.log.records[1] == world.log.records[2]


@lived
async def test_order_can_be_cancelled_while_it_runs(world: World) -> None:
    """The answer tells the status as it is known; the payment agent decides."""
    order_id = await placed(world)
    await world.track(order_id, "OrderPlaced", "PaymentAuthorized")

    answer = await world.cancel(order_id)

    assert (answer.status_code, answer.json()["status"]) == (202, "PAYMENT_CONFIRMED")


@pytest.mark.parametrize("last", ["PaymentCaptured", "PaymentVoided"])
@lived
async def test_order_cannot_be_cancelled_when_it_has_ended(world: World, last: str) -> None:
    """409, and nothing is written."""
    order_id = await placed(world)
    await world.track(order_id, "OrderPlaced", last)

    assert_problem(await world.cancel(order_id), 409, "order-ended")
    assert world.log.events() == ["OrderPlaced"]


@lived
async def test_order_cannot_be_cancelled_when_it_is_compacted(world: World) -> None:
    """What is left of its ledger records says that it is over, whatever the tracker missed."""
    order_id = await placed(world)
    await world.track(order_id, "OrderPlaced")
    await compacted(world, order_id)

    assert_problem(await world.cancel(order_id), 409, "order-ended")


@lived
async def test_order_cannot_be_cancelled_when_it_is_compacted_meanwhile(world: World) -> None:
    """Compacted between the look and the wish: over is over."""
    order_id = await placed(world)
    sound = world.service.perform

    async def late(job: Job) -> list[Outgoing]:
        await compacted(world, order_id)
        return await sound(job)

    world.performing(late)

    assert_problem(await world.cancel(order_id), 409, "order-ended")


@lived
async def test_cancel_is_refused_in_bounded_time_when_the_broker_is_away(world: World) -> None:
    """503; asked again later, it is the same wish."""
    order_id = await placed(world)
    world.log.away = True
    began_s = world.loop.time()

    refused = await world.cancel(order_id)

    assert_problem(refused, 503, "unavailable")
    assert world.loop.time() - began_s <= PERFORM_TIMEOUT_S + 0.1
    world.log.away = False
    assert (await world.cancel(order_id)).status_code == 202
    assert world.log.events() == ["OrderPlaced", "OrderCancelRequested"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": 7}, "/reason"),
        ({"reason": "x" * 1_001}, "/reason"),
        ({"reason": "a\u0007b"}, "/reason"),
        ({"order/id~": "o-1"}, "/order~1id~0"),
    ],
)
@lived
async def test_cancel_is_refused_when_its_body_is_invalid(
    world: World, body: dict[str, Any], pointer: str
) -> None:
    """A reason of at most a thousand printable characters, and nothing else."""
    order_id = await placed(world)

    answer = await world.cancel(order_id, **body)

    assert_problem(answer, 422, "invalid-content")
    assert answer.json()["errors"][0]["pointer"] == pointer


@lived
async def test_cancel_is_refused_when_the_quota_is_spent(world: World) -> None:
    """Wishes count as orders do."""
    order_id = await placed(world)
    for _ in range(19):
        await world.cancel(order_id)

    assert_problem(await world.cancel(order_id), 429, "quota-exceeded")


@lived
async def test_caller_is_told_to_wait_when_the_wish_became_a_dead_letter(world: World) -> None:
    """What was published is no wish to cancel, so it is not said to be one."""
    order_id = await placed(world)

    async def letter(job: Job) -> list[Outgoing]:
        return [Outgoing("dlq.chorale", b"o-1", b"{}")]

    world.performing(letter)

    assert_problem(await world.cancel(order_id), 500, "waits-for-person")
