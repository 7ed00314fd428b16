"""The gateway on a real socket."""

from __future__ import annotations

import asyncio
import signal

import httpx2
import pytest
from fastapi import FastAPI, Request, Response

from agents.adapters.http import http_app, serve
from agents.kernel.errors import ConfigurationError
from agents.kernel.submission import SUBMISSION_BYTES_MAX
from tests.simulation.loop import VirtualLoop
from tests.unit.http_gateway import World

HOST = "127.0.0.1"


async def test_server_answers_on_the_port_that_it_took() -> None:
    """Port 0 takes any, the handle tells which; after the stop nobody listens there."""
    loop = VirtualLoop()
    server = await serve(http_app(World(loop).service), HOST, 0)
    async with httpx2.AsyncClient(base_url=f"http://{server.address}") as client:
        answer = await client.get("/healthz")

    await server.stop()
    await server.stop()
    loop.close()

    assert (answer.status_code, answer.text) == (200, "alive\n")
    assert "server" not in answer.headers
    host, _, port = server.address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_upload_is_cut_off_when_it_is_too_large() -> None:
    """A sender of more than the limit gets its answer, and the connection ends."""
    loop = VirtualLoop()
    server = await serve(http_app(World(loop).service), HOST, 0)
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        "POST /orders HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode())
    block = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    for _ in range(SUBMISSION_BYTES_MAX // 0x4000 + 1):
        writer.write(block)

    # The last chunk never comes: the answer does not wait for it.
    answer = await reader.read()

    writer.close()
    await server.stop()
    loop.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


async def test_request_in_hand_is_finished_when_the_server_stops() -> None:
    """A stop loses no answer."""
    app, begun, go_on = FastAPI(), asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        begun.set()
        await go_on.wait()
        return Response(b"done")

    app.add_api_route("/slow", slow, methods=["GET"])
    server = await serve(app, HOST, 0)
    async with (
        httpx2.AsyncClient(base_url=f"http://{server.address}") as client,
        asyncio.TaskGroup() as tasks,
    ):
        answer = tasks.create_task(client.get("/slow"), name="slow request")
        await begun.wait()
        stopping = tasks.create_task(server.stop(), name="stop")
        await asyncio.wait([stopping], timeout=0.3)
        assert not stopping.done()
        go_on.set()

    assert answer.result().text == "done"


async def test_request_in_hand_is_cut_off_when_it_outlasts_the_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stop ends, whatever a request waits for."""
    monkeypatch.setattr("agents.adapters.http_server.GRACE_S", 1)
    app, begun, cut_off = FastAPI(), asyncio.Event(), asyncio.Event()

    async def endless(request: Request) -> Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()
        return Response()

    app.add_api_route("/endless", endless, methods=["GET"])
    server = await serve(app, HOST, 0)
    async with httpx2.AsyncClient(base_url=f"http://{server.address}") as client:
        loop = asyncio.get_running_loop()
        request = loop.create_task(client.get("/endless"), name="endless request")
        await begun.wait()

        async with asyncio.timeout(5):
            await server.stop()
            await cut_off.wait()

        await asyncio.wait([request])
    assert not request.cancelled()
    request.exception()


async def test_server_is_refused_when_its_port_is_taken() -> None:
    """The message names the settings."""
    loop = VirtualLoop()
    app = http_app(World(loop).service)
    server = await serve(app, HOST, 0)

    with pytest.raises(ConfigurationError, match="http_port"):
        await serve(app, HOST, int(server.address.rpartition(":")[2]))

    await server.stop()
    loop.close()


async def test_signals_stay_with_the_host_while_the_server_runs() -> None:
    """Who hosts the process decides what a signal means."""
    loop = VirtualLoop()
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]

    server = await serve(http_app(World(loop).service), HOST, 0)

    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    await server.stop()
    loop.close()
