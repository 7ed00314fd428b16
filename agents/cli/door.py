"""The gateway's HTTP door, built from what its agent and the tracker know."""

from __future__ import annotations

from pathlib import Path

from agents.adapters.http import GatewayService, HttpServer, Intake, http_app, serve
from agents.adapters.tokens import Realm, TokenVerifier, read_secret, secret_keys
from agents.bootstrap import Host, wiring
from agents.cli.connect import Connections
from agents.gateway import CancelAsked, Gateway, read_order
from agents.kernel.errors import ConfigurationError
from agents.kernel.pipeline import Pipeline
from agents.kernel.settings import Settings
from agents.kernel.submission import Submission
from agents.sightings import view_of


async def open_door(host: Host, found: Connections, settings: Settings) -> HttpServer:
    """Serve HTTP for the hosted gateway. Raises ConfigurationError."""
    app = http_app(_service(host, found))
    return await serve(app, settings.http_host, settings.http_port)


def _service(host: Host, found: Connections) -> GatewayService:
    parts, stores = found.parts, found.stores
    pipeline = host.running["gateway"]
    assert isinstance(pipeline, Pipeline)
    undone_by = wiring(parts).undone_by
    return GatewayService(
        intake=Intake(
            place=Gateway.handlers[Submission],
            cancel=Gateway.handlers[CancelAsked],
            read_order=read_order,
            ask_cancel=CancelAsked,
        ),
        perform=pipeline.perform,
        routes=host.closed_routes,
        view=lambda row: view_of(row, undone_by),
        ledger=parts.ledger,
        sagas=stores.sagas,
        answers=stores.answers,
        rate=stores.rate,
        tokens=_verifier(found),
        health=parts.health,
        clock=parts.clock,
        ids=parts.ids,
    )


def _verifier(found: Connections) -> TokenVerifier:
    settings = found.parts.settings
    if not settings.jwt_secret_file:
        raise ConfigurationError(
            "the gateway needs the secret of the tokens: set CHORALE_JWT_SECRET_FILE, or run "
            "everything by `chorale up`, which makes a development key"
        )
    keys = secret_keys(read_secret(Path(settings.jwt_secret_file)))
    realm = Realm(settings.jwt_issuer, settings.jwt_audience)
    return TokenVerifier(keys, realm, found.parts.clock)
