"""Calls to ledger and broker that are repeated until they are answered.

Law 6: a store or broker that is away, or that is not the one we knew, means stop, never guess.
Every request is safe to send twice, so waiting is all that is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.kernel.errors import LogUnavailable, StoreUnavailable
from agents.kernel.parts import Parts
from agents.kernel.ports import Outgoing
from agents.kernel.protocol import Reply, Request
from agents.kernel.retry import backoff_s

BASE_S = 0.1
"""First wait for a dependency that is away."""
WAIT_S_MAX = 3.0
"""Back within five seconds of the dependency's return (reliability target), so wait less."""


class Persistence:
    """Ledger and log of one agent, with patience."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def apply(self, request: Request) -> Reply:
        """The ledger's answer, however long it takes."""
        tries = 0
        while True:
            try:
                reply = (await self._parts.ledger.apply([request]))[0]
            except StoreUnavailable as error:
                await self._wait("store", error, tries)
                tries += 1
            else:
                self._parts.health.up("store")
                return reply

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Returns when the broker has acknowledged every record, however long it takes."""
        tries = 0
        while records:
            try:
                await self._parts.log.publish(records)
            except LogUnavailable as error:
                await self._wait("broker", error, tries)
                tries += 1
            else:
                self._parts.health.up("broker")
                return

    async def _wait(self, what: str, error: Exception, tries: int) -> None:
        self._parts.health.down(what, str(error))
        self._parts.telemetry.waited("", what, type(error).__name__)
        delay_s = backoff_s(BASE_S, tries, self._parts.random.random())
        await self._parts.clock.sleep(min(delay_s, WAIT_S_MAX))
