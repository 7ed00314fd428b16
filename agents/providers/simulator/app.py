"""The simulator over HTTP.

    POST /payments                            create          GET /payments/{id}
    POST /payments/{id}/{confirm|capture|cancel|refund}
    POST /reservations/{id}                   reserve         GET /reservations/{id}
    POST /reservations/{id}/release
    POST /carriers/{name}/labels/{reference}  label           GET the same
    POST /carriers/{name}/labels/{reference}/cancel
    POST /channels/{channel}/messages         send
    GET|POST /stock    GET|PUT /knobs    GET /ledger?from=n    GET /healthz

No answer leaves before every ledger entry made so far is on disk: what a caller was told, also by
a mere GET, survives any kill. A lost reply is a connection that breaks after the effect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from typing import TypeVar

import structlog
from aiohttp import web

from agents.kernel.errors import ChoraleError, TerminalFault
from agents.ports import Message, Target
from agents.providers.simulator.carriers import CarrierRules, Parcel
from agents.providers.simulator.desk import Answered, NotFound
from agents.providers.simulator.journal import FileJournal
from agents.providers.simulator.knobs import Knob
from agents.providers.simulator.payments import Purchase
from agents.providers.simulator.scenarios import Delivery
from agents.providers.simulator.warehouse import Demand
from agents.providers.simulator.wire import (
    REPLAYED,
    BareBody,
    CreateBody,
    KnobsBody,
    LabelBody,
    MessageBody,
    ReserveBody,
    StockBody,
    body_of,
    effect_of,
    error_answer,
    json_answer,
)
from agents.providers.simulator.world import READ, Visit, World

BODY_BYTES_MAX = 1 << 20
"""Ten times the largest order; more is a mistake."""

LATE_ANSWER_S = 30.0
"""How long a late answer is held back: six times the default effect time-out."""

_LOG = structlog.get_logger(__name__)
T = TypeVar("T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SimulatorApp:
    """The routes of one world on one ledger file."""

    def __init__(self, world: World, journal: FileJournal, stop: asyncio.Event) -> None:
        self._world = world
        self._journal = journal
        # A ledger that takes no more stops the process: it must be looked at.
        self._stop = stop

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self._on_disk_first])
        routes = [
            web.post("/payments", self._create),
            web.get("/payments/{id}", self._payment),
            web.post("/payments/{id}/{verb:confirm|capture|cancel|refund}", self._act),
            web.post("/reservations/{id}", self._reserve),
            web.get("/reservations/{id}", self._reservation),
            web.post("/reservations/{id}/release", self._release),
            web.post("/carriers/{name}/labels/{reference}", self._label),
            web.get("/carriers/{name}/labels/{reference}", self._read_label),
            web.post("/carriers/{name}/labels/{reference}/cancel", self._cancel_label),
            web.post("/channels/{channel}/messages", self._send),
            web.get("/stock", self._stock),
            web.post("/stock", self._receive),
            web.get("/knobs", self._knobs),
            web.put("/knobs", self._turn),
            web.get("/ledger", self._ledger),
            web.get("/healthz", self._health),
        ]
        app.add_routes(routes)
        return app

    @web.middleware
    async def _on_disk_first(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except ChoraleError as error:
            response = error_answer(error)
        if response.prepared:
            return response
        try:
            await self._journal.durable()
        except OSError as error:
            self._stop.set()
            _LOG.error("ledger_failed", error=str(error))
            return json_answer({"error": {"code": "internal", "message": str(error)}}, 500)
        delivery = response.get(_DELIVERY, Delivery.SENT)
        if delivery is Delivery.LATE:
            await self._hold_back()
        if delivery is Delivery.LOST and request.transport is not None:
            request.transport.abort()
        return response

    async def _hold_back(self) -> None:
        """Wait longer than any caller does, but not longer than the process lives."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LATE_ANSWER_S):
                await self._stop.wait()

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, CreateBody)
        effect = effect_of(request, body.metadata.order_id)
        purchase = Purchase(body.amount, body.currency, body.payment_token)
        return await self._serve(
            Visit("payments", "create", effect),
            lambda: self._world.payments.create(effect, purchase),
        )

    async def _act(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, BareBody)
        effect = effect_of(request, body.metadata.order_id)
        rules = self._world.payments
        verbs = {
            "confirm": rules.confirm,
            "capture": rules.capture,
            "cancel": rules.cancel,
            "refund": rules.refund,
        }
        verb = request.match_info["verb"]
        payment_id = request.match_info["id"]
        return await self._serve(
            Visit("payments", verb, effect), lambda: verbs[verb](effect, payment_id)
        )

    async def _payment(self, request: web.Request) -> web.StreamResponse:
        payment_id = request.match_info["id"]
        return await self._look(request, "payments", lambda: self._world.payments.read(payment_id))

    async def _reserve(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, ReserveBody)
        effect = effect_of(request, body.metadata.order_id)
        lines = tuple((line.sku, line.quantity) for line in body.lines)
        demand = Demand(lines, body.metadata.payment_token)
        name = request.match_info["id"]
        return await self._serve(
            Visit("warehouses", "reserve", effect),
            lambda: self._world.warehouses.reserve(effect, name, demand),
        )

    async def _release(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, BareBody)
        effect = effect_of(request, body.metadata.order_id)
        name = request.match_info["id"]
        return await self._serve(
            Visit("warehouses", "release", effect),
            lambda: self._world.warehouses.release(effect, name),
        )

    async def _reservation(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        return await self._look(request, "warehouses", lambda: self._world.warehouses.read(name))

    async def _label(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, LabelBody)
        effect = effect_of(request, body.metadata.order_id)
        carrier, reference = self._carrier(request)
        parcel = Parcel(body.postcode, body.country, body.metadata.payment_token)
        return await self._serve(
            Visit(carrier.name, "label", effect),
            lambda: carrier.label(effect, reference, parcel),
        )

    async def _cancel_label(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, BareBody)
        effect = effect_of(request, body.metadata.order_id)
        carrier, reference = self._carrier(request)
        return await self._serve(
            Visit(carrier.name, "cancel", effect), lambda: carrier.cancel(effect, reference)
        )

    async def _read_label(self, request: web.Request) -> web.StreamResponse:
        carrier, reference = self._carrier(request)
        return await self._look(request, carrier.name, lambda: carrier.read(reference))

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, MessageBody)
        effect = effect_of(request, body.metadata.order_id)
        channel = request.match_info["channel"]
        target = Target(body.target, channel, body.address)
        message = Message(body.metadata.order_id, body.outcome, body.subject, body.body)
        return await self._serve(
            Visit(channel, "send", effect),
            lambda: self._world.channels.send(effect, target, message),
        )

    async def _stock(self, _: web.Request) -> web.StreamResponse:
        return json_answer(
            {
                warehouse: {
                    sku: {**asdict(shelf), "available": shelf.available}
                    for sku, shelf in shelves.items()
                }
                for warehouse, shelves in self._world.shelves.levels().items()
            }
        )

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, StockBody)
        self._world.shelves.receive(body.warehouse, {body.sku: body.quantity})
        return json_answer(self._world.shelves.levels()[body.warehouse][body.sku], 201)

    async def _knobs(self, _: web.Request) -> web.StreamResponse:
        return json_answer({"services": self._world.knobs.all()})

    async def _turn(self, request: web.Request) -> web.StreamResponse:
        body = await body_of(request, KnobsBody)
        knobs = {name: Knob(**knob.model_dump()) for name, knob in body.services.items()}
        self._world.knobs.replace_all(knobs)
        return json_answer({"services": self._world.knobs.all()})

    async def _ledger(self, request: web.Request) -> web.StreamResponse:
        first = request.query.get("from", "1")
        if not (first.isascii() and first.isdigit() and len(first) <= 18):
            raise TerminalFault("query `from` must be the number of a ledger entry")
        # What is added while the answer is on its way belongs to the next question.
        last = self._world.entries
        await self._journal.durable()
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)
        seq = max(1, int(first))
        while seq <= last and (lines := await self._journal.read(seq)):
            await response.write(b"".join(lines))
            seq += len(lines)
        await response.write_eof()
        return response

    async def _health(self, _: web.Request) -> web.StreamResponse:
        return json_answer({"status": "ok", "entries": self._world.entries})

    async def _serve(self, visit: Visit, act: Callable[[], Answered[T]]) -> web.StreamResponse:
        answered = await self._world.serve(visit, act, asyncio.sleep)
        headers = {REPLAYED: "true"} if answered.replayed else None
        response = json_answer(answered.first, headers=headers)
        response[_DELIVERY] = answered.delivery
        return response

    async def _look(
        self, request: web.Request, service: str, read: Callable[[], T]
    ) -> web.StreamResponse:
        def look() -> Answered[T]:
            found = read()
            return Answered(found, found)

        return await self._serve(Visit(service, READ, effect_of(request, "")), look)

    def _carrier(self, request: web.Request) -> tuple[CarrierRules, str]:
        name = request.match_info["name"]
        carrier = self._world.carriers.get(name)
        if carrier is None:
            raise NotFound(f"no carrier {name}; there are {', '.join(self._world.carriers)}")
        return carrier, request.match_info["reference"]


_DELIVERY = web.ResponseKey("delivery", Delivery)
