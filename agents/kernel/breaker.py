"""One breaker for one dependency, shared through a store and read through a short local cache.

A breaker is advice about a dependency's health and never decides an outcome: an open one is no
failure of the message, and a store that is away neither fails a call nor holds it up for long;
the breaker then goes on with what this process has seen by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from agents.kernel.breaker_rules import (
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
from agents.kernel.ports import Clock, Ids

__all__ = ["Breaker", "BreakerPolicy", "BreakerState", "BreakerStore", "BreakerView"]

CACHE_S = 0.25
"""How old a view may be; an opening elsewhere is noticed within that time."""
STORE_AWAY_S = 5.0
"""A store that did not answer is left alone for so long, so that no call waits for it twice."""

T = TypeVar("T")


class BreakerStore(Protocol):
    """Where breakers live. Each call is safe to send twice. Raises StoreUnavailable."""

    async def look(self, name: str) -> BreakerView:
        """The breaker as it is."""
        ...

    async def report(
        self, name: str, succeeded: int, failed: int, probe_owner: str = ""
    ) -> BreakerView:
        """Count calls that ended; a prober names itself."""
        ...

    async def try_probe(self, name: str, owner: str) -> BreakerView:
        """Ask for the one probe; granted if the view says that `owner` probes."""
        ...


class Breaker:
    """Calls a dependency unless its breaker is open."""

    def __init__(
        self,
        name: str,
        store: BreakerStore,
        clock: Clock,
        ids: Ids,
        policy: BreakerPolicy | None = None,
    ) -> None:
        self.name = name
        self._store = store
        self._clock = clock
        self._ids = ids
        self._policy = policy or BreakerPolicy()
        self._view = BreakerView()
        self._seen_s = float("-inf")
        self._asking = False
        self._away_until_s = float("-inf")
        self._successes = 0
        self._own = BreakerRecord()
        """What this process has seen by itself; counts only while the store is away."""

    async def call(self, effect: Callable[[], Awaitable[T]]) -> T:
        """Await `effect()`, and note whether the dependency failed.

        Raises BreakerOpen without calling if the breaker is open. TransientFault and InDoubt
        count as failures; a refusal or a bug of ours says that the dependency answers.
        """
        owner = await self._admit()
        try:
            result = await effect()
        except BreakerOpen:
            # Another breaker further in; nothing was learned about this dependency.
            raise
        except (TransientFault, InDoubt):
            await self._report(0, 1, owner)
            raise
        except Exception:
            await self._succeeded(owner)
            raise
        await self._succeeded(owner)
        return result

    async def view(self) -> BreakerView:
        """The breaker, at most a quarter of a second old."""
        if self._now_s() - self._seen_s < CACHE_S or self._asking:
            return self._view
        self._asking = True
        try:
            if self._successes:
                return await self._report(0, 0)
            return await self._ask(lambda: self._store.look(self.name))
        finally:
            self._asking = False

    async def _admit(self) -> str:
        """Who probes with this call; empty for an ordinary call."""
        view = await self.view()
        wait_s = self._wait_s(view)
        if view.state is BreakerState.CLOSED:
            return ""
        if view.state is BreakerState.OPEN and wait_s > 0:
            raise BreakerOpen(self.name, wait_s)
        if view.probe_owner and wait_s > 0:
            raise BreakerOpen(self.name, wait_s)
        owner = self._ids.token()
        view = await self._ask(lambda: self._store.try_probe(self.name, owner))
        if self._away():
            self._own = probe(self._own, self._policy, owner, self._now_ms())
            view = self._keep(view_of(self._own, self._now_ms()))
        if view.state is BreakerState.CLOSED:
            return ""
        if view.probe_owner == owner:
            return owner
        raise BreakerOpen(self.name, self._wait_s(view))

    async def _succeeded(self, owner: str) -> None:
        if owner:
            await self._report(1, 0, owner)
        else:
            self._successes += 1

    async def _report(self, succeeded: int, failed: int, owner: str = "") -> BreakerView:
        succeeded, self._successes = succeeded + self._successes, 0
        report = Report(self._ids.token(), succeeded, failed, owner)
        self._own = count(self._own, self._policy, report, self._now_ms())
        return await self._ask(lambda: self._store.report(self.name, succeeded, failed, owner))

    async def _ask(self, question: Callable[[], Awaitable[BreakerView]]) -> BreakerView:
        if not self._away():
            try:
                view = await question()
            except StoreUnavailable:
                self._away_until_s = self._now_s() + STORE_AWAY_S
            else:
                self._adopt(view)
                return self._keep(view)
        return self._keep(view_of(self._own, self._now_ms()))

    def _adopt(self, view: BreakerView) -> None:
        """Start an outage of the store from what all processes knew."""
        if view.state is BreakerState.CLOSED and self._own.retry_at_ms:
            self._own = BreakerRecord()
        elif view.state is not BreakerState.CLOSED and not self._own.retry_at_ms:
            # Not 0 even if this clock starts there: 0 means closed.
            self._own = BreakerRecord(retry_at_ms=max(1, self._now_ms() + view.retry_after_ms))

    def _keep(self, view: BreakerView) -> BreakerView:
        self._view, self._seen_s = view, self._now_s()
        return view

    def _wait_s(self, view: BreakerView) -> float:
        return max(0.0, view.retry_after_ms / 1000 - (self._now_s() - self._seen_s))

    def _away(self) -> bool:
        return self._now_s() < self._away_until_s

    def _now_s(self) -> float:
        return self._clock.monotonic_s()

    def _now_ms(self) -> int:
        return int(self._clock.monotonic_s() * 1000)
