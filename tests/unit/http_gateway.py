"""A whole gateway in one process, on virtual time: its agent, its stores, its HTTP door.

Only the broker is a fake; the pipeline, the ledger and the stores are the real ones in memory.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec

import httpx2

from agents.adapters.http import GatewayService, Intake, http_app
from agents.adapters.http_problems import KINDS, PROBLEM_JSON
from agents.adapters.memory_stores import (
    MemoryAnswerStore,
    MemoryLedger,
    MemoryRateLimit,
    MemorySagaStore,
)
from agents.adapters.tokens import TokenVerifier, make_token, secret_keys
from agents.gateway import CancelAsked, Gateway, read_order
from agents.kernel.errors import LogUnavailable, StoreUnavailable
from agents.kernel.health import Health
from agents.kernel.parts import Parts
from agents.kernel.pipeline import Pipeline
from agents.kernel.ports import Fact, Outgoing, Sighting, Subscription
from agents.kernel.settings import Settings
from agents.kernel.submission import Submission
from agents.kernel.topics import load_topics
from agents.sightings import view_of
from schemas import envelope
from tests.simulation.loop import CountedIds, SeededRandom, VirtualClock, VirtualLoop
from tests.unit.forged_tokens import REALM, SECRET

P = ParamSpec("P")

TOPICS = load_topics()
SETTINGS = Settings.model_validate({})
RATE_A_MINUTE = 20
SECRET_TEXT = "redis://user:hunter2@10.0.0.7"
"""Part of every fault that is raised here; no answer may repeat it."""
SCENARIO_S = 200_000
"""Two virtual days: what waits longer waits for ever, and is to fail, not to hang."""
UNDONE_BY = {"label": frozenset({"ShipmentCancelled"})}


def order(sku: str = "TEA-1", quantity: int = 2, **changed: Any) -> dict[str, Any]:
    """A good order."""
    return {
        "lines": [
            {
                "sku": sku,
                "quantity": quantity,
                "unit_price": {"amount": 450, "currency": "USD"},
            }
        ],
        "total": {"amount": 450 * quantity, "currency": "USD"},
        "payment_token": "tok_visa",
        "ship_to": {
            "name": "Ada",
            "street": "1 Main St",
            "city": "Springfield",
            "postcode": "12345",
            "country": "US",
        },
        **changed,
    }


class FakeLog:
    """A broker that can be away, or hold its acknowledgement back."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.away = False
        self.acknowledge = asyncio.Event()
        self.acknowledge.set()
        self.reached = asyncio.Event()

    async def publish(self, records: Sequence[Outgoing]) -> None:
        self.reached.set()
        if self.away:
            raise LogUnavailable(SECRET_TEXT)
        self.records += records
        await self.acknowledge.wait()

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        raise AssertionError("nothing is consumed here")

    def events(self) -> list[str]:
        """The types of what was published."""
        return [self.header(record, envelope.CE_TYPE).split(".")[-2] for record in self.records]

    def ids(self) -> set[str]:
        """The ids of what was published; a repeat has the same."""
        return {self.header(record, envelope.CE_ID) for record in self.records}

    @staticmethod
    def header(record: Outgoing, name: str) -> str:
        return dict(record.headers)[name].decode()


