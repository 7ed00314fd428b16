"""The demo's orders: read from a file of NDJSON, placed group by group, followed to their end.

A line is an order with three more members: `scenario` (which says how it must end), `group`
(groups run one after the other, so that a carrier given up in one does not change the next) and
`via` (`http` or `inbox`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.adapters.kafka import KafkaLog
from agents.cli.follow import Sight, sight_of_view
from agents.cli.gateway_client import GatewayClient
from agents.cli.orders import place_body
from agents.cli.publish import ANNOTATIONS, inbox_order_id, submission
from agents.kernel.errors import ConfigurationError
from agents.kernel.ports import SagaRow, SagaStore
from agents.kernel.topics import TOPICS_FILE, load_topics
from agents.scenarios import SCENARIOS, Also, End, Ends, Scenario
from agents.sightings import SagaView

ORDERS_FILE = TOPICS_FILE.parent / "examples" / "orders.ndjson"
CUSTOMER = "demo"
HTTP_AT_ONCE = 8
"""Orders that are placed over HTTP at the same time: a busy shop on two cores."""
LOOK_S = 0.2
"""Between two looks at the orders of a group."""


@dataclass(frozen=True, slots=True)
class Example:
    """One line of the file."""

    story: Scenario
    group: str
    via: str
    key: str
    body: Mapping[str, Any]


@dataclass(slots=True)
class Told:
    """One order of the demo, and how it went."""

    example: Example
    order_id: str
    first: End | None = None
    """How it ended by itself; None if it did not in time."""
    last: End | None = None
    """How it ended after the operator's decision."""

    @property
    def expected(self) -> Ends:
        """How it must end."""
        return self.example.story.ends_of(self.order_id)

    @property
    def as_expected(self) -> bool:
        """Whether both ends are right."""
        return (self.first, self.last) == (self.expected.first, self.expected.replayed)


def read_examples(path: Path = ORDERS_FILE) -> list[Example]:
    """The examples of a file. Raises ConfigurationError that names the line."""
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist; run from the project's root")
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            body = json.loads(line)
            story, via = SCENARIOS[body["scenario"]], body["via"]
            found.append(Example(story, body["group"], via, _key(body), body))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{path}, line {number}: wants a JSON object with scenario, group, via and an "
                f"order_id or idempotency_key; {type(error).__name__}: {error}"
            ) from error
    return found


def groups_of(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """The examples by group, in the file's order."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    return groups


@dataclass(slots=True)
class Placing:
    """The ways in."""

    client: GatewayClient
    log: KafkaLog
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HTTP_AT_ONCE))

    async def group(self, examples: Sequence[Example]) -> list[Told]:
        """Place a whole group: over HTTP side by side, into the inbox as one batch."""
        topic = load_topics().inbox
        direct = [e for e in examples if e.via == "inbox"]
        records = [submission(dict(e.body), topic) for e in direct]
        records += [submission(dict(e.body), topic) for e in direct if e.story.also is Also.REPEAT]
        async with asyncio.TaskGroup() as tasks:
            placing = [
                tasks.create_task(self._over_http(e), name=f"place {e.key}")
                for e in examples
                if e.via == "http"
            ]
            tasks.create_task(self.log.publish(records), name="publish")
        told = [Told(example, inbox_order_id(dict(example.body))) for example in direct]
        return [*(task.result() for task in placing), *told]

    async def _over_http(self, example: Example) -> Told:
        hidden = (*ANNOTATIONS, "idempotency_key", "order_id")
        body = {name: value for name, value in example.body.items() if name not in hidden}
        async with self._room:
            placed = await place_body(self.client, body, example.story.also, example.key)
        return Told(example, placed.order_id)


@dataclass(frozen=True, slots=True)
class Following:
    """Looks at the orders through the tracker's store."""

    store: SagaStore
    view: Callable[[SagaRow], SagaView]

    async def until(
        self, orders: Sequence[str], ended: Callable[[Sight], bool], within_s: float
    ) -> dict[str, Sight]:
        """The latest sight of each order, when all have ended or the time is over."""
        sights: dict[str, Sight] = {}
        left = set(orders)
        try:
            async with asyncio.timeout(within_s):
                while left:
                    for order_id in sorted(left):
                        row = await self.store.get(order_id)
                        if row is None:
                            continue
                        sights[order_id] = sight_of_view(self.view(row))
                        if ended(sights[order_id]):
                            left.discard(order_id)
                    await asyncio.sleep(LOOK_S if left else 0)
        except TimeoutError:
            # What has not ended is told by its sight; the demo then fails with a table.
            return sights
        return sights


def _key(body: Mapping[str, Any]) -> str:
    return str(body["idempotency_key"] if "idempotency_key" in body else body["order_id"])
