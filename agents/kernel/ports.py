"""What the kernel needs from the outside: a log, a ledger, time, chance, names.

Adapters satisfy these structurally (`agents/adapters`), the simulation does so too; nothing in
kernel or participants reads a clock, draws a number or opens a socket by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agents.kernel.protocol import Reply, Request


@dataclass(frozen=True, slots=True)
class Effect:
    """Who is calling a provider, and under which key the provider is to remember the call."""

    key: str
    """The idempotency key: `{order}:{step}:{n}` or `{order}-comp-{step}:{n}`."""
    order_id: str
    attempt: int
    """Logical attempt: 1, raised only by an operator's decision."""
    fence: str = "0.0"
    """`{epoch}.{n}`; a service of ours refuses a lower one than it has seen."""
    timeout_s: float = 5.0
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as fetched. `generation` is the assignment that it was fetched under."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = 0
    generation: int = 0

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.partition

    def header(self, name: str) -> str:
        """The last header of that name as text, or an empty string."""
        for key, value in reversed(self.headers):
            if key == name:
                return value.decode("utf-8", "replace")
        return ""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to publish."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Subscription(Protocol):
    """A consumer group's membership: range assignor, no automatic commit, earliest on reset."""

    async def fetch(self, records_max: int) -> list[Record]:
        """Up to that many records, in offset order per partition; waits briefly if none.

        With `records_max` 0 only the membership is kept alive. Raises LogUnavailable.
        """
        ...

    async def commit(self, offsets: Mapping[tuple[str, int], int], generation: int) -> bool:
        """Commit next-to-read offsets; False, and nothing done, if that assignment is over.

        Raises LogUnavailable.
        """
        ...

    @property
    def generation(self) -> int:
        """The present assignment; raised by every rebalance."""
        ...

    async def close(self) -> None:
        """Leave the group."""
        ...


class Log(Protocol):
    """The broker."""

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Publish; returns when all in-sync replicas have every record.

        Raises LogUnavailable; the records may then be in the log or not, and are sent again.
        """
        ...

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        """Join a consumer group. Raises LogUnavailable."""
        ...


class LogReader(Protocol):
    """Reads without a group, for people and tools: audit, rebuild, the list of letters."""

    def read_all(self, topics: Sequence[str]) -> AsyncIterator[Record]:
        """Every record from the beginning to where the topics end at the call, then stop.

        In offset order per partition; the generation means nothing. Raises LogUnavailable.
        """
        ...


class Ledger(Protocol):
    """The step ledger (`agents.kernel.protocol`), one atomic hash an order."""

    async def apply(self, requests: Sequence[Request]) -> list[Reply]:
        """Apply each request atomically, in order; a batch of orders in one round trip.

        Safe to send twice. Raises StoreUnavailable or StoreDoubtful.
        """
        ...


class Clock(Protocol):
    """Time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, for deadlines and display."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go backwards, for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...


class Random(Protocol):
    """Chance."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


class Ids(Protocol):
    """Names that nobody else uses."""

    def token(self) -> str:
        """A fresh unguessable token."""
        ...


@dataclass(frozen=True, slots=True)
class Fact:
    """One sighting of one event type of one order."""

    event_id: str
    time_ms: int
    cause: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the tracker adds to its memory of an order; adding twice changes nothing."""

    order_id: str
    event: str = ""
    """Event type; empty for a letter or a decision."""
    fact: Fact | None = None
    snapshot: str = ""
    """JSON of `{"order": …, "refs": …}`; the first one seen is kept."""
    saga_deadline_ms: int = 0
    letter_opened: str = ""
    """`id|step|direction|attempt|error type` of a dead letter."""
    letter_closed: str = ""
    """Id of a letter that a decision or a later outcome closed; closed outranks opened."""


@dataclass(frozen=True, slots=True)
class SagaRow:
    """The tracker's memory of one order."""

    order_id: str
    facts: Mapping[str, Fact]
    """By event type; for a type seen twice, the earliest (time, id)."""
    snapshot: str = ""
    saga_deadline_ms: int = 0
    letters: Mapping[str, str] = field(default_factory=dict)
    """Open letters by id."""
    version: int = 0
    """Number of facts and letters; a row of a higher version has seen more."""


@dataclass(frozen=True, slots=True)
class Index:
    """How the tracker files a row: by status, live or not, and when it is to be looked at."""

    order_id: str
    version: int
    status: str
    live: bool
    started_ms: int
    due_ms: int
    """When the deadline must be looked at; 0 for never."""


class SagaStore(Protocol):
    """The tracker's store: a cache of the log's fold. Raises StoreUnavailable."""

    async def add(self, sightings: Sequence[Sighting]) -> list[SagaRow]:
        """Merge, and return the row of each sighting's order as it is then."""
        ...

    async def file(self, entries: Sequence[Index]) -> None:
        """File rows; an entry of a lower version than the filed one is ignored."""
        ...

    async def get(self, order_id: str) -> SagaRow | None:
        """One row."""
        ...

    async def find(self, status: str, started_before_ms: int, rows_max: int) -> list[SagaRow]:
        """Rows of a status (all if empty), started before then, newest first.

        Ended sagas are found among the latest `ENDED_LISTED_MAX` only.
        """
        ...

    async def due(self, now_ms: int, rows_max: int) -> list[SagaRow]:
        """Live rows whose time to be looked at has come, the longest overdue first."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored HTTP answer."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class AnswerClaim:
    """What is known of an idempotency key: ours to answer, in flight, answered, or misused."""

    outcome: str
    """`ours`, `in_flight`, `answered` or `mismatch`."""
    answer: Answer | None = None


class AnswerStore(Protocol):
    """HTTP answers by idempotency key, kept 24 h. Raises StoreUnavailable."""

    async def claim(self, key: str, fingerprint: str, owner: str, lease_ms: int) -> AnswerClaim:
        """Claim a key for a body; safe to send twice by one owner."""
        ...

    async def answer(self, key: str, owner: str, answer: Answer) -> None:
        """Store the answer, if the key is still ours."""
        ...

    async def give_up(self, key: str, owner: str) -> None:
        """Free the key, so that a retry of the client need not wait for the lease."""
        ...


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a rate limit says."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float


class RateLimit(Protocol):
    """Requests a minute per principal. Raises StoreUnavailable."""

    async def hit(self, principal: str) -> Allowance:
        """Count one request."""
        ...
