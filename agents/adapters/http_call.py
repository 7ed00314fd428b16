"""One HTTP request while it is answered: its trace, and the headers that its answer will carry."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from fastapi import Request, Response

from agents.kernel.codec import child_traceparent
from agents.kernel.ports import Ids

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(slots=True)
class Call:
    """What is known of a request beside its body; headers gather on the way to the answer."""

    request: Request
    traceparent: str
    """The caller's W3C trace context, or empty."""
    trace_id: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        """The path, as it came: what a problem names as its occurrence."""
        raw: bytes = self.request.scope.get("raw_path") or self.request.scope["path"].encode()
        return raw.partition(b"?")[0].decode("ascii", "replace")[:INSTANCE_CHARACTERS_MAX]

    def concern(self, order_id: str) -> None:
        """From here on the call is about this order; without a caller's trace it has the order's.

        The order's trace id is a function of its id, so that a repeat has the same.
        """
        self.trace_id = child_traceparent(self.traceparent, order_id, "http").split("-")[1]


INSTANCE_CHARACTERS_MAX = 256
"""Longer than any path of ours; the rest of a longer one is an attacker's text."""


def call_of(request: Request, ids: Ids) -> Call:
    """The one call of a request, made at the first look."""
    call = getattr(request.state, "call", None)
    if isinstance(call, Call):
        return call
    traceparent = _traceparent(request.headers.getlist("traceparent"))
    fresh = hashlib.sha256(ids.token().encode()).hexdigest()[:32]
    call = Call(request, traceparent, traceparent.split("-")[1] if traceparent else fresh)
    request.state.call = call
    return call


def respond(call: Call, status: int, body: str, media_type: str = "application/json") -> Response:
    """An answer with all the headers that the call has gathered; nobody may keep a copy."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **call.headers}
    return Response(body.encode(), status, headers, media_type)


def _traceparent(sent: list[str]) -> str:
    """A valid one in the form of version 00; what cannot be read is as good as none."""
    match = _TRACEPARENT.fullmatch(sent[0].strip()) if len(sent) == 1 else None
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return ""
    if not match[2].strip("0") or not match[3].strip("0"):
        return ""
    return f"00-{match[2]}-{match[3]}-{match[4]}"
