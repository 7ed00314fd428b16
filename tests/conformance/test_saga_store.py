"""The tracker's store folds, files and finds alike in memory and in Redis."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.adapters.memory_stores import MemorySagaStore
from agents.adapters.redis_client import RedisClient, StoreEpoch
from agents.adapters.redis_stores import RedisSagaStore
from agents.adapters.store_limits import ENDED_LISTED_MAX
from agents.kernel.errors import StoreDoubtful
from agents.kernel.ports import Fact, Index, SagaRow, SagaStore, Sighting
from tests.conformance.ledgers import START_MS, StandingClock

FOREVER_MS = START_MS * 2


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.valkey)])
def url(request: pytest.FixtureRequest) -> str:
    """The server's URL; empty for the twin in memory."""
    return "" if request.param == "memory" else str(request.getfixturevalue("valkey"))


@pytest.fixture
async def sagas(url: str) -> AsyncIterator[SagaStore]:
    if not url:
        yield MemorySagaStore(StandingClock())
        return
    client = RedisClient(url)
    yield await in_redis(client)
    await client.close()


async def in_redis(client: RedisClient) -> RedisSagaStore:
    prefix = f"{uuid.uuid4().hex}:"
    guard = StoreEpoch(client, prefix)
    await guard.create()
    return RedisSagaStore(client, guard, prefix)


def seen(event: str, time_ms: int = 1, event_id: str = "e1", order: str = "o1") -> Sighting:
    return Sighting(order, event, Fact(event_id, time_ms, "cause"))


def filed(order: str = "o1", version: int = 1, status: str = "STARTED", live: bool = True) -> Index:
    return Index(order, version, status, live, started_ms=START_MS, due_ms=START_MS + 100)


def names(rows: Sequence[SagaRow]) -> list[str]:
    return [row.order_id for row in rows]


async def test_earliest_sighting_of_a_type_wins_whatever_order_they_come_in(
    sagas: SagaStore,
) -> None:
    """By time, then by id as bytes, so that every rebuild gives the same row."""
    sightings = [seen("Placed", 5, "a"), seen("Placed", 3, "b"), seen("Placed", 3, "B")]

    for number, order in enumerate(itertools.permutations(sightings)):
        await sagas.add([replace(s, order_id=f"o{number}") for s in order])
        row = await sagas.get(f"o{number}")
        assert row is not None
        assert row.facts == {"Placed": Fact("B", 3, "cause")}
        assert row.version == 1


async def test_letter_stays_closed_when_its_opening_comes_late(sagas: SagaStore) -> None:
    """Closed outranks opened for ever, and both count once."""
    opened = Sighting("o1", letter_opened="l1|label|forward|1|TerminalFault")
    other = Sighting("o1", letter_opened="l2|label|forward|2|InDoubt")
    closed = Sighting("o1", letter_closed="l1")

    rows = await sagas.add([closed, opened, other, opened, closed])

    assert rows[-1].letters == {"l2": "l2|label|forward|2|InDoubt"}
    assert rows[-1].version == 3


async def test_first_snapshot_and_earliest_deadline_are_kept(sagas: SagaStore) -> None:
    """The snapshot is the first that had one; a later deadline does not put off an earlier one."""
    (row, *_) = await sagas.add(
        [
            seen("Placed"),
            replace(seen("Created"), snapshot='{"ü": 1}', saga_deadline_ms=900),
            replace(seen("Authorized"), snapshot='{"late": 1}', saga_deadline_ms=800),
        ]
    )

    assert (row.snapshot, row.saga_deadline_ms) == ('{"ü": 1}', 800)


async def test_adding_twice_changes_nothing(sagas: SagaStore) -> None:
    """A batch whose answer was lost is sent again."""
    batch = [seen("Placed"), Sighting("o1", letter_opened="l1|x"), seen("Placed", order="o2")]

    first = await sagas.add(batch)
    second = await sagas.add(batch)

    assert second == first
    assert names(first) == ["o1", "o1", "o2"]


