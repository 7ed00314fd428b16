"""`GET /orders/{id}` and `POST /orders/{id}/cancel`: see an order, and ask for its end.

An order of somebody else is not told apart from one that does not exist. The tracker's memory is
read first; what it has not seen yet, the ledger's record of the step `place` tells.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request, Response
from pydantic import TypeAdapter, ValidationError

from agents.adapters.http_answers import (
    CancelRequest,
    Moment,
    OrderStatus,
    accepted,
    self_links,
)
from agents.adapters.http_call import call_of, respond
from agents.adapters.http_outcome import (
    STORE_TIMEOUT_S,
    http_record,
    name_of,
    names_of,
    perform,
)
from agents.adapters.http_problems import ENDED, INVALID, NOT_FOUND, STUCK, Refusal
from agents.adapters.http_requests import body_of, json_object, principal_of, spend
from agents.adapters.http_service import GatewayService, SeenSaga
from agents.kernel.codec import Trigger, iso_time, unpack
from agents.kernel.ports import SagaRow
from agents.kernel.protocol import Read, StepRecord
from agents.kernel.routing import Job
from agents.kernel.submission import json_pointer
from schemas import envelope
from schemas.events import EVENTS, OrderPlaced
from schemas.order import Id, Order
from schemas.saga import SagaStatus

CANCEL_BODY_HASH = hashlib.sha256(b"cancel").hexdigest()[:16]
"""One wish to cancel an order is like another: the first reason stands, a second is a repeat."""

_ORDER_ID: TypeAdapter[str] = TypeAdapter(Id)


@dataclass(frozen=True, slots=True)
class _Known:
    """An order that the caller may see."""

    order: Order
    row: SagaRow | None
    saga_deadline_ms: int
    traceparent: str

    @property
    def order_id(self) -> str:
        """Its id."""
        return self.order.order_id


@dataclass(frozen=True, slots=True)
class _Placed:
    """The order as the step `place` has stored it."""

    order: Order
    saga_deadline_ms: int
    traceparent: str


class SagaDoor:
    """Shows orders to those whose they are, and takes their wish to cancel."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service

    async def show(self, request: Request) -> Response:
        """Answer `GET /orders/{order_id}`."""
        call = call_of(request, self._service.ids)
        principal = principal_of(request, self._service.tokens)
        async with asyncio.timeout(STORE_TIMEOUT_S):
            known = await self._find(_order_id(request), principal, with_ledger=False)
        call.concern(known.order_id)
        return respond(call, 200, self._status(known).model_dump_json(exclude_none=True))

    async def cancel(self, request: Request) -> Response:
        """Answer `POST /orders/{order_id}/cancel`."""
        service = self._service
        call = call_of(request, service.ids)
        body = await body_of(request)
        fields = json_object(request, body) if body.strip() else {}
        principal = principal_of(request, service.tokens)
        async with asyncio.timeout(STORE_TIMEOUT_S):
            await spend(call, principal, service.rate)
        asked = _cancel_request(fields)
        async with asyncio.timeout(STORE_TIMEOUT_S):
            known = await self._find(_order_id(request), principal, with_ledger=True)
        call.concern(known.order_id)
        view = self._view(known)
        if view and view.status.terminal:
            raise Refusal(ENDED)
        outcome = names_of(await perform(service, self._cancel_job(known, asked.reason)))
        if not outcome:
            # The ledger knows that it is over, though the tracker does not say so.
            raise Refusal(ENDED)
        if "OrderCancelRequested" not in outcome:
            raise Refusal(STUCK)
        call.headers["Location"] = f"/orders/{known.order_id}"
        status = view.status if view else SagaStatus.STARTED
        return respond(call, 202, accepted(known.order_id, status))

    def _cancel_job(self, known: _Known, reason: str) -> Job:
        handler = self._service.intake.cancel
        trigger = Trigger(
            event=self._service.intake.ask_cancel(known.order, reason),
            type="OrderCancelAsked",
            id="cancel",
            order_id=known.order_id,
            time_ms=0,
            body_hash=CANCEL_BODY_HASH,
            saga_deadline_ms=known.saga_deadline_ms,
            step_deadline_ms=0,
            # The order's trace, not the caller's: a saga is one trace to its end.
            traceparent=known.traceparent,
        )
        now_ms = self._service.clock.now_ms()
        record = http_record(known.order_id, {"reason": reason}, known.traceparent, now_ms)
        return Job(record, trigger, handler, handler.step, trigger.id)

    async def _find(self, order_id: str, principal: str, *, with_ledger: bool) -> _Known:
        """The order, if it is the principal's."""
        row = await self._service.sagas.get(order_id)
        order = _snapshot(row)
        placed = None
        if with_ledger or order is None:
            reply = (await self._service.ledger.apply([Read(order_id)]))[0]
            placed = _placed(dict(reply.records).get(self._service.intake.place.step))
        if placed is not None:
            order = placed.order
        if order is None or order.customer != principal:
            raise Refusal(NOT_FOUND)
        return _Known(
            order=order,
            row=row,
            saga_deadline_ms=_deadline_ms(row, placed),
            traceparent=placed.traceparent if placed else "",
        )

    def _view(self, known: _Known) -> SeenSaga | None:
        return self._service.view(known.row) if known.row else None

    def _status(self, known: _Known) -> OrderStatus:
        view = self._view(known)
        status = view.status if view else SagaStatus.STARTED
        facts = known.row.facts if known.row else {}
        seen = sorted((f.time_ms, name) for name, f in facts.items() if name in EVENTS)
        return OrderStatus(
            order_id=known.order_id,
            status=status,
            waiting_for_person=bool(view and view.waiting_for_person),
            letters_open=len(view.letters_open) if view else 0,
            total=known.order.total,
            timeline=tuple(Moment(event=name, time=iso_time(ms)) for ms, name in seen),
            links=self_links(known.order_id, ended=status.terminal),
        )


def _order_id(request: Request) -> str:
    try:
        return _ORDER_ID.validate_python(request.path_params["order_id"])
    except ValidationError as error:
        raise Refusal(NOT_FOUND) from error


def _cancel_request(fields: Mapping[str, object]) -> CancelRequest:
    try:
        return CancelRequest.model_validate(fields)
    except ValidationError as error:
        errors = [
            {"pointer": json_pointer(e["loc"]), "detail": e["msg"]}
            for e in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Refusal(INVALID, errors=errors) from error


def _deadline_ms(row: SagaRow | None, placed: _Placed | None) -> int:
    if placed is not None:
        return placed.saga_deadline_ms
    return row.saga_deadline_ms if row else 0


def _snapshot(row: SagaRow | None) -> Order | None:
    if row is None or not row.snapshot:
        return None
    return Order.model_validate(json.loads(row.snapshot)["order"])


def _placed(record: StepRecord | None) -> _Placed | None:
    for outgoing in unpack(record.blob) if record else []:
        if name_of(outgoing) == OrderPlaced.__name__:
            headers = dict(outgoing.headers)
            return _Placed(
                order=OrderPlaced.model_validate_json(outgoing.value).order,
                saga_deadline_ms=int(headers[envelope.SAGA_DEADLINE_MS]),
                traceparent=headers[envelope.TRACEPARENT].decode(),
            )
    return None
