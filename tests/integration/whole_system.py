"""A whole system in a folder of its own, used through the command line as a person would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.adapters.embedded_broker import EmbeddedBroker
from agents.adapters.embedded_store import EmbeddedStore

ROOT = Path(__file__).parents[2]
READY_WITHIN_S = 90.0
"""Eight processes start on two loaded cores."""
STOP_WITHIN_S = 40.0
"""The drain of the agents, and the services one after the other."""


def need_embedded() -> None:
    """Skip, or fail in CI, where broker or store cannot be started."""
    missing = EmbeddedBroker.missing() or EmbeddedStore.missing()
    if missing is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must not skip: {missing}", pytrace=False)
    pytest.skip(missing)


class System:
    """`chorale up` in a folder, and the commands of a second terminal."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".up.log")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CHORALE_")}
        told = {f"CHORALE_{name.upper()}": value for name, value in settings.items()}
        self.environment = {**inherited, "CHORALE_DATA_DIR": str(folder), **told}
        self.process: subprocess.Popen[bytes] | None = None
        self.pids: dict[str, int] = {}

    def up(self) -> dict[str, Any]:
        """Start it; returns what `up --json` says when all are ready."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agents", "up", "--json"],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"up ended: {self.log.read_text()}"
        document: dict[str, Any] = json.loads(line)
        assert "error" not in document, document
        services = {name: one["pid"] for name, one in document["services"].items()}
        self.pids = {**services, **document["agents"]}
        return document

    def down(self, number: int = signal.SIGTERM) -> int:
        """End it; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(STOP_WITHIN_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def run(self, *words: str, within_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command in a second terminal."""
        return subprocess.run(
            [sys.executable, "-m", "agents", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def ask(self, *words: str) -> dict[str, Any]:
        """The JSON document of a command."""
        told = self.run(*words, "--json")
        assert told.stdout, told.stderr
        document: dict[str, Any] = json.loads(told.stdout)
        return document

    def reported_pid(self, agent: str) -> int:
        """The pid that the agent says it has, once it says that it is ready."""

        def ready() -> bool:
            return self._report(agent).get("ready") is True and alive(self._report(agent)["pid"])

        wait_for(ready, READY_WITHIN_S)
        return int(self._report(agent)["pid"])

    def _report(self, agent: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "run" / f"{agent}.json").read_text())
        return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that was only not reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return _exists(pid) if not Path("/proc").is_dir() else False
    return state != "Z"


def wait_for(reached: Callable[[], bool], within_s: float) -> None:
    """Look until it is so."""
    until_s = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < until_s, "it never came to that"
        time.sleep(0.1)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
