"""An application on a socket, started and stopped by whoever hosts the process.

Signals are the host's business. A stop is bounded: requests in hand are finished, what is not done
by then is cut off, as it would be by a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from agents.kernel.errors import ConfigurationError

GRACE_S = 8
"""Longer than an order may take, shorter than the ten seconds that supervisors give."""
FORCE_S = 2.0
"""A server whose requests were cut off has nothing left to do but close its sockets."""
KEEP_ALIVE_S = 5
"""An idle connection is closed after this; clients open another."""
BACKLOG = 1_024
"""Connections that may wait to be accepted; the usual limit of the operating system or less."""


class HttpServer:
    """A server that runs; made by `serve`."""

    def __init__(self, server: uvicorn.Server, task: asyncio.Task[None], address: str) -> None:
        self._server = server
        self._task = task
        self.address = address
        """`host:port`, with the port that was really taken."""

    async def stop(self) -> None:
        """Take no more requests, finish those in hand, close; safe to call twice."""
        self._server.should_exit = True
        try:
            async with asyncio.timeout(GRACE_S + FORCE_S):
                await asyncio.shield(self._task)
        except TimeoutError:
            self._server.force_exit = True
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


async def serve(app: FastAPI, host: str, port: int) -> HttpServer:
    """Serve the application; port 0 takes any. Returns once connections are accepted.

    Raises ConfigurationError if the address cannot be had.
    """
    listener = _listen(host, port)
    taken = listener.getsockname()
    address = f"[{taken[0]}]:{taken[1]}" if ":" in taken[0] else f"{taken[0]}:{taken[1]}"
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    task = loop.create_task(server.serve(sockets=[listener]), name=f"http {address}")
    listening = loop.create_task(server.listening.wait(), name=f"http {address} listening")
    try:
        await asyncio.wait((task, listening), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        task.cancel()
        raise
    finally:
        listening.cancel()
    if task.done():
        await task
    return HttpServer(server, task, address)


class _Server(uvicorn.Server):
    """Says when it listens, and leaves the signals to the host."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"http_host, http_port: {host}:{port} cannot be listened on ({error.strerror}); "
            "stop who has it, or choose another port (0 takes any)"
        ) from error
    listener.setblocking(False)
    return listener
