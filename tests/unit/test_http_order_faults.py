"""`POST /orders` while broker, store or gateway fail: never two orders, never a false 202."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.adapters.http_orders import CLAIM_LEASE_MS
from agents.adapters.http_outcome import PERFORM_TIMEOUT_S, STORE_TIMEOUT_S
from agents.kernel.ports import Outgoing
from agents.kernel.protocol import Compact, Read
from agents.kernel.submission import order_id_of
from schemas import envelope
from tests.unit.http_gateway import SECRET_TEXT, SETTINGS, World, lived, order


@lived
async def test_order_is_accepted_later_when_the_broker_was_away(world: World) -> None:
    """503 in bounded time; the key is free, and a repeat is the same order with the same event."""
    world.log.away = True
    began_s = world.loop.time()

    refused = await world.place()

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "2"
    assert refused.headers["idempotency-key"] == "k1"
    assert "location" not in refused.headers
    assert world.loop.time() - began_s <= PERFORM_TIMEOUT_S + 0.1
    world.log.away = False
    accepted = await world.place()
    assert accepted.status_code == 202
    assert accepted.json()["order_id"] == order_id_of("ada", "k1")
    assert world.log.events() == ["OrderPlaced"]


@lived
async def test_event_is_the_same_when_its_acknowledgement_was_lost(world: World) -> None:
    """The first try is in the log, unknown to us: the repeat publishes the same id again."""
    world.log.acknowledge.clear()
    assert (await world.place()).status_code == 503
    world.log.acknowledge.set()

    assert (await world.place()).status_code == 202

    assert len(world.log.records) == 2
    assert len(world.log.ids()) == 1
    assert world.log.records[0] == world.log.records[1]


@pytest.mark.parametrize("fault", ["failing", "hanging"])
@pytest.mark.parametrize(
    ("port", "method"),
    [
        ("rate", "hit"),
        ("answers", "claim"),
        ("ledger", "apply"),
        ("answers", "answer"),
    ],
)
@lived
async def test_order_is_accepted_later_when_the_store_was_away(
    world: World, port: str, method: str, fault: str
) -> None:
    """At whichever call: 503 in bounded time, without a word of the fault; later the same order."""
    guarded = getattr(world, port)
    getattr(guarded, fault).add(method)
    began_s = world.loop.time()

    refused = await world.place()

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "2"
    assert SECRET_TEXT not in refused.text
    assert world.loop.time() - began_s < CLAIM_LEASE_MS / 1000
    getattr(guarded, fault).clear()
    # A hanging claim may have been made; its lease ends by itself.
    await asyncio.sleep(CLAIM_LEASE_MS / 1000)
    accepted = await world.place()
    assert accepted.status_code == 202
    assert accepted.json()["order_id"] == order_id_of("ada", "k1")
    assert len(world.log.ids()) == 1


@lived
async def test_claim_is_left_to_its_lease_when_it_cannot_be_given_up(world: World) -> None:
    """With broker and store away the caller is still answered, and waits for the lease."""
    world.log.away = True
    world.answers.failing.add("give_up")
    assert (await world.place()).status_code == 503
    world.log.away = False

    assert (await world.place()).status_code == 409
    await asyncio.sleep(CLAIM_LEASE_MS / 1000)
    assert (await world.place()).status_code == 202


@lived
async def test_claim_ends_with_its_lease_when_the_request_is_cut_off(world: World) -> None:
    """A crash of the gateway while it answers: the same order, once the lease is over."""
    world.log.acknowledge.clear()
    request = world.loop.create_task(world.place(), name="cut off")
    await world.log.reached.wait()
    request.cancel()
    await asyncio.wait([request])
    world.log.acknowledge.set()

    assert (await world.place()).status_code == 409
    await asyncio.sleep(CLAIM_LEASE_MS / 1000)
    accepted = await world.place()

    assert accepted.json()["order_id"] == order_id_of("ada", "k1")
    assert len(world.log.ids()) == 1


@lived
async def test_order_is_refused_when_a_capability_has_no_route_left(world: World) -> None:
    """503 before anything is claimed; with a route again, the same key is good."""
    world.closed_routes.append("payment")

    refused = await world.place()

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "10"
    assert "payment" in refused.json()["detail"]
    assert "claim" not in world.answers.calls
    world.closed_routes.clear()
    assert (await world.place()).status_code == 202


@lived
async def test_same_order_is_answered_when_the_answer_was_forgotten(world: World) -> None:
    """After a day, or after a lost store of answers, the ledger still knows the order."""
    first = await world.place()
    await asyncio.sleep(86_401)

    again = await world.place()
    other = await world.place(order(quantity=5), key="k1")

    assert again.content == first.content
    assert "idempotency-replayed" not in again.headers
    assert other.status_code == 422
    assert len(world.log.ids()) == 1


@lived
async def test_other_body_is_refused_when_only_the_ledger_knows_the_key(world: World) -> None:
    """The contradiction stands in the log, and the first order is untouched."""
    await world.place()
    await asyncio.sleep(86_401)

    other = await world.place(order(quantity=5))

    assert other.status_code == 422
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert world.log.events() == ["OrderPlaced", "OrderRejected"]


@lived
async def test_same_order_is_answered_when_its_saga_is_long_over(world: World) -> None:
    """A compacted saga publishes nothing again and is answered as at first."""
    first = await world.place()
    order_id = first.json()["order_id"]
    records = (await world.memory_ledger.apply([Read(order_id)]))[0].records
    fences = tuple((name, record.fence) for name, record in records)
    await world.memory_ledger.apply([Compact(order_id, fences, 30 * 86_400_000)])
    await asyncio.sleep(86_401)

    again = await world.place()

    assert again.status_code == 202
    assert again.content == first.content
    assert len(world.log.records) == 1


@lived
async def test_caller_is_told_to_wait_when_the_order_became_a_dead_letter(world: World) -> None:
    """An order that only a person can place is neither accepted nor refused."""

    async def letter(job: Any) -> list[Outgoing]:
        kind = envelope.event_type("DeadLetter", 1).encode()
        return [Outgoing("dlq.chorale", b"o-1", b"{}", ((envelope.CE_TYPE, kind),))]

    world.performing(letter)
    world.answers.failing.add("give_up")

    answer = await world.place()

    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/waits-for-person"


@lived
async def test_nothing_is_revealed_when_a_bug_of_ours_strikes(world: World) -> None:
    """500 says that the fault is ours and no more; the key is free again."""

    async def bug(job: Any) -> list[Outgoing]:
        raise RuntimeError(SECRET_TEXT)

    sound = world.client
    world.performing(bug)

    answer = await world.place()

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/internal-error"
    assert SECRET_TEXT not in answer.text
    assert "Traceback" not in answer.text
    world.client = sound
    assert (await world.place()).status_code == 202


@lived
async def test_store_time_out_is_shorter_than_the_lease(world: World) -> None:
    """The claim outlives every way of answering it, so that two never answer at once."""
    longest_s = PERFORM_TIMEOUT_S + 2 * STORE_TIMEOUT_S

    assert longest_s * 1000 < CLAIM_LEASE_MS <= SETTINGS.lease_ms
