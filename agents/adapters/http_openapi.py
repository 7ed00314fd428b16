"""The OpenAPI 3.1 document of the gateway, written from the models and the table of problems.

It is written here and not collected from the routes, because the routes read their requests by
themselves (size first, then type, then JSON, then who asks). A test holds document and routes
equal. `python -m agents.adapters.http_openapi` prints it; `docs/reference/openapi.json` is that.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from agents.adapters import http_problems as problems
from agents.adapters.http_answers import (
    Accepted,
    CancelRequest,
    OrderStatus,
    Problem,
    ProblemKind,
)
from agents.adapters.http_orders import NOT_OVER_HTTP
from agents.adapters.http_problems import PROBLEM_JSON, Kind
from schemas.order import OrderRequest

TITLE = "Chorale gateway"
API_VERSION = "1.0.0"
"""Of the HTTP interface, not of the program."""

Node = dict[str, Any]

_WRITES = (
    problems.MALFORMED,
    problems.UNAUTHENTICATED,
    problems.TOO_SLOW,
    problems.TOO_LARGE,
    problems.NOT_JSON,
    problems.INVALID,
    problems.QUOTA,
    problems.UNAVAILABLE,
)
_ORDER_ID = {
    "name": "order_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$"},
}
_TRACE = {
    "name": "traceparent",
    "in": "header",
    "description": "W3C trace context; the order's trace continues it.",
    "schema": {"type": "string"},
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "1 to 255 visible ASCII characters, quoted or bare. The same key with the same body is "
        "the same order, and is answered byte for byte the same for 24 hours. One is made, and "
        "returned, if none is sent."
    ),
    "schema": {"type": "string"},
    "example": '"8e03978e-40d5-43e8-bc93-6894a57f9324"',
}


@cache
def openapi_text() -> str:
    """The document as JSON, as it is served and as it lies in `docs/reference/openapi.json`."""
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


def openapi_document() -> Node:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": API_VERSION,
            "description": (
                "Takes orders in, once per idempotency key, and tells how they fare. Every error "
                "is a problem document (RFC 9457)."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": {
            "/orders": {"post": _place()},
            "/orders/{order_id}": {"get": _show()},
            "/orders/{order_id}/cancel": {"post": _cancel()},
            "/healthz": {"get": _alive()},
            "/readyz": {"get": _ready()},
            "/openapi.json": {"get": _openapi()},
            "/problems/{name}": {"get": _explain()},
        },
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
            "schemas": _schemas(),
            "headers": _headers(),
            "responses": {"Problem": _problem_response("Something else went wrong.")},
        },
    }


def _place() -> Node:
    placed = _answer("The order is in the log; its saga runs.", Accepted)
    placed["headers"] = _refs(
        "Location", "Idempotency-Key", "Idempotency-Replayed", "RateLimit", "RateLimit-Policy"
    )
    refusals = (
        *_WRITES,
        problems.BAD_KEY,
        problems.IN_FLIGHT,
        problems.KEY_REUSED,
        problems.NO_ROUTE,
        problems.STUCK,
    )
    return {
        "operationId": "placeOrder",
        "summary": "Place an order",
        "description": "202 is sent only when the broker has acknowledged the order.",
        "parameters": [_KEY, _TRACE],
        "requestBody": {"required": True, "content": _json("OrderRequest")},
        "responses": {"202": placed, **_refusals(*refusals)},
    }


def _show() -> Node:
    return {
        "operationId": "showOrder",
        "summary": "Where an order stands",
        "parameters": [_ORDER_ID],
        "responses": {
            "200": _answer("The order as it is known now.", OrderStatus),
            **_refusals(problems.UNAUTHENTICATED, problems.NOT_FOUND, problems.UNAVAILABLE),
        },
    }


def _cancel() -> Node:
    asked = _answer(
        "The wish is in the log; whether it came in time, the order's status will tell.", Accepted
    )
    asked["headers"] = _refs("Location", "RateLimit", "RateLimit-Policy")
    refusals = (*_WRITES, problems.NOT_FOUND, problems.ENDED, problems.STUCK)
    return {
        "operationId": "cancelOrder",
        "summary": "Ask to cancel an order",
        "description": "Asking again changes nothing; the first reason stands.",
        "parameters": [_ORDER_ID],
        "requestBody": {"required": False, "content": _json("CancelRequest")},
        "responses": {"202": asked, **_refusals(*refusals)},
    }


def _alive() -> Node:
    return _open("isAlive", "Whether the process runs", {"200": _lines("It runs.")})


def _ready() -> Node:
    answers = {
        "200": _lines("Ready: a line for each dependency."),
        "503": _lines("Not ready: a line for each dependency says which."),
    }
    return _open("isReady", "Whether orders can be taken", answers)


def _openapi() -> Node:
    document = {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {}}}}
    return _open("readOpenApi", "This document", {"200": document})


def _explain() -> Node:
    answers = {
        "200": _answer("What the problem is and what to do.", ProblemKind),
        **_refusals(problems.NOT_FOUND),
    }
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    return {**_open("explainProblem", "What a problem type means", answers), "parameters": [name]}


def _open(operation_id: str, summary: str, responses: Node) -> Node:
    """An operation that needs no token."""
    other = {"default": {"$ref": "#/components/responses/Problem"}}
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [],
        "responses": {**responses, **other},
    }


def _refusals(*kinds: Kind) -> Node:
    """The problems of an operation by status, and the answer to whatever else may go wrong."""
    titles: dict[int, list[str]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.status):
        titles.setdefault(kind.status, []).append(f"{kind.title} (`{kind.uri}`).")
    found: Node = {str(status): _problem_response(" ".join(t)) for status, t in titles.items()}
    for status, names in _REFUSAL_HEADERS.items():
        if status in found:
            found[status]["headers"] = _refs(*names)
    return {**found, "default": {"$ref": "#/components/responses/Problem"}}


_REFUSAL_HEADERS = {
    "401": ("WWW-Authenticate",),
    "409": ("Retry-After",),
    "429": ("Retry-After", "RateLimit", "RateLimit-Policy"),
    "503": ("Retry-After",),
}


def _problem_response(description: str) -> Node:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {PROBLEM_JSON: {"schema": schema}}}


def _answer(description: str, model: type[BaseModel]) -> Node:
    return {"description": description, "content": _json(model.__name__)}


def _lines(description: str) -> Node:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _json(schema: str) -> Node:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _refs(*headers: str) -> Node:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}


def _headers() -> Node:
    meanings = {
        "Location": "The order's address.",
        "Idempotency-Key": "The key under which the order was placed, sent or made.",
        "Idempotency-Replayed": "`true` if the answer is a stored one.",
        "RateLimit": "What is left of the quota (draft-ietf-httpapi-ratelimit-headers).",
        "RateLimit-Policy": "The quota and its window.",
        "Retry-After": "Seconds to wait before the next try.",
        "WWW-Authenticate": "`Bearer`, and whether a token was invalid.",
    }
    return {
        name: {"description": meaning, "schema": {"type": "string"}}
        for name, meaning in meanings.items()
    }


def _schemas() -> Node:
    leaving = (Accepted, OrderStatus, Problem, ProblemKind)
    inputs: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (OrderRequest, "validation"),
        (CancelRequest, "validation"),
        *((model, "serialization") for model in leaving),
    ]
    _, found = models_json_schema(inputs, ref_template="#/components/schemas/{model}")
    schemas: Node = found["$defs"]
    order = schemas["OrderRequest"]
    order["description"] = "An order as submitted."
    for name in NOT_OVER_HTTP:
        del order["properties"][name]
    return schemas


if __name__ == "__main__":
    sys.stdout.write(openapi_text())
