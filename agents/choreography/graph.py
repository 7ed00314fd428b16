"""The choreography: who emits, who reacts, who undoes; read off the agents' signatures alone.

    handlers ──emits, failing, by_hand──> emissions ──┐
    unprompted, contradiction ──────────> emissions ──┴──> subscriptions, steps, way to the pivot

Nothing here judges: a choreography with defects is computed like any other, and `rules.check`
says what is wrong with it. Nothing here knows an agent by name.
"""

from __future__ import annotations

import itertools
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self, Union

from agents.kernel.agent import Agent, Handler
from agents.kernel.protocol import Role
from agents.kernel.settings import Settings
from agents.kernel.topics import TopicRole, Topics
from schemas.events import EVENTS, Event
from schemas.saga import STATUS_BY_EVENT, SagaStatus

Outcomes = tuple[frozenset[str], ...]
"""The ways a reaction may end; each is the set of event types that are emitted together."""


class Cause(StrEnum):
    """Why an event is emitted."""

    RETURNED = "returned"
    EXHAUSTED = "exhausted"
    BY_HAND = "by hand"
    UNPROMPTED = "unprompted"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True)
class Emission:
    """One way in which an event type comes about."""

    event: type[Event]
    agent: str
    cause: Cause
    handler: Handler | None = None

    @property
    def place(self) -> str:
        """Where it is declared, for people: `payment.capture` or `tracker`."""
        return place(self.handler) if self.handler else self.agent


@dataclass(frozen=True, slots=True)
class Choreography:
    """All agents as one graph. Events, steps and agents are known by their names."""

    agents: tuple[type[Agent], ...]
    topics: Topics
    settings: Settings
    status_table: Mapping[str, SagaStatus | None]
    contract: Mapping[str, type[Event]]
    handlers: tuple[Handler, ...]
    emissions: tuple[Emission, ...]
    emitted_by: Mapping[str, tuple[Emission, ...]]
    consumed_by: Mapping[str, tuple[Handler, ...]]
    outcomes: Mapping[Handler, Outcomes]
    consuming_steps: Mapping[str, frozenset[str]]
    """The ledger records that react to an event."""
    undone_by: Mapping[str, frozenset[str]]
    """The outcomes of a step's compensation."""

    @classmethod
    def of(
        cls,
        agents: Sequence[type[Agent]],
        topics: Topics,
        status_table: Mapping[str, SagaStatus | None] = STATUS_BY_EVENT,
        settings: Settings | None = None,
        contract: Mapping[str, type[Event]] = EVENTS,
    ) -> Self:
        """Compute the graph; without `settings` their defaults, whatever the environment says."""
        handlers = tuple(h for agent in agents for h in dict.fromkeys(agent.handlers.values()))
        emissions = tuple(e for agent in agents for e in _emissions(agent))
        consumed_by = _by_event((cls_, h) for h in handlers for cls_ in consumed_events(h))
        return cls(
            agents=tuple(agents),
            topics=topics,
            settings=settings or Settings.model_construct(),
            status_table=status_table,
            contract=contract,
            handlers=handlers,
            emissions=emissions,
            emitted_by=_by_event((e.event, e) for e in emissions),
            consumed_by=consumed_by,
            outcomes={h: _outcomes(h) for h in handlers},
            consuming_steps={
                event: frozenset(h.step for h in reacting)
                for event, reacting in consumed_by.items()
            },
            undone_by=_undone_by(handlers),
        )

    @property
    def participants(self) -> tuple[type[Agent], ...]:
        """The agents that react; the others observe."""
        return tuple(agent for agent in self.agents if not agent.observes)

    @property
    def observers(self) -> tuple[type[Agent], ...]:
        """The agents that read everything and command nobody."""
        return tuple(agent for agent in self.agents if agent.observes)

    @property
    def events(self) -> tuple[str, ...]:
        """Every event type that is emitted or consumed: in the status table's order, then others'.

        The table lists them as an order lives them, which is how people want to read them.
        """
        known = {*self.emitted_by, *self.consumed_by}
        listed = [name for name in self.status_table if name in known]
        return (*listed, *sorted(known - set(listed)))

    def subscriptions(self, agent: str) -> tuple[str, ...]:
        """The topics that an agent reads, sorted. Raises ConfigurationError if one has no owner."""
        topics = self.topics
        if agent in (observer.name for observer in self.observers):
            events = {t.name for t in topics.all if t.role is TopicRole.EVENTS}
            return tuple(sorted({*events, topics.letters, topics.decisions}))
        own = [h for h in self.handlers if h.agent == agent]
        wanted = {
            topics.of_owner(emission.agent)
            for handler in own
            for event in consumed_events(handler)
            for emission in self.emitted_by.get(event.__name__, ())
        }
        inbox = {topics.inbox} if any(h.declared.intake for h in own) else set()
        return tuple(sorted({*wanted, *inbox, topics.decisions}))

    def emitters(self, event: str) -> tuple[str, ...]:
        """The agents that emit an event type; the law wants one."""
        return tuple(dict.fromkeys(e.agent for e in self.emitted_by.get(event, ())))

    def consumers(self, event: str) -> tuple[Handler, ...]:
        """The reactions to an event type."""
        return self.consumed_by.get(event, ())

    def status(self, event: str) -> SagaStatus | None:
        """The status that an event gives its saga; None if it changes nothing."""
        return self.status_table.get(event)

    def follows(self, event: str) -> frozenset[str]:
        """The event types that a reaction to this one may emit."""
        reactions = (self.outcomes[h] for h in self.consumers(event))
        return frozenset(name for ways in reactions for way in ways for name in way)

    def of_step(self, agent: str, step: str) -> tuple[Handler, ...]:
        """The reactions of one agent on one ledger record."""
        return tuple(h for h in self.handlers if (h.agent, h.step) == (agent, step))

    def compensation_of(self, agent: str, step: str) -> Handler | None:
        """What undoes a step, by itself or in a group."""
        undoing = (h for h in self.handlers if h.role is Role.COMPENSATE and h.agent == agent)
        return next((h for h in undoing if step in undone_steps(h)), None)


