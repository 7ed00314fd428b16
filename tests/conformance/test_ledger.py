"""Every ledger keeps the promises of its port: batches, resending, and doubt."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.adapters.memory_stores import MemoryLedger
from agents.adapters.redis_client import RedisClient
from agents.adapters.redis_ledger import BATCH_MAX, RedisLedger
from agents.kernel.errors import StoreDoubtful
from agents.kernel.protocol import (
    OVER,
    Begin,
    Compact,
    Read,
    Request,
    State,
    Touch,
    Verdict,
)
from tests.conformance.ledgers import (
    HOUR_MS,
    LEASE_MS,
    Opened,
    StandingClock,
    TimedLedger,
    begin,
    begins,
    compacts,
    finish,
    finishes,
    requests,
    touches,
)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.valkey)])
def url(request: pytest.FixtureRequest) -> str:
    """The server's URL; empty for the twin in memory."""
    return "" if request.param == "memory" else str(request.getfixturevalue("valkey"))


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[Opened]:
    if not url:
        memory = MemoryLedger(StandingClock())
        await memory.create_epoch()
        yield memory
        return
    client = RedisClient(url)
    redis = TimedLedger(client, f"{uuid.uuid4().hex}:")
    await redis.create_epoch()
    yield redis
    await client.close()


async def test_batch_answers_each_request_in_order_when_larger_than_one_call(
    ledger: Opened,
) -> None:
    """A batch larger than one script call is answered request by request."""
    orders = [f"o{n}" for n in range(2 * BATCH_MAX + 1)]

    begun = await ledger.apply([begin(order) for order in orders])
    done = await ledger.apply([finish(order) for order in orders])
    again = await ledger.apply([begin(order, owner="bob") for order in orders])

    assert {reply.verdict for reply in begun} == {Verdict.OURS}
    assert {reply.verdict for reply in done} == {Verdict.OK}
    assert {(reply.verdict, reply.record.blob) for reply in again} == {(Verdict.REPUBLISH, "[1]")}


async def test_requests_of_one_order_are_applied_in_order_within_a_batch(ledger: Opened) -> None:
    """Begin, finish and begin again of one step work in one call."""
    replies = await ledger.apply([begin(), finish(), begin(owner="bob"), Read("o1")])

    assert [r.verdict for r in replies] == [
        Verdict.OURS,
        Verdict.OK,
        Verdict.REPUBLISH,
        Verdict.OK,
    ]
    assert dict(replies[3].records)["create"].outcome == "PaymentCreated"


async def test_fence_carries_the_epoch(ledger: Opened) -> None:
    """The fencing token orders owners across the loss of a store."""
    (reply,) = await ledger.apply([begin()])

    assert reply.fence == f"{ledger.epoch}.1"
    assert ledger.epoch > 0


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=st.lists(requests, max_size=12), last=st.one_of(begins, touches, finishes, compacts))
async def test_request_sent_twice_is_answered_alike(
    ledger: Opened, history: list[Request], last: Request
) -> None:
    """Whatever happened before, sending again within the lease changes nothing and says so."""
    order = f"{uuid.uuid4().hex}"
    if isinstance(last, Begin | Touch) and last.lease_ms == 0:
        last = replace(last, lease_ms=LEASE_MS)
    await ledger.apply([replace(request, order_id=order) for request in history])
    unique = replace(last, order_id=order)
    if isinstance(unique, Begin):
        # An owner token is drawn for each Begin; the history must not know it.
        unique = replace(unique, owner="dan")

    first, known, second, after = await ledger.apply([unique, Read(order), unique, Read(order)])

    assert second == first
    assert after == known


async def test_apply_is_doubtful_when_the_store_was_never_marked(ledger: Opened) -> None:
    """A store without an epoch is not taken for an empty ledger."""
    fresh = (
        MemoryLedger(StandingClock())
        if isinstance(ledger, MemoryLedger)
        else RedisLedger(ledger._client, f"{uuid.uuid4().hex}:")  # type: ignore[attr-defined]
    )

    assert await fresh.open() == 0
    with pytest.raises(StoreDoubtful, match="restore"):
        await fresh.apply([begin()])


