"""A breaker counts what its dependency did, opens, probes once, and never decides an outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.adapters.memory_stores import MemoryBreakerStore
from agents.kernel.breaker import Breaker
from agents.kernel.breaker_rules import (
    REPORTS_REMEMBERED,
    BreakerPolicy,
    BreakerRecord,
    BreakerState,
    BreakerView,
    Report,
    count,
    probe,
    view_of,
)
from agents.kernel.errors import BreakerOpen, InDoubt, StoreUnavailable, TransientFault

POLICY = BreakerPolicy()
START_MS = 1_800_000_000_000


@dataclass
class HandClock:
    """Time that the test moves."""

    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return (self.ms - START_MS) / 1000

    async def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


class Numbers:
    """Names that count up."""

    def __init__(self) -> None:
        self.n = 0

    def token(self) -> str:
        self.n += 1
        return f"token {self.n}"


class CountingStore:
    """A breaker store that counts what it is asked, and can go away."""

    def __init__(self, clock: HandClock) -> None:
        self.inner = MemoryBreakerStore(clock)
        self.asked: list[str] = []
        self.away = False

    async def look(self, name: str) -> BreakerView:
        return await self._ask("look", self.inner.look(name))

    async def report(
        self, name: str, succeeded: int, failed: int, probe_owner: str = ""
    ) -> BreakerView:
        words = f"report {succeeded} {failed}"
        return await self._ask(words, self.inner.report(name, succeeded, failed, probe_owner))

    async def try_probe(self, name: str, owner: str) -> BreakerView:
        return await self._ask("probe", self.inner.try_probe(name, owner))

    async def _ask(self, words: str, answer: Awaitable[BreakerView]) -> BreakerView:
        self.asked.append(words)
        view = await answer
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable
        return view


class World:
    """One dependency behind a breaker."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.store = CountingStore(self.clock)
        self.ids = Numbers()
        self.calls = 0
        self.breaker = self.another_process()

    def another_process(self) -> Breaker:
        return Breaker("payments", self.store, self.clock, self.ids)

    async def works(self) -> str:
        self.calls += 1
        await asyncio.sleep(0)
        return "done"

    def raises(self, error: Exception) -> Callable[[], Awaitable[str]]:
        async def fail() -> str:
            self.calls += 1
            raise error

        return fail

    async def fails(self, times: int, error: Exception | None = None) -> None:
        for _ in range(times):
            with suppress(ValueError, TransientFault, InDoubt):
                await self.breaker.call(self.raises(error or TransientFault()))


async def turns() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


def failures(n: int, at_ms: int, record: BreakerRecord) -> BreakerRecord:
    for i in range(n):
        record = count(record, POLICY, Report(f"{at_ms}.{i}", 0, 1), at_ms)
    return record


# ---- rules ---------------------------------------------------------------------------------


def test_rules_open_at_five_failures_within_thirty_seconds() -> None:
    """Four failures and one that is half a minute older keep it closed; the fifth opens it."""
    record = failures(1, START_MS, BreakerRecord())
    record = failures(4, START_MS + 30_000, record)
    assert view_of(record, START_MS + 30_000).state is BreakerState.CLOSED

    record = failures(1, START_MS + 31_000, record)

    view = view_of(record, START_MS + 31_000)
    assert (view.state, view.retry_after_ms) == (BreakerState.OPEN, 10_000)


@pytest.mark.parametrize(("calls", "state"), [(9, BreakerState.CLOSED), (10, BreakerState.OPEN)])
def test_rules_open_at_half_of_at_least_ten_calls(calls: int, state: BreakerState) -> None:
    """The share counts only once enough calls were made."""
    policy = replace(POLICY, failures_max=100)
    failed = (calls + 1) // 2
    report = Report("r", calls - failed, failed)

    assert view_of(count(BreakerRecord(), policy, report, START_MS), START_MS).state is state


def test_rules_count_a_report_once_however_often_it_is_sent() -> None:
    """A report whose answer was lost is sent again; five failures are not ten."""
    report = Report("same", 0, 3)
    once = count(BreakerRecord(), POLICY, report, START_MS)

    assert count(once, POLICY, report, START_MS) == once


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["report", "probe"]),
            st.sampled_from(["", "ann", "bob"]),
            st.integers(0, 4),
            st.integers(0, 4),
            st.integers(0, 12_000),
        ),
        max_size=100,
    )
)
def test_rules_keep_a_record_small_and_probed_by_one(
    steps: list[tuple[str, str, int, int, int]],
) -> None:
    """Whatever happens, counts and reports stay bounded, and a prober keeps its turn."""
    record, now_ms = BreakerRecord(), START_MS
    for number, (what, owner, succeeded, failed, wait_ms) in enumerate(steps):
        now_ms += wait_ms
        before = view_of(record, now_ms)
        if what == "probe" and owner:
            record = probe(record, POLICY, owner, now_ms)
            if before.probe_owner:
                assert view_of(record, now_ms).probe_owner == before.probe_owner
        elif what == "report":
            record = count(record, POLICY, Report(str(number), succeeded, failed, owner), now_ms)
            if before.state is BreakerState.OPEN and owner != record.probe_owner:
                assert view_of(record, now_ms).retry_at_ms >= before.retry_at_ms
        assert len(record.counts) <= POLICY.failures_window_s + 1
        assert len(record.reports) <= REPORTS_REMEMBERED


