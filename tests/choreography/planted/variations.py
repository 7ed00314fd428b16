"""How the real choreography is varied: a method signed otherwise, an agent with one line changed.

@planted("consumed_event_has_an_emitter", says="StockReserved")
def shipping_waits_for_stock_that_nobody_reserves() -> Choreography:
    return system(changed(Inventory, reserve=signed(Inventory, "reserve", returns=...)))
"""

from __future__ import annotations

import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from agents.bootstrap import AGENTS
from agents.choreography.graph import Choreography
from agents.kernel.agent import Agent, Declared, Handler, StepContext, _mark
from agents.kernel.settings import Settings
from agents.kernel.topics import TOPICS_FILE, Topics, parse_topics
from schemas.events import EVENTS, ChainEvent, Event
from schemas.saga import STATUS_BY_EVENT, SagaStatus

Plant = Callable[[], Choreography]
Method = Callable[..., Awaitable[Any]]
NOTHING: Any = types.NoneType
"""As a return type: the handler may end without an event."""


@dataclass(frozen=True, slots=True)
class Defect:
    """A choreography with one defect, the rule that must find it, a word that it must say."""

    plant: Plant
    rule: str
    says: str


DEFECTS: dict[str, Defect] = {}
SOUND: dict[str, Plant] = {}


def planted(rule: str, *, says: str) -> Callable[[Plant], Plant]:
    """Keep a defect under its function's name."""

    def keep(plant: Plant) -> Plant:
        DEFECTS[plant.__name__] = Defect(plant, rule, says)
        return plant

    return keep


def sound(plant: Plant) -> Plant:
    """Keep a sound variant under its function's name."""
    SOUND[plant.__name__] = plant
    return plant


def system(
    *others: type[Agent],
    without: tuple[str, ...] = (),
    topics: Topics | None = None,
    statuses: Mapping[str, SagaStatus | None] = STATUS_BY_EVENT,
    settings: Settings | None = None,
    contract: Mapping[str, type[Event]] = EVENTS,
) -> Choreography:
    """The real choreography with other agents in the place of those of their name, or added."""
    by_name = {agent.name: agent for agent in (*AGENTS, *others) if agent.name not in without}
    return Choreography.of(
        tuple(by_name.values()), topics or topics_with(), statuses, settings, contract
    )


def changed(agent: type[Agent], **methods: Method | None) -> type[Agent]:
    """The agent with some methods replaced or added; one that is None is dropped."""
    kept = [*(h.name for h in agent.handlers.values()), "contradiction", "unprompted"]
    body = {name: value for name, value in vars(agent).items() if name in kept}
    body |= methods
    alive = {name: value for name, value in body.items() if value is not None}
    return agent_of(agent.name, alive, observes=agent.observes)


def agent_of(name: str, body: Mapping[str, Any], *, observes: bool = False) -> type[Agent]:
    """A new agent."""
    return types.new_class(
        name.title(),
        (Agent,),
        {"name": name, "observes": observes},
        lambda namespace: namespace.update(body),
    )


def signed(
    agent: type[Agent], method: str, *, consumes: Any = None, returns: Any = None, **declared: Any
) -> Method:
    """A method of the agent with another trigger, other outcomes or another decorator."""
    handler = handler_of(agent, method)
    hints = typing.get_type_hints(handler.call)
    trigger = next(hint for name, hint in hints.items() if name not in ("ctx", "return"))
    changed_mark: Declared = replace(handler.declared, **declared)
    return _mark(changed_mark)(reacting(consumes or trigger, returns or hints["return"]))


def reacting(consumes: Any, returns: Any) -> Method:
    """A method of that signature; put a decorator on it. It is read, never called."""

    async def react(self: Any, event: Any, ctx: Any) -> Any:
        raise NotImplementedError

    react.__annotations__ = {"event": consumes, "ctx": StepContext, "return": returns}
    return react


def handler_of(agent: type[Agent], method: str) -> Handler:
    """The agent's handler of that name."""
    return next(h for h in agent.handlers.values() if h.name == method)


def contract_with(*events: type[Event]) -> dict[str, type[Event]]:
    """The contract and some events more."""
    return {**EVENTS, **{event.__name__: event for event in events}}


def statuses_with(**rows: SagaStatus | None) -> dict[str, SagaStatus | None]:
    """The status table with some rows changed or added."""
    return {**STATUS_BY_EVENT, **rows}


def topics_with(**entries: Mapping[str, str] | None) -> Topics:
    """The real topics.yaml with lines changed, added, or (None) removed; `_` stands for `.`."""
    raw = yaml.safe_load(TOPICS_FILE.read_text(encoding="utf-8"))
    for name, entry in entries.items():
        topic = name.replace("_", ".")
        raw["topics"].pop(topic, None)
        if entry is not None:
            raw["topics"][topic] = dict(entry)
    return parse_topics(raw)


def owned_by(*agents: str) -> Topics:
    """The real topics and one for each further agent."""
    return topics_with(**{f"{name}_events": {"owner": name} for name in agents})


class FraudCleared(ChainEvent):
    """Screening found nothing."""


class FraudFlagged(ChainEvent):
    """Screening found something."""


class OrderDeferred(ChainEvent):
    """An event of no contract."""
