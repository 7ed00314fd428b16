"""The one boundary to Redis or Valkey: bounded in time, and every failure is a StoreUnavailable.

1. RESP2: under RESP3 redis-py 8.1 reports a server-closed idle connection to the caller.
2. One immediate second sending, never more, and only of what is safe to send twice: all our
   scripts are; what is not goes through `pool_without_resending`.
3. Each call has one time limit that covers connecting, waiting for a connection and reading.
4. A TypeError or AttributeError of redis-py on a reset connection is a lost connection.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from agents.kernel.errors import ConfigurationError, StoreDoubtful, StoreUnavailable

CONNECTIONS_MAX = 16
"""Far more than a process keeps busy (batches share one call), far below a server's limit."""
SOCKET_S = 2.0
"""One read or one connect; a healthy server answers within milliseconds."""
CALL_S = 4.0
"""A whole call with its one second sending; below the lease, so that a lease outlives it."""

Text = str | bytes | int | float

_TLS_BY_SCHEME = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How to reach the server, beside its URL."""

    ca_file: str = ""
    """Certificate authority; the system's own if empty."""
    socket_s: float = SOCKET_S
    call_s: float = CALL_S


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the name under which the server keeps it."""

    source: str
    sha: str

    @classmethod
    def load(cls, *names: str) -> Script:
        """The script that stands in those files beside this module, one after the other."""
        folder = resources.files(__package__)
        source = "\n".join((folder / name).read_text("utf-8") for name in names)
        digest = hashlib.sha1(source.encode(), usedforsecurity=False)
        return cls(source, digest.hexdigest())


class RedisClient:
    """A bounded pool of connections to one server, and the only way to it.

    `url` is `redis://user:password@host:port/0`, with `rediss` for TLS; `valkey` and `valkeys`
    mean the same. A bare `host:port` does too.
    """

    def __init__(self, url: str, options: StoreOptions | None = None) -> None:
        self._url = url if "://" in url else f"redis://{url}"
        self._options = options or StoreOptions()
        self._pool = self._connections(resend=1)
        self._redis = Redis(connection_pool=self._pool)
        self._execute: Callable[..., Awaitable[Any]] = self._redis.execute_command
        self._free = asyncio.Semaphore(CONNECTIONS_MAX)

    @property
    def address(self) -> str:
        """Host and port, for people; never a password."""
        return urlsplit(self._url).netloc.rpartition("@")[2]

    async def command(self, *words: Text) -> Any:
        """Run one command that is safe to send twice. Raises StoreUnavailable."""
        async with self._free, self.errors():
            return await self._execute(*words)

    async def run(self, script: Script, keys: Sequence[Text], arguments: Sequence[Text]) -> Any:
        """Run a script that is safe to send twice. Raises StoreUnavailable."""
        words = (len(keys), *keys, *arguments)
        async with self._free, self.errors():
            try:
                return await self._execute("EVALSHA", script.sha, *words)
            except NoScriptError:
                # The server was restarted or its scripts were flushed; EVAL caches it again.
                return await self._execute("EVAL", script.source, *words)

    @asynccontextmanager
    async def errors(self) -> AsyncIterator[None]:
        """Bound what stands inside in time, and turn whatever redis-py raises into our error."""
        try:
            async with asyncio.timeout(self._options.call_s):
                yield
        except (RedisError, OSError, TypeError, AttributeError) as error:
            # TimeoutError is an OSError. For TypeError and AttributeError see redis-py #4287.
            raise StoreUnavailable(
                f"the store at {self.address} failed ({type(error).__name__}: {error}); check that "
                "it runs, has memory left and may be written to"
            ) from error

    def pool_without_resending(self) -> ConnectionPool:
        """Connections for a library whose calls must not be sent twice; the caller closes them."""
        return self._connections(resend=0)

    async def close(self) -> None:
        """Close every connection."""
        async with self.errors():
            await self._redis.aclose()
            await self._pool.disconnect()

    def _connections(self, resend: int) -> ConnectionPool:
        parts = urlsplit(self._url)
        if parts.scheme not in _TLS_BY_SCHEME or not parts.hostname or not parts.port:
            raise ConfigurationError(
                f"store_url with scheme {parts.scheme!r} and address {self.address!r} is not "
                "understood; write for example redis://127.0.0.1:6379/0"
            )
        secure: dict[str, Any] = {}
        if _TLS_BY_SCHEME[parts.scheme]:
            ca_file = self._options.ca_file or None
            secure = {"connection_class": SSLConnection, "ssl_ca_certs": ca_file}
        return ConnectionPool(
            host=parts.hostname,
            port=parts.port,
            db=int(parts.path.strip("/") or 0),
            username=unquote(parts.username or "") or None,
            password=unquote(parts.password or "") or None,
            protocol=2,
            socket_timeout=self._options.socket_s,
            socket_connect_timeout=self._options.socket_s,
            retry=Retry(NoBackoff(), resend),
            max_connections=CONNECTIONS_MAX,
            **secure,
        )


_CREATE = Script.load("epoch.lua")


class StoreEpoch:
    """The store's birth, which every script compares: a flushed or exchanged store is noticed.

    `known` is 0 as long as no epoch was read or created; then every script answers doubtful.
    """

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self._client = client
        self.key = f"{prefix}epoch"
        self.known = 0

    async def read(self) -> int:
        """Adopt the store's epoch; 0 if it has none. The caller judges whether it is a new one."""
        found = await self._client.command("GET", self.key)
        self.known = int(found or 0)
        return self.known

    async def create(self) -> int:
        """Mark a store as complete, unless it is marked already; returns the epoch in force."""
        self.known = int(await self._client.run(_CREATE, [self.key], []))
        return self.known

    def doubt(self, found: bytes | None) -> StoreDoubtful:
        """The error for a store whose epoch is not ours."""
        seen = (found or b"").decode("ascii", "replace") or "none"
        return StoreDoubtful(
            f"the store has epoch {seen}, this process knows {self.known or 'none'}: restore "
            "its data (the append-only file), or begin with an empty log too; then start anew"
        )
