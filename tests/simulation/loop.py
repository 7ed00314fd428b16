"""An event loop whose time is virtual: when all wait, the clock jumps to the next timer.

With a seed, callbacks that are ready at the same moment run in a drawn order, so that one seed is
one interleaving.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from typing import Any

START_MS = 1_700_000_000_000
"""Virtual epoch; a round number, so that traces are readable."""


class Deadlock(Exception):
    """Everybody waits and no timer is set."""


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: it lets the loop's clock jump instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        if not ready and timeout:
            self.loop.virtual_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time, seeded."""

    def __init__(self, seed: int = 0) -> None:
        self.virtual_s = 0.0
        self.seed = seed
        self._random = random.Random(seed)
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self.virtual_s

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        if self.seed and len(ready) > 1:
            shuffled = list(ready)
            self._random.shuffle(shuffled)
            ready.clear()
            ready.extend(shuffled)
        super()._run_once()  # type: ignore[misc]


class VirtualClock:
    """The Clock port on a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + int(self._loop.virtual_s * 1000)

    def monotonic_s(self) -> float:
        return self._loop.virtual_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SeededRandom:
    """The Random port, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()


class CountedIds:
    """The Ids port: readable, unique in one world."""

    def __init__(self) -> None:
        self._n = 0

    def token(self) -> str:
        self._n += 1
        return f"t{self._n}"