async def test_row_is_none_when_nothing_was_seen(sagas: SagaStore) -> None:
    """An unknown order is told from an empty one."""
    await sagas.file([filed("ghost")])

    assert await sagas.get("ghost") is None
    assert await sagas.find("", FOREVER_MS, 10) == []


async def test_filing_an_older_version_is_ignored(sagas: SagaStore) -> None:
    """Two trackers in a rebalance do not overwrite a newer status by an older one."""
    await sagas.add([seen("Placed")])
    await sagas.file([filed(version=2, status="COMPLETED", live=False)])

    await sagas.file([filed(version=1)])

    assert names(await sagas.find("COMPLETED", FOREVER_MS, 10)) == ["o1"]
    assert await sagas.find("STARTED", FOREVER_MS, 10) == []
    assert await sagas.due(FOREVER_MS, 10) == []


async def test_saga_moves_between_lists_when_its_status_changes(sagas: SagaStore) -> None:
    """A saga stands in one status only, and among all."""
    await sagas.add([seen("Placed")])
    await sagas.file([filed()])
    await sagas.file([filed(version=2, status="COMPENSATING")])

    assert await sagas.find("STARTED", FOREVER_MS, 10) == []
    assert names(await sagas.find("COMPENSATING", FOREVER_MS, 10)) == ["o1"]
    assert names(await sagas.find("", FOREVER_MS, 10)) == ["o1"]


async def test_find_is_newest_first_before_a_time_and_bounded(sagas: SagaStore) -> None:
    """Pages walk back in time, through live and ended sagas alike."""
    for n in range(6):
        await sagas.add([seen("Placed", order=f"o{n}")])
        entry = replace(filed(f"o{n}", live=n % 2 == 0), started_ms=START_MS + n)
        await sagas.file([entry])

    assert names(await sagas.find("STARTED", FOREVER_MS, 3)) == ["o5", "o4", "o3"]
    assert names(await sagas.find("", START_MS + 3, 2)) == ["o2", "o1"]
    assert await sagas.find("", START_MS, 2) == []


async def test_due_sagas_are_live_overdue_and_the_longest_overdue_first(sagas: SagaStore) -> None:
    """What is not yet due, never due or ended is not looked at."""
    dues = {"late": 10, "later": 5, "future": 50, "never": 0}
    await sagas.add([seen("Placed", order=order) for order in (*dues, "ended")])
    await sagas.file([replace(filed(order), due_ms=due) for order, due in dues.items()])
    await sagas.file([replace(filed("ended", live=False), due_ms=1)])

    assert names(await sagas.due(20, 10)) == ["later", "late"]
    assert names(await sagas.due(20, 1)) == ["later"]


async def test_saga_is_no_longer_due_when_it_ended(sagas: SagaStore) -> None:
    """Nobody looks at the deadline of a saga that is over."""
    await sagas.add([seen("Placed")])
    await sagas.file([filed()])
    assert names(await sagas.due(FOREVER_MS, 10)) == ["o1"]

    await sagas.file([filed(version=2, status="COMPLETED", live=False)])

    assert await sagas.due(FOREVER_MS, 10) == []


async def test_ended_sagas_are_listed_up_to_a_limit_and_found_by_id_beyond(
    sagas: SagaStore,
) -> None:
    """The newest of a status are listed; a flood of completed ones does not hide a failed one."""
    await sagas.add([seen("Placed", order="failed")])
    await sagas.file([filed("failed", status="FAILED", live=False)])
    orders = [f"o{n:04}" for n in range(ENDED_LISTED_MAX + 5)]
    await sagas.add([seen("Placed", order=order) for order in orders])
    entries = [
        replace(filed(order, status="COMPLETED", live=False), started_ms=START_MS + n + 1)
        for n, order in enumerate(orders)
    ]
    await sagas.file(entries)
    await sagas.file(entries)

    listed = names(await sagas.find("COMPLETED", FOREVER_MS, 2 * ENDED_LISTED_MAX))

    assert listed == orders[:4:-1]
    assert names(await sagas.find("FAILED", FOREVER_MS, 10)) == ["failed"]
    assert await sagas.get(orders[0]) is not None


