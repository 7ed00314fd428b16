"""Agents in this process, from opening the stores to the drained end.

1. The gateway's HTTP door opens first and says "not ready" until everything answers.
2. The topics are made, the store is adopted, then the agents run; broker or store away means
   waiting with growing patience, at the start as later on.
3. SIGTERM or SIGINT: fetch no more, finish what is in hand, commit, close. A second one cuts off.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agents.adapters.kafka_admin import ensure_topics
from agents.bootstrap import Host, refuse_unsound
from agents.cli.connect import Connections, adopt_store, connections
from agents.cli.supervise import Report
from agents.kernel.errors import LogUnavailable, StoreUnavailable
from agents.kernel.retry import backoff_s
from agents.kernel.settings import Settings
from agents.kernel.telemetry import Telemetry
from agents.kernel.topics import Topics, load_topics

OPEN_BASE_S, OPEN_MAX_S = 0.2, 3.0
"""Between two tries to reach broker or store: back within five seconds of their return."""
REPORT_S = 0.1
"""How often the report file is brought up to date, if anything has changed."""
STOP_MARGIN_S = 4.0
"""Beyond the drain; what has not ended by then is cut off, as a crash would."""

_LOG = logging.getLogger("chorale.run")


@dataclass(frozen=True, slots=True)
class Hosted:
    """What to host."""

    names: Sequence[str]
    settings: Settings
    accept_empty_store: bool = False
    report: Report | None = None


class LogTelemetry(Telemetry):
    """Faults and waits go to the process's log; ids and payloads do not."""

    def retried(self, agent: str, step: str, error_type: str) -> None:
        """A try failed and is to be repeated."""
        _LOG.warning("retried agent=%s step=%s error=%s", agent, step, error_type)

    def waited(self, agent: str, what: str, why: str) -> None:
        """A dependency is away; the agent waits."""
        del agent
        _LOG.warning("waiting for=%s why=%s", what, why)


async def host(hosted: Hosted) -> None:
    """Run the agents until a signal. Raises ConfigurationError for what waiting cannot mend."""
    topics = load_topics()
    refuse_unsound(topics, hosted.settings)
    stop = asyncio.Event()
    with _signals(stop):
        async with connections(hosted.settings, topics, LogTelemetry()) as found:
            await _Hosting(hosted, found, topics).run(stop)


class _Hosting:
    def __init__(self, hosted: Hosted, found: Connections, topics: Topics) -> None:
        self._hosted = hosted
        self._found = found
        self._topics = topics
        self._health = found.parts.health
        self._health.down("store", "not opened yet")
        self._health.down("broker", "not joined yet")
        self._host = Host(hosted.names, found.parts, found.outside, found.stores)

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks, self._door():
            reporting = tasks.create_task(self._keep_reporting(), name="report")
            stopping = tasks.create_task(stop.wait(), name="wait for a signal")
            running = tasks.create_task(self._open_and_run(), name="agents")
            await asyncio.wait((stopping, running), return_when=asyncio.FIRST_COMPLETED)
            self._host.stop()
            limit_s = self._hosted.settings.drain_ms / 1000 + STOP_MARGIN_S
            await asyncio.wait((running,), timeout=limit_s if self._opened else 0)
            for task in (running, stopping, reporting):
                task.cancel()

    @property
    def _opened(self) -> bool:
        return self._found.ledger.epoch > 0

    async def _open_and_run(self) -> None:
        await self._open()
        await self._host.run()

    async def _open(self) -> None:
        settings, clock = self._hosted.settings, self._found.parts.clock
        tries = 0
        while True:
            try:
                await ensure_topics(settings.bootstrap, self._topics)
                await adopt_store(
                    self._found.ledger,
                    self._found.log,
                    self._topics,
                    accept_empty=self._hosted.accept_empty_store,
                )
            except (StoreUnavailable, LogUnavailable) as error:
                what = "store" if isinstance(error, StoreUnavailable) else "broker"
                self._health.down(what, str(error))
                _LOG.warning("waiting for=%s why=%s", what, error)
                delay_s = backoff_s(OPEN_BASE_S, tries, self._found.parts.random.random())
                await clock.sleep(min(delay_s, OPEN_MAX_S))
                tries += 1
            else:
                self._health.up("store")
                return

    @asynccontextmanager
    async def _door(self) -> AsyncIterator[None]:
        """The gateway's HTTP door, if the gateway is among the agents."""
        if "gateway" not in self._hosted.names:
            yield
            return
        # Loaded here, because the web framework is most of what an agent would import.
        door = importlib.import_module("agents.cli.door")
        settings = self._hosted.settings
        server = await door.open_door(self._host, self._found, settings)
        _LOG.info("listening on http://%s", server.address)
        try:
            yield
        finally:
            await server.stop()

    async def _keep_reporting(self) -> None:
        report = self._hosted.report
        if report is None:
            return
        told: tuple[bool, dict[str, str]] | None = None
        while True:
            now = (self._health.ready, dict(self._health.troubles))
            if now != told:
                report.write(ready=now[0], troubles=now[1])
                told = now
            await asyncio.sleep(REPORT_S)


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first signal asks for the end, the second one cuts off."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def heard() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, heard)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def log_to_stderr() -> None:
    """One line an entry; libraries speak up only when something is wrong."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("chorale").setLevel(logging.INFO)
    # An outage is reported by our own health; the library would say it twenty times a second.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
