"""How an agent is declared: one class, one method a reaction, its signature the whole wiring.

    class Inventory(Agent, name="inventory"):
        @step(failing=ReserveFailing, by_hand=StockRejected)
        async def reserve(self, paid: PaymentAuthorized, ctx: StepContext) -> StockReserved | …: ...

        @compensation(undoes="reserve")
        async def release(self, undone: ShipmentFailed, ctx: StepContext) -> StockReleased: ...

The first parameter's type says which events are consumed, the return type which are emitted, the
decorator what role the method plays. Nobody types a topic name. `check` proves the sum of all.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, Union

from agents.kernel.context import StepContext
from agents.kernel.errors import ConfigurationError
from agents.kernel.protocol import Role
from schemas.events import REASON_MAX, ChainEvent, Event

Method = TypeVar("Method", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class Declared:
    """What a decorator says of a method."""

    role: Role
    step: str = ""
    """The ledger record; the method's own name if empty."""
    group: tuple[str, ...] = ()
    failing: type[ChainEvent] | None = None
    by_hand: type[ChainEvent] | None = None
    pivot: bool = False
    retriable: bool = False
    intake: bool = False


def step(*, failing: type[ChainEvent], by_hand: type[ChainEvent]) -> Callable[[Method], Method]:
    """A forward step before the pivot.

    `failing` is emitted when its retries are exhausted with the outcome open; `by_hand` is how
    it ends if a person settles it.
    """
    return _mark(Declared(Role.FORWARD, failing=failing, by_hand=by_hand))


def pivot(*, by_hand: type[ChainEvent]) -> Callable[[Method], Method]:
    """The step after which the saga only goes forward; exhausted, it becomes a dead letter."""
    return _mark(Declared(Role.FORWARD, by_hand=by_hand, pivot=True))


def retriable(*, by_hand: type[ChainEvent] | None = None) -> Callable[[Method], Method]:
    """A step that is never compensated, only retried; exhausted, it becomes a dead letter."""
    return _mark(Declared(Role.FORWARD, by_hand=by_hand, retriable=True))


def intake(step: str) -> Callable[[Method], Method]:
    """The reaction to a submission in `orders.inbox`."""
    return _mark(Declared(Role.FORWARD, step=step, intake=True))


def continues(
    step: str, *, failing: type[ChainEvent], by_hand: type[ChainEvent]
) -> Callable[[Method], Method]:
    """Goes on with a step after its agent's own decision, which stands in the log."""
    return _mark(Declared(Role.CONTINUE, step=step, failing=failing, by_hand=by_hand))


def settles(step: str, *, by_hand: type[ChainEvent]) -> Callable[[Method], Method]:
    """Settles a step's doubt at the provider before its failure is reported."""
    return _mark(Declared(Role.SETTLE, step=step, by_hand=by_hand))


def compensation(
    *, undoes: str, also_refuses: tuple[str, ...] = (), by_hand: type[ChainEvent]
) -> Callable[[Method], Method]:
    """Undoes a step, and refuses it (and `also_refuses`) from now on."""
    return _mark(Declared(Role.COMPENSATE, step=undoes, group=also_refuses, by_hand=by_hand))


def stops(step: str) -> Callable[[Method], Method]:
    """Decides, in the log, that a step shall not begin."""
    return _mark(Declared(Role.STOP, step=step))


def confirms_stop(step: str, *, by_hand: type[ChainEvent]) -> Callable[[Method], Method]:
    """Looks once more at a stop that stands in the log, then confirms it."""
    return _mark(Declared(Role.CONFIRM, step=step, by_hand=by_hand))


@dataclass(frozen=True, slots=True)
class Handler:
    """One reaction of one agent, read off its method."""

    name: str
    agent: str
    declared: Declared
    consumes: tuple[type[Any], ...]
    emits: tuple[type[Event], ...]
    call: Callable[..., Awaitable[Any]]

    @property
    def step(self) -> str:
        """The ledger record that the reaction works on."""
        return self.declared.step or self.name

    @property
    def role(self) -> Role:
        """What the trigger asks of the step."""
        return self.declared.role


