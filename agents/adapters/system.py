"""Time, chance and names, from the machine."""

from __future__ import annotations

import asyncio
import random
import secrets
import time


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go backwards; the loop's own, so that a virtual loop is obeyed."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        await asyncio.sleep(seconds)


class SystemRandom:
    """The machine's chance; used for jitter only."""

    def random(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, not a secret


class SystemIds:
    """Unguessable names."""

    def token(self) -> str:
        """128 random bits in hex."""
        return secrets.token_hex(16)
