"""Child processes that are started, watched and ended by their recorded pid, and by nothing else.

What this file promises:

1. A child runs in a process group of its own, so a Ctrl-C at the terminal reaches the parent
   only, and the parent ends its children in the order that it needs.
2. All that a child prints goes to its log file, never to the terminal.
3. `Child.start` returns when the readiness check says yes, or raises `ChildFailed` with the last
   lines of the log; the child is gone by then.
4. `stop` is SIGTERM, a bounded wait, then SIGKILL; it says whether SIGTERM was enough.
5. On Linux a child gets SIGTERM when its parent dies, however that dies. Elsewhere a killed
   parent leaves its children behind; the data folder's lock then names them.

A child belongs to no event loop, so one loop may start it and another may stop it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.kernel.errors import ChoraleError

LOOPBACK = "127.0.0.1"

STOP_WITHIN_S = 10.0
"""Kafka writes its snapshots in one to three seconds; more than that is a hang."""

_POLL_S = 0.02
"""How often a start or a stop looks again: short beside the fastest start (50 ms)."""

_WATCH_S = 0.2
"""How often `wait` looks at a running child: a death is seen within a fifth of a second."""

_PORTS_TRIED = 100
"""Ports looked at after the preferred one before the kernel is asked for any."""

_TAIL_LINES = 12
"""Lines of the log that a failure message shows."""

_PR_SET_PDEATHSIG = 1


class ChildFailed(ChoraleError):
    """A child process did not become ready."""

    def __init__(self, name: str, why: str, log: Path, tail: str) -> None:
        shown = f"\n{tail}" if tail else ""
        super().__init__(f"{name} {why}; its log is {log}{shown}")
        self.name = name
        self.log = log


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, where its output goes, and which open files it keeps (the folder's lock)."""

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    keep_open: tuple[int, ...] = ()


class Child:
    """One running child process. Make it with `Child.start`."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes]) -> None:
        self.command = command
        self._process = process

    @classmethod
    async def start(
        cls, command: Command, ready: Callable[[Child], Awaitable[bool]], within_s: float
    ) -> Child:
        """Start the command and wait until `ready` says yes; raises `ChildFailed`."""
        child = cls(command, _spawn(command))
        try:
            await child._become_ready(ready, within_s)
        except BaseException:
            # Whatever went wrong, cancellation included, must not leave a process behind.
            child.kill()
            raise
        return child

    @property
    def pid(self) -> int:
        """The recorded pid, the only one that is ever signalled."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    async def wait(self) -> int:
        """The exit code, once the child has ended; for a supervisor's task."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - a death sets no event
            await asyncio.sleep(_WATCH_S)
        return code

    async def stop(self, within_s: float = STOP_WITHIN_S) -> bool:
        """End the child; True if it ended by itself, with code 0 or by our SIGTERM."""
        if not self.running:
            return False
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + within_s
        try:
            while self.running and time.monotonic() < deadline:  # noqa: ASYNC110 - as in wait
                await asyncio.sleep(_POLL_S)
        finally:
            orderly = not self.running
            self.kill()
        return orderly and self._process.returncode in _ORDERLY_CODES

    def kill(self) -> None:
        """SIGKILL, if it is still running, and reap it."""
        if self.running:
            self._process.kill()
        self._process.wait()

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines of the child's log."""
        try:
            text = self.command.log.read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    async def _become_ready(
        self, ready: Callable[[Child], Awaitable[bool]], within_s: float
    ) -> None:
        try:
            async with asyncio.timeout(within_s):
                while self.running:
                    if await ready(self):
                        return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as slow:
            raise self._failed(f"was not ready after {within_s:.0f} s") from slow
        raise self._failed(f"ended with code {self._process.returncode} before it was ready")

    def _failed(self, why: str) -> ChildFailed:
        return ChildFailed(self.command.name, why, self.command.log, self.tail())


async def answers(port: int) -> bool:
    """Whether something accepts connections at that loopback port."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


def free_port(preferred: int = 0) -> int:
    """The preferred port if it is free, else the next free one; 0 leaves the choice to the kernel.

    Nothing holds the port until a child binds it: a child that loses that race fails to start.
    """
    candidates = range(preferred, min(preferred + _PORTS_TRIED, 65536)) if preferred else ()
    for port in (*candidates, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port at 127.0.0.1; end some of the processes that listen there")


_ORDERLY_CODES = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
"""Stores answer SIGTERM with 0, a JVM with 143; -15 is a program without a handler."""


def _spawn(command: Command) -> subprocess.Popen[bytes]:
    command.log.parent.mkdir(parents=True, exist_ok=True)
    with command.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the argv is ours, and there is no shell
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=None if command.env is None else dict(command.env),
            cwd=command.cwd,
            pass_fds=command.keep_open,
            preexec_fn=_dies_with_parent(),  # noqa: PLW1509 - two system calls, no allocation
            process_group=0,
        )


def _dies_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    # Loaded here: between fork and exec nothing may import or take a lock.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_for_sigterm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the request stood
            os._exit(1)

    return ask_for_sigterm
