"""Following one order to its end, whoever tells of it: the gateway or the tracker's store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.cli import rail
from agents.cli.output import Speaker
from agents.kernel.errors import ChoraleError
from agents.scenarios import End
from agents.sightings import SagaView
from schemas.events import EVENTS
from schemas.saga import SagaStatus

LOOK_S = 0.1
"""Between two looks: a happy order takes a few tenths of a second."""
NOTIFY_S = 2.0
"""How long after the end the notifications are waited for; nobody else waits for them."""


class TookTooLong(ChoraleError):
    """The order did not end in time."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of an order now."""

    order_id: str
    status: SagaStatus
    waiting_for_person: bool
    events: tuple[tuple[int, str], ...]
    """Milliseconds and event type, the oldest first."""

    @property
    def seen(self) -> frozenset[str]:
        """The event types."""
        return frozenset(name for _, name in self.events)

    @property
    def end(self) -> End | None:
        """How it has ended; None while it goes on."""
        if self.waiting_for_person:
            return End.PERSON
        return End(self.status.value) if self.status.terminal else None

    @property
    def duration_s(self) -> float:
        """From the first event to the one that ended it, notifications not counted."""
        times = [ms for ms, name in self.events if name != "Notified"]
        return (times[-1] - times[0]) / 1000 if times else 0.0

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "order_id": self.order_id,
            "status": self.status.value,
            "waiting_for_person": self.waiting_for_person,
            "duration_s": self.duration_s,
            "stages": rail.stages(self.seen),
            "events": [{"event": name, "time_ms": ms} for ms, name in self.events],
        }


Look = Callable[[], Awaitable[Sight | None]]


def sight_of_view(view: SagaView) -> Sight:
    """From the tracker's store."""
    events = sorted((fact.time_ms, name) for name, fact in view.row.facts.items() if name in EVENTS)
    return Sight(view.row.order_id, view.status, view.waiting_for_person, tuple(events))


def sight_of_answer(document: Mapping[str, Any]) -> Sight:
    """From the gateway's answer."""
    events = [
        (int(datetime.fromisoformat(moment["time"]).timestamp() * 1000), str(moment["event"]))
        for moment in document["timeline"]
    ]
    status = SagaStatus(document["status"])
    waiting = bool(document["waiting_for_person"])
    return Sight(str(document["order_id"]), status, waiting, tuple(events))


async def until(look: Look, reached: Callable[[Sight], bool], within_s: float) -> Sight:
    """The first sight that satisfies. Raises TookTooLong."""
    latest: Sight | None = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                latest = await look()
                if latest is not None and reached(latest):
                    return latest
                await asyncio.sleep(LOOK_S)
    except TimeoutError as error:
        stands = latest.status.value if latest else "unknown to the tracker"
        raise TookTooLong(
            f"the order is {stands} after {within_s:g} s; look again with `chorale status`, and "
            "at the agents with `chorale doctor`"
        ) from error


async def follow(look: Look, speaker: Speaker, within_s: float) -> Sight:
    """Draw the stages until the order has ended. Raises TookTooLong."""
    drawn = _Drawn(speaker)

    def ended(sight: Sight) -> bool:
        drawn.show(sight)
        return sight.end is not None

    sight = await until(look, ended, within_s)
    if sight.end is not End.PERSON:
        sight = await _notified(look, drawn, sight)
    drawn.finish()
    return sight


async def _notified(look: Look, drawn: _Drawn, sight: Sight) -> Sight:
    def told(later: Sight) -> bool:
        drawn.show(later)
        return "Notified" in later.seen

    try:
        return await until(look, told, NOTIFY_S)
    except TookTooLong:
        return sight


class _Drawn:
    """The rail: drawn over on a terminal, else a line for each stage that changes."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._known: dict[str, str] = dict.fromkeys(rail.STAGES, rail.WAITING)

    def show(self, sight: Sight) -> None:
        now = rail.stages(sight.seen)
        if self._speaker.draws:
            self._speaker.redraw("  " + rail.draw(sight.seen, colour=True))
            return
        for name, state in now.items():
            if state not in (self._known[name], rail.WORKING):
                self._speaker.say(f"  {name} {state}")
        self._known = now

    def finish(self) -> None:
        if self._speaker.draws:
            self._speaker.say()
