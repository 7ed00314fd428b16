"""One child process per agent, started again with growing patience whenever it dies.

A child tells that it is ready by a file that it writes with its own pid (`Report`), so that a
file of a predecessor is never believed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import agents
from agents.adapters.children import Child, ChildFailed, Command

READY_WITHIN_S = 30.0
"""Imports take a second, on a loaded machine five; joining a group as long as its slowest."""
PATIENCE_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits before the next start; the last one is repeated. The first is short: one crash is luck."""
SETTLED_S = 30.0
"""A child that has lived so long is forgiven its earlier deaths."""
STOP_MARGIN_S = 5.0
"""Beyond the drain: to commit, to leave the group and to close the connections."""


@dataclass(frozen=True, slots=True)
class Report:
    """The file in which a process says how it is."""

    path: Path

    def write(self, *, ready: bool, troubles: Mapping[str, str]) -> None:
        """Replace the file as a whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{os.getpid()}")
        document = {"pid": os.getpid(), "ready": ready, "troubles": dict(troubles)}
        draft.write_text(json.dumps(document), encoding="utf-8")
        draft.replace(self.path)

    def read(self) -> dict[str, Any]:
        """What it says; empty if there is nothing to read."""
        try:
            found: dict[str, Any] = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def ready_for(self, pid: int) -> bool:
        """Whether the process of that pid says that it is ready."""
        found = self.read()
        return found.get("pid") == pid and found.get("ready") is True


@dataclass(frozen=True, slots=True)
class Place:
    """Where agents run: their logs and reports, and the settings they are given."""

    data_dir: Path
    environment: Mapping[str, str]
    drain_ms: int


class Supervised:
    """One agent of this machine."""

    def __init__(self, name: str, place: Place, say: Callable[[str], None]) -> None:
        self.name = name
        self.deaths = 0
        self._place = place
        self._say = say
        self._child: Child | None = None
        self._report = Report(place.data_dir / "run" / f"{name}.json")

    @property
    def pid(self) -> int:
        """Of the running process; 0 for none."""
        return self._child.pid if self._child is not None and self._child.running else 0

    @property
    def troubles(self) -> Mapping[str, str]:
        """What the process says is down."""
        found: Mapping[str, str] = self._report.read().get("troubles", {})
        return found

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises ChildFailed."""

        async def ready(child: Child) -> bool:
            return self._report.ready_for(child.pid)

        self._child = await Child.start(self._command(), ready, READY_WITHIN_S)

    async def keep(self) -> None:
        """For ever: wait for its end, and start it again."""
        loop = asyncio.get_running_loop()
        while True:
            began_s, how = loop.time(), "could not be started"
            if self._child is not None:
                how = f"ended with {_told(await self._child.wait())}"
            if loop.time() - began_s > SETTLED_S:
                self.deaths = 0
            wait_s = PATIENCE_S[min(self.deaths, len(PATIENCE_S) - 1)]
            self.deaths += 1
            self._say(f"agent {self.name} {how}; starting it again in {wait_s:g} s")
            await asyncio.sleep(wait_s)
            await self._start_again()

    async def stop(self) -> bool:
        """Drain and end it; True if it ended in order."""
        child, self._child = self._child, None
        if child is None:
            return True
        return await child.stop(self._place.drain_ms / 1000 + STOP_MARGIN_S)

    async def _start_again(self) -> None:
        try:
            await self.start()
        except ChildFailed as failed:
            self._child = None
            self._say(str(failed))
        else:
            self._say(f"agent {self.name} runs again, pid {self.pid}")

    def _command(self) -> Command:
        argv = (sys.executable, "-m", "agents", "run", self.name)
        log = self._place.data_dir / "logs" / f"{self.name}.log"
        report = ("--report", str(self._report.path))
        return Command(self.name, (*argv, *report), log, self._place.environment)


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with other settings; the child imports the same `agents`."""
    root = str(Path(agents.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([root, inherited]) if inherited else root
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **settings}


def _told(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"
