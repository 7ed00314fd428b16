"""Concurrent requests share calls, and nobody pays for somebody else's cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from agents.kernel.coalesce import Coalescer, coalesced
from agents.kernel.errors import ChoraleError, StoreUnavailable
from agents.kernel.protocol import Read, Reply, Request, Verdict


class Side:
    """The other side: records each call, and answers it when the test says so."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self._gates: list[asyncio.Future[None]] = []

    async def send(self, items: Sequence[int]) -> list[int]:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.calls.append(list(items))
        self._gates.append(gate)
        await gate
        return [item * 10 for item in items]

    async def answer(self, call: int, error: Exception | None = None) -> None:
        if error is None:
            self._gates[call].set_result(None)
        else:
            self._gates[call].set_exception(error)
        await turns()


async def turns() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def submit(calls: Coalescer[int, int], *items: int) -> asyncio.Task[list[int]]:
    return asyncio.create_task(calls.submit(items), name=f"caller {items}")


async def test_first_request_leaves_at_once_with_whoever_woke_in_the_same_turn() -> None:
    """There is no timer: one turn of the loop gathers, then the call goes out."""
    side = Side()
    calls = Coalescer(side.send, 10)

    first, second = submit(calls, 1), submit(calls, 2, 3)
    await turns()

    assert side.calls == [[1, 2, 3]]
    await side.answer(0)
    assert (await first, await second) == ([10], [20, 30])


async def test_requests_wait_and_go_out_as_one_while_a_call_is_in_flight() -> None:
    """Never two calls at a time; what came meanwhile leaves when the answer is there."""
    side = Side()
    calls = Coalescer(side.send, 10)
    submit_first = submit(calls, 1)
    await turns()
    later = [submit(calls, n) for n in (2, 3, 4)]
    await turns()
    assert side.calls == [[1]]

    await side.answer(0)

    assert side.calls == [[1], [2, 3, 4]]
    await side.answer(1)
    assert [await task for task in (submit_first, *later)] == [[10], [20], [30], [40]]


async def test_batch_ends_before_a_submission_that_does_not_fit() -> None:
    """A submission is never torn apart; one that is larger than a batch goes alone."""
    side = Side()
    calls = Coalescer(side.send, 3)
    tasks = [submit(calls, 1, 2), submit(calls, 3, 4), submit(calls, 5, 6, 7, 8), submit(calls, 9)]
    await turns()

    for call in range(4):
        await side.answer(call)

    assert side.calls == [[1, 2], [3, 4], [5, 6, 7, 8], [9]]
    assert [len(await task) for task in tasks] == [2, 2, 4, 1]


@pytest.mark.parametrize("in_flight", [True, False])
async def test_cancelled_caller_does_not_disturb_the_others(in_flight: bool) -> None:
    """Whether its request waits or is in flight, the others are answered as if it had stayed."""
    side = Side()
    calls = Coalescer(side.send, 10)
    tasks = [submit(calls, n) for n in (1, 2, 3)]
    if in_flight:
        await turns()
    else:
        await asyncio.sleep(0)

    tasks[1].cancel()
    await turns()
    await side.answer(0)

    assert side.calls == [[1, 2, 3]]
    assert (await tasks[0], await tasks[2]) == ([10], [30])
    assert tasks[1].cancelled()
    next_one = submit(calls, 4)
    await turns()
    await side.answer(1)
    assert await next_one == [40]


async def test_only_caller_may_be_cancelled_without_ending_the_flusher() -> None:
    """Its call runs to its end, and the next request finds everything in order."""
    side = Side()
    calls = Coalescer(side.send, 10)
    task = submit(calls, 1)
    await turns()
    task.cancel()
    later = submit(calls, 2)
    await turns()

    await side.answer(0)
    await side.answer(1)

    assert await later == [20]


async def test_exception_goes_to_every_caller_of_that_batch_alone() -> None:
    """Those who shared the call share its failure; the next batch knows nothing of it."""
    side = Side()
    calls = Coalescer(side.send, 10)
    failing = [submit(calls, 1), submit(calls, 2)]
    await turns()
    later = submit(calls, 3)
    await turns()

    await side.answer(0, StoreUnavailable())
    await side.answer(1)

    for task in failing:
        with pytest.raises(StoreUnavailable):
            await task
    assert await later == [30]


async def test_empty_submission_is_answered_without_a_call() -> None:
    """Nothing to ask is no reason to ask."""
    side = Side()

    assert await Coalescer(side.send, 10).submit([]) == []
    assert side.calls == []


async def test_close_waits_for_what_was_submitted_and_takes_no_more() -> None:
    """Whoever has submitted is answered; afterwards no task is left."""
    side = Side()
    calls = Coalescer(side.send, 10, "ledger batches")
    task = submit(calls, 1)
    await turns()
    assert "ledger batches" in {t.get_name() for t in asyncio.all_tasks()}
    closing = asyncio.create_task(calls.close(), name="closing")
    await turns()
    assert not closing.done()

    await side.answer(0)

    await closing
    assert await task == [10]
    assert "ledger batches" not in {t.get_name() for t in asyncio.all_tasks()}
    with pytest.raises(ChoraleError, match="closed"):
        await calls.submit([2])


async def test_callers_are_told_when_the_flusher_is_cancelled() -> None:
    """A loop that goes down leaves nobody waiting for ever, in flight or not."""
    side = Side()
    calls = Coalescer(side.send, 10, "ledger batches")
    tasks = [submit(calls, 1)]
    await turns()
    tasks.append(submit(calls, 2))
    await turns()
    (flusher,) = (t for t in asyncio.all_tasks() if t.get_name() == "ledger batches")

    flusher.cancel()
    await turns()

    for task in tasks:
        with pytest.raises(ChoraleError, match="unknown"):
            await task


class CountingLedger:
    """A ledger that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def apply(self, requests: Sequence[Request]) -> list[Reply]:
        self.calls += 1
        await asyncio.sleep(0)
        return [Reply(Verdict.OK, epoch=int(request.order_id)) for request in requests]


async def test_coalesced_ledger_gives_each_caller_its_own_replies() -> None:
    """A hundred lanes that wake together make one call, and nobody gets another's reply."""
    inner = CountingLedger()
    ledger = coalesced(inner)

    replies = await asyncio.gather(*(ledger.apply([Read(str(n))]) for n in range(100)))

    assert [reply.epoch for (reply,) in replies] == list(range(100))
    assert inner.calls == 1
    await ledger.close()
