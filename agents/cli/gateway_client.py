"""The gateway as a customer uses it: place an order, read it, cancel it, over HTTP.

A 503, a 429 and a 409 of a request in flight are waited out as `Retry-After` says: the
idempotency key makes the repeat harmless.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from agents.adapters.system import SystemClock
from agents.adapters.tokens import Realm, make_token, read_secret
from agents.cli.output import NotRunning
from agents.kernel.errors import ChoraleError
from agents.kernel.settings import Settings

REQUEST_S = 15.0
"""Longer than the gateway's own limit, so that its answer comes before ours."""
PATIENCE_S = 60.0
"""How long an order is repeated while the gateway says `later`."""
PAUSE_S_MAX = 10.0
"""A longer Retry-After is cut to this, so that a recovery is noticed."""
TOKEN_S = 3_600
"""A development token lives an hour: long enough to try things, useless tomorrow."""

_LATER = (409, 429, 503)


class Refused(ChoraleError):
    """The gateway refused the request."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        detail = str(document.get("detail") or document.get("title") or "no detail")
        faults = "; ".join(f"{e['pointer']}: {e['detail']}" for e in document.get("errors", []))
        super().__init__(f"the gateway answered {status}: {detail}{' ' if faults else ''}{faults}")
        self.status = status
        self.document = document


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of success."""

    status: int
    document: dict[str, Any]
    repeated: bool
    """Whether the gateway remembered it from an earlier request with the same key."""


class GatewayClient:
    """One customer's door; made by `gateway`."""

    def __init__(self, session: aiohttp.ClientSession, address: str, token: str) -> None:
        self.address = address
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}"}

    async def place(self, body: Mapping[str, Any], key: str) -> Answered:
        """Submit an order under an idempotency key. Raises Refused or NotRunning."""
        return await self._patiently("POST", "/orders", body, {"Idempotency-Key": f'"{key}"'})

    async def read(self, order_id: str) -> dict[str, Any] | None:
        """The order's status; None if the gateway does not know it."""
        try:
            return (await self._patiently("GET", f"/orders/{order_id}", None, {})).document
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def cancel(self, order_id: str, reason: str) -> Answered:
        """Ask for the order's end. Raises Refused."""
        path = f"/orders/{order_id}/cancel"
        return await self._patiently("POST", path, {"reason": reason}, {})

    async def _patiently(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Answered:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + PATIENCE_S
        while True:
            try:
                return await self._request(method, path, body, headers)
            except Refused as refused:
                if refused.status not in _LATER or "order-ended" in str(refused.document):
                    raise
                pause_s = min(float(refused.document.get("retry_after_s", 1)), PAUSE_S_MAX)
                if loop.time() + pause_s > until_s:
                    raise
            await asyncio.sleep(pause_s)

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Answered:
        try:
            async with self._session.request(
                method,
                self.address + path,
                json=body,
                headers={**self._headers, **headers},
                allow_redirects=False,
            ) as response:
                document = _document(await response.read())
                if response.status >= 300:
                    after = response.headers.get("Retry-After", "1")
                    wait_s = int(after) if after.isdigit() else 1
                    raise Refused(response.status, {**document, "retry_after_s": wait_s})
                repeated = response.headers.get("Idempotency-Replayed") == "true"
                return Answered(response.status, document, repeated)
        except (aiohttp.ClientError, OSError) as error:
            raise NotRunning(
                f"the gateway does not answer at {self.address} ({_why(error)}); start it with "
                "`chorale up`, or name another by CHORALE_HTTP_HOST and CHORALE_HTTP_PORT"
            ) from error


@asynccontextmanager
async def gateway(address: str, token: str) -> AsyncIterator[GatewayClient]:
    """A client of the gateway at that address."""
    limit = aiohttp.ClientTimeout(total=REQUEST_S)
    async with aiohttp.ClientSession(timeout=limit) as session:
        yield GatewayClient(session, address, token)


def token_of(settings: Settings, subject: str, ttl_s: int = TOKEN_S) -> str:
    """A development token for a customer. Raises NotRunning without a secret."""
    if not settings.jwt_secret_file:
        raise NotRunning(
            f"there is no development key in {Path(settings.data_dir).resolve()}; start the "
            "system with `chorale up`, or set CHORALE_JWT_SECRET_FILE"
        )
    secret = read_secret(Path(settings.jwt_secret_file))
    realm = Realm(settings.jwt_issuer, settings.jwt_audience)
    return make_token(secret, realm, subject, ttl_s, SystemClock())


def _document(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content or b"{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _why(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error)