def place(handler: Handler) -> str:
    """Where a reaction is declared, for people: `payment.capture`."""
    return f"{handler.agent}.{handler.name}"


def undone_steps(handler: Handler) -> tuple[str, ...]:
    """The steps that a compensation undoes or refuses."""
    return (handler.step, *handler.declared.group)


def consumed_events(handler: Handler) -> tuple[type[Event], ...]:
    """The event types among the triggers; a submission or a command over HTTP is none."""
    return tuple(c for c in handler.consumes if isinstance(c, type) and issubclass(c, Event))


def returned_types(handler: Handler) -> tuple[Any, ...]:
    """Every type in the return annotation, `None` left out."""
    hint = typing.get_type_hints(handler.call).get("return")
    return tuple(dict.fromkeys(part for way in _ways(hint) for part in way))


def _ways(hint: Any) -> list[tuple[Any, ...]]:
    """The alternatives of an annotation, each the types that come together."""
    if hint is None or hint is types.NoneType:
        return [()]
    if typing.get_origin(hint) in (Union, types.UnionType):
        return [way for part in typing.get_args(hint) for way in _ways(part)]
    if typing.get_origin(hint) is tuple:
        parts = [_ways(part) for part in typing.get_args(hint) if part is not Ellipsis]
        return [tuple(itertools.chain(*way)) for way in itertools.product(*parts)]
    return [(hint,)]


def _outcomes(handler: Handler) -> Outcomes:
    declared = handler.declared
    hint = typing.get_type_hints(handler.call).get("return")
    ends = [(event,) for event in (declared.failing, declared.by_hand) if event is not None]
    ways = (frozenset(map(_name, way)) for way in (*_ways(hint), *ends))
    return tuple(dict.fromkeys(ways))


def _name(cls: Any) -> str:
    return str(getattr(cls, "__name__", cls))


def _emissions(agent: type[Agent]) -> list[Emission]:
    found: list[Emission] = []
    for handler in dict.fromkeys(agent.handlers.values()):
        declared = handler.declared
        found += [Emission(e, agent.name, Cause.RETURNED, handler) for e in handler.emits]
        if declared.failing is not None:
            found.append(Emission(declared.failing, agent.name, Cause.EXHAUSTED, handler))
        if declared.by_hand is not None:
            found.append(Emission(declared.by_hand, agent.name, Cause.BY_HAND, handler))
    found += [Emission(event, agent.name, Cause.UNPROMPTED) for event in agent.unprompted]
    refusals = [c for way in _ways(_contradiction_hint(agent)) for c in way if c is not Event]
    found += [Emission(event, agent.name, Cause.CONTRADICTION) for event in refusals]
    return found


def _contradiction_hint(agent: type[Agent]) -> Any:
    """What the agent answers to a contradicting trigger; the base class promises any event."""
    if agent.contradiction is Agent.contradiction:
        return None
    return typing.get_type_hints(agent.contradiction).get("return")


K_ = typing.TypeVar("K_")


def _by_event(pairs: Iterable[tuple[type[Event], K_]]) -> dict[str, tuple[K_, ...]]:
    found: dict[str, dict[K_, None]] = {}
    for event, item in pairs:
        found.setdefault(event.__name__, {})[item] = None
    return {name: tuple(items) for name, items in found.items()}


def _undone_by(handlers: Sequence[Handler]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for handler in handlers:
        if handler.role is not Role.COMPENSATE:
            continue
        outcomes = frozenset(name for way in _outcomes(handler) for name in way)
        for step in undone_steps(handler):
            found[step] = found.get(step, frozenset()) | outcomes
    return found
