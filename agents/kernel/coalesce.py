"""Merging: what many tasks ask for at the same time goes out as one call.

While one call is in flight further requests wait; when it returns, everything that waits goes
out as the next one. There is no timer: a lone request leaves in the same turn of the event loop,
and the busier the other side is, the larger the batches become.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from agents.kernel.errors import ChoraleError
from agents.kernel.ports import Ledger
from agents.kernel.protocol import Reply, Request

LEDGER_BATCH_MAX = 256
"""Requests of one merged ledger call: about 5 ms of the store, which serves nobody meanwhile."""

Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Q, R]):
    items: Sequence[Q]
    done: asyncio.Future[list[R]]


class Coalescer(Generic[Q, R]):
    """Sends what several callers submit at the same time as one batch.

    `send` answers every item, in order, or raises; then every caller of that batch sees the
    exception. A submission is never torn apart, so a larger one than `batch_max` goes alone.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Q]], Awaitable[Sequence[R]]],
        batch_max: int,
        name: str = "coalescer",
    ) -> None:
        self._send = send
        self._batch_max = batch_max
        self._name = name
        self._queue: deque[_Waiting[Q, R]] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, items: Sequence[Q]) -> list[R]:
        """Send these items, with whatever else is waiting; returns their answers.

        A cancelled caller stops waiting; what it submitted is sent all the same.
        """
        if self._closed:
            raise ChoraleError(f"{self._name} is closed; submit nothing after close()")
        if not items:
            return []
        done: asyncio.Future[list[R]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(items, done))
        if self._flusher is None or self._flusher.done():
            # The task starts in the next turn of the loop, so whoever wakes in this one joins.
            self._flusher = asyncio.create_task(self._flush(), name=self._name)
        return await done

    async def close(self) -> None:
        """Refuse new items and wait until the submitted ones are answered."""
        self._closed = True
        if self._flusher is not None and not self._flusher.done():
            await self._flusher

    async def _flush(self) -> None:
        while self._queue:
            await self._send_batch(self._take())

    def _take(self) -> list[_Waiting[Q, R]]:
        taken = [self._queue.popleft()]
        room = self._batch_max - len(taken[0].items)
        while self._queue and len(self._queue[0].items) <= room:
            room -= len(self._queue[0].items)
            taken.append(self._queue.popleft())
        return taken

    async def _send_batch(self, batch: list[_Waiting[Q, R]]) -> None:
        items = [item for waiting in batch for item in waiting.items]
        try:
            answers = list(await self._send(items))
            assert len(answers) == len(items), "send must answer every item"
        except asyncio.CancelledError:
            # The loop is going down; nobody may be left waiting for ever.
            lost = ChoraleError(f"{self._name} was cancelled; the outcome of its call is unknown")
            _fail([*batch, *self._queue], lost)
            self._queue.clear()
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, and goes to them
            _fail(batch, error)
            return
        start = 0
        for waiting in batch:
            end = start + len(waiting.items)
            if not waiting.done.done():
                waiting.done.set_result(answers[start:end])
            start = end


class CoalescedLedger:
    """A ledger whose concurrent calls share one round trip."""

    def __init__(self, ledger: Ledger, batch_max: int = LEDGER_BATCH_MAX) -> None:
        self._calls = Coalescer[Request, Reply](ledger.apply, batch_max, "ledger batches")

    async def apply(self, requests: Sequence[Request]) -> list[Reply]:
        """See `agents.kernel.ports.Ledger`."""
        return await self._calls.submit(requests)

    async def close(self) -> None:
        """Wait for what is in flight, and take nothing more."""
        await self._calls.close()


def coalesced(ledger: Ledger, batch_max: int = LEDGER_BATCH_MAX) -> CoalescedLedger:
    """Merge concurrent calls of a ledger. Close what this returns before the ledger itself."""
    return CoalescedLedger(ledger, batch_max)


def _fail(batch: Sequence[_Waiting[Q, R]], error: Exception) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
