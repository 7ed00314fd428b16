"""The choreography for people: a diagram in Mermaid, a table of events, a table of steps.

Happy path, refusals, compensations and an agent's own decisions are told apart by line and colour:

    ==> happy path    -.-> refusal    --> compensation    --o own decision

Everything is a function of the choreography, so the same agents give the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from agents.choreography.graph import Choreography, Emission, place
from agents.choreography.way import Way, way_to_pivot
from agents.kernel.agent import Handler
from agents.kernel.context import forward_key, undo_key
from agents.kernel.protocol import Role
from schemas.saga import SagaStatus

NONE = "-"
"""An empty cell."""
OWN_ROLES = (Role.CONTINUE, Role.SETTLE, Role.CONFIRM)


class Line(StrEnum):
    """What an arrow of the diagram stands for; its order is the order of the legend."""

    HAPPY = "happy path"
    REFUSAL = "refusal"
    UNDOING = "compensation"
    DECISION = "own decision that stands in the log, or the wish for one"
    TELLING = "told, and nobody waits"


ARROWS = {
    Line.HAPPY: "==>",
    Line.REFUSAL: "-.->",
    Line.UNDOING: "-->",
    Line.DECISION: "--o",
    Line.TELLING: "-->",
}
COLOURS = {
    Line.HAPPY: ("green", "#1a7f37"),
    Line.REFUSAL: ("red", "#cf222e"),
    Line.UNDOING: ("orange", "#bc4c00"),
    Line.DECISION: ("violet", "#8250df"),
    Line.TELLING: ("grey", "#6e7781"),
}
"""Readable on GitHub's light and dark pages."""


@dataclass(frozen=True, slots=True)
class Arrow:
    """Some events that lead from one node to another."""

    start: str
    end: str
    line: Line
    events: tuple[str, ...]


def diagram(choreography: Choreography) -> str:
    """The whole saga in Mermaid: one node a step, a compensation, an outcome."""
    way = way_to_pivot(choreography)
    lines = ["flowchart TD"]
    for agent in choreography.participants:
        lines.append(f"    subgraph {agent.name}")
        for node, label in _nodes(choreography, agent.name, way):
            lines.append(f"        {node}{label}")
        lines.append("    end")
    clocks = [
        f'    {agent.name}(["{agent.name}: time"])'
        for agent in choreography.observers
        if agent.unprompted
    ]
    return "\n".join([*lines, *clocks, *_ends_of_saga(), *_drawn(_arrows(choreography, way))])


def readme_diagram(choreography: Choreography) -> str:
    """The happy path and the way back, on one line each."""
    way = way_to_pivot(choreography)
    wanted = (Line.HAPPY, Line.REFUSAL, Line.UNDOING)
    main = {_node(h) for h in (*way.steps, *way.undoing) if h} | {SagaStatus.FAILED.value}
    arrows = [
        arrow
        for arrow in _arrows(choreography, way)
        if arrow.line in wanted and arrow.start in main and arrow.end in (*main, "COMPLETED")
    ]
    handlers = dict.fromkeys(h for h in (*way.steps, *way.undoing) if h)
    nodes = [f"    {_node(h)}{_label(h, way, with_agent=True)}" for h in handlers]
    return "\n".join(["flowchart LR", *nodes, *_ends_of_saga(), *_drawn(arrows)])


def event_table(choreography: Choreography) -> str:
    """Every event: who owns it, when it is emitted, who reacts, what it does to the status."""
    rows = [
        (
            f"`{event}`",
            ", ".join(choreography.emitters(event)),
            _when(choreography, event),
            "<br>".join(_reaction(h) for h in choreography.consumers(event)) or NONE,
            choreography.status(event) or "unchanged",
        )
        for event in choreography.events
    ]
    return table(("event", "owner", "emitted when", "reacted to by", "saga state"), rows)


def step_table(choreography: Choreography) -> str:
    """Every step: its agent, its part in the saga, its keys, how it fails and what undoes it."""
    way = way_to_pivot(choreography)
    forward = [h for h in choreography.handlers if h.role is Role.FORWARD]
    order = {h: i for i, h in enumerate(way.steps)}
    rows = [
        _step_row(choreography, h)
        for h in sorted(forward, key=lambda h: (order.get(h, len(order)), h.agent, h.step))
    ]
    return table(
        ("step", "agent", "role", "effect key", "if exhausted", "undone by", "undoing key"), rows
    )


