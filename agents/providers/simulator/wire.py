"""What comes in and goes out over HTTP: bodies, headers, answers and errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.kernel.errors import (
    ChoraleError,
    LeaseLost,
    ParameterMismatch,
    TerminalFault,
    TransientFault,
)
from agents.kernel.ports import Effect
from agents.providers.simulator.desk import NotFound
from agents.providers.simulator.idempotency import KeyInProgress

IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = "idempotent-replayed"
ATTEMPT = "chorale-attempt"
FENCE = "chorale-fence"

ATTEMPT_MAX = 10_000
"""More replays of one step than an operator has patience for."""


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metadata(_Body):
    """What a caller attaches without the provider caring; magic inputs live on it."""

    order_id: str = Field(default="", max_length=64)
    payment_token: str = Field(default="", max_length=64)


class BareBody(_Body):
    """The body of a call whose path says everything."""

    metadata: Metadata = Metadata()


class CreateBody(BareBody):
    """A payment intent."""

    amount: int = Field(ge=1, strict=True)
    currency: str = Field(pattern="^[A-Z]{3}$")
    payment_token: str = Field(min_length=1, max_length=64)


class DemandLine(_Body):
    """One line of a reservation."""

    sku: str = Field(min_length=1, max_length=64)
    quantity: int = Field(ge=1, strict=True)


class ReserveBody(BareBody):
    """A reservation."""

    lines: tuple[DemandLine, ...] = Field(min_length=1, max_length=1_000)


class LabelBody(BareBody):
    """A label."""

    postcode: str = Field(min_length=1, max_length=20)
    country: str = Field(pattern="^[A-Z]{2}$")


class MessageBody(BareBody):
    """A message to one target."""

    target: str = Field(min_length=1, max_length=255)
    address: str = Field(default="", max_length=2_048)
    outcome: str = Field(default="", max_length=255)
    subject: str = Field(default="", max_length=1_000)
    body: str = Field(default="", max_length=100_000)


class StockBody(_Body):
    """Goods that come in."""

    warehouse: str = Field(max_length=64)
    sku: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    quantity: int = Field(ge=1, strict=True)


class KnobBody(_Body):
    """One service's knob; see `knobs.Knob`."""

    latency_ms: float = Field(default=0.0, allow_inf_nan=False)
    jitter_ms: float = Field(default=0.0, allow_inf_nan=False)
    failure_rate: float = Field(default=0.0, allow_inf_nan=False)
    lost_reply_rate: float = Field(default=0.0, allow_inf_nan=False)
    down: bool = False


class KnobsBody(_Body):
    """All knobs; a service that is not named becomes calm."""

    services: dict[str, KnobBody] = Field(default_factory=dict)


B = TypeVar("B", bound=BaseModel)


async def body_of(request: web.Request, model: type[B]) -> B:
    """The request's body. Raises TerminalFault that names the fields at fault."""
    raw = await request.read()
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise TerminalFault(f"the body is not acceptable: {faults}") from error


def effect_of(request: web.Request, order_id: str) -> Effect:
    """Who is calling, from the headers. Raises TerminalFault."""
    attempt = request.headers.get(ATTEMPT, "1")
    if not (attempt.isascii() and attempt.isdigit() and 1 <= int(attempt) <= ATTEMPT_MAX):
        raise TerminalFault(f"header {ATTEMPT} must be a number from 1 to {ATTEMPT_MAX}")
    return Effect(
        key=request.headers.get(IDEMPOTENCY_KEY, ""),
        order_id=order_id,
        attempt=int(attempt),
        fence=request.headers.get(FENCE, "0.0"),
        timeout_s=math.inf,
        traceparent=request.headers.get("traceparent", ""),
    )


def json_answer(
    data: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer in JSON."""
    body = json.dumps(data, default=_plain, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        body=body.encode(), status=status, content_type="application/json", headers=headers
    )


def error_answer(error: ChoraleError) -> web.Response:
    """The answer that tells an error of the rules; the clients map it back."""
    match error:
        case KeyInProgress():
            status, code = 409, "key_in_progress"
        case TransientFault():
            status, code = 503, "refused"
        case LeaseLost():
            status, code = 412, "fenced"
        case ParameterMismatch():
            status, code = 400, "idempotency_mismatch"
        case NotFound():
            status, code = 404, "not_found"
        case TerminalFault():
            status, code = 400, "invalid"
        case _:
            status, code = 500, "internal"
    return json_answer({"error": {"code": code, "message": str(error)}}, status)


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")
