"""Rules of steps: names, roles, and one way from the inbox to the pivot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from agents.choreography.graph import Choreography, place, undone_steps
from agents.choreography.way import steps_after, way_to_pivot
from agents.kernel.agent import Handler
from agents.kernel.protocol import Role
from schemas.saga import SagaStatus

MEANS = {
    Role.CONTINUE: "continues",
    Role.SETTLE: "settles",
    Role.COMPENSATE: "undoes",
    Role.STOP: "stops",
    Role.CONFIRM: "confirms the stop of",
}


def agent_names_are_unique(choreography: Choreography) -> Iterator[str]:
    """A name is a topic, a consumer group and an owner of letters."""
    names = [agent.name for agent in choreography.agents]
    for name in dict.fromkeys(n for n in names if names.count(n) > 1):
        yield f"Two agents are called {name}; rename one, or run the same class more often."


def step_belongs_to_one_agent(choreography: Choreography) -> Iterator[str]:
    """One ledger record an order and step: two agents on it would refuse each other."""
    owners: dict[str, set[str]] = {}
    for handler in _forward(choreography):
        owners.setdefault(handler.step, set()).add(handler.agent)
    for step, agents in owners.items():
        if len(agents) > 1:
            yield (
                f"Step {step} exists in {' and '.join(sorted(agents))}; they would share one "
                "ledger record: rename one of the methods."
            )


def step_has_one_reaction_of_a_role(choreography: Choreography) -> Iterator[str]:
    """A record knows one way to go forward, to settle, to be undone."""

    def identity(handler: Handler) -> tuple[str, str, str]:
        return handler.agent, handler.step, handler.role

    for (_, step, role), group in groupby(sorted(choreography.handlers, key=identity), identity):
        same = list(group)
        if len(same) > 1 and role != Role.CONTINUE:
            who = " and ".join(map(place, same))
            yield (
                f"{who} both play the role {role} for step {step}; make them one handler that "
                "takes either event."
            )


def reaction_names_a_step_of_its_agent(choreography: Choreography) -> Iterator[str]:
    """What settles, undoes or stops a step is a method beside it."""
    steps = {(h.agent, h.step) for h in _forward(choreography)}
    for handler in choreography.handlers:
        if handler.role is Role.FORWARD:
            continue
        for step in undone_steps(handler):
            if (handler.agent, step) not in steps:
                own = sorted(name for agent, name in steps if agent == handler.agent)
                yield (
                    f"{place(handler)} {MEANS[handler.role]} {step!r}, but {handler.agent} has no "
                    f"such step; it has {', '.join(own) or 'none'}."
                )


def inbox_has_one_reader(choreography: Choreography) -> Iterator[str]:
    """Two readers of `orders.inbox` would start every saga twice; without one nothing starts."""
    readers = [h for h in choreography.handlers if h.declared.intake]
    if not readers:
        yield "Nobody reads the inbox; declare one handler with @intake."
    if len(readers) > 1:
        who = " and ".join(map(place, readers))
        yield f"{who} both read the inbox, so every order would start twice; keep one @intake."


def observer_commands_nobody(choreography: Choreography) -> Iterator[str]:
    """No saga waits for an observer."""
    for agent in choreography.observers:
        for handler in choreography.handlers:
            if handler.agent == agent.name:
                yield (
                    f"{place(handler)} reacts, but {agent.name} is an observer; drop "
                    "`observes=True`, or move the reaction to a participant."
                )


def exactly_one_pivot(choreography: Choreography) -> Iterator[str]:
    """There is one point of no return."""
    pivots = [h for h in choreography.handlers if h.declared.pivot]
    if not pivots:
        yield "No step is the pivot; declare the step of no return with @pivot."
    if len(pivots) > 1:
        who = ", ".join(map(place, pivots))
        yield f"{who} are all pivots; keep the one of no return, and make the others @step."


def pivot_can_complete_the_saga(choreography: Choreography) -> Iterator[str]:
    """From the pivot a saga comes to COMPLETED."""
    pivot = way_to_pivot(choreography).pivot
    if pivot is None:
        return
    reached = {name for way in choreography.outcomes[pivot] for name in way}
    todo = list(reached)
    for event in todo:
        new = choreography.follows(event) - reached
        reached |= new
        todo.extend(new)
    if not any(choreography.status(event) is SagaStatus.COMPLETED for event in reached):
        yield (
            f"No event after {place(pivot)} gives the status COMPLETED; say in schemas/saga.py "
            "which one does."
        )


def way_to_the_pivot_does_not_fork(choreography: Choreography) -> Iterator[str]:
    """The pivot waits for every step before it: they are one line, not two."""
    way = way_to_pivot(choreography)
    for handler in way.steps:
        for rival in way.steps[way.steps.index(handler) + 1 :]:
            both = set(handler.consumes) & set(rival.consumes)
            if both:
                event = min(cls.__name__ for cls in both)
                yield (
                    f"{place(handler)} and {place(rival)} both react to {event} on the way to the "
                    "pivot, which waits for neither; let one react to what the other emits."
                )


def step_leads_to_the_pivot_or_is_retriable(choreography: Choreography) -> Iterator[str]:
    """After the pivot, and beside the way to it, nothing may fail for good."""
    way = way_to_pivot(choreography)
    if way.pivot is None:
        return
    after = steps_after(choreography, way.pivot)
    for handler in _forward(choreography):
        free = handler.declared.retriable or handler.declared.intake or handler in way.steps
        if not free and not handler.declared.pivot:
            where = "comes after the pivot" if handler in after else "does not lead to the pivot"
            yield (
                f"{place(handler)} {where} and may fail for good; declare it @retriable, or put "
                "it on the way to the pivot."
            )


def person_can_settle_what_the_saga_waits_for(choreography: Choreography) -> Iterator[str]:
    """A step that the saga waits for and that may become a dead letter says how it goes on."""
    for handler in _awaited(choreography):
        if handler.declared.by_hand is None:
            yield (
                f"{place(handler)} may become a dead letter, and the saga waits for it; name in "
                "`by_hand=` the event with which a person settles it."
            )


def _awaited(choreography: Choreography) -> Sequence[Handler]:
    """Reactions whose silence would hold up the saga; a stop's letter is about its record."""
    way = set(way_to_pivot(choreography).steps)
    roles = (Role.CONTINUE, Role.SETTLE, Role.COMPENSATE)
    return [
        h for h in choreography.handlers if (h in way and not h.declared.intake) or h.role in roles
    ]


def _forward(choreography: Choreography) -> list[Handler]:
    return [h for h in choreography.handlers if h.role is Role.FORWARD]
