"""The OpenAPI document is fresh, whole, and about the routes that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from agents.adapters.http import http_app, openapi_document
from agents.adapters.http_openapi import openapi_text
from agents.adapters.http_problems import KINDS, PROBLEM_JSON
from schemas.order import OrderRequest
from tests.simulation.loop import VirtualLoop
from tests.unit.http_gateway import World, lived, order

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
PLACED = "post", "/orders"


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, methods in openapi_document()["paths"].items()
        for method, operation in methods.items()
    }


def test_document_is_fresh() -> None:
    """What lies in the repository is what the gateway serves."""
    assert DOCUMENT.read_text(encoding="utf-8") == openapi_text(), (
        "run: python -m agents.adapters.http_openapi > docs/reference/openapi.json"
    )


def test_document_names_every_route_and_no_other() -> None:
    """Document and application have the same operations."""
    loop = VirtualLoop()
    app = http_app(World(loop).service)
    loop.close()
    routes = {
        (method.lower(), route.path)
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }

    assert routes == set(operations())
    assert app.openapi() == openapi_document()


def test_every_operation_documents_its_problems() -> None:
    """Nobody meets an error that is described nowhere."""
    document = openapi_document()
    for (method, path), operation in operations().items():
        fallback = operation["responses"]["default"]
        assert fallback == {"$ref": "#/components/responses/Problem"}, f"{method} {path}"
        assert operation["operationId"]
    assert PROBLEM_JSON in document["components"]["responses"]["Problem"]["content"]


def test_every_kind_of_problem_is_documented_somewhere() -> None:
    """But for those that any address may answer with."""
    text = openapi_text()
    anywhere = {"method-not-allowed", "internal-error"}

    missing = {name for name, kind in KINDS.items() if f"(`{kind.uri}`)" not in text}

    assert missing == anywhere


def test_every_reference_leads_somewhere() -> None:
    """No dangling `$ref`."""
    document = openapi_document()
    for path in re.findall(r'"\$ref": "#/([^"]+)"', openapi_text()):
        node: Any = document
        for part in path.split("/"):
            node = node[part]
        assert node


def test_order_is_documented_as_it_is_read_over_http() -> None:
    """Without the members that come from header and token."""
    documented = openapi_document()["components"]["schemas"]["OrderRequest"]["properties"]

    assert set(OrderRequest.model_fields) - set(documented) == {
        "order_id",
        "idempotency_key",
        "customer",
    }


@lived
async def test_document_is_served(world: World) -> None:
    """Byte for byte the one in the repository."""
    answer = await world.client.get("/openapi.json")

    assert answer.headers["content-type"] == "application/json"
    assert answer.text == openapi_text()
    assert json.loads(answer.text)["openapi"].startswith("3.1")


@lived
async def test_answers_have_the_documented_members(world: World) -> None:
    """What is answered is what is documented, for an acceptance, a status and a problem."""
    schemas = openapi_document()["components"]["schemas"]
    accepted = await world.place()
    shown = await world.show(accepted.json()["order_id"])
    refused = await world.place(order(lines=[]))

    for answer, name in ((accepted, "Accepted"), (shown, "OrderStatus"), (refused, "Problem")):
        assert set(answer.json()) == set(schemas[name]["properties"])
        documented = operations()[PLACED]["responses"]
        assert name == "OrderStatus" or str(answer.status_code) in documented
