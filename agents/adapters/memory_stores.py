"""In-memory twins of the Redis stores: the same ports and rules, in one process, for one life.

They pass the same conformance suites as the Redis ones. Nothing here awaits, so each call is
atomic; time comes from the given clock, so that a simulation can turn it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from agents.adapters.memory_sagas import MemorySagaStore
from agents.adapters.store_limits import ANSWER_KEPT_MS, REQUESTS_A_MINUTE, WINDOW_S
from agents.kernel.breaker import BreakerPolicy, BreakerView
from agents.kernel.breaker_rules import BreakerRecord, Report, count, probe, view_of
from agents.kernel.errors import StoreDoubtful
from agents.kernel.ports import Allowance, Answer, AnswerClaim, Clock
from agents.kernel.protocol import Compact, Records, Reply, Request, Verdict, apply

__all__ = [
    "MemoryAnswerStore",
    "MemoryBreakerStore",
    "MemoryLedger",
    "MemoryRateLimit",
    "MemorySagaStore",
]

PRINCIPALS_MAX = 10_000
"""Principals whose requests are remembered at once; beyond that, idle ones are swept out."""


class MemoryLedger:
    """`agents.kernel.ports.Ledger` in this process; `flush` forgets all, as a lost Redis does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders: dict[str, Records] = {}
        self._ends_ms: dict[str, int] = {}
        self._birth = 0
        self._known = 0

    @property
    def epoch(self) -> int:
        """The store's birth in milliseconds, as its users know it; 0 for none."""
        return self._known

    async def open(self) -> int:
        """Adopt and return the store's epoch."""
        self._known = self._birth
        return self._known

    async def create_epoch(self) -> int:
        """Mark the store as complete; returns the epoch in force."""
        self._birth = self._birth or max(1, self._clock.now_ms())
        return await self.open()

    async def apply(self, requests: Sequence[Request]) -> list[Reply]:
        """See `Ledger`."""
        if not self._birth or self._known != self._birth:
            raise StoreDoubtful(
                f"the ledger has epoch {self._birth or 'none'}, its users know "
                f"{self._known or 'none'}: restore its data, or begin with an empty log too"
            )
        return [self._apply(request) for request in requests]

    def flush(self) -> None:
        """Forget everything, the epoch too."""
        self._orders.clear()
        self._ends_ms.clear()
        self._birth = 0

    def _apply(self, request: Request) -> Reply:
        now_ms = self._clock.now_ms()
        order_id = request.order_id
        if self._ends_ms.get(order_id, now_ms + 1) <= now_ms:
            del self._orders[order_id], self._ends_ms[order_id]
        records = self._orders.get(order_id, {})
        reply = apply(records, request, now_ms, self._known)
        if records:
            self._orders[order_id] = records
        if isinstance(request, Compact) and reply.verdict is Verdict.OK:
            self._ends_ms.setdefault(order_id, now_ms + request.ttl_ms)
        return reply


@dataclass(slots=True)
class _Claimed:
    fingerprint: str
    owner: str
    lease_until_ms: int
    expires_ms: int
    answer: Answer | None = None


class MemoryAnswerStore:
    """`agents.kernel.ports.AnswerStore` in this process."""

    def __init__(self, clock: Clock, kept_ms: int = ANSWER_KEPT_MS) -> None:
        self._clock = clock
        self._kept_ms = kept_ms
        self._claimed: dict[str, _Claimed] = {}

    async def claim(self, key: str, fingerprint: str, owner: str, lease_ms: int) -> AnswerClaim:
        """See `AnswerStore`."""
        now_ms = self._clock.now_ms()
        held = self._held(key)
        if held is not None:
            if held.fingerprint != fingerprint:
                return AnswerClaim("mismatch")
            if held.answer is not None:
                return AnswerClaim("answered", held.answer)
            if held.owner != owner and held.lease_until_ms > now_ms:
                return AnswerClaim("in_flight")
        self._claimed[key] = _Claimed(fingerprint, owner, now_ms + lease_ms, now_ms + self._kept_ms)
        return AnswerClaim("ours")

    async def answer(self, key: str, owner: str, answer: Answer) -> None:
        """See `AnswerStore`."""
        held = self._held(key)
        if held is not None and held.owner == owner and held.answer is None:
            held.answer = answer
            held.expires_ms = self._clock.now_ms() + self._kept_ms

    async def give_up(self, key: str, owner: str) -> None:
        """See `AnswerStore`."""
        held = self._held(key)
        if held is not None and held.owner == owner and held.answer is None:
            del self._claimed[key]

    def _held(self, key: str) -> _Claimed | None:
        held = self._claimed.get(key)
        if held is not None and held.expires_ms <= self._clock.now_ms():
            del self._claimed[key]
            return None
        return held


class MemoryRateLimit:
    """`agents.kernel.ports.RateLimit` in this process: a window that moves with each request."""

    def __init__(self, clock: Clock, a_minute: int = REQUESTS_A_MINUTE) -> None:
        self._clock = clock
        self._limit = a_minute
        self._hits_s: defaultdict[str, deque[float]] = defaultdict(deque)

    async def hit(self, principal: str) -> Allowance:
        """See `RateLimit`."""
        now_s = self._clock.monotonic_s()
        if len(self._hits_s) > PRINCIPALS_MAX:
            self._sweep(now_s)
        hits_s = self._hits_s[principal]
        while hits_s and hits_s[0] <= now_s - WINDOW_S:
            hits_s.popleft()
        allowed = len(hits_s) < self._limit
        if allowed:
            hits_s.append(now_s)
        reset_s = hits_s[0] + WINDOW_S - now_s
        return Allowance(allowed, self._limit, self._limit - len(hits_s), reset_s)

    def _sweep(self, now_s: float) -> None:
        idle = [name for name, hits_s in self._hits_s.items() if hits_s[-1] <= now_s - WINDOW_S]
        for name in idle:
            del self._hits_s[name]


class MemoryBreakerStore:
    """`agents.kernel.breaker.BreakerStore` in this process."""

    def __init__(self, clock: Clock, policy: BreakerPolicy | None = None) -> None:
        self._clock = clock
        self._policy = policy or BreakerPolicy()
        self._records: defaultdict[str, BreakerRecord] = defaultdict(BreakerRecord)
        self._reports = 0

    async def look(self, name: str) -> BreakerView:
        """See `BreakerStore`."""
        return view_of(self._records[name], self._clock.now_ms())

    async def report(
        self, name: str, succeeded: int, failed: int, probe_owner: str = ""
    ) -> BreakerView:
        """See `BreakerStore`."""
        self._reports += 1
        report = Report(str(self._reports), succeeded, failed, probe_owner)
        now_ms = self._clock.now_ms()
        self._records[name] = count(self._records[name], self._policy, report, now_ms)
        return view_of(self._records[name], now_ms)

    async def try_probe(self, name: str, owner: str) -> BreakerView:
        """See `BreakerStore`."""
        now_ms = self._clock.now_ms()
        self._records[name] = probe(self._records[name], self._policy, owner, now_ms)
        return view_of(self._records[name], now_ms)
