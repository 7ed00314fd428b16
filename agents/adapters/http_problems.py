"""Every way in which the gateway says no (RFC 9457), in one table.

A problem tells the caller what to do next. It never carries an exception's text, and its type can
be looked up at the gateway itself (`GET /problems/{name}`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Response

from agents.adapters.http_call import Call, respond

PROBLEM_JSON = "application/problem+json"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The type that the rate limit draft registers (draft-ietf-httpapi-ratelimit-headers)."""
RETRY_SOON_S = 1
"""Another request with the same key is being answered, which takes milliseconds."""
RETRY_LATER_S = 2
"""A store or broker is back within seconds, or not for minutes; either way this is polite."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem."""

    name: str
    status: int
    title: str
    advice: str
    """What to do; the detail of a problem that has none of its own."""
    retry_after_s: int = 0

    @property
    def uri(self) -> str:
        """The problem's type."""
        return QUOTA_EXCEEDED if self.status == 429 else f"/problems/{self.name}"


MALFORMED = Kind(
    "malformed-body", 400, "The body is not a JSON object", "Send one JSON object in UTF-8."
)
BAD_KEY = Kind(
    "bad-idempotency-key",
    400,
    "The idempotency key is not acceptable",
    "Send one Idempotency-Key of 1 to 255 visible ASCII characters, quoted or bare.",
)
UNAUTHENTICATED = Kind(
    "unauthenticated",
    401,
    "The request proves no identity",
    "Send a valid token: `Authorization: Bearer <JWT>`.",
)
NOT_FOUND = Kind(
    "not-found", 404, "There is nothing here", "No such thing is here that you may see."
)
NOT_ALLOWED = Kind(
    "method-not-allowed", 405, "This method is not offered here", "See the Allow header."
)
TOO_SLOW = Kind("slow-body", 408, "The body came too slowly", "Send the whole body at once.")
IN_FLIGHT = Kind(
    "request-in-flight",
    409,
    "The same request is being answered",
    "Another request with this Idempotency-Key is being answered; send yours again in a moment.",
    RETRY_SOON_S,
)
ENDED = Kind(
    "order-ended",
    409,
    "The order has ended",
    "Nothing can be stopped any more; read the order for how it ended.",
)
TOO_LARGE = Kind(
    "body-too-large", 413, "The body is too large", "Send at most 65536 bytes; split the order."
)
NOT_JSON = Kind(
    "unsupported-media-type",
    415,
    "The body is not declared as JSON",
    "Send `Content-Type: application/json` in UTF-8, without a Content-Encoding.",
)
INVALID = Kind(
    "invalid-content", 422, "The content is not valid", "Mend what `errors` names, then try again."
)
KEY_REUSED = Kind(
    "idempotency-key-reused",
    422,
    "The idempotency key belongs to another order",
    "This Idempotency-Key was used with another body; send a changed order under a new key.",
)
QUOTA = Kind(
    "quota-exceeded",
    429,
    "Too many requests",
    "Wait as long as Retry-After says, then go on more slowly.",
)
BUG = Kind(
    "internal-error",
    500,
    "Something went wrong here",
    "The fault is ours and has been noted; try again with the same Idempotency-Key, or report the "
    "trace_id.",
)
STUCK = Kind(
    "waits-for-person",
    500,
    "A person has to look at this first",
    "The request was kept and waits for a person; do not send it again under another key.",
)
UNAVAILABLE = Kind(
    "unavailable",
    503,
    "The service is not available",
    "Try again after Retry-After; with the same Idempotency-Key nothing happens twice.",
    RETRY_LATER_S,
)
NO_ROUTE = Kind(
    "no-usable-route",
    503,
    "Orders cannot be fulfilled at present",
    "A service behind this one is out of order; try again after Retry-After.",
    10,
)

KINDS: dict[str, Kind] = {k.name: k for k in list(vars().values()) if isinstance(k, Kind)}
"""All of them by name."""


class Refusal(Exception):
    """The request is answered with a problem."""

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind.name)
        self.kind = kind
        self.detail = detail or kind.advice
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def problem(call: Call, refusal: Refusal) -> Response:
    """The answer that a refusal is."""
    kind = refusal.kind
    document: dict[str, object] = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": refusal.detail,
        "instance": call.instance,
        "trace_id": call.trace_id,
        "errors": [dict(error) for error in refusal.errors],
    }
    if kind is QUOTA:
        document["violated-policies"] = [RATE_POLICY]
    if kind.retry_after_s:
        call.headers.setdefault("Retry-After", str(kind.retry_after_s))
    call.headers.update(refusal.headers)
    return respond(call, kind.status, json.dumps(document), PROBLEM_JSON)


RATE_POLICY = "requests"
"""Name of the one policy in the rate limit headers."""
