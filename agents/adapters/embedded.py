"""The data folder that the embedded broker and store share: lock, logs, clean-shutdown mark.

What this file promises:

1. `DataFolder.claim` takes the folder for this process and its children alone. It removes the
   clean-shutdown mark; `release` writes it again after everything ended in order.
2. If the mark is missing while data exists, `claim` moves the data of both services aside: on a
   kill or a power loss the broker forgets the last second of acknowledged records, and the store
   would then know of records that the log has not. It returns where the data went, so that the
   caller can say so; nothing is deleted.
3. The lock is inherited by the services, so the folder of a killed parent is free only when its
   children have gone too.
4. What a service prints goes to `logs/` in the folder, never to the terminal.

The order of a stop matters: agents first, then `EmbeddedBroker.stop`, `EmbeddedStore.stop`,
`DataFolder.release`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agents.adapters.children import Child, Command
from agents.kernel.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

BROKER = "broker"
STORE = "store"
DATA_SETS = (BROKER, STORE)

_CLAIM_WITHIN_S = 10.0
"""How long the children of a killed predecessor may take to save their data and let go."""

_MARK = "clean-shutdown"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Started:
    """What was started, for the banner."""

    name: str
    version: str
    address: str
    pid: int
    guarantee: str


def unsupported() -> str | None:
    """Why nothing embedded runs on this system, or None if it may."""
    if sys.platform == "win32":
        return "embedded services need Linux or macOS; give an external broker and store, or WSL"
    return None


class DataFolder:
    """The folder that broker and store share, with its lock and its clean-shutdown mark."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock_fd: int | None = None
        self._running: set[int] = set()
        self._in_order = True

    async def claim(self) -> Path | None:
        """Take the folder; returns where data without a mark went, None if there was none."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock_fd = await self._lock()
        self._in_order = True
        moved = None if self._mark.exists() else self._move_aside()
        self._mark.unlink(missing_ok=True)
        _sync(self.path)  # a power loss must not bring the mark back beside newer data
        return moved

    def release(self) -> None:
        """Let go of the folder; the mark is written only if every service ended in order."""
        if self._lock_fd is None:
            return
        if self._in_order and not self._running:
            for name in DATA_SETS:
                _sync_tree(self.path / name)
            self._mark.write_text(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n")
            _sync(self._mark)
            _sync(self.path)
        os.close(self._lock_fd)
        self._lock_fd = None

    def command(self, name: str, argv: tuple[str, ...]) -> Command:
        """The command of a service here; it inherits the lock, so the lock outlives a killed us."""
        assert self._lock_fd is not None, "claim the data folder before a service is started in it"
        environment = {**os.environ, "LC_ALL": "C"}
        log = self.path / "logs" / f"{name}.log"
        return Command(name, argv, log, environment, self.path, keep_open=(self._lock_fd,))

    def data(self, name: str) -> Path:
        """The folder of one service's data, made if it is missing."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        return folder

    def started(self, child: Child) -> None:
        """Record the pid in the lock file, for whoever finds the folder taken."""
        assert self._lock_fd is not None
        os.write(self._lock_fd, f"{child.command.name} {child.pid}\n".encode())
        self._running.add(child.pid)

    async def stop(self, child: Child) -> bool:
        """End a service by SIGTERM; one that was killed, or had died, spoils the mark."""
        in_order = await child.stop()
        self._running.discard(child.pid)
        self._in_order = self._in_order and in_order
        return in_order

    @property
    def _mark(self) -> Path:
        return self.path / _MARK

    async def _lock(self) -> int:
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            await self._wait_for_lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.truncate(descriptor, 0)
        os.write(descriptor, f"chorale {os.getpid()}\n".encode())
        return descriptor

    async def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _CLAIM_WITHIN_S
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise ConfigurationError(self._taken())
            await asyncio.sleep(0.1)

    def _taken(self) -> str:
        holders = ", ".join((self.path / _LOCK).read_text().split("\n")[:-1])
        return (
            f"the data folder {self.path} is in use by {holders}; end it "
            "(children that outlived their parent by `kill PID`), or choose another folder"
        )

    def _move_aside(self) -> Path | None:
        full = [folder for name in DATA_SETS if _has_data(folder := self.path / name)]
        if not full:
            return None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        aside = self.path / f"aside-{stamp}"
        aside.mkdir()
        for folder in full:
            folder.rename(aside / folder.name)
        _sync(self.path)
        return aside


def _has_data(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _locked(descriptor: int) -> bool:
    if sys.platform == "win32":
        raise ConfigurationError(unsupported())
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        if path.exists():
            _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
