"""What a handler is given besides its event, and what it may return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from agents.kernel.errors import TerminalFault
from agents.kernel.ports import Effect
from schemas.events import Event

Outcome = Event | tuple[Event, ...] | None
"""One event, several in their order, or none."""

KEY_AGE_MAX_MS = 20 * 3_600_000
"""A provider may forget a key after 24 hours (Stripe); four hours are kept as a margin."""


@dataclass(slots=True)
class StepContext:
    """Keys, time and doubt of the step in hand. A handler takes nothing from elsewhere."""

    order_id: str
    step: str
    effect: Effect
    """The step's own effect; pass it to the provider."""
    now_ms: int
    placed_ms: int
    """When the saga began."""
    undo_attempt: int = 1
    """The attempt in the keys of undoings; raised only after a known refusal."""
    doubt: bool = False
    """Whether an earlier try of this step may have taken effect unknown to us."""
    begun: bool = False
    """For a stop: the step to be stopped has begun or is done."""
    progress: str = ""
    """What the step noted of itself before a crash or retry."""
    key_attempts: Callable[[str], Awaitable[int]] | None = None

    async def forward_effect(self, step: str) -> Effect:
        """The effect of a forward step, to occupy its key or to look its object up by it.

        Raises TerminalFault if the provider may have forgotten keys of that age: then only a
        person can find out.
        """
        if self.now_ms - self.placed_ms > KEY_AGE_MAX_MS:
            raise TerminalFault(
                f"UNCERTAIN: the key of {step} is older than 20 h, the provider may have "
                "forgotten it; look the object up at the provider, then resolve by hand"
            )
        attempt = await self.key_attempts(step) if self.key_attempts else 1
        return replace(self.effect, key=forward_key(self.order_id, step, attempt))

    def undo_effect(self, step: str) -> Effect:
        """The effect of undoing a step."""
        return replace(self.effect, key=undo_key(self.order_id, step, self.undo_attempt))


def forward_key(order_id: str, step: str, attempt: int) -> str:
    """Effect key of a forward step; retries, takeovers and redeliveries share it."""
    return f"{order_id}:{step}:{attempt}"


def undo_key(order_id: str, step: str, attempt: int) -> str:
    """Effect key of a compensation, a key of its own."""
    return f"{order_id}-comp-{step}:{attempt}"
