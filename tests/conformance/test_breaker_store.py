"""A breaker shared through Redis follows the same rules as one in memory."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from agents.adapters.memory_stores import MemoryBreakerStore
from agents.adapters.redis_client import RedisClient
from agents.adapters.redis_stores import RedisBreakerStore
from agents.kernel.breaker import Breaker, BreakerPolicy, BreakerState, BreakerStore
from agents.kernel.errors import BreakerOpen, TransientFault

START_MS = 1_800_000_000_000
POLICY = BreakerPolicy()


class HandClock:
    """Time that the test moves, for the store and for the process."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return (self.ms - START_MS) / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class TimedStore(RedisBreakerStore):
    """The real store, whose script takes the time from the test."""

    clock: HandClock

    def _time_override(self) -> str:
        return str(self.clock.ms)


class Tokens:
    """Unguessable enough for a test."""

    def token(self) -> str:
        return uuid.uuid4().hex


def timed(client: RedisClient, clock: HandClock) -> TimedStore:
    store = TimedStore(client, f"{uuid.uuid4().hex}:")
    store.clock = clock
    return store


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.valkey)])
def url(request: pytest.FixtureRequest) -> str:
    """The server's URL; empty for the twin in memory."""
    return "" if request.param == "memory" else str(request.getfixturevalue("valkey"))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def store(url: str, clock: HandClock) -> AsyncIterator[BreakerStore]:
    if not url:
        yield MemoryBreakerStore(clock)
        return
    client = RedisClient(url)
    yield timed(client, clock)
    await client.close()


async def test_breaker_opens_for_all_when_failures_add_up(
    store: BreakerStore, clock: HandClock
) -> None:
    """Failures of several processes count together."""
    await store.report("payments", 3, 2)
    assert (await store.look("payments")).state is BreakerState.CLOSED

    view = await store.report("payments", 0, 3)

    assert (view.state, view.retry_after_ms) == (BreakerState.OPEN, POLICY.open_ms)
    assert await store.look("payments") == view
    assert (await store.look("warehouses")).state is BreakerState.CLOSED


async def test_breaker_half_opens_for_one_prober_when_its_time_is_over(
    store: BreakerStore, clock: HandClock
) -> None:
    """The first to ask probes, also if it asks again; the others are told to look again soon."""
    await store.report("payments", 0, 5)
    assert (await store.try_probe("payments", "ann")).probe_owner == ""
    clock.ms += POLICY.open_ms

    ann = await store.try_probe("payments", "ann")
    bob = await store.try_probe("payments", "bob")

    assert (ann.state, ann.probe_owner) == (BreakerState.HALF_OPEN, "ann")
    assert bob.probe_owner == "ann"
    assert 0 < bob.retry_after_ms < POLICY.open_ms
    assert (await store.try_probe("payments", "ann")).probe_owner == "ann"


async def test_breaker_believes_only_the_prober_while_half_open(
    store: BreakerStore, clock: HandClock
) -> None:
    """A late success of a call from before does not close it; the prober's does."""
    await store.report("payments", 0, 5)
    clock.ms += POLICY.open_ms
    await store.try_probe("payments", "ann")

    assert (await store.report("payments", 9, 0)).state is BreakerState.HALF_OPEN
    assert (await store.report("payments", 9, 0, "bob")).state is BreakerState.HALF_OPEN
    assert (await store.report("payments", 0, 0, "ann")).state is BreakerState.HALF_OPEN
    assert (await store.report("payments", 1, 0, "ann")).state is BreakerState.CLOSED


async def test_breaker_opens_anew_when_the_prober_failed(
    store: BreakerStore, clock: HandClock
) -> None:
    """The whole open time begins again."""
    await store.report("payments", 0, 5)
    clock.ms += POLICY.open_ms
    await store.try_probe("payments", "ann")

    view = await store.report("payments", 0, 1, "ann")

    assert (view.state, view.retry_after_ms) == (BreakerState.OPEN, POLICY.open_ms)


async def test_breaker_takes_another_prober_when_the_first_one_died(
    store: BreakerStore, clock: HandClock
) -> None:
    """A probe is a lease."""
    await store.report("payments", 0, 5)
    clock.ms += POLICY.open_ms
    await store.try_probe("payments", "ann")

    clock.ms += POLICY.probe_lease_ms

    assert (await store.try_probe("payments", "bob")).probe_owner == "bob"