def legend() -> str:
    """What the arrows mean."""
    rows = [(f"`{ARROWS[line]}`", COLOURS[line][0], line.value) for line in Line]
    return table(("arrow", "colour", "meaning"), rows)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _nodes(choreography: Choreography, agent: str, way: Way) -> Iterator[tuple[str, str]]:
    for handler in choreography.handlers:
        if handler.agent == agent and handler.role in (Role.FORWARD, Role.COMPENSATE):
            yield _node(handler), _label(handler, way)


def _ends_of_saga() -> list[str]:
    return [f"    {s}(({s}))" for s in (SagaStatus.COMPLETED, SagaStatus.FAILED)]


def _node(handler: Handler) -> str:
    """Settling, continuing and stopping belong to the node of their step."""
    name = handler.name if handler.role is Role.COMPENSATE else handler.step
    return f"{handler.agent}_{name}"


def _label(handler: Handler, way: Way, *, with_agent: bool = False) -> str:
    name = handler.name if handler.role is Role.COMPENSATE else handler.step
    text = f"{handler.agent}: {name}" if with_agent else name
    if handler.role is Role.COMPENSATE:
        return '{{"' + text + '"}}'
    return f'[["{text}, the pivot"]]' if handler is way.pivot else f'["{text}"]'


def _arrows(choreography: Choreography, way: Way) -> list[Arrow]:
    """Arrows of the same ends and kind are one, with all their events."""
    found: dict[tuple[str, str, Line], dict[str, None]] = {}
    for event in choreography.events:
        for emission in choreography.emitted_by.get(event, ()):
            start = _node(emission.handler) if emission.handler else emission.agent
            for end, line in _ends(choreography, way, emission):
                found.setdefault((start, end, line), {})[event] = None
    arrows = (Arrow(*key, tuple(events)) for key, events in found.items())
    return sorted(arrows, key=lambda a: list(Line).index(a.line))


def _ends(choreography: Choreography, way: Way, emission: Emission) -> Iterator[tuple[str, Line]]:
    event = emission.event.__name__
    for consumer in choreography.consumers(event):
        yield _node(consumer), _line(way, emission.handler, consumer)
    status = choreography.status(event)
    if emission.handler and status is SagaStatus.COMPLETED:
        yield status.value, Line.HAPPY
    if emission.handler and status is SagaStatus.FAILED:
        yield status.value, Line.UNDOING if _undoes(emission.handler) else Line.REFUSAL


def _line(way: Way, emitter: Handler | None, consumer: Handler) -> Line:
    if consumer.role in (*OWN_ROLES, Role.STOP):
        return Line.DECISION
    if _undoes(consumer):
        return Line.UNDOING if emitter and _undoes(emitter) else Line.REFUSAL
    return Line.HAPPY if consumer in way.steps else Line.TELLING


def _undoes(handler: Handler) -> bool:
    return handler.role is Role.COMPENSATE


def _drawn(arrows: list[Arrow]) -> Iterator[str]:
    for arrow in arrows:
        events = "<br/>".join(arrow.events)
        yield f'    {arrow.start} {ARROWS[arrow.line]}|"{events}"| {arrow.end}'
    for line in Line:
        numbers = ",".join(str(i) for i, arrow in enumerate(arrows) if arrow.line is line)
        if numbers:
            yield f"    linkStyle {numbers} stroke:{COLOURS[line][1]}"


def _when(choreography: Choreography, event: str) -> str:
    emissions = choreography.emitted_by.get(event, ())
    return _first_sentences(emissions[0].event.__doc__) if emissions else "never"


def _reaction(handler: Handler) -> str:
    return f"`{place(handler)}`: {_first_sentences(handler.call.__doc__)}"


def _first_sentences(doc: str | None) -> str:
    return " ".join((doc or "").split("\n\n")[0].split())


def _step_row(choreography: Choreography, handler: Handler) -> tuple[str, ...]:
    declared, step = handler.declared, handler.step
    undoing = choreography.compensation_of(handler.agent, step)
    failing = f"`{declared.failing.__name__}`" if declared.failing else "dead letter"
    return (
        f"`{step}`",
        handler.agent,
        _part(handler),
        f"`{forward_key('{order}', step, 1)}`",
        failing,
        f"`{place(undoing)}`" if undoing else NONE,
        f"`{undo_key('{order}', undoing.step, 1)}`" if undoing else NONE,
    )


def _part(handler: Handler) -> str:
    declared = handler.declared
    if declared.pivot:
        return "**pivot**"
    if declared.intake:
        return "intake"
    return "retriable" if declared.retriable else "before the pivot"
