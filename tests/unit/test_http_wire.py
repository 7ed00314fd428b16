"""What a provider's answer means: which status, broken line or odd body is which fault."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from agents.kernel.errors import (
    ChoraleError,
    InDoubt,
    LeaseLost,
    ParameterMismatch,
    TerminalFault,
    TransientFault,
)
from agents.kernel.ports import Effect
from agents.ports import IntentStatus
from agents.providers.http import HttpProviders

EFFECT = Effect("o-1:confirm:1", "o-1", 2, "3.4", timeout_s=60.0, traceparent="00-aa-bb-01")
GOOD = '{"id":"pi_1","status":"authorized","amount":5,"captured":0,"refunded":0,"novel":1}'

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def provider(answer: Answer) -> AsyncIterator[HttpProviders]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    providers = HttpProviders(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    try:
        yield providers
    finally:
        await providers.close()
        await runner.cleanup()


def error(code: str) -> str:
    return f'{{"error":{{"code":"{code}","message":"because"}}}}'


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (503, error("refused"), TransientFault),
        (503, "<html>busy</html>", InDoubt),
        (503, error("overloaded"), InDoubt),
        (409, error("key_in_progress"), TransientFault),
        (429, "slow down", TransientFault),
        (500, error("internal"), InDoubt),
        (502, "<html>", InDoubt),
        (504, "", InDoubt),
        (302, "", InDoubt),
        (412, error("fenced"), LeaseLost),
        (412, "", TerminalFault),
        (400, error("idempotency_mismatch"), ParameterMismatch),
        (400, error("invalid"), TerminalFault),
        (401, "", TerminalFault),
        (403, "<html>", TerminalFault),
        (404, error("not_found"), TerminalFault),
        (422, "[]", TerminalFault),
        (200, "<html>fine</html>", InDoubt),
        (200, '{"id":"pi_1"}', InDoubt),
        (200, '{"id":"pi_1","status":"odd","amount":5}', InDoubt),
        (200, GOOD + " " * (1 << 21), InDoubt),
    ],
)
async def test_answer_is_the_right_fault(status: int, body: str, fault: type[ChoraleError]) -> None:
    """Only a known 'nothing happened' is transient; what cannot be understood is in doubt."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, headers={"location": "/elsewhere"})

    async with provider(answer) as providers:
        with pytest.raises(ChoraleError) as raised:
            await providers.payments.confirm(EFFECT, "pi_1")

    assert type(raised.value) is fault
    assert len(str(raised.value)) <= 500


async def test_redirect_is_not_followed() -> None:
    """A provider cannot send our effect, and its key, to another place."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/elsewhere":
            return web.Response(text=GOOD, content_type="application/json")
        return web.Response(status=307, headers={"location": "/elsewhere"})

    async with provider(answer) as providers:
        with pytest.raises(InDoubt):
            await providers.payments.confirm(EFFECT, "pi_1")

    assert asked == ["/payments/pi_1/confirm"]


async def test_effect_travels_in_headers_and_body() -> None:
    """Key, attempt, fence, trace and order reach the provider; odd ids stay in their place."""
    seen: dict[str, object] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.update(path=request.raw_path, body=await request.json(), **request.headers)
        return web.Response(text=GOOD, content_type="application/json")

    async with provider(answer) as providers:
        intent = await providers.payments.confirm(EFFECT, "pi/../1?x")

    assert intent.status is IntentStatus.AUTHORIZED
    assert seen["path"] == "/payments/pi%2F..%2F1%3Fx/confirm"
    assert seen["body"] == {"metadata": {"order_id": "o-1"}}
    assert seen["Idempotency-Key"] == "o-1:confirm:1"
    assert seen["chorale-attempt"] == "2"
    assert seen["chorale-fence"] == "3.4"
    assert seen["traceparent"] == "00-aa-bb-01"


async def test_refused_connection_is_transient() -> None:
    """Nobody listens, so nothing happened."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    providers = HttpProviders(f"http://127.0.0.1:{port}")

    with pytest.raises(TransientFault):
        await providers.payments.confirm(EFFECT, "pi_1")

    await providers.close()


async def test_broken_connection_is_in_doubt() -> None:
    """The request left and no answer came: nobody knows."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with provider(answer) as providers:
        with pytest.raises(InDoubt):
            await providers.payments.confirm(EFFECT, "pi_1")


async def test_half_an_answer_is_in_doubt() -> None:
    """A body that ends early is no answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b'{"id":')
        assert request.transport is not None
        request.transport.close()
        return response

    async with provider(answer) as providers:
        with pytest.raises(InDoubt):
            await providers.payments.confirm(EFFECT, "pi_1")


async def test_replay_that_cannot_be_read_again_is_in_doubt() -> None:
    """The effect took place earlier, so a refused look must not say 'nothing happened'."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(status=503, text=error("refused"))
        return web.Response(text=GOOD, headers={"idempotent-replayed": "true"})

    async with provider(answer) as providers:
        with pytest.raises(InDoubt):
            await providers.payments.confirm(EFFECT, "pi_1")
        with pytest.raises(TransientFault):
            await providers.payments.read(EFFECT, "pi_1")


async def test_time_out_covers_the_whole_call() -> None:
    """A provider that never answers costs the effect's time-out, not longer."""
    release = asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with provider(answer) as providers:
        with pytest.raises(InDoubt, match="no answer within"):
            await providers.payments.confirm(Effect("k", "o-1", 1, timeout_s=0.05), "pi_1")
        release.set()
