"""One HTTP call to a provider, and what its answer means.

What an answer means, and nothing else, decides which fault a caller sees:

    cannot connect, 503 `refused`, 409, 429         TransientFault: nothing happened
    time-out, broken connection, 5xx otherwise,
    a redirect, a body that cannot be read          InDoubt: only the same key may be tried again
    412 `fenced`                                    LeaseLost
    400 `idempotency_mismatch`                      ParameterMismatch
    any other 4xx                                   TerminalFault: a person must look

One time-out, the effect's, covers the call and the look that may follow it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError
from yarl import URL

from agents.kernel.errors import (
    ChoraleError,
    InDoubt,
    LeaseLost,
    ParameterMismatch,
    TerminalFault,
    TransientFault,
)
from agents.kernel.ports import Effect
from schemas.envelope import ATTEMPT, TRACEPARENT

T = TypeVar("T")

IDEMPOTENCY_KEY = "Idempotency-Key"
REPLAYED = "idempotent-replayed"
FENCE = "chorale-fence"

ANSWER_BYTES_MAX = 1 << 20
"""An answer is a few hundred bytes; a megabyte of it is not from our provider."""

CONNECTIONS_MAX = 256
"""At once to one provider: more than the orders that one worker has in flight."""

MESSAGE_LENGTH_MAX = 500
"""A provider's words go into dead letters; more than a few lines help nobody."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

THE_ID = "{id}"
"""Stands at the end of a path for the id that the first answer tells."""

SessionFactory = Callable[[], aiohttp.ClientSession]


def open_session() -> aiohttp.ClientSession:
    """A session without cookies, proxies, or time-outs other than each effect's own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    )


@dataclass(frozen=True, slots=True)
class Ask:
    """One effect to ask for."""

    path: str
    effect: Effect
    body: Mapping[str, object]
    reread: str = ""
    """Where the object is read again after a replayed answer; may end with `THE_ID`."""
    token: str = ""


class Wire:
    """Requests, and what their answers mean."""

    def __init__(self, base_url: str, session_factory: SessionFactory) -> None:
        self._base_url = base_url.rstrip("/")
        self._factory = session_factory
        self._session: aiohttp.ClientSession | None = None

    async def effect(self, ask: Ask, answer: TypeAdapter[T]) -> T:
        """Ask for an effect; return the object's present state."""
        body = {**ask.body, "metadata": {"order_id": ask.effect.order_id}}
        if ask.token:
            body["metadata"] = {"order_id": ask.effect.order_id, "payment_token": ask.token}
        async with _bounded(ask):
            first = await self._request("POST", ask.path, ask.effect, body)
            if not (first.replayed and ask.reread):
                return _parse(first, answer, ask.path)
            path = ask.reread
            if path.endswith(THE_ID):
                path = path.removesuffix(THE_ID) + part(_id_of(first, ask.path))
            try:
                now = await self._request("GET", path, ask.effect, None)
            except TransientFault as error:
                # The effect took place earlier, so "nothing happened" would be a lie.
                raise InDoubt(f"{path}: cannot be read after a replay: {error}") from error
            return _parse(now, answer, path)

    async def look(self, path: str, effect: Effect, answer: TypeAdapter[T]) -> T:
        """Read an object. A look has no effect, so it is never in doubt."""
        try:
            async with _bounded(Ask(path, effect, {})):
                return _parse(await self._request("GET", path, effect, None), answer, path)
        except InDoubt as error:
            raise TransientFault(str(error)) from error

    async def close(self) -> None:
        """Close the session, if there is one."""
        if self._session is not None:
            await self._session.close()

    async def _request(
        self, method: str, path: str, effect: Effect, body: Mapping[str, object] | None
    ) -> _Received:
        if self._session is None:
            self._session = self._factory()
        try:
            async with self._session.request(
                method,
                # The path's parts are quoted already.
                URL(self._base_url + path, encoded=True),
                json=body,
                headers=_headers(effect),
                allow_redirects=False,
            ) as response:
                content = await _limited(response)
                replayed = response.headers.get(REPLAYED) == "true"
                status = response.status
        except aiohttp.ClientConnectorError as error:
            raise TransientFault(f"{path}: cannot connect: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise InDoubt(f"{path}: the connection broke: {type(error).__name__}") from error
        if status not in _DONE:
            raise _fault(status, content, path)
        return _Received(content, replayed)


_DONE = frozenset({200, 201})
_BUSY = frozenset({409, 429})


@dataclass(frozen=True, slots=True)
class _Received:
    """An answer of success, not yet read."""

    content: bytes
    replayed: bool


class _ErrorBody(BaseModel):
    """The provider's way to tell an error."""

    class Error(BaseModel):
        code: str = ""
        message: str = ""

    error: Error = Error()


def _fault(status: int, content: bytes, path: str) -> ChoraleError:
    try:
        told = _ErrorBody.model_validate_json(content).error
    except ValidationError:
        # Not our provider's words, but the status says enough.
        told = _ErrorBody.Error()
    message = f"{path}: {status} {told.code}: {told.message}"[:MESSAGE_LENGTH_MAX]
    match status, told.code:
        case (503, "refused"):
            return TransientFault(message)
        case (412, "fenced"):
            return LeaseLost(message)
        case (400, "idempotency_mismatch"):
            return ParameterMismatch(message)
    if status in _BUSY:
        return TransientFault(message)
    return TerminalFault(message) if 400 <= status < 500 else InDoubt(message)


def _parse(received: _Received, answer: TypeAdapter[T], path: str) -> T:
    try:
        return answer.validate_json(received.content)
    except ValidationError as error:
        raise InDoubt(f"{path}: the answer cannot be read") from error


def _id_of(received: _Received, path: str) -> str:
    return _parse(received, _IDENTIFIED, path).id


@dataclass(frozen=True, slots=True)
class _Identified:
    id: str


_IDENTIFIED = TypeAdapter(_Identified)


@asynccontextmanager
async def _bounded(ask: Ask) -> AsyncIterator[None]:
    if not _KEY.fullmatch(ask.effect.key):
        raise TerminalFault(f"{ask.path}: the effect key {ask.effect.key!r} fits no header")
    try:
        async with asyncio.timeout(ask.effect.timeout_s):
            yield
    except TimeoutError as error:
        raise InDoubt(f"{ask.path}: no answer within {ask.effect.timeout_s:g} s") from error


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError("the answer is too large")
    return bytes(content)


def _headers(effect: Effect) -> dict[str, str]:
    headers = {
        IDEMPOTENCY_KEY: effect.key,
        ATTEMPT: str(effect.attempt),
        FENCE: effect.fence,
    }
    if effect.traceparent:
        headers[TRACEPARENT] = effect.traceparent
    return headers


def part(text: str) -> str:
    """One part of a path, quoted, so that an id never reaches another object."""
    return quote(text, safe="")
