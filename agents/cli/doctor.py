"""`chorale doctor`: everything that must be in place, each line ok, note or fix with what to do.

It changes nothing. A note is something that only some commands need.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from agents.adapters.apache_kafka_jars import java_missing
from agents.adapters.children import free_port
from agents.adapters.embedded_broker import EmbeddedBroker
from agents.adapters.embedded_store import EmbeddedStore
from agents.adapters.kafka_clients import ConnectionFailed, KafkaClients, stop_within
from agents.cli.connect import store_of
from agents.cli.output import DONE, FAILED, Json, Speaker, command
from agents.cli.running import Running, environment, gateway_url, settings_here, shown
from agents.cli.services import SIMULATOR_PORT
from agents.cli.supervise import Report
from agents.kernel.errors import ConfigurationError, StoreUnavailable
from agents.kernel.settings import Settings
from agents.kernel.topics import Topics, load_topics

PYTHON_MIN = (3, 11)
PROBE_S = 5.0
"""One question to a service; a healthy one answers within milliseconds."""
CLOCK_MS_MAX = 1_000
"""Deadlines are compared across machines; a second is a fifteenth of the shortest."""
PACKAGES = ("aiohttp", "aiokafka", "fastapi", "pydantic", "redis", "typer", "uvicorn")

OK, NOTE, FIX = "ok", "note", "fix"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    verdict: str
    what: str
    says: str


@command
async def doctor(*, as_json: Json = False) -> int:
    """Look at everything that must be in place, and say what to do about what is not."""
    settings, running = settings_here()
    speaker = Speaker(as_json=as_json)
    found: list[Line] = []
    async for line in _everything(settings, running):
        found.append(line)
        speaker.say(f"{line.verdict:<5} {line.what:<12} {line.says}")
    speaker.result({"lines": [asdict(line) for line in found]})
    return FAILED if any(line.verdict == FIX for line in found) else DONE


async def _everything(settings: Settings, running: Running | None) -> AsyncIterator[Line]:
    for line in (*_machine(), *_embedded(settings), *_ports(running), *_folder(settings)):
        yield line
    if not settings.bootstrap and not settings.store_url:
        yield Line(NOTE, "system", "nothing runs on this data folder; start it by `chorale up`")
        return
    yield await _broker(settings, load_topics())
    async for line in _store(settings):
        yield line
    yield await _door("providers", settings.providers_url, "/healthz")
    yield await _door("gateway", gateway_url(settings, running), "/readyz")
    for line in _agents(running):
        yield line


def _machine() -> Iterator[Line]:
    version = sys.version.split()[0]
    if sys.version_info >= PYTHON_MIN:
        yield Line(OK, "python", version)
    else:
        yield Line(FIX, "python", f"{version} is too old; install Python 3.11, 3.12 or 3.13")
    missing = [name for name in PACKAGES if not _installed(name)]
    if missing:
        yield Line(FIX, "packages", f"missing: {', '.join(missing)}; pip install -e '.[embedded]'")
    else:
        yield Line(OK, "packages", "all that agents need are installed")
    java = java_missing()
    says = "found; Apache Kafka can be run here by `make kafka`"
    yield Line(NOTE, "java", f"only for `make kafka`: {java}") if java else Line(OK, "java", says)


def _embedded(settings: Settings) -> Iterator[Line]:
    for what, missing, given in (
        ("broker wheel", EmbeddedBroker.missing(), settings.bootstrap),
        ("store", EmbeddedStore.missing(), settings.store_url),
    ):
        if missing is None:
            yield Line(OK, what, "can be started here")
        else:
            yield Line(NOTE if given else FIX, what, missing)


def _ports(running: Running | None) -> Iterator[Line]:
    if running is not None:
        yield Line(OK, "ports", f"in use by the running system, process {running.pid}")
        return
    wanted = {"broker": 9092, "store": 6379, "providers": SIMULATOR_PORT}
    wanted["gateway"] = environment().http_port
    taken = [f"{port} ({name})" for name, port in wanted.items() if free_port(port) != port]
    if taken:
        yield Line(
            NOTE, "ports", f"taken: {', '.join(taken)}; `chorale up` uses the next free ones"
        )
    else:
        yield Line(OK, "ports", f"free: {', '.join(map(str, wanted.values()))}")


def _folder(settings: Settings) -> Iterator[Line]:
    folder = Path(settings.data_dir).resolve()
    first = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(first, os.W_OK):
        yield Line(OK, "data folder", str(folder))
    else:
        yield Line(FIX, "data folder", f"{first} cannot be written; set CHORALE_DATA_DIR")


async def _broker(settings: Settings, topics: Topics) -> Line:
    admin = KafkaClients(settings.bootstrap, None, "chorale-doctor").admin()
    try:
        async with asyncio.timeout(PROBE_S):
            await admin.start()
            described = await admin.describe_topics(None)
    except ConnectionFailed as error:
        why = str(error) or type(error).__name__
        return Line(FIX, "broker", f"{settings.bootstrap} does not answer ({why}); `chorale up`")
    finally:
        await stop_within(admin)
    counts = {t["topic"]: len(t["partitions"]) for t in described}
    missing = [topic.name for topic in topics.all if topic.name not in counts]
    if missing:
        says = f"missing: {', '.join(missing)}; `chorale up` and `chorale run` make them"
        return Line(FIX, "topics", says)
    wrong = [t.name for t in topics.all if counts[t.name] != t.partitions]
    if wrong:
        says = f"{', '.join(wrong)}: not {topics.partitions} partitions, as topics.yaml wants"
        return Line(FIX, "topics", f"{says}; mend topics.yaml, the count is fixed at birth")
    return Line(OK, "broker", f"{settings.bootstrap}, with all {len(topics.all)} topics")


async def _store(settings: Settings) -> AsyncIterator[Line]:
    address = shown(settings.store_url)
    try:
        async with store_of(settings) as store:
            epoch = await store.ledger.open()
            seconds, micros = await store.client.command("TIME")
    except (StoreUnavailable, ConfigurationError) as error:
        yield Line(FIX, "store", str(error))
        return
    if not epoch:
        yield Line(FIX, "store", f"{address} is empty; agents adopt it beside empty topics only")
    else:
        yield Line(OK, "store", f"{address}, never evicts, epoch {epoch}")
    apart_ms = abs(time.time() * 1000 - int(seconds) * 1000 - int(micros) / 1000)
    if apart_ms > CLOCK_MS_MAX:
        says = f"{apart_ms / 1000:.1f} s apart from the store's; run `timedatectl set-ntp true`"
        yield Line(FIX, "clock", says)
    else:
        yield Line(OK, "clock", f"{apart_ms:.0f} ms apart from the store's")


async def _door(what: str, address: str, path: str) -> Line:
    if not address:
        return Line(FIX, what, f"no address; set CHORALE_{what.upper()}_URL or `chorale up`")
    limit = aiohttp.ClientTimeout(total=PROBE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(f"{address.rstrip('/')}{path}") as response,
        ):
            text = " ".join((await response.text()).split())[:200]
    except (aiohttp.ClientError, OSError) as error:
        why = str(error) or type(error).__name__
        return Line(FIX, what, f"{shown(address)} does not answer ({why}); `chorale up`")
    if response.status != 200:
        return Line(FIX, what, f"{shown(address)} says {response.status}: {text}")
    return Line(OK, what, shown(address))


def _agents(running: Running | None) -> Iterator[Line]:
    if running is None:
        return
    for path in sorted((Path(running.data_dir) / "run").glob("*.json")):
        found = Report(path).read()
        if found.get("ready"):
            yield Line(OK, path.stem, f"ready, pid {found['pid']}")
        else:
            why = "; ".join(f"{k}: {v}" for k, v in found.get("troubles", {}).items())
            log = Path(running.data_dir) / "logs" / f"{path.stem}.log"
            yield Line(FIX, path.stem, f"{why or 'does not say how it is'}; its log is {log}")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
