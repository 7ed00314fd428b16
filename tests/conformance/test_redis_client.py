"""Whatever a server does, its users see StoreUnavailable or a ConfigurationError with the cure."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from agents.adapters.redis_client import RedisClient, StoreOptions
from agents.adapters.redis_ledger import RedisLedger
from agents.kernel.errors import ConfigurationError, StoreUnavailable
from agents.kernel.protocol import Verdict
from tests.conformance.ledgers import begin


@pytest.fixture
async def client(valkey: str) -> AsyncIterator[RedisClient]:
    made = RedisClient(valkey)
    yield made
    await made.close()


@pytest.mark.valkey
async def test_open_refuses_a_server_that_may_evict(client: RedisClient) -> None:
    """A server that forgets steps under pressure is refused, and the message says the cure."""
    ledger = RedisLedger(client, f"{uuid.uuid4().hex}:")
    await set_for(client, "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigurationError, match="noeviction"):
            await ledger.open()
    finally:
        await set_for(client, "maxmemory-policy", "noeviction")
    await ledger.open()


@pytest.mark.valkey
async def test_open_refuses_a_server_without_a_log_when_one_is_required(
    client: RedisClient,
) -> None:
    """In production a store that forgets in a crash is refused; in development it is not."""
    await set_for(client, "appendonly", "no")
    try:
        with pytest.raises(ConfigurationError, match="appendonly yes"):
            await RedisLedger(client, "x:", require_aof=True).open()
        await RedisLedger(client, f"{uuid.uuid4().hex}:").open()
    finally:
        await set_for(client, "appendonly", "yes")


async def set_for(client: RedisClient, name: str, value: str) -> None:
    await client.command("CONFIG SET", name, value)


@pytest.mark.valkey
async def test_apply_is_unavailable_when_memory_is_used_up(client: RedisClient) -> None:
    """A full store takes no claim; it must not look like a bug of ours."""
    ledger = RedisLedger(client, f"{uuid.uuid4().hex}:")
    await ledger.create_epoch()
    before = (await client.command("CONFIG GET", "maxmemory"))["maxmemory"]
    await set_for(client, "maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match="memory"):
            await ledger.apply([begin()])
    finally:
        await set_for(client, "maxmemory", before)
    (reply,) = await ledger.apply([begin()])
    assert (reply.verdict, reply.record.fence) == (Verdict.OURS, 1)


@pytest.mark.valkey
async def test_idle_connection_is_replaced_when_the_server_closed_it(client: RedisClient) -> None:
    """A connection that the server closed while idle costs nobody an error (redis-py #4252)."""
    ledger = RedisLedger(client, f"{uuid.uuid4().hex}:")
    await ledger.create_epoch()
    await client.command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")

    (reply,) = await ledger.apply([begin()])

    assert reply.verdict is Verdict.OURS


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1 << 16)
    await reader.read()
    writer.close()


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1 << 16)
    writer.transport.abort()


async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1 << 16)
    writer.write(b"?? no redis here\r\n")
    writer.close()


@pytest.mark.parametrize("behave", [silent, resetting, babbling])
async def test_apply_is_unavailable_when_the_server_misbehaves(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """Silence, a reset and nonsense all end in bounded time as StoreUnavailable."""
    server = await asyncio.start_server(behave, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = RedisClient(f"redis://127.0.0.1:{port}", StoreOptions(socket_s=0.05, call_s=0.5))

    with pytest.raises(StoreUnavailable, match="127"):
        await RedisLedger(client, "x:").apply([begin()])

    await client.close()
    server.close()


async def test_apply_is_unavailable_when_nobody_listens() -> None:
    """A refused connection is a store that is away."""
    client = RedisClient("redis://:secret@127.0.0.1:1")

    with pytest.raises(StoreUnavailable) as raised:
        await RedisLedger(client, "x:").apply([begin()])

    assert "secret" not in str(raised.value)


def test_client_refuses_an_address_that_is_none() -> None:
    """A wrong URL is found at the start, with an example of a right one."""
    with pytest.raises(ConfigurationError, match=re.escape("redis://127.0.0.1:6379/0")):
        RedisClient("http://127.0.0.1:80")
