"""Retry policy as values: it decides, it never sleeps.

delay = min(base · 2^attempt · (0.7 + random · 0.6), 30 s): exponential back-off with ±30 % jitter
(attempt counts from 0; the mission's formula 13).
"""

from __future__ import annotations

from dataclasses import dataclass

DELAY_S_MAX = 30.0
"""Longer waits belong to a person; the dead letters are read every few minutes."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Exhausted:
    """No further try."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """One call and `retries` more, `base_s`·2ⁿ apart."""

    retries: int = 3
    base_s: float = 1.0

    def decide(
        self, failed_tries: int, random: float, seconds_left: float | None = None
    ) -> RetryAfter | Exhausted:
        """What to do after that many failed tries, with `random` in [0, 1).

        With `seconds_left` no retry is begun that would start after the deadline.
        """
        if failed_tries > self.retries:
            return Exhausted()
        delay = backoff_s(self.base_s, failed_tries - 1, random)
        if seconds_left is not None and delay >= seconds_left:
            return Exhausted()
        return RetryAfter(delay)


def backoff_s(base_s: float, attempt: int, random: float) -> float:
    """Seconds to wait before retry number `attempt` (from 0)."""
    return float(min(base_s * 2 ** min(attempt, 16) * (0.7 + random * 0.6), DELAY_S_MAX))
