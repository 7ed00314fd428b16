"""`up.json`: how the commands find the running system."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agents.cli.output import NotRunning
from agents.cli.running import (
    FILE,
    Running,
    announce,
    find,
    gateway_url,
    needed,
    settings_here,
    shown,
    withdraw,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that the settings name, in an otherwise empty environment."""
    for name in [name for name in os.environ if name.startswith("CHORALE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHORALE_DATA_DIR", str(tmp_path))
    return tmp_path


def running(folder: Path, pid: int) -> Running:
    return Running(
        pid=pid,
        bootstrap="127.0.0.1:9",
        store_url="redis://:secret@127.0.0.1:8/0",
        providers_url="http://127.0.0.1:7",
        gateway_url="http://127.0.0.1:6",
        jwt_secret_file=str(folder / "dev-key"),
        data_dir=str(folder),
        pids={"payment": 1},
    )


def dead_pid() -> int:
    """The pid of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_running_system_is_found_when_it_was_announced(folder: Path) -> None:
    """What was announced is found, by its owner only."""
    announce(running(folder, os.getpid()))

    assert find(folder) == running(folder, os.getpid())
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600


def test_file_is_ignored_when_its_process_has_gone(folder: Path) -> None:
    """A system that was killed is not believed to run."""
    announce(running(folder, dead_pid()))

    assert find(folder) is None


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"pid": 1}'])
def test_file_is_ignored_when_it_cannot_be_read(folder: Path, text: str) -> None:
    """A broken file is as good as none."""
    (folder / FILE).write_text(text)

    assert find(folder) is None


def test_file_stays_when_another_process_withdraws(folder: Path) -> None:
    """Only the system that announced itself takes the file away."""
    announce(running(folder, os.getpid()))

    withdraw(folder, os.getpid() + 1)
    assert (folder / FILE).exists()

    withdraw(folder, os.getpid())
    assert not (folder / FILE).exists()


def test_addresses_come_from_the_file_when_none_are_set(folder: Path) -> None:
    """Commands in another terminal need no settings."""
    announce(running(folder, os.getpid()))

    settings, found = settings_here()

    assert settings.bootstrap == "127.0.0.1:9"
    assert settings.jwt_secret_file == str(folder / "dev-key")
    assert gateway_url(settings, found) == "http://127.0.0.1:6"


def test_explicit_setting_wins_when_a_system_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names an address means it."""
    announce(running(folder, os.getpid()))
    monkeypatch.setenv("CHORALE_BOOTSTRAP", "kafka:1")
    monkeypatch.setenv("CHORALE_HTTP_PORT", "1234")

    settings, found = settings_here()

    assert settings.bootstrap == "kafka:1"
    assert gateway_url(settings, found) == "http://127.0.0.1:1234"


def test_missing_address_says_how_to_start_when_nothing_runs(folder: Path) -> None:
    """The error names the folder, the setting and the command."""
    settings, _ = settings_here()

    with pytest.raises(NotRunning, match=r"CHORALE_BOOTSTRAP.*`chorale up`") as error:
        needed(settings, "bootstrap")
    assert str(folder) in str(error.value)


def test_password_is_left_out_when_an_address_is_shown() -> None:
    """No command prints a secret."""
    assert shown("redis://user:secret@host:6379/0") == "redis://host:6379/0"
    assert shown("http://host:1") == "http://host:1"
