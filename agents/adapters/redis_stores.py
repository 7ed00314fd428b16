"""HTTP answers, rate limits and breakers in Redis or Valkey, shared by all processes.

Every script takes its time from the server and is safe to send twice. The rate limit is the
`limits` library's; its calls count, so they are never sent again by the connection itself.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from dataclasses import asdict

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from agents.adapters.redis_client import RedisClient, Script
from agents.adapters.redis_sagas import RedisSagaStore
from agents.adapters.store_limits import ANSWER_KEPT_MS, REQUESTS_A_MINUTE
from agents.kernel.breaker import BreakerPolicy, BreakerState, BreakerView
from agents.kernel.ports import Allowance, Answer, AnswerClaim

__all__ = ["RedisAnswerStore", "RedisBreakerStore", "RedisRateLimit", "RedisSagaStore"]

_ANSWERS = Script.load("answer_store.lua")
_BREAKER = Script.load("breaker.lua")


class RedisAnswerStore:
    """`agents.kernel.ports.AnswerStore` in one Redis or Valkey primary."""

    def __init__(
        self, client: RedisClient, prefix: str = "chorale:", kept_ms: int = ANSWER_KEPT_MS
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._kept_ms = kept_ms

    async def claim(self, key: str, fingerprint: str, owner: str, lease_ms: int) -> AnswerClaim:
        """See `AnswerStore`."""
        found = await self._run(key, "claim", fingerprint, owner, lease_ms, self._kept_ms)
        outcome = found[0].decode()
        if outcome != "answered":
            return AnswerClaim(outcome)
        return AnswerClaim(outcome, Answer(int(found[1]), found[2].decode()))

    async def answer(self, key: str, owner: str, answer: Answer) -> None:
        """See `AnswerStore`."""
        await self._run(key, "answer", owner, answer.status, answer.body, self._kept_ms)

    async def give_up(self, key: str, owner: str) -> None:
        """See `AnswerStore`."""
        await self._run(key, "give_up", owner)

    async def _run(self, key: str, *words: str | int) -> list[bytes]:
        found: list[bytes] = await self._client.run(
            _ANSWERS, [f"{self._prefix}answer:{key}"], words
        )
        return found


class RedisRateLimit:
    """`agents.kernel.ports.RateLimit`: a sliding window of a minute, by the server's time."""

    def __init__(
        self, client: RedisClient, prefix: str = "chorale:", a_minute: int = REQUESTS_A_MINUTE
    ) -> None:
        self._client = client
        self._item = RateLimitItemPerMinute(a_minute)
        self._pool = client.pool_without_resending()
        storage = RedisStorage(
            f"async+redis://{client.address}",
            implementation="redispy",
            key_prefix=f"{prefix}rate",
            connection_pool=self._pool,  # type: ignore[arg-type]
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    async def hit(self, principal: str) -> Allowance:
        """See `RateLimit`."""
        async with self._client.errors():
            allowed = await self._limiter.hit(self._item, principal)
            window = await self._limiter.get_window_stats(self._item, principal)
        reset_s = max(0.0, window.reset_time - time.time())
        return Allowance(allowed, self._item.amount, window.remaining, reset_s)

    async def close(self) -> None:
        """Close the connections; the client itself stays open."""
        async with self._client.errors():
            await self._pool.disconnect()


class RedisBreakerStore:
    """`agents.kernel.breaker.BreakerStore`: one breaker for all processes."""

    def __init__(
        self, client: RedisClient, prefix: str = "chorale:", policy: BreakerPolicy | None = None
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._policy = json.dumps(asdict(policy or BreakerPolicy()))
        self._writer = secrets.token_hex(8)
        self._reports = itertools.count()

    async def look(self, name: str) -> BreakerView:
        """See `BreakerStore`."""
        return await self._run(name, "look")

    async def report(
        self, name: str, succeeded: int, failed: int, probe_owner: str = ""
    ) -> BreakerView:
        """See `BreakerStore`."""
        report_id = f"{self._writer}.{next(self._reports)}"
        return await self._run(name, "report", report_id, succeeded, failed, probe_owner)

    async def try_probe(self, name: str, owner: str) -> BreakerView:
        """See `BreakerStore`."""
        return await self._run(name, "probe", owner)

    async def _run(self, name: str, *words: str | int) -> BreakerView:
        key = f"{self._prefix}breaker:{name}"
        arguments = (self._time_override(), self._policy, *words)
        state, retry_at, now, owner = await self._client.run(_BREAKER, [key], arguments)
        return BreakerView(BreakerState(state.decode()), int(retry_at), int(now), owner.decode())

    def _time_override(self) -> str:
        """Empty: the script asks the server. Only tests say otherwise."""
        return ""