async def test_apply_is_doubtful_until_reopened_when_the_store_forgot(ledger: Opened) -> None:
    """After a flush nothing is claimed, not even once somebody else has marked the store."""
    await ledger.apply([begin()])

    await forget(ledger)

    with pytest.raises(StoreDoubtful):
        await ledger.apply([begin()])
    assert await ledger.open() == 0
    assert await ledger.create_epoch() > 0
    (reply,) = await ledger.apply([Read("o1")])
    assert reply.records == ()


async def forget(ledger: Opened) -> None:
    """What FLUSHALL does, for this test's keys alone: others share the server."""
    if isinstance(ledger, MemoryLedger):
        ledger.flush()
        return
    assert isinstance(ledger, RedisLedger)
    keys = await ledger._client.command("KEYS", f"{ledger._prefix}*")
    await ledger._client.command("DEL", *keys)


@pytest.fixture
async def client(valkey: str) -> AsyncIterator[RedisClient]:
    made = RedisClient(valkey)
    yield made
    await made.close()


@pytest.mark.valkey
async def test_apply_is_doubtful_when_another_store_answers(client: RedisClient) -> None:
    """A store with an epoch of its own is not ours, however healthy it is."""
    ledger = RedisLedger(client, f"{uuid.uuid4().hex}:")
    await ledger.create_epoch()
    await client.command("SET", ledger.guard.key, "4711")

    with pytest.raises(StoreDoubtful, match="4711"):
        await ledger.apply([begin()])


@pytest.mark.valkey
async def test_epoch_stays_when_created_twice(client: RedisClient) -> None:
    """Two processes that mark the same new store agree on its epoch."""
    prefix = f"{uuid.uuid4().hex}:"

    first = await RedisLedger(client, prefix).create_epoch()
    second = await RedisLedger(client, prefix).create_epoch()

    assert first == second
    assert await client.command("PTTL", f"{prefix}epoch") == -1


@pytest.mark.valkey
async def test_apply_survives_a_script_flush(client: RedisClient) -> None:
    """A server that forgot the script gets it again within the same call."""
    ledger = RedisLedger(client, f"{uuid.uuid4().hex}:")
    await ledger.create_epoch()
    await client.command("SCRIPT FLUSH")

    (reply,) = await ledger.apply([begin()])

    assert reply.verdict is Verdict.OURS


@pytest.mark.valkey
async def test_script_uses_the_server_clock_when_not_told_otherwise(client: RedisClient) -> None:
    """A lease ends by the server's time; no process's clock takes part."""
    ledger = RedisLedger(client, f"{uuid.uuid4().hex}:")
    await ledger.create_epoch()
    seconds, micros = await client.command("TIME")
    server_ms = int(seconds) * 1000 + int(micros) // 1000

    (reply,) = await ledger.apply([begin()])

    assert 0 <= reply.record.lease_until_ms - LEASE_MS - server_ms < 5_000


@pytest.mark.valkey
async def test_compacted_saga_is_one_small_key_that_expires(client: RedisClient) -> None:
    """What is left of a saga is small, answers late records, and goes when nothing can be late."""
    prefix = f"{uuid.uuid4().hex}:"
    ledger = RedisLedger(client, prefix)
    await ledger.create_epoch()
    steps = ("place", "create", "confirm", "label")
    for step in steps:
        done = replace(finish(step=step), blob="x" * 500)
        await ledger.apply([begin(step=step), done])
    full = await client.command("MEMORY USAGE", f"{prefix}saga:o1")

    (compacted,) = await ledger.apply(
        [Compact("o1", tuple((step, 1) for step in sorted(steps)), HOUR_MS)]
    )
    (late,) = await ledger.apply([begin(step="label", owner="bob")])

    assert compacted.verdict is Verdict.OK
    assert (late.verdict, late.record.state) == (Verdict.DROPPED, State.OVER)
    assert await client.command("HKEYS", f"{prefix}saga:o1") == [OVER.encode()]
    assert 0 < await client.command("PTTL", f"{prefix}saga:o1") <= HOUR_MS
    assert await client.command("MEMORY USAGE", f"{prefix}saga:o1") < 160 < full
