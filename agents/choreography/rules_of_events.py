"""Rules of events: who emits, who reacts, what an event carries, and that every path ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agents.choreography.graph import (
    Cause,
    Choreography,
    consumed_events,
    place,
    returned_types,
)
from agents.choreography.way import certain_to_end
from schemas.events import ChainEvent, Event
from schemas.saga import SagaStatus

FINAL_FACTS = {
    "Notified": "the last thing that happens to an order",
    "OrderRejected": "no saga was started; whoever sent the order reads it",
    "CancelRefused": "the order goes on as if nobody had asked; whoever asked reads it",
}
"""Events that change no status and that nobody needs to react to, each with the reason."""
ENDS = frozenset({SagaStatus.COMPLETED, SagaStatus.FAILED})
MADE_BY_THE_KERNEL = ("order", "refs", "reason", "by")
"""What the kernel can fill in when it makes an event without a handler."""


def signature_types_are_known(choreography: Choreography) -> Iterator[str]:
    """A handler consumes and returns events of the contract, and at most one kind of command."""
    contract = choreography.contract
    for handler in choreography.handlers:
        where = place(handler)
        for cls in handler.consumes:
            if _is_event(cls):
                if contract.get(cls.__name__) is not cls:
                    yield f"{where} consumes {cls.__name__}; {_add_to_contract(cls)}."
            elif not _is_command(cls):
                yield (
                    f"{where} consumes {_name(cls)}, which is neither an event nor a command "
                    "class of ours; write the event's class into its signature."
                )
        for cls in returned_types(handler):
            if not _is_event(cls):
                yield (
                    f"{where} returns {_name(cls)}, which is no event; a handler returns events "
                    "of schemas/events.py, a tuple of them, or None."
                )
            elif contract.get(cls.__name__) is not cls:
                yield f"{where} returns {cls.__name__}; {_add_to_contract(cls)}."


def consumed_event_has_an_emitter(choreography: Choreography) -> Iterator[str]:
    """Nobody waits for what never comes."""
    for event, consumers in choreography.consumed_by.items():
        if not choreography.emitters(event):
            who = ", ".join(map(place, consumers))
            yield (
                f"{event} is awaited by {who}, but nobody emits it; add it to the return type of "
                "the handler that should, or stop reacting to it."
            )


def emitted_event_has_a_consumer_or_is_final(choreography: Choreography) -> Iterator[str]:
    """Nothing is said that nobody hears, except how a saga ended and a few named facts."""
    for event in choreography.emitted_by:
        status = choreography.status(event)
        if choreography.consumers(event) or event in FINAL_FACTS or status in ENDS:
            continue
        who = ", ".join(e.place for e in choreography.emitted_by[event])
        yield (
            f"{event} has no consumer ({who} emits it); add a handler that takes it, or, if "
            "nobody needs to react, name it with the reason in FINAL_FACTS of "
            "agents/choreography/rules_of_events.py."
        )


def event_has_one_emitting_agent(choreography: Choreography) -> Iterator[str]:
    """An event type lives on one topic, so that its order is its agent's order."""
    for event in choreography.emitted_by:
        agents = choreography.emitters(event)
        if len(agents) > 1:
            yield (
                f"{event} is emitted by {' and '.join(agents)}; an event type has one owner: "
                "give the others an event of their own."
            )


def contract_has_no_unused_event(choreography: Choreography) -> Iterator[str]:
    """The contract promises no event that never comes."""
    for event in choreography.contract:
        if not choreography.emitters(event) and not choreography.consumers(event):
            yield f"{event} is in the contract, but no agent emits or consumes it; remove it."


def fold_is_total(choreography: Choreography) -> Iterator[str]:
    """Every event has a row in the status table, and every row an event."""
    table = choreography.status_table
    for event in (*choreography.contract, *choreography.events):
        if event not in table:
            yield (
                f"{event} has no row in STATUS_BY_EVENT of schemas/saga.py; say which status it "
                "gives the saga, or UNCHANGED."
            )
    for event in table:
        if event not in choreography.contract:
            yield (
                f"STATUS_BY_EVENT of schemas/saga.py has a row for {event}, which is no event of "
                "the contract; remove the row or add the event."
            )


def chain_events_carry_the_order(choreography: Choreography) -> Iterator[str]:
    """What somebody reacts to carries the order and the provider ids: nobody joins."""
    for event, emissions in choreography.emitted_by.items():
        if choreography.consumers(event) and not issubclass(emissions[0].event, ChainEvent):
            yield (
                f"{event} is consumed but carries neither order nor refs; make it a ChainEvent, "
                "so that its consumers need no join."
            )


