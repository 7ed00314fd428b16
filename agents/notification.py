"""Notification: tell everybody how an order ended; nobody waits for it.

All targets are tried side by side; those that failed are tried again together, with the ones
already served remembered in the ledger. A target given up becomes a letter that owes nothing.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import yaml

from agents.kernel.agent import Agent, GivenUp, Handler, StepContext, follow, retriable
from agents.kernel.errors import BreakerOpen, ChoraleError, ConfigurationError, TransientFault
from agents.kernel.ports import Effect
from agents.ports import Channels, Message, Target
from schemas.events import (
    ChainEvent,
    Notified,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
)

TARGETS_FILE = Path(__file__).with_name("targets.yaml")
TARGETS_MAX = 100
"""Four times the 23 of targets.yaml; each is a call for every order."""
Ended = PaymentCaptured | PaymentDeclined | PaymentVoided | PaymentRefunded


class Notification(Agent, name="notification"):
    """Tells the targets of a configuration file."""

    def __init__(self, channels: Channels, targets: tuple[Target, ...]) -> None:
        self.channels = channels
        self.targets = targets

    @retriable(by_hand=Notified)
    async def notify(
        self,
        ended: Ended,
        ctx: StepContext,
    ) -> Notified:
        """Tell every target that was not told yet."""
        told = set(filter(None, ctx.progress.split(",")))
        missing = [t for t in self._targets_of(ctx.step) if t.name not in told]
        failed: dict[str, ChoraleError] = {}
        async with asyncio.TaskGroup() as tasks:
            for target in missing:
                tell = self._tell(target, ended, ctx, told, failed)
                tasks.create_task(tell, name=f"notify {target.name} {ctx.order_id}")
        closed = [error for error in failed.values() if isinstance(error, BreakerOpen)]
        if closed and len(closed) == len(failed):
            # Nothing was tried; waiting for a breaker costs no try.
            raise closed[0]
        if failed:
            raise TransientFault(f"not delivered: {', '.join(sorted(failed))}")
        return follow(ended, Notified, outcome=_outcome(ended), delivered=len(told))

    def give_up(self, handler: Handler, trigger: Any, ctx: StepContext, error: str) -> GivenUp:
        """What could not be told after all retries is given up, target by target."""
        del handler
        told = [name for name in ctx.progress.split(",") if name]
        given_up = tuple(t.name for t in self.targets if t.name not in told)
        event = follow(
            trigger,
            Notified,
            outcome=_outcome(trigger),
            delivered=len(told),
            given_up=given_up,
            reason=error,
        )
        return GivenUp(event, undelivered=given_up)

    def _targets_of(self, step: str) -> tuple[Target, ...]:
        """All of them, or the one that a replayed letter is about (`notify/<target>`)."""
        _, slash, name = step.partition("/")
        return tuple(t for t in self.targets if t.name == name) if slash else self.targets

    async def _tell(
        self,
        target: Target,
        ended: Ended,
        ctx: StepContext,
        told: set[str],
        failed: dict[str, ChoraleError],
    ) -> None:
        outcome = _outcome(ended)
        key = f"{ctx.order_id}:{outcome}:{target.channel}:{target.address}"
        effect = Effect(
            key=key,
            order_id=ctx.order_id,
            attempt=ctx.effect.attempt,
            timeout_s=ctx.effect.timeout_s,
            traceparent=ctx.effect.traceparent,
        )
        try:
            await self.channels.send(effect, target, _message(ended, outcome))
        except ChoraleError as error:
            failed[target.name] = error
            return
        told.add(target.name)
        ctx.progress = ",".join(sorted(told))


def load_targets(path: Path = TARGETS_FILE) -> tuple[Target, ...]:
    """The targets of the configuration file. Raises ConfigurationError that names the entry."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        targets = tuple(Target(name, **entry) for name, entry in raw["targets"].items())
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"{path}: wants `targets:` with `name: {{channel: …, address: …}}` each; {error}"
        ) from error
    for target in targets:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", target.name):
            raise ConfigurationError(f"{path}: {target.name!r}: a name is like email-receipts")
    if not 1 <= len(targets) <= TARGETS_MAX:
        raise ConfigurationError(f"{path}: wants 1 to {TARGETS_MAX} targets, found {len(targets)}")
    return targets


def _outcome(ended: ChainEvent) -> str:
    return "completed" if isinstance(ended, PaymentCaptured) else "failed"


def _message(ended: ChainEvent, outcome: str) -> Message:
    order = ended.order
    what = "is on its way" if outcome == "completed" else "was not completed; nothing is charged"
    return Message(
        order_id=order.order_id,
        outcome=outcome,
        subject=f"Order {order.order_id} {what}",
        body=f"{len(order.lines)} line(s), {order.total}. {ended.reason}".strip(),
    )
