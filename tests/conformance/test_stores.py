"""Answers and rate limits keep the promises of their ports, in memory and in Redis alike."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.adapters.memory_stores import MemoryAnswerStore, MemoryRateLimit
from agents.adapters.redis_client import RedisClient
from agents.adapters.redis_stores import RedisAnswerStore, RedisRateLimit
from agents.adapters.store_limits import ANSWER_KEPT_MS
from agents.kernel.errors import StoreUnavailable
from agents.kernel.ports import Answer, AnswerClaim, AnswerStore, RateLimit
from tests.conformance.ledgers import StandingClock

LEASE_MS = 60_000
OVER_MS = 0
"""A lease that is over as soon as it begins, so that no test waits for one."""


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.valkey)])
def url(request: pytest.FixtureRequest) -> str:
    """The server's URL; empty for the twin in memory."""
    return "" if request.param == "memory" else str(request.getfixturevalue("valkey"))


@pytest.fixture
async def client(url: str) -> AsyncIterator[RedisClient | None]:
    made = RedisClient(url) if url else None
    yield made
    if made is not None:
        await made.close()


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4().hex}:"


@pytest.fixture
def answers(client: RedisClient | None, prefix: str) -> AnswerStore:
    return RedisAnswerStore(client, prefix) if client else MemoryAnswerStore(StandingClock())


@pytest.fixture
async def limit(client: RedisClient | None, prefix: str) -> AsyncIterator[RateLimit]:
    if client is None:
        yield MemoryRateLimit(StandingClock(), a_minute=3)
        return
    redis = RedisRateLimit(client, prefix, a_minute=3)
    yield redis
    await redis.close()


# ---- answers -------------------------------------------------------------------------------


async def test_key_is_ours_when_nobody_claimed_it(answers: AnswerStore) -> None:
    """The first request of a key answers it; sending the claim again changes nothing."""
    assert await answers.claim("k", "body", "ann", LEASE_MS) == AnswerClaim("ours")
    assert await answers.claim("k", "body", "ann", LEASE_MS) == AnswerClaim("ours")


async def test_key_is_in_flight_when_somebody_else_answers_it(answers: AnswerStore) -> None:
    """A repeat that comes too early waits; it is not answered twice."""
    await answers.claim("k", "body", "ann", LEASE_MS)

    assert await answers.claim("k", "body", "bob", LEASE_MS) == AnswerClaim("in_flight")


async def test_key_is_answered_alike_for_everybody(answers: AnswerStore) -> None:
    """Once answered, the same answer comes back, byte for byte."""
    answer = Answer(202, '{"order": "ünï", "n": 1}\n')
    await answers.claim("k", "body", "ann", LEASE_MS)
    await answers.answer("k", "ann", answer)
    await answers.answer("k", "ann", Answer(500, "sent again, changed"))

    for owner in ("ann", "bob"):
        assert await answers.claim("k", "body", owner, LEASE_MS) == AnswerClaim("answered", answer)


@pytest.mark.parametrize("answered", [True, False])
async def test_key_is_misused_when_the_body_differs(answers: AnswerStore, answered: bool) -> None:
    """One key for two bodies is refused, in flight as well as answered."""
    await answers.claim("k", "body", "ann", LEASE_MS)
    if answered:
        await answers.answer("k", "ann", Answer(202, ""))

    assert await answers.claim("k", "other", "ann", LEASE_MS) == AnswerClaim("mismatch")


async def test_key_is_taken_over_when_its_lease_is_over(answers: AnswerStore) -> None:
    """A gateway that died does not block a customer, and cannot answer any more."""
    await answers.claim("k", "body", "ann", OVER_MS)

    assert await answers.claim("k", "body", "bob", LEASE_MS) == AnswerClaim("ours")
    await answers.answer("k", "ann", Answer(500, "too late"))
    await answers.give_up("k", "ann")

    assert await answers.claim("k", "body", "cem", LEASE_MS) == AnswerClaim("in_flight")
    await answers.answer("k", "bob", Answer(202, "right"))
    claim = await answers.claim("k", "body", "cem", LEASE_MS)
    assert claim == AnswerClaim("answered", Answer(202, "right"))


async def test_key_is_free_when_its_owner_gave_it_up(answers: AnswerStore) -> None:
    """After a failure that decided nothing, the client's retry is served at once."""
    await answers.claim("k", "body", "ann", LEASE_MS)
    await answers.give_up("k", "ann")
    await answers.give_up("k", "ann")

    assert await answers.claim("k", "another body", "bob", LEASE_MS) == AnswerClaim("ours")