@dataclass(frozen=True, slots=True)
class GivenUp:
    """How an exhausted step ends: with events, or (if None) as a dead letter."""

    event: Event | None
    undelivered: tuple[str, ...] = ()
    """Parts of the step that become letters of their own, owing nothing."""


class Agent:
    """A participant. Subclass with `name=`; declare reactions with the decorators above."""

    name: ClassVar[str]
    handlers: ClassVar[dict[type[Any], Handler]]
    """By the type of their trigger."""
    observes: ClassVar[bool] = False
    """An observer (tracker, analytics) reads every event topic and commands nobody."""
    unprompted: ClassVar[tuple[type[Event], ...]] = ()
    """Events that time brings about, not a trigger."""

    def __init_subclass__(cls, *, name: str, observes: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = name
        cls.observes = observes
        cls.handlers = _handlers(cls)

    def give_up(self, handler: Handler, trigger: Any, ctx: StepContext, error: str) -> GivenUp:
        """How a step ends whose retries are exhausted; by default with its `failing` event."""
        del ctx
        failing = handler.declared.failing
        if failing is None or not isinstance(trigger, ChainEvent):
            return GivenUp(None)
        return GivenUp(follow(trigger, failing, reason=error))

    def contradiction(self, trigger: Any) -> Event | None:
        """The refusal of a trigger seen before with another body; None: it is poison."""
        del trigger
        return None


E_ = TypeVar("E_", bound=Event)


def follow(trigger: ChainEvent, event: type[E_], **fields: Any) -> E_:
    """The event that follows a trigger: same order, same provider ids, unless given anew."""
    reason = str(fields.pop("reason", ""))[:REASON_MAX]
    return event(**{"order": trigger.order, "refs": trigger.refs, "reason": reason, **fields})


_MARK = "__chorale__"


def _mark(declared: Declared) -> Callable[[Method], Method]:
    def mark(method: Method) -> Method:
        setattr(method, _MARK, declared)
        return method

    return mark


def _handlers(cls: type[Agent]) -> dict[type[Any], Handler]:
    found: dict[type[Any], Handler] = {}
    for name, method in vars(cls).items():
        declared = getattr(method, _MARK, None)
        if declared is None:
            continue
        handler = _handler(cls.name, name, declared, method)
        for trigger in handler.consumes:
            if trigger in found:
                raise ConfigurationError(
                    f"{cls.name}: both {found[trigger].name} and {name} react to "
                    f"{trigger.__name__}; an agent reacts to an event in one place"
                )
            found[trigger] = handler
    return found


def _handler(agent: str, name: str, declared: Declared, method: Callable[..., Any]) -> Handler:
    hints = typing.get_type_hints(method)
    returns = hints.pop("return", None)
    parameters = [hint for key, hint in hints.items() if key != "ctx"]
    if len(parameters) != 1:
        raise ConfigurationError(
            f"{agent}.{name}: wants exactly (self, event: SomeEvent, ctx: StepContext), "
            "with annotations"
        )
    return Handler(
        name, agent, declared, tuple(_classes(parameters[0])), tuple(_events(returns)), method
    )


def _classes(hint: Any) -> list[type[Any]]:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return [cls for part in typing.get_args(hint) for cls in _classes(part)]
    if typing.get_origin(hint) is tuple:
        return [cls for part in typing.get_args(hint) for cls in _classes(part)]
    return [hint]


def _events(hint: Any) -> list[type[Event]]:
    return [c for c in _classes(hint) if isinstance(c, type) and issubclass(c, Event)]


__all__ = [
    "Agent",
    "Declared",
    "GivenUp",
    "Handler",
    "StepContext",
    "compensation",
    "confirms_stop",
    "continues",
    "follow",
    "intake",
    "pivot",
    "retriable",
    "settles",
    "step",
    "stops",
]