def kernel_can_make_the_event(choreography: Choreography) -> Iterator[str]:
    """What an exhausted or hand-settled step ends with can be made from its trigger alone."""
    for emissions in choreography.emitted_by.values():
        for emission in emissions:
            if emission.cause not in (Cause.EXHAUSTED, Cause.BY_HAND):
                continue
            name = emission.event.__name__
            if not issubclass(emission.event, ChainEvent):
                yield (
                    f"{emission.place} ends with {name} ({emission.cause}), which is no "
                    "ChainEvent; the kernel can make chain events only."
                )
                continue
            needed = [
                field
                for field, info in emission.event.model_fields.items()
                if info.is_required() and field not in MADE_BY_THE_KERNEL
            ]
            if needed:
                yield (
                    f"{emission.place} ends with {name} ({emission.cause}), but the kernel cannot "
                    f"fill in {', '.join(needed)}; give defaults to these fields."
                )


def no_event_brings_itself_about(choreography: Choreography) -> Iterator[str]:
    """No cycle: a saga that could run in circles never ends."""
    told: set[frozenset[str]] = set()
    for event in choreography.events:
        circle = _circle(choreography, event)
        if circle and frozenset(circle) not in told:
            told.add(frozenset(circle))
            way = " -> ".join((*circle, circle[0]))
            yield f"The saga can run in circles: {way}; let one of these steps end it."


def every_path_ends(choreography: Choreography) -> Iterator[str]:
    """From every event on, whatever happens, the saga reaches COMPLETED or FAILED."""
    certain = certain_to_end(choreography, ENDS, frozenset(FINAL_FACTS))
    owed = [
        event
        for event in choreography.events
        if choreography.status(event) not in (None, *ENDS) or _starts_a_path(choreography, event)
    ]
    for event in _dead_ends(choreography, owed, certain):
        yield (
            f"A saga can stop at {event} without an end; {_what_is_missing(choreography, event)}."
        )


def compensating_leads_to_failed(choreography: Choreography) -> Iterator[str]:
    """A saga that has begun to compensate is FAILED in the end, on every path."""
    certain = certain_to_end(choreography, frozenset({SagaStatus.FAILED}), frozenset())
    owed = [
        event
        for event in choreography.events
        if choreography.status(event) is SagaStatus.COMPENSATING
    ]
    for event in _dead_ends(choreography, owed, certain):
        yield (
            f"A compensation can stop at {event} without reaching FAILED; "
            f"{_what_is_missing(choreography, event)}."
        )


def after_the_end_only_retriable_steps_react(choreography: Choreography) -> Iterator[str]:
    """An ended saga stays ended: nothing that reacts to its end may fail, refuse or undo."""
    for event in choreography.events:
        if choreography.status(event) not in ENDS:
            continue
        for handler in choreography.consumers(event):
            if not handler.declared.retriable:
                yield (
                    f"{event} ends the saga, yet {place(handler)} goes on from it and is not "
                    f"retriable; give {event} another status, or declare the step @retriable."
                )


def _circle(choreography: Choreography, start: str) -> tuple[str, ...]:
    """A shortest way from an event back to itself, or nothing."""
    ways: dict[str, tuple[str, ...]] = {start: (start,)}
    todo = [start]
    for event in todo:
        for after in sorted(choreography.follows(event)):
            if after == start:
                return ways[event]
            if after not in ways:
                ways[after] = (*ways[event], after)
                todo.append(after)
    return ()


def _starts_a_path(choreography: Choreography, event: str) -> bool:
    """Whether it comes from outside or from time, and somebody acts on it."""
    emissions = choreography.emitted_by.get(event, ())
    outside = any(
        e.cause is Cause.UNPROMPTED
        or (e.cause is Cause.RETURNED and e.handler and not consumed_events(e.handler))
        for e in emissions
    )
    return outside and event not in FINAL_FACTS


def _dead_ends(
    choreography: Choreography, owed: list[str], certain: frozenset[str]
) -> Iterator[str]:
    """The last uncertain events on the paths from those that owe an end."""
    seen = {event for event in owed if event not in certain}
    todo = sorted(seen)
    for event in todo:
        uncertain = choreography.follows(event) - certain - set(FINAL_FACTS)
        if not uncertain:
            yield event
        new = sorted(uncertain - seen)
        seen.update(new)
        todo.extend(new)


def _what_is_missing(choreography: Choreography, event: str) -> str:
    consumers = choreography.consumers(event)
    if not consumers:
        return "let a handler react to it, or give it a terminal status in schemas/saga.py"
    who = ", ".join(map(place, consumers))
    return f"{who} can end without an event that leads on: return one"


def _is_event(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, Event) and cls not in (Event, ChainEvent)


def _is_command(cls: Any) -> bool:
    """A class of ours that comes over HTTP or from the inbox, such as Submission."""
    ours = isinstance(cls, type) and not issubclass(cls, Event)
    return ours and cls.__module__ not in ("builtins", "typing")


def _add_to_contract(cls: type[Event]) -> str:
    return f"it is not in the contract: define {cls.__name__} in schemas/events.py"


def _name(cls: Any) -> str:
    return str(getattr(cls, "__name__", cls))
