"""Child processes: started, watched and ended by their pid, none left behind."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from agents.adapters.children import Child, ChildFailed, Command, free_port


async def test_start_fails_with_the_log_when_the_child_ends_early(tmp_path: Path) -> None:
    """A child that ends is reported with its code and its last words."""
    program = (sys.executable, "-c", "print('no room left'); raise SystemExit(3)")

    with pytest.raises(ChildFailed, match=r"(?s)ended with code 3 .*no room left"):
        await Child.start(Command("store", program, tmp_path / "log"), _never, 10)


async def test_child_is_gone_when_it_never_becomes_ready(tmp_path: Path) -> None:
    """A start that times out leaves no process behind."""
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    with pytest.raises(ChildFailed, match="not ready after"):
        await Child.start(
            Command("store", (sys.executable, "-c", code), tmp_path / "log"), _never, 1
        )

    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_child_is_killed_when_it_ignores_sigterm(tmp_path: Path) -> None:
    """The wait for an orderly end is bounded, and its failure is told."""
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    )

    async def deaf(child: Child) -> bool:
        return child.tail() == "deaf"

    command = Command("deaf", (sys.executable, "-c", code), tmp_path / "log")
    child = await Child.start(command, deaf, 10)

    assert await child.stop(within_s=0.2) is False
    assert not child.running


def test_next_port_is_taken_when_the_preferred_one_is_busy() -> None:
    """A port in use is passed over; a free one is kept."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        preferred = busy.getsockname()[1]

        assert free_port(preferred) != preferred

    assert free_port(preferred) == preferred


async def _never(_: Child) -> bool:
    return False
