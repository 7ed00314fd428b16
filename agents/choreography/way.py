"""The way to the pivot: the forward steps in their order, and what undoes them backwards.

The order is not written anywhere. Step B comes after step A if B's forward reaction consumes what
A returns; the steps that lead to the pivot, in that order, are the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agents.choreography.graph import Choreography
from agents.kernel.agent import Handler
from agents.kernel.protocol import Role
from schemas.saga import SagaStatus

GOING_FORWARD = (Role.FORWARD, Role.CONTINUE)


@dataclass(frozen=True, slots=True)
class Way:
    """The forward reactions from the inbox to the pivot, in their order, the pivot last."""

    steps: tuple[Handler, ...]
    undoing: tuple[Handler | None, ...]
    """What undoes each step; None for a step that has nothing to undo."""

    @property
    def pivot(self) -> Handler | None:
        """The step after which the saga only goes forward."""
        return self.steps[-1] if self.steps else None

    @property
    def before_pivot(self) -> tuple[Handler, ...]:
        """The steps that may have to be undone."""
        return self.steps[:-1]

    def position(self, agent: str, step: str) -> int | None:
        """Where a step stands on the way; None if it is not on it."""
        names = [(h.agent, h.step) for h in self.steps]
        return names.index((agent, step)) if (agent, step) in names else None

    def undone_next(self, position: int) -> Handler | None:
        """What undoes the nearest step before a position that is not undone along with it."""
        along = self.undoing[position]
        earlier = reversed(self.undoing[:position])
        return next((h for h in earlier if h is not None and h is not along), None)

    def undone_after(self, compensation: Handler) -> Handler | None:
        """What must run after a compensation: the undoing of the steps before its own."""
        positions = [i for i, h in enumerate(self.undoing) if h is compensation]
        return self.undone_next(min(positions)) if positions else None


def way_to_pivot(choreography: Choreography) -> Way:
    """The way; empty if there is no pivot."""
    handlers = choreography.handlers
    pivot = next((h for h in handlers if h.declared.pivot), None)
    if pivot is None:
        return Way((), ())
    steps = tuple(_ancestors_first(choreography, pivot, set()))
    return Way(steps, tuple(choreography.compensation_of(h.agent, h.step) for h in steps))


def _ancestors_first(
    choreography: Choreography, handler: Handler, seen: set[Handler]
) -> Iterator[Handler]:
    """Depth first; a cycle is a finding elsewhere and must not hang us here."""
    seen.add(handler)
    for before in steps_before(choreography, handler):
        if before not in seen:
            yield from _ancestors_first(choreography, before, seen)
    yield handler


def steps_before(choreography: Choreography, handler: Handler) -> list[Handler]:
    """The forward reactions of the steps whose results this one reacts to."""
    found: dict[Handler, None] = {}
    for emitter in choreography.handlers:
        if emitter.role not in GOING_FORWARD or not set(emitter.emits) & set(handler.consumes):
            continue
        for sibling in choreography.of_step(emitter.agent, emitter.step):
            if sibling.role is Role.FORWARD and sibling is not handler:
                found[sibling] = None
    return list(found)


def steps_after(choreography: Choreography, handler: Handler) -> list[Handler]:
    """The forward reactions that follow a step, near and far."""
    found: dict[Handler, None] = {}
    todo = [handler]
    while todo:
        done = todo.pop()
        for after in choreography.handlers:
            new = after.role is Role.FORWARD and after not in found
            if new and done in steps_before(choreography, after):
                found[after] = None
                todo.append(after)
    return list(found)


def certain_to_end(
    choreography: Choreography, ends: frozenset[SagaStatus], conceded: frozenset[str]
) -> frozenset[str]:
    """The event types after which every path reaches one of the statuses.

    The least fixed point: an event is certain if its own status is an end, or if some reaction to
    it is certain in each of its outcomes. A stop that concedes (CancelRefused) is certain too: the
    step that it could not stop goes on by itself.
    """
    certain: set[str] = set()
    grown = True
    while grown:
        grown = False
        for event in choreography.events:
            if event in certain:
                continue
            if choreography.status(event) in ends or any(
                _certain(choreography, h, certain, conceded) for h in choreography.consumers(event)
            ):
                certain.add(event)
                grown = True
    return frozenset(certain)


def _certain(
    choreography: Choreography, handler: Handler, certain: set[str], conceded: frozenset[str]
) -> bool:
    stops = handler.role in (Role.STOP, Role.CONFIRM)
    enough = certain | conceded if stops else certain
    return all(way & enough for way in choreography.outcomes[handler])
