"""Rules of undoing: every effect before the pivot can be taken back, in the reverse order."""

from __future__ import annotations

from collections.abc import Iterator

from agents.choreography.graph import Cause, Choreography, consumed_events, place, undone_steps
from agents.choreography.way import steps_after, way_to_pivot
from agents.kernel.agent import Handler
from agents.kernel.protocol import Role
from schemas.saga import SagaStatus

OWN_DECISIONS = (Role.SETTLE, Role.CONTINUE)


def step_before_the_pivot_can_be_undone(choreography: Choreography) -> Iterator[str]:
    """A step that takes effect before the pivot has a compensation, by itself or in a group."""
    way = way_to_pivot(choreography)
    for handler, undoing in zip(way.before_pivot, way.undoing, strict=False):
        harmless = handler.declared.intake or handler.declared.retriable
        if undoing is None and not harmless:
            yield (
                f"{place(handler)} takes effect before the pivot and nothing undoes it; add a "
                f"@compensation(undoes={handler.step!r}) to {handler.agent}, or name the step in "
                "`also_refuses` of another one."
            )


def step_after_the_pivot_is_never_undone(choreography: Choreography) -> Iterator[str]:
    """From the pivot on the saga only goes forward."""
    pivot = way_to_pivot(choreography).pivot
    if pivot is None:
        return
    for handler in (pivot, *steps_after(choreography, pivot), *_retriable(choreography)):
        undoing = choreography.compensation_of(handler.agent, handler.step)
        if undoing is not None:
            yield (
                f"{place(undoing)} undoes {handler.step}, which is the pivot, comes after it or "
                "is retriable; only steps before the pivot are undone."
            )


def failing_event_is_settled_by_its_own_agent(choreography: Choreography) -> Iterator[str]:
    """A step given up with its outcome open is settled, or continued, by the agent that knows."""
    for handler in choreography.handlers:
        declared = handler.declared
        step = handler.role is Role.FORWARD and not (
            declared.intake or declared.retriable or declared.pivot
        )
        failing = declared.failing
        if failing is None:
            if step or handler.role is Role.CONTINUE:
                yield (
                    f"{place(handler)} has no `failing` event; name the one that says that its "
                    "retries are exhausted."
                )
            continue
        settling = [
            h
            for h in choreography.consumers(failing.__name__)
            if (h.agent, h.step) == (handler.agent, handler.step) and h.role in OWN_DECISIONS
        ]
        if not settling:
            yield (
                f"{failing.__name__} says that {handler.step} is in doubt, but {handler.agent} "
                f"does not act on it; add a @settles({handler.step!r}) or "
                f"@continues({handler.step!r}) that takes it."
            )


def trigger_of_a_compensation_counts_as_compensating(
    choreography: Choreography,
) -> Iterator[str]:
    """What starts an undoing shows in the saga's status."""
    for event in choreography.events:
        undoing = [h for h in choreography.consumers(event) if h.role is Role.COMPENSATE]
        status = choreography.status(event)
        if undoing and status is not SagaStatus.COMPENSATING:
            yield (
                f"{event} makes {place(undoing[0])} undo {undoing[0].step}, but its status is "
                f"{status or 'UNCHANGED'}; make it COMPENSATING in schemas/saga.py."
            )


def compensations_run_in_reverse_order(choreography: Choreography) -> Iterator[str]:
    """Each undoing is started by the undoing of the step after it, and leads to the one before."""
    way = way_to_pivot(choreography)
    for handler in choreography.handlers:
        if handler.role is not Role.COMPENSATE:
            continue
        expected = way.undone_after(handler)
        for event in sorted({name for ends in choreography.outcomes[handler] for name in ends}):
            undoing = _undoing(choreography, event)
            if expected is not None and expected not in undoing:
                yield (
                    f"After {place(handler)} comes {place(expected)}, the undoing of the step "
                    f"before; let it react to {event}."
                )
            for wrong in undoing:
                if wrong is not expected:
                    yield _out_of_order(wrong, event, f"after {place(handler)}", expected)


