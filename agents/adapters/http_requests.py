"""What a request must show before anything is done for it: body, token, quota, idempotency key.

Every reader here returns a value that can be relied on, or raises the `Refusal` to answer with.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from agents.adapters.http_call import Call
from agents.adapters.http_problems import (
    BAD_KEY,
    MALFORMED,
    NOT_JSON,
    QUOTA,
    RATE_POLICY,
    TOO_LARGE,
    TOO_SLOW,
    UNAUTHENTICATED,
    Refusal,
)
from agents.adapters.store_limits import WINDOW_S
from agents.adapters.tokens import TokenRefused, TokenVerifier
from agents.kernel.errors import PoisonRecord
from agents.kernel.ports import Ids, RateLimit
from agents.kernel.submission import SUBMISSION_BYTES_MAX, parse_body

BODY_TIMEOUT_S = 10.0
"""64 KiB come over the slowest phone line in this time; a slower sender only holds a socket."""
KEY_CHARACTERS_MAX = 255
"""As payment providers accept."""
REALM = 'Bearer realm="chorale"'

_BARE_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED_KEY = re.compile(r'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


async def body_of(request: Request) -> bytes:
    """The whole body; reading stops where it becomes too large or too slow."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or len(declared) > 9 or int(declared) > SUBMISSION_BYTES_MAX:
        raise Refusal(TOO_LARGE, headers={"Connection": "close"})
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > SUBMISSION_BYTES_MAX:
                    raise Refusal(TOO_LARGE, headers={"Connection": "close"})
    except TimeoutError as error:
        raise Refusal(TOO_SLOW, headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        # Nobody is there to read the answer; it must only not look like a fault of ours.
        raise Refusal(MALFORMED) from error
    return bytes(body)


def json_object(request: Request, body: bytes) -> dict[str, Any]:
    """The JSON object in a body."""
    content_type = ",".join(request.headers.getlist("content-type"))
    media_type, *parameters = [part.strip().lower() for part in content_type.split(";")]
    plain = request.headers.get("content-encoding", "identity").strip().lower() == "identity"
    readable = set(parameters) <= {"charset=utf-8", 'charset="utf-8"', ""}
    if media_type != "application/json" or not readable or not plain:
        raise Refusal(NOT_JSON, headers={"Accept": "application/json"})
    try:
        parsed = parse_body(body)
        # A lone surrogate is no character: no event could carry it.
        json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        fault = {"pointer": "", "detail": "a text holds half a surrogate pair"}
        raise Refusal(MALFORMED, errors=[fault]) from error
    except PoisonRecord as error:
        raise Refusal(MALFORMED, errors=[{"pointer": "", "detail": str(error)}]) from error
    return parsed


def principal_of(request: Request, tokens: TokenVerifier) -> str:
    """Whose request it is."""
    sent = request.headers.getlist("authorization")
    if not sent:
        raise Refusal(UNAUTHENTICATED, headers={"WWW-Authenticate": REALM})
    scheme, _, token = sent[0].partition(" ")
    if len(sent) > 1 or scheme.lower() != "bearer":
        why = "exactly one Authorization header with a Bearer token is accepted"
        raise _no_identity(why)
    try:
        return tokens.principal(token.strip(" "))
    except TokenRefused as refused:
        raise _no_identity(str(refused)) from refused


def _no_identity(why: str) -> Refusal:
    challenge = f'{REALM}, error="invalid_token"'
    detail = f"{why[0].upper()}{why[1:]}. {UNAUTHENTICATED.advice}"
    return Refusal(UNAUTHENTICATED, detail, headers={"WWW-Authenticate": challenge})


async def spend(call: Call, principal: str, rate: RateLimit) -> None:
    """Count one request of the principal; the answer will say how many are left."""
    allowance = await rate.hit(principal)
    reset_s = max(1, math.ceil(allowance.reset_s))
    left = max(0, allowance.remaining)
    call.headers["RateLimit-Policy"] = f'"{RATE_POLICY}";q={allowance.limit};w={WINDOW_S}'
    call.headers["RateLimit"] = f'"{RATE_POLICY}";r={left};t={reset_s}'
    if not allowance.allowed:
        detail = f"{allowance.limit} requests in {WINDOW_S} s are allowed. {QUOTA.advice}"
        raise Refusal(QUOTA, detail, headers={"Retry-After": str(reset_s)})


def idempotency_key_of(call: Call, ids: Ids) -> str:
    """The caller's key, or one made for it; the answer's header names it, as it came."""
    sent = call.request.headers.getlist("idempotency-key")
    if not sent:
        key = ids.token()
        call.headers["Idempotency-Key"] = f'"{key}"'
        return key
    text = sent[0].strip()
    quoted = _QUOTED_KEY.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    malformed = text.startswith('"') and not quoted
    if len(sent) > 1 or malformed or not _BARE_KEY.fullmatch(key):
        raise Refusal(BAD_KEY)
    call.headers["Idempotency-Key"] = text
    return key
