"""Where ledger entries are kept: in memory, nowhere, or in a file that survives any kill.

The file journal promises: when `durable` returns, every entry appended before the call is on disk
(written and fsynced). All answers that wait at the same time share one fsync, which is where the
throughput comes from. A line that was torn by a kill is cut off at the next start, because the
answer that it belongs to never left. A broken line anywhere else stops the start: a ledger that
cannot be trusted must not be added to.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from agents.kernel.errors import ConfigurationError
from agents.providers.simulator.ledger import Entry, parse_line

if sys.platform != "win32":
    import fcntl

INDEX_EVERY = 1_000
"""Entries between two remembered file positions: a reader skips at most that many lines."""

READ_CHUNK_BYTES = 1 << 16
"""How much of the ledger is read and sent at once."""


class Journal(Protocol):
    """Keeps entries."""

    def stored(self) -> Iterator[Entry]:
        """What is kept already, from the first entry on."""
        ...

    def append(self, entry: Entry) -> None:
        """Keep one more."""
        ...


class MemoryJournal:
    """Keeps the entries in a list, for tests and simulation."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def stored(self) -> Iterator[Entry]:
        """All entries."""
        return iter(self.entries)

    def append(self, entry: Entry) -> None:
        """Keep one more."""
        self.entries.append(entry)


class NoJournal:
    """Keeps nothing, for benchmarks that run longer than memory lasts."""

    def stored(self) -> Iterator[Entry]:
        """Nothing."""
        return iter(())

    def append(self, entry: Entry) -> None:
        """Forget it."""


class FileJournal:
    """Keeps the entries in an NDJSON file that one process owns at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure = ""
        """Why the disk took no more; from then on nothing is answered."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        _own(self._file, path)
        self._positions: list[int] = [0]
        self._count = 0
        self._size = 0
        self._pending: list[bytes] = []
        self._appended = 0
        self._on_disk = 0
        self._turn = asyncio.Lock()
        # One thread, so that batches reach the file in the order in which they were taken.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger-fsync")

    def stored(self) -> Iterator[Entry]:
        """Read the file once, at start; cuts off a torn last line. Raises ConfigurationError."""
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                yield self._parse(line)
                self._note(line)
        os.ftruncate(self._file, self._size)
        os.fsync(self._file)
        _sync_folder(self.path.parent)
        self._appended = self._on_disk = self._count

    def append(self, entry: Entry) -> None:
        """Queue one more; it is on disk when the next `durable` returns."""
        self._pending.append(entry.to_line())
        self._appended += 1

    async def durable(self) -> None:
        """Return when everything appended so far is on disk. Raises OSError if it never will."""
        wanted = self._appended
        while self._on_disk < wanted:
            async with self._turn:
                if self.failure:
                    raise OSError(f"the ledger {self.path} cannot be written: {self.failure}")
                if self._on_disk >= wanted:
                    return
                batch, self._pending = self._pending, []
                loop = asyncio.get_running_loop()
                # The thread keeps the books, so a cancelled waiter leaves them right.
                await loop.run_in_executor(self._writer, self._write, batch)

    async def read(self, from_seq: int) -> list[bytes]:
        """The next lines on disk from that entry on; empty at the end."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self._lines_from, from_seq)

    async def close(self) -> None:
        """Bring everything to disk and let the file go."""
        try:
            if not self.failure:
                await self.durable()
        finally:
            self._writer.shutdown(wait=True)
            os.close(self._file)

    def _parse(self, line: bytes) -> Entry:
        try:
            entry = parse_line(line)
        except ValueError as error:
            raise ConfigurationError(
                f"{self.path} line {self._count + 1}: {error}; move the file aside or restore it"
            ) from error
        if entry.seq != self._count + 1:
            raise ConfigurationError(
                f"{self.path} line {self._count + 1} has seq {entry.seq}; a line is missing, "
                "restore the file"
            )
        return entry

    def _note(self, line: bytes) -> None:
        self._count += 1
        self._size += len(line)
        if self._count % INDEX_EVERY == 0:
            self._positions.append(self._size)

    def _write(self, batch: list[bytes]) -> None:
        try:
            rest = memoryview(b"".join(batch))
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            # After a failed fsync nobody knows what is on disk; only a restart finds out.
            self.failure = str(error)
            raise
        for line in batch:
            self._note(line)
        self._on_disk = self._count

    def _lines_from(self, from_seq: int) -> list[bytes]:
        first = max(1, from_seq)
        slot = min((first - 1) // INDEX_EVERY, len(self._positions) - 1)
        skip = first - 1 - slot * INDEX_EVERY
        left = self._count - slot * INDEX_EVERY
        lines: list[bytes] = []
        size = 0
        with self.path.open("rb") as file:
            file.seek(self._positions[slot])
            for number, line in enumerate(file):
                if number >= left or size >= READ_CHUNK_BYTES:
                    break
                if number >= skip:
                    lines.append(line)
                    size += len(line)
        return lines


def _own(descriptor: int, path: Path) -> None:
    """Refuse a second process on the same ledger: two writers would interleave their numbers."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigurationError(
            f"{path} is in use by another simulator; stop that one or name another --ledger"
        ) from error


def _sync_folder(folder: Path) -> None:
    """A new file is lost with its folder entry, so that is fsynced too."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
