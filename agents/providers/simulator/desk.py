"""The desk at which every service of the simulator takes its calls.

One call, in this order: the magic input may close the door; the key is looked up; only then does
the service decide, and its decision is written down as one ledger entry, folded into its state and
remembered under the key. State is never changed in any other way, so that folding the ledger again
gives the same world, keys included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from agents.kernel.errors import TerminalFault
from agents.kernel.ports import Effect
from agents.providers.simulator.idempotency import Keys, Remembered, check_key
from agents.providers.simulator.journal import Journal
from agents.providers.simulator.ledger import Entry
from agents.providers.simulator.scenarios import Circumstance, Delivery, Scenarios

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class NotFound(TerminalFault):
    """The provider knows no such object."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[T_co]):
    """An answer and what becomes of it."""

    first: T_co
    """What the key remembers; sent over HTTP."""
    present: T_co
    """The object as it is now."""
    replayed: bool = False
    delivery: Delivery = Delivery.SENT


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one operation."""

    operation: str
    effect: Effect
    fingerprint: str
    circumstance: Circumstance | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a service decided; it becomes one ledger entry."""

    kind: str
    object_id: str
    place: str = ""
    amount: int = 0
    currency: str = ""
    lines: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    facts: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


class Service(Protocol[T_co]):
    """A service whose state is a fold of ledger entries."""

    def fold(self, entry: Entry) -> T_co:
        """Change the state as the entry says; return the object's state."""
        ...


class Desk:
    """Writes decisions down and remembers answers."""

    def __init__(self, journal: Journal, now_ms: Callable[[], int]) -> None:
        self.keys = Keys()
        self.scenarios = Scenarios()
        self._journal = journal
        self._now_ms = now_ms
        self._seq = 0

    @property
    def seq(self) -> int:
        """Number of the last entry."""
        return self._seq

    def once(self, service: Service[T], call: Call, decide: Callable[[], Decision]) -> Answered[T]:
        """Answer under the call's key; `decide` runs only if the key is new.

        `present` is the first answer; a service that can do better replaces it.
        """
        check_key(call.effect.key)
        if call.circumstance is not None:
            self.scenarios.admit(call.circumstance)
        found = self.keys.find(call.operation, call.effect.key, call.fingerprint, self._now_ms())
        if found is None:
            entry = self._write(call.operation, decide(), call.effect, call.fingerprint)
            answer = service.fold(entry)
            first = Remembered(call.fingerprint, answer, entry.at_ms)
            self.keys.remember(call.operation, call.effect.key, first)
            answered = Answered(answer, answer)
        else:
            answered = Answered(found.answer, found.answer, replayed=True)
        if call.circumstance is None:
            return answered
        delivery = self.scenarios.delivery(call.circumstance, replayed=answered.replayed)
        if delivery is Delivery.SENT:
            return answered
        return replace(answered, delivery=delivery)

    def note(
        self, service: Service[T], operation: str, decision: Decision, order_id: str = ""
    ) -> T:
        """Write down what no key belongs to: the birth of a warehouse, goods that came in."""
        nobody = Effect(key="", order_id=order_id, attempt=0)
        return service.fold(self._write(operation, decision, nobody, ""))

    def refold(self, service: Service[Any], entry: Entry) -> None:
        """Fold an entry of an earlier run and remember its answer."""
        answer = service.fold(entry)
        self._seq = entry.seq
        if entry.key:
            first = Remembered(entry.fingerprint, answer, entry.at_ms)
            self.keys.remember(entry.operation, entry.key, first)

    def _write(self, operation: str, decision: Decision, effect: Effect, fingerprint: str) -> Entry:
        entry = Entry(
            seq=self._seq + 1,
            at_ms=self._now_ms(),
            kind=decision.kind,
            operation=operation,
            order_id=effect.order_id,
            key=effect.key,
            fingerprint=fingerprint,
            attempt=effect.attempt,
            object_id=decision.object_id,
            place=decision.place,
            amount=decision.amount,
            currency=decision.currency,
            lines=decision.lines,
            facts=decision.facts,
        )
        self._journal.append(entry)
        self._seq = entry.seq
        return entry
