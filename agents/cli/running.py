"""Where the running system is: `up.json` in the data folder, and the settings that use it.

`chorale up` writes the file (for its owner only, as a store's URL may hold a password) and removes
it when it ends. Every other command reads it for what the environment does not say; an explicit
setting wins. A file whose process has gone is ignored.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agents.cli.output import NotRunning
from agents.kernel.settings import Settings

FILE = "up.json"
KEY_FILE = "dev-key"
LEDGER_FILE = "providers/ledger.ndjson"


@dataclass(frozen=True, slots=True)
class Running:
    """One running system of this machine."""

    pid: int
    bootstrap: str
    store_url: str
    providers_url: str
    gateway_url: str
    jwt_secret_file: str
    data_dir: str
    pids: dict[str, int] = field(default_factory=dict)
    """Of every service and agent, by name."""


def announce(running: Running) -> None:
    """Write the file; replaced as a whole, so that nobody reads half of it."""
    path = Path(running.data_dir) / FILE
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(running), file)
    draft.replace(path)


def withdraw(data_dir: Path, pid: int) -> None:
    """The system of that process has ended."""
    found = find(data_dir)
    if found is None or found.pid == pid:
        (data_dir / FILE).unlink(missing_ok=True)


def find(data_dir: Path) -> Running | None:
    """The running system of a data folder, or None."""
    try:
        raw: Any = json.loads((data_dir / FILE).read_text("utf-8"))
        running = Running(**raw)
    except (OSError, ValueError, TypeError):
        return None
    return running if _alive(running.pid) else None


def environment() -> Settings:
    """The settings of the environment. Raises ValidationError that names the wrong one."""
    nothing: dict[str, Any] = {}
    return Settings(**nothing)


def settings_here() -> tuple[Settings, Running | None]:
    """The settings of the environment, filled up by what runs on this machine."""
    settings = environment()
    running = find(Path(settings.data_dir))
    if running is None:
        return settings, None
    found = {
        "bootstrap": settings.bootstrap or running.bootstrap,
        "store_url": settings.store_url or running.store_url,
        "providers_url": settings.providers_url or running.providers_url,
        "jwt_secret_file": settings.jwt_secret_file or running.jwt_secret_file,
    }
    return settings.model_copy(update=found), running


def gateway_url(settings: Settings, running: Running | None) -> str:
    """The gateway's address: the running one, unless host or port were set."""
    explicit = {"http_host", "http_port"} & settings.model_fields_set
    if running is not None and not explicit:
        return running.gateway_url
    return f"http://{settings.http_host}:{settings.http_port}"


def needed(settings: Settings, *names: str) -> Settings:
    """The settings, if these addresses are known. Raises NotRunning."""
    for name in names:
        if not getattr(settings, name):
            folder = Path(settings.data_dir).resolve()
            raise NotRunning(
                f"no system runs on the data folder {folder}, and CHORALE_{name.upper()} is not "
                "set; start one with `chorale up`, set it, or, if one runs on another data folder, "
                "set CHORALE_DATA_DIR to that folder"
            )
    return settings


def shown(url: str) -> str:
    """An address without user and password."""
    parts = urlsplit(url)
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
