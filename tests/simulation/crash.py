"""Crash points: every await at which a node can die, counted, and one of them chosen.

A point before a call means that the call never happened; a point after it, that it happened and
its answer was lost. A dead node has no further effect on anything: each of its ports refuses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from agents.kernel.ports import Ledger, Log, Outgoing, Record, Subscription
from agents.kernel.protocol import Reply, Request


class NodeDeadError(BaseException):
    """The node has died; nothing of it goes on."""


class CrashPoints:
    """Counts points over all nodes of a world; the node that reaches the chosen one dies."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.crash_at = crash_at
        self.names: list[str] = []
        self._moved = asyncio.Condition()

    async def passed(self, count: int) -> None:
        """Wait until that many points have been reached."""
        async with self._moved:
            await self._moved.wait_for(lambda: len(self.names) >= count)

    async def reach(self, node: Mortal, name: str) -> None:
        node.check()
        self.names.append(name)
        if len(self.names) == self.crash_at:
            node.die()
        async with self._moved:
            self._moved.notify_all()
        await asyncio.sleep(0)
        node.check()


class Mortal:
    """Something that can die."""

    def __init__(self) -> None:
        self.dead = False
        self.task: asyncio.Task[None] | None = None

    def die(self) -> None:
        self.dead = True
        if self.task is not None:
            self.task.cancel()

    def check(self) -> None:
        if self.dead:
            raise NodeDeadError


class CrashingLedger:
    """The ledger as one node sees it."""

    def __init__(self, inner: Ledger, node: Mortal, points: CrashPoints) -> None:
        self._inner, self._node, self._points = inner, node, points

    async def apply(self, requests: Sequence[Request]) -> list[Reply]:
        name = " ".join(_what(r) for r in requests)
        await self._points.reach(self._node, f"before {name}")
        replies = await self._inner.apply(requests)
        await self._points.reach(self._node, f"after {name}")
        return replies


def _what(request: Request) -> str:
    step = getattr(request, "step", "")
    return f"{type(request).__name__.lower()} {step}".strip()


class CrashingLog:
    """The broker as one node sees it."""

    def __init__(self, inner: Log, node: Mortal, points: CrashPoints) -> None:
        self._inner, self._node, self._points = inner, node, points
        self.memberships: list[Subscription] = []

    async def publish(self, records: Sequence[Outgoing]) -> None:
        name = f"publish to {records[0].topic}" if records else "publish nothing"
        await self._points.reach(self._node, f"before {name}")
        await self._inner.publish(records)
        await self._points.reach(self._node, f"after {name}")

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        self._node.check()
        inner = await self._inner.subscribe(group, topics)
        self.memberships.append(inner)
        return CrashingSubscription(inner, self._node, self._points, group)


class CrashingSubscription:
    """A membership of one node. An idle fetch is no point: nothing happens in it."""

    def __init__(self, inner: Subscription, node: Mortal, points: CrashPoints, group: str) -> None:
        self._inner, self._node, self._points, self._group = inner, node, points, group

    @property
    def generation(self) -> int:
        return self._inner.generation

    async def fetch(self, records_max: int) -> list[Record]:
        self._node.check()
        records = await self._inner.fetch(records_max)
        self._node.check()
        if records:
            await self._points.reach(self._node, f"after fetch of {self._group}")
        return records

    async def commit(self, offsets: Mapping[tuple[str, int], int], generation: int) -> bool:
        await self._points.reach(self._node, f"before commit of {self._group}")
        done = await self._inner.commit(offsets, generation)
        await self._points.reach(self._node, f"after commit of {self._group}")
        return done

    async def close(self) -> None:
        if not self._node.dead:
            await self._inner.close()