async def test_one_probe_goes_through_when_ten_processes_call_at_once(
    store: BreakerStore, clock: HandClock
) -> None:
    """Ten processes with their own caches let exactly one call through a half-open breaker."""
    await store.report("payments", 0, 5)
    clock.ms += POLICY.open_ms
    made, release = 0, asyncio.Event()

    async def effect() -> str:
        nonlocal made
        made += 1
        await release.wait()
        return "done"

    breakers = [Breaker("payments", store, clock, Tokens()) for _ in range(10)]
    callers = [asyncio.create_task(b.call(effect), name=f"caller {b!r}") for b in breakers]
    async with asyncio.timeout(10):
        for ended in itertools.islice(asyncio.as_completed(callers), 9):
            with pytest.raises(BreakerOpen):
                await ended
        release.set()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)

    assert made == 1
    assert outcomes.count("done") == 1
    assert (await store.look("payments")).state is BreakerState.CLOSED


async def test_breaker_is_shared_when_one_process_sees_the_failures(
    store: BreakerStore, clock: HandClock
) -> None:
    """What one process learns, the other one knows a quarter of a second later."""
    ann = Breaker("payments", store, clock, Tokens())
    bob = Breaker("payments", store, clock, Tokens())

    async def fail() -> None:
        raise TransientFault

    async def work() -> str:
        return "done"

    for _ in range(5):
        with pytest.raises(TransientFault):
            await ann.call(fail)

    with pytest.raises(BreakerOpen) as refused:
        await bob.call(work)
    assert refused.value.retry_after_s == pytest.approx(POLICY.open_ms / 1000)


class Differential(RuleBasedStateMachine):
    """Sends each call to Redis and to the twin in memory, and compares the views."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = HandClock()
        self.runner.run(self.open())

    async def open(self) -> None:
        self.client = RedisClient(self.url)
        self.redis: BreakerStore = timed(self.client, self.clock)
        self.twin: BreakerStore = MemoryBreakerStore(self.clock)

    @rule(
        succeeded=st.sampled_from([0, 0, 1, 9]),
        failed=st.sampled_from([0, 0, 1, 2, 5]),
        owner=st.sampled_from(["", "", "ann", "bob"]),
    )
    def report(self, succeeded: int, failed: int, owner: str) -> None:
        expected = self.runner.run(self.twin.report("x", succeeded, failed, owner))
        assert self.runner.run(self.redis.report("x", succeeded, failed, owner)) == expected

    @rule(owner=st.sampled_from(["ann", "bob"]))
    def probe(self, owner: str) -> None:
        expected = self.runner.run(self.twin.try_probe("x", owner))
        assert self.runner.run(self.redis.try_probe("x", owner)) == expected

    @rule()
    def look(self) -> None:
        expected = self.runner.run(self.twin.look("x"))
        assert self.runner.run(self.redis.look("x")) == expected

    @rule(ms=st.sampled_from([1, 999, 1_000, 9_000, 10_000, 29_000]))
    def pass_time(self, ms: int) -> None:
        self.clock.ms += ms

    def teardown(self) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.mark.valkey
def test_script_equals_the_rules_for_any_sequence(valkey: str) -> None:
    """Whatever is reported in whatever order, both stores show the same breaker."""
    machine = type("DifferentialHere", (Differential,), {"url": valkey})

    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


@pytest.mark.valkey
async def test_report_counts_once_when_its_answer_is_lost(valkey: str) -> None:
    """The same script call sent twice, as a connection does after a lost reply, counts once."""
    client = RedisClient(valkey)
    store = RedisBreakerStore(client, f"{uuid.uuid4().hex}:")

    class Resending:
        """Sends everything twice."""

        async def run(self, *call: object) -> object:
            await client.run(*call)  # type: ignore[arg-type]
            return await client.run(*call)  # type: ignore[arg-type]

    store._client = Resending()  # type: ignore[assignment]

    assert (await store.report("payments", 0, 3)).state is BreakerState.CLOSED
    await client.close()


@pytest.mark.valkey
async def test_record_stays_small_when_calls_are_reported_for_hours(valkey: str) -> None:
    """Only the windows are remembered, and an unused breaker leaves the store."""
    client, clock = RedisClient(valkey), HandClock()
    store = timed(client, clock)
    key = f"{store._prefix}breaker:payments"
    for _ in range(40):
        clock.ms += 1_000
        await store.report("payments", 1, 0)
    early = await client.command("STRLEN", key)

    for _ in range(200):
        clock.ms += 1_000
        await store.report("payments", 1, 0)

    assert await client.command("STRLEN", key) < 2 * early
    assert await client.command("PTTL", key) > 0
    await client.close()