# ---- calls ---------------------------------------------------------------------------------


async def test_call_returns_what_the_effect_returns_when_closed() -> None:
    """A closed breaker is not felt."""
    world = World()

    assert await world.breaker.call(world.works) == "done"


@pytest.mark.parametrize("error", [TransientFault(), InDoubt()])
async def test_call_is_not_made_when_faults_have_opened_the_breaker(error: Exception) -> None:
    """After five faults the next caller is told when to come back, and nothing is called."""
    world = World()
    await world.fails(5, error)

    with pytest.raises(BreakerOpen) as refused:
        await world.breaker.call(world.works)

    assert world.calls == 5
    assert "probe" not in world.store.asked
    assert (refused.value.breaker, refused.value.retry_after_s) == ("payments", 10.0)


@pytest.mark.parametrize("error", [ValueError("bug"), BreakerOpen("inner", 1.0)])
async def test_call_counts_no_failure_when_the_dependency_answered(error: Exception) -> None:
    """A bug of ours, or another breaker further in, says nothing against this dependency."""
    world = World()
    await world.fails(20, error)

    assert await world.breaker.call(world.works) == "done"


async def test_opening_is_seen_by_another_process_within_a_quarter_second() -> None:
    """Views are cached for 250 ms, no longer."""
    world = World()
    other = world.another_process()
    await other.call(world.works)
    await world.fails(5)

    await other.call(world.works)
    world.clock.ms += 250

    with pytest.raises(BreakerOpen):
        await other.call(world.works)


async def test_successes_are_reported_together_and_failures_at_once() -> None:
    """A hundred calls of a quarter second cost the store one question."""
    world = World()
    for _ in range(100):
        await world.breaker.call(world.works)
    assert world.store.asked == ["look"]

    world.clock.ms += 250
    await world.breaker.call(world.works)
    await world.fails(1)

    assert world.store.asked == ["look", "report 100 0", "report 1 1"]


async def test_one_caller_refreshes_the_view_while_the_others_go_on() -> None:
    """Fifty callers that find the view old ask the store once, and none waits for it."""
    world = World()

    await asyncio.gather(*(world.breaker.call(world.works) for _ in range(50)))

    assert world.store.asked == ["look"]
    assert world.calls == 50


async def test_one_probe_goes_through_when_ten_call_a_half_open_breaker() -> None:
    """After the open time exactly one call probes; its success lets everybody through."""
    world = World()
    await world.fails(5)
    world.clock.ms += 10_000
    release = asyncio.Event()

    async def slow() -> str:
        world.calls += 1
        await release.wait()
        return "done"

    callers = [asyncio.create_task(world.breaker.call(slow), name=f"c{n}") for n in range(10)]
    await turns()
    assert [task.done() for task in callers].count(True) == 9
    assert world.calls == 5 + 1
    release.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BreakerOpen"] * 9 + ["str"]
    assert (await world.breaker.view()).state is BreakerState.CLOSED


async def test_breaker_opens_again_when_the_probe_fails() -> None:
    """A failed probe costs one call, and another ten seconds."""
    world = World()
    await world.fails(5)
    world.clock.ms += 10_000

    await world.fails(1)

    with pytest.raises(BreakerOpen):
        await world.breaker.call(world.works)
    assert world.calls == 6


async def test_dead_prober_gives_way_when_its_lease_is_over() -> None:
    """A probe whose process died does not keep the breaker shut for ever."""
    world = World()
    await world.fails(5)
    world.clock.ms += 10_000
    probing = asyncio.create_task(world.breaker.call(asyncio.Event().wait), name="prober")
    await turns()
    probing.cancel()
    with pytest.raises(BreakerOpen):
        await world.another_process().call(world.works)

    world.clock.ms += POLICY.probe_lease_ms

    assert await world.another_process().call(world.works) == "done"


async def test_call_goes_on_when_the_store_is_away() -> None:
    """The breaker is advice: without its store nothing fails, and the store is left alone."""
    world = World()
    world.store.away = True

    for _ in range(10):
        assert await world.breaker.call(world.works) == "done"
        world.clock.ms += 300

    assert world.store.asked == ["look"]


async def test_breaker_works_alone_when_the_store_is_away() -> None:
    """A process still protects a sick dependency, and probes it once, by what it saw itself."""
    world = World()
    world.store.away = True
    await world.fails(5)
    with pytest.raises(BreakerOpen):
        await world.breaker.call(world.works)
    world.clock.ms += 10_000

    outcomes = await asyncio.gather(
        *(world.breaker.call(world.works) for _ in range(10)), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BreakerOpen"] * 9 + ["str"]
    assert await world.breaker.call(world.works) == "done"


async def test_breaker_stays_open_when_the_store_leaves_after_others_opened_it() -> None:
    """What all processes knew is not forgotten with the store."""
    world = World()
    await world.fails(5)
    other = world.another_process()
    await other.view()
    world.store.away = True
    world.clock.ms += 300

    with pytest.raises(BreakerOpen):
        await other.call(world.works)
    assert (await other.view()).state is BreakerState.OPEN


async def test_store_is_asked_again_when_it_was_away_for_a_while() -> None:
    """After five seconds the shared breaker counts again."""
    world = World()
    world.store.away = True
    await world.breaker.call(world.works)
    world.store.away = False
    world.clock.ms += 5_000

    await world.breaker.call(world.works)

    assert world.store.asked == ["look", "report 1 0"]