def refusal_leaves_nothing_standing(choreography: Choreography) -> Iterator[str]:
    """A step that fails starts the undoing of the step before it, or there is none to undo."""
    way = way_to_pivot(choreography)
    for handler in choreography.handlers:
        position = way.position(handler.agent, handler.step)
        if position is None or handler.role is Role.COMPENSATE:
            continue
        expected, own = way.undone_next(position), way.undoing[position]
        for event in sorted({name for ends in choreography.outcomes[handler] for name in ends}):
            for wrong in _undoing(choreography, event):
                if wrong not in (expected, own):
                    yield _out_of_order(wrong, event, f"from {place(handler)}", expected)
            if choreography.status(event) is SagaStatus.FAILED and expected is not None:
                yield (
                    f"{event} from {place(handler)} ends the saga as FAILED while "
                    f"{expected.step} still stands; make it COMPENSATING in schemas/saga.py and "
                    f"let {place(expected)} react to it."
                )


def outcome_of_a_compensation_is_its_own(choreography: Choreography) -> Iterator[str]:
    """What says that a step is undone says nothing else: it closes the step's dead letter."""
    for event, emissions in choreography.emitted_by.items():
        places = {e.place for e in emissions}
        roles = {e.handler.role if e.handler else None for e in emissions}
        if Role.COMPENSATE in roles and len(places) > 1:
            who = " and ".join(sorted(places))
            yield (
                f"{event} is emitted by {who}; the outcome of a compensation is emitted by "
                "nothing else: give the other an event of its own."
            )


def stop_is_confirmed_on_its_own_event(choreography: Choreography) -> Iterator[str]:
    """A decision that no provider makes is made in the log; its agent then reacts to it."""
    for stop in choreography.handlers:
        if stop.role is not Role.STOP:
            continue
        confirming = [
            h
            for h in choreography.of_step(stop.agent, stop.step)
            if h.role is Role.CONFIRM and set(h.consumes) & set(stop.emits)
        ]
        if not confirming:
            yield (
                f"{place(stop)} stops {stop.step} without a second look; add a "
                f"@confirms_stop({stop.step!r}) to {stop.agent} that takes the stop's own event."
            )
        for confirm in confirming:
            for event in consumed_events(confirm):
                places = {e.place for e in choreography.emitted_by.get(event.__name__, ())}
                if places - {place(stop)}:
                    who = ", ".join(sorted(places - {place(stop)}))
                    yield (
                        f"{place(confirm)} reacts to {event.__name__}, which {who} emits too; a "
                        "stop is confirmed only after it was decided in the log."
                    )


def time_out_stops_the_pivot(choreography: Choreography) -> Iterator[str]:
    """Time can end a saga: some agent says that it has passed, and the pivot is stopped."""
    pivot = way_to_pivot(choreography).pivot
    if pivot is None:
        return
    facts = {
        e.event.__name__
        for emissions in choreography.emitted_by.values()
        for e in emissions
        if e.cause is Cause.UNPROMPTED
    }
    if not facts:
        yield (
            "Nobody says that a saga's time is over; let an observer emit such a fact "
            "(`unprompted`), as the tracker does with SagaTimedOut."
        )
    for fact in sorted(facts):
        stops = [h for h in choreography.consumers(fact) if h.role is Role.STOP]
        if not any((h.agent, h.step) == (pivot.agent, pivot.step) for h in stops):
            yield (
                f"{fact} does not stop {place(pivot)}; let a @stops({pivot.step!r}) of "
                f"{pivot.agent} react to it, or a late saga waits for ever."
            )


def _retriable(choreography: Choreography) -> list[Handler]:
    return [h for h in choreography.handlers if h.declared.retriable]


def _undoing(choreography: Choreography, event: str) -> list[Handler]:
    return [h for h in choreography.consumers(event) if h.role is Role.COMPENSATE]


def _out_of_order(wrong: Handler, event: str, when: str, expected: Handler | None) -> str:
    instead = f"{place(expected)} is next" if expected else "nothing is left to undo then"
    steps = ", ".join(undone_steps(wrong))
    return (
        f"{place(wrong)} reacts to {event} {when} and would undo {steps} out of order; {instead}."
    )
