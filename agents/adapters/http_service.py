"""What the HTTP gateway is built from; bootstrap and the tests fill it in.

An adapter imports no participant: what the gateway agent and the tracker know comes in here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agents.adapters.tokens import TokenVerifier
from agents.kernel.agent import Handler
from agents.kernel.health import Health
from agents.kernel.ports import (
    AnswerStore,
    Clock,
    Ids,
    Ledger,
    Outgoing,
    RateLimit,
    SagaRow,
    SagaStore,
)
from agents.kernel.routing import Job
from agents.kernel.submission import Submission
from schemas.order import Order
from schemas.saga import SagaStatus


@dataclass(frozen=True, slots=True)
class Intake:
    """What the gateway agent believes and does."""

    place: Handler
    """Its reaction to a submission."""
    cancel: Handler
    """Its reaction to what `ask_cancel` makes."""
    read_order: Callable[[Submission], Order]
    """The order of a submission; raises a ValueError with `errors`, a tuple of what is wrong:
    a JSON pointer and a detail each."""
    ask_cancel: Callable[[Order, str], object]
    """The wish to cancel an order, with a reason."""


class SeenSaga(Protocol):
    """What the tracker tells of a saga."""

    @property
    def status(self) -> SagaStatus:
        """Where the order stands."""
        ...

    @property
    def letters_open(self) -> Mapping[str, str]:
        """Dead letters that wait for a person."""
        ...

    @property
    def waiting_for_person(self) -> bool:
        """Whether there are any."""
        ...


@dataclass(frozen=True, slots=True)
class GatewayService:
    """The ports and tables of the HTTP gateway."""

    intake: Intake
    perform: Callable[[Job], Awaitable[list[Outgoing]]]
    """Do a job; returns its outcome once the broker has it, however long it takes."""
    routes: Callable[[], Awaitable[list[str]]]
    """The capabilities that have no usable route left (every breaker open)."""
    view: Callable[[SagaRow], SeenSaga]
    """Reads a row as the tracker does."""
    ledger: Ledger
    sagas: SagaStore
    answers: AnswerStore
    rate: RateLimit
    tokens: TokenVerifier
    health: Health
    clock: Clock
    ids: Ids