async def test_answer_stays_when_it_is_given_up_too_late(answers: AnswerStore) -> None:
    """An answer that was given is kept."""
    await answers.claim("k", "body", "ann", LEASE_MS)
    await answers.answer("k", "ann", Answer(202, "x"))
    await answers.give_up("k", "ann")

    assert (await answers.claim("k", "body", "bob", LEASE_MS)).outcome == "answered"


async def test_answer_is_ignored_when_nobody_claimed_the_key(answers: AnswerStore) -> None:
    """A store that was flushed meanwhile does not take an answer out of thin air."""
    await answers.answer("k", "ann", Answer(202, "x"))

    assert await answers.claim("k", "body", "bob", LEASE_MS) == AnswerClaim("ours")


calls = st.tuples(
    st.sampled_from(["claim", "claim", "answer", "give_up"]),
    st.sampled_from(["k1", "k2"]),
    st.sampled_from(["body", "other"]),
    st.sampled_from(["ann", "bob"]),
    st.sampled_from([OVER_MS, LEASE_MS]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(calls, max_size=15))
async def test_any_history_is_answered_as_in_memory(
    answers: AnswerStore, history: list[tuple[str, str, str, str, int]]
) -> None:
    """Whatever happens in whatever order, both stores say the same, sent once or twice."""
    twin, run = MemoryAnswerStore(StandingClock()), uuid.uuid4().hex
    for kind, key, fingerprint, owner, lease_ms in history:
        name = f"{run}{key}"
        for _ in range(2):
            if kind == "claim":
                known = await twin.claim(name, fingerprint, owner, lease_ms)
                assert await answers.claim(name, fingerprint, owner, lease_ms) == known
            elif kind == "answer":
                await twin.answer(name, owner, Answer(202, owner))
                await answers.answer(name, owner, Answer(202, owner))
            else:
                await twin.give_up(name, owner)
                await answers.give_up(name, owner)


@pytest.mark.valkey
async def test_answer_is_kept_a_day_in_redis(valkey: str, prefix: str) -> None:
    """Answers, and claims that nobody ever answers, leave the store after 24 hours."""
    client = RedisClient(valkey)
    answers = RedisAnswerStore(client, prefix)

    await answers.claim("k", "body", "ann", LEASE_MS)
    claimed_ms = await client.command("PTTL", f"{prefix}answer:k")
    await answers.answer("k", "ann", Answer(202, "x"))
    answered_ms = await client.command("PTTL", f"{prefix}answer:k")

    assert ANSWER_KEPT_MS - 10_000 < claimed_ms <= ANSWER_KEPT_MS
    assert ANSWER_KEPT_MS - 10_000 < answered_ms <= ANSWER_KEPT_MS
    await client.close()


# ---- rate limits ---------------------------------------------------------------------------


async def test_limit_allows_so_many_and_then_no_more(limit: RateLimit) -> None:
    """The fourth of three requests a minute is refused, with the time to come back."""
    hits = [await limit.hit("ann") for _ in range(4)]

    assert [hit.allowed for hit in hits] == [True, True, True, False]
    assert [hit.remaining for hit in hits] == [2, 1, 0, 0]
    assert {hit.limit for hit in hits} == {3}
    assert 0 < hits[3].reset_s <= 60


async def test_limit_counts_each_principal_alone(limit: RateLimit) -> None:
    """One busy customer takes nothing from another, whatever its name looks like."""
    for _ in range(4):
        await limit.hit("ann/1:2 ü")

    assert (await limit.hit("bob")).allowed


async def test_limit_opens_again_when_the_window_has_moved_on() -> None:
    """In memory, a minute later all is forgotten."""

    class Later(StandingClock):
        seconds = 0.0

        def monotonic_s(self) -> float:
            return self.seconds

    clock = Later()
    limit = MemoryRateLimit(clock, a_minute=1)
    await limit.hit("ann")
    assert not (await limit.hit("ann")).allowed

    clock.seconds = 60.0

    assert (await limit.hit("ann")).allowed


async def test_stores_are_unavailable_when_nobody_listens() -> None:
    """Whatever the library inside raises, users see StoreUnavailable."""
    client = RedisClient("redis://127.0.0.1:1")

    with pytest.raises(StoreUnavailable):
        await RedisRateLimit(client, "x:").hit("ann")
    with pytest.raises(StoreUnavailable):
        await RedisAnswerStore(client, "x:").claim("k", "body", "ann", LEASE_MS)
