"""The gateway's HTTP door: which address does what, and what every failure looks like.

Orders come in at `POST /orders` (`http_orders.py`), are shown and cancelled under their id
(`http_sagas.py`); the rest is about the gateway itself. Every error is a problem document
(`http_problems.py`); no answer repeats an exception's text or a stack trace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from agents.adapters.http_answers import ProblemKind
from agents.adapters.http_call import call_of, respond
from agents.adapters.http_openapi import API_VERSION, TITLE, openapi_document, openapi_text
from agents.adapters.http_orders import OrderDoor
from agents.adapters.http_problems import (
    BUG,
    KINDS,
    MALFORMED,
    NOT_ALLOWED,
    NOT_FOUND,
    UNAVAILABLE,
    Refusal,
    problem,
)
from agents.adapters.http_sagas import SagaDoor
from agents.adapters.http_server import HttpServer, serve
from agents.adapters.http_service import GatewayService, Intake
from agents.kernel.errors import LogUnavailable, StoreUnavailable
from agents.kernel.protocol import Read

__all__ = [
    "GatewayService",
    "HttpServer",
    "Intake",
    "Refusal",
    "http_app",
    "openapi_document",
    "serve",
]

PROBE_TIMEOUT_S = 1.0
"""A probe that waits longer than its prober does is of no use."""
PROBE_ORDER = "readyz"
"""An order id that no order has; reading it tells whether the store answers."""
DEPENDENCIES = {
    "store": "does not answer, or is not the one that was known; requests are refused with 503",
    "broker": "does not answer; requests are refused with 503",
}

_LOG = logging.getLogger("chorale.http")


def http_app(service: GatewayService) -> FastAPI:
    """The application; it starts nothing by itself."""
    app = FastAPI(
        title=TITLE,
        version=API_VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its spans would start traces of their own; an order's trace comes from the pipeline.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.openapi = openapi_document  # type: ignore[method-assign]
    orders, sagas, house = OrderDoor(service), SagaDoor(service), _House(service)
    app.add_api_route("/orders", orders.place, methods=["POST"])
    app.add_api_route("/orders/{order_id}", sagas.show, methods=["GET"])
    app.add_api_route("/orders/{order_id}/cancel", sagas.cancel, methods=["POST"])
    app.add_api_route("/healthz", house.alive, methods=["GET"])
    app.add_api_route("/readyz", house.ready, methods=["GET"])
    app.add_api_route("/openapi.json", house.openapi, methods=["GET"])
    app.add_api_route("/problems/{name}", house.explain, methods=["GET"])
    for error in (
        Refusal,
        HTTPException,
        StoreUnavailable,
        LogUnavailable,
        TimeoutError,
        Exception,
    ):
        app.add_exception_handler(error, _refuser(service))
    return app


class _House:
    """What the gateway says of itself."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service

    async def alive(self, request: Request) -> Response:
        """Answer `GET /healthz`: the process runs its loop."""
        return respond(call_of(request, self._service.ids), 200, "alive\n", "text/plain")

    async def ready(self, request: Request) -> Response:
        """Answer `GET /readyz`: a line for each dependency."""
        store_answers = await self._look_at_store()
        troubles = set(self._service.health.troubles)
        if not store_answers:
            troubles.add("store")
        names = [*DEPENDENCIES, *sorted(troubles - set(DEPENDENCIES))]
        lines = [
            f"{name}: down, {DEPENDENCIES.get(name, 'see the log')}"
            if name in troubles
            else f"{name}: ok"
            for name in names
        ]
        call = call_of(request, self._service.ids)
        return respond(call, 503 if troubles else 200, "\n".join(lines) + "\n", "text/plain")

    async def _look_at_store(self) -> bool:
        """Whether the store answers now.

        A request that was cut off may have noted a trouble whose end nobody is left to note;
        without this look a gateway that gets no traffic would stay not ready for ever.
        """
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._service.ledger.apply([Read(PROBE_ORDER)])
        except (StoreUnavailable, TimeoutError):
            return False
        self._service.health.up("store")
        return True

    async def openapi(self, request: Request) -> Response:
        """Answer `GET /openapi.json`."""
        return respond(call_of(request, self._service.ids), 200, openapi_text())

    async def explain(self, request: Request) -> Response:
        """Answer `GET /problems/{name}`."""
        kind = KINDS.get(request.path_params["name"])
        if kind is None:
            raise Refusal(NOT_FOUND)
        explained = ProblemKind(
            type=kind.uri, title=kind.title, status=kind.status, advice=kind.advice
        )
        return respond(call_of(request, self._service.ids), 200, explained.model_dump_json())


def _refuser(service: GatewayService) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def refuse(request: Request, error: Exception) -> Response:
        call = call_of(request, service.ids)
        refusal = _refusal_of(error)
        if refusal.kind is BUG:
            # The server logs the trace back; this line ties it to what the caller was told.
            _LOG.error(
                "http_failed", extra={"trace_id": call.trace_id, "error": type(error).__name__}
            )
        return problem(call, refusal)

    return refuse


def _refusal_of(error: Exception) -> Refusal:
    match error:
        case Refusal():
            return error
        case HTTPException(status_code=404):
            return Refusal(NOT_FOUND)
        case HTTPException(status_code=405):
            return Refusal(NOT_ALLOWED, headers=error.headers)
        case HTTPException(status_code=status) if status < 500:
            return Refusal(MALFORMED)
        case StoreUnavailable() | LogUnavailable() | TimeoutError():
            return Refusal(UNAVAILABLE)
        case _:
            return Refusal(BUG)
