"""What every store keeps, for how long, and how much of it; the same in memory and in Redis."""

from __future__ import annotations

ANSWER_KEPT_MS = 86_400_000
"""HTTP answers by idempotency key: a day, as payment providers do."""
ENDED_LISTED_MAX = 1_000
"""Ended sagas of one status that a list shows; older ones are still found by their id."""
SAGA_KEPT_MS = 10 * 86_400_000
"""Rows of ended sagas: longer than anybody asks, short enough for millions a day."""
WINDOW_S = 60
"""The rate limit's window."""
REQUESTS_A_MINUTE = 1_000
"""Requests of one principal in a window: above any shop's till, below what one gateway can do."""