EVENTS = st.sampled_from(["", "Placed", "Created", "Captured"])
LETTERS = st.sampled_from(["", "", "l1", "l2"])
sightings = st.builds(
    Sighting,
    order_id=st.sampled_from(["o1", "o2", "o3"]),
    event=EVENTS,
    fact=st.none()
    | st.builds(
        Fact,
        event_id=st.sampled_from(["a", "B", "aa", "é", "Z"]),
        time_ms=st.integers(0, 3),
        cause=st.sampled_from(["", "x", 'c"\\']),
    ),
    snapshot=st.sampled_from(["", '{"a":1}', "b"]),
    saga_deadline_ms=st.sampled_from([0, 7, START_MS]),
    letter_opened=LETTERS.map(lambda name: f"{name}|label|forward|1|X" if name else ""),
    letter_closed=LETTERS,
)
entries = st.builds(
    Index,
    order_id=st.sampled_from(["o1", "o2", "o3"]),
    version=st.integers(0, 4),
    status=st.sampled_from(["STARTED", "COMPENSATING", "FAILED"]),
    live=st.booleans(),
    started_ms=st.integers(0, 3),
    due_ms=st.integers(0, 3),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(sightings | entries, max_size=20))
@pytest.mark.valkey
async def test_any_history_gives_the_same_rows_in_redis_as_in_memory(
    valkey: str, history: list[Sighting | Index]
) -> None:
    """Whatever is added and filed, every question is answered alike."""
    client = RedisClient(valkey)
    redis, twin = await in_redis(client), MemorySagaStore(StandingClock())

    for item in history:
        if isinstance(item, Sighting):
            assert await redis.add([item]) == await twin.add([item])
        else:
            await redis.file([item])
            await twin.file([item])
        for status in ("", "STARTED", "COMPENSATING", "FAILED"):
            assert await redis.find(status, 3, 2) == await twin.find(status, 3, 2)
        assert await redis.due(2, 2) == await twin.due(2, 2)
        assert await redis.get("o1") == await twin.get("o1")
    await client.close()


@pytest.mark.valkey
async def test_row_of_an_ended_saga_expires_and_leaves_the_lists(valkey: str) -> None:
    """Ended rows go by themselves; one that lives again stays."""
    client = RedisClient(valkey)
    sagas = await in_redis(client)
    key = f"{sagas._prefix}row:o1"
    await sagas.add([seen("Placed")])
    await sagas.file([filed(status="FAILED", live=False)])
    assert 0 < await client.command("PTTL", key) <= sagas._kept_ms
    await sagas.file([filed(status="FAILED", version=2)])
    assert await client.command("PTTL", key) == -1
    await sagas.file([filed(status="FAILED", version=3, live=False)])

    await client.command("DEL", key)

    assert await sagas.find("FAILED", FOREVER_MS, 10) == []
    assert await client.command("ZCARD", f"{sagas._prefix}ended:FAILED") == 0
    await client.close()


async def test_row_of_an_ended_saga_expires_in_memory() -> None:
    """The twin forgets by its clock."""

    class Later(StandingClock):
        ms = START_MS

        def now_ms(self) -> int:
            return self.ms

    clock = Later()
    sagas = MemorySagaStore(clock, kept_ms=1_000)
    await sagas.add([seen("Placed")])
    await sagas.file([filed(live=False)])

    clock.ms += 1_000

    assert await sagas.get("o1") is None
    assert await sagas.find("", FOREVER_MS, 10) == []


@pytest.mark.valkey
async def test_store_is_doubtful_when_it_forgot(valkey: str) -> None:
    """A flushed store is not taken for one that has seen nothing."""
    client = RedisClient(valkey)
    sagas = await in_redis(client)
    await client.command("DEL", f"{sagas._prefix}epoch")

    with pytest.raises(StoreDoubtful):
        await sagas.add([seen("Placed")])
    with pytest.raises(StoreDoubtful):
        await sagas.due(FOREVER_MS, 10)
    await client.close()