class Failing:
    """Stands before a port; every call of the named methods fails, hangs, or passes."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.failing: set[str] = set()
        self.hanging: set[str] = set()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)

        async def guarded(*args: Any) -> Any:
            self.calls.append(name)
            if name in self.hanging:
                await asyncio.Event().wait()
            if name in self.failing:
                raise StoreUnavailable(SECRET_TEXT)
            return await call(*args)

        return guarded


class World:
    """A gateway, and a client before it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.log = FakeLog()
        self.memory_ledger = MemoryLedger(self.clock)
        self.ledger = Failing(self.memory_ledger)
        self.memory_answers = MemoryAnswerStore(self.clock)
        self.answers = Failing(self.memory_answers)
        self.sagas = Failing(MemorySagaStore(self.clock))
        self.rate = Failing(MemoryRateLimit(self.clock, RATE_A_MINUTE))
        self.closed_routes: list[str] = []
        self.health = Health()
        self.service = self._service()
        self.client = self.client_of(self.service)

    def _service(self) -> GatewayService:
        parts = Parts(
            log=self.log,
            ledger=self.ledger,
            clock=self.clock,
            random=SeededRandom(1),
            ids=CountedIds(),
            topics=TOPICS,
            settings=SETTINGS,
            health=self.health,
        )
        return GatewayService(
            intake=Intake(
                place=Gateway.handlers[Submission],
                cancel=Gateway.handlers[CancelAsked],
                read_order=read_order,
                ask_cancel=CancelAsked,
            ),
            perform=Pipeline(Gateway(), [], parts).perform,
            routes=self._routes,
            view=lambda row: view_of(row, UNDONE_BY),
            ledger=self.ledger,
            sagas=self.sagas,
            answers=self.answers,
            rate=self.rate,
            tokens=TokenVerifier(secret_keys(SECRET), REALM, self.clock),
            health=self.health,
            clock=self.clock,
            ids=parts.ids,
        )

    async def _routes(self) -> list[str]:
        return self.closed_routes

    def performing(self, perform: Callable[..., Awaitable[list[Outgoing]]]) -> None:
        """Exchange the pipeline."""
        self.client = self.client_of(replace(self.service, perform=perform))

    @staticmethod
    def client_of(service: GatewayService) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(http_app(service), raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://gateway")

    def bearer(self, principal: str = "ada") -> dict[str, str]:
        """The header of a good token."""
        token = make_token(SECRET, REALM, principal, 86_400, self.clock)
        return {"Authorization": f"Bearer {token}"}

    async def place(
        self,
        body: Any = None,
        key: str | None = "k1",
        principal: str = "ada",
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """`POST /orders` of a principal."""
        sent = {"Content-Type": "application/json", **self.bearer(principal), **(headers or {})}
        if key is not None:
            sent["Idempotency-Key"] = key
        content = body if isinstance(body, bytes) else json.dumps(body or order()).encode()
        return await self.client.post("/orders", content=content, headers=sent)

    async def show(self, order_id: str, principal: str = "ada") -> httpx2.Response:
        """`GET /orders/{id}` of a principal."""
        return await self.client.get(f"/orders/{order_id}", headers=self.bearer(principal))

    async def cancel(self, order_id: str, principal: str = "ada", **body: Any) -> httpx2.Response:
        """`POST /orders/{id}/cancel` of a principal."""
        headers = self.bearer(principal)
        if not body:
            return await self.client.post(f"/orders/{order_id}/cancel", headers=headers)
        return await self.client.post(f"/orders/{order_id}/cancel", headers=headers, json=body)

    async def track(self, order_id: str, *events: str, letter: str = "") -> None:
        """Let the tracker see events of an order; the first brings what was published of it."""
        snapshot = next((r.value.decode() for r in self.log.records), "")
        start_ms = self.clock.now_ms()
        sightings = [
            Sighting(
                order_id,
                event=event,
                fact=Fact(f"{order_id}:{event}", start_ms + n),
                snapshot=snapshot if event == "OrderPlaced" else "",
            )
            for n, event in enumerate(events)
        ]
        if letter:
            sightings.append(Sighting(order_id, letter_opened=letter))
        await self.sagas.add(sightings)


def assert_problem(answer: httpx2.Response, status: int, name: str) -> None:
    """A problem document of that kind, whole."""
    document = answer.json()
    assert (answer.status_code, document["status"]) == (status, status)
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert document["type"] == KINDS[name].uri
    assert document["title"] == KINDS[name].title
    assert document["detail"]
    assert document["instance"] == answer.request.url.path
    assert len(document["trace_id"]) == 32
    assert all(set(error) == {"pointer", "detail"} for error in document["errors"])


def lived(scenario: Callable[Concatenate[World, P], Awaitable[None]]) -> Callable[P, None]:
    """Turns a scenario into a test: a new world, whose time passes only while all wait."""

    @functools.wraps(scenario)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        live(functools.partial(_live, scenario, args, kwargs))

    parameters = list(inspect.signature(scenario).parameters.values())[1:]
    test.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return test


async def _live(
    scenario: Callable[..., Awaitable[None]], args: Any, kwargs: Any, world: World
) -> None:
    await scenario(world, *args, **kwargs)


def live(scenario: Callable[[World], Awaitable[None]]) -> None:
    """Run a scenario in a new world."""

    async def whole(loop: VirtualLoop) -> None:
        world = World(loop)
        await world.memory_ledger.create_epoch()
        async with asyncio.timeout(SCENARIO_S):
            await scenario(world)
        await world.client.aclose()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(whole(loop))
    finally:
        loop.close()
