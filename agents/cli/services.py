"""Broker, store and provider simulator on this machine, as far as no address was given for them.

1. `start` claims the data folder first. Data that was not shut down in order is moved aside, and
   the simulator's ledger with it: an outside world that remembers orders of a lost log would
   make every audit fail.
2. The simulator is started again when it dies, at the same address: its ledger is on disk before
   it answers. An embedded broker or store that dies has lost records, so `watch` raises.
3. `stop` ends what was started, in the reverse order, and writes the clean-shutdown mark.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from agents.adapters.children import LOOPBACK, Child, ChildFailed, Command, answers, free_port
from agents.adapters.embedded import DataFolder, Started
from agents.adapters.embedded_broker import EmbeddedBroker
from agents.adapters.embedded_store import EmbeddedStore
from agents.cli.running import LEDGER_FILE, shown
from agents.cli.supervise import PATIENCE_S, child_environment
from agents.kernel.errors import ChoraleError, ConfigurationError
from agents.kernel.settings import Settings

SIMULATOR_PORT = 8091
"""The preferred port of the provider simulator."""
SIMULATOR_READY_S = 30.0
"""It reads its ledger first; a million entries take some ten seconds."""
WATCH_S = 0.5
"""How often broker and store are looked at; the agents notice at once, and wait."""
START_TRIES = 3
"""A free port may be taken before the child binds it."""


class ServiceDied(ChoraleError):
    """A service that holds data died; everything was stopped."""


class Services:
    """What the agents need around them."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.data_dir = Path(settings.data_dir).resolve()
        self.moved_aside: Path | None = None
        self.broker: Started | None = None
        self.store: Started | None = None
        self.simulator: Started | None = None
        self._settings = settings
        self._say = say
        self._folder = DataFolder(self.data_dir)
        self._embedded_broker: EmbeddedBroker | None = None
        self._embedded_store: EmbeddedStore | None = None
        self._simulator: Child | None = None

    async def start(self) -> Settings:
        """Start what has no address; returns the settings with all addresses. May raise."""
        settings = self._settings
        self._refuse_what_is_missing()
        self.moved_aside = await self._folder.claim()
        self._move_ledger_aside()
        found = {
            "bootstrap": settings.bootstrap or await self._start_broker(),
            "store_url": settings.store_url or await self._start_store(),
            "providers_url": settings.providers_url or await self._start_simulator(),
        }
        return settings.model_copy(update=found)

    async def watch(self) -> None:
        """Until it raises ServiceDied: keep the simulator, look at broker and store."""
        deaths = 0
        while True:
            await asyncio.sleep(WATCH_S)
            self._refuse_deaths()
            simulator = self._simulator
            if simulator is not None and not simulator.running:
                self._say("the provider simulator died; starting it again at the same address")
                await asyncio.sleep(PATIENCE_S[min(deaths, len(PATIENCE_S) - 1)])
                deaths += 1
                await self._start_simulator_again()

    async def stop(self) -> bool:
        """End what was started; True if all of it ended in order."""
        in_order = self._simulator is None or await self._simulator.stop()
        self._simulator = None
        if self._embedded_broker is not None:
            await self._embedded_broker.stop()
        if self._embedded_store is not None:
            await self._embedded_store.stop()
        self._folder.release()
        return in_order

    def _refuse_what_is_missing(self) -> None:
        reasons = []
        if not self._settings.bootstrap and (reason := EmbeddedBroker.missing()):
            reasons.append(f"{reason} (set CHORALE_BOOTSTRAP to use a Kafka of yours)")
        if not self._settings.store_url and (reason := EmbeddedStore.missing()):
            reasons.append(f"{reason} (or set CHORALE_STORE_URL)")
        if reasons:
            raise ConfigurationError("; ".join(reasons))

    def _move_ledger_aside(self) -> None:
        ledger = self.data_dir / LEDGER_FILE
        if self.moved_aside is not None and ledger.parent.exists():
            shutil.move(ledger.parent, self.moved_aside / ledger.parent.name)

    async def _start_broker(self) -> str:
        async def start() -> Started:
            self._embedded_broker = EmbeddedBroker(self._folder)
            return await self._embedded_broker.start()

        self.broker = await _retried(start)
        return self.broker.address

    async def _start_store(self) -> str:
        async def start() -> Started:
            self._embedded_store = EmbeddedStore(self._folder)
            return await self._embedded_store.start()

        self.store = await _retried(start)
        return self.store.address

    async def _start_simulator(self) -> str:
        async def start() -> Started:
            port = free_port(SIMULATOR_PORT)
            self._simulator = await self._simulator_at(port)
            return Started(
                name="provider simulator",
                version=f"Python {platform.python_version()}",
                address=f"http://{LOOPBACK}:{port}",
                pid=self._simulator.pid,
                guarantee="nothing real is charged or shipped; its ledger is on disk before it "
                "answers",
            )

        self.simulator = await _retried(start)
        return self.simulator.address

    async def _start_simulator_again(self) -> None:
        assert self.simulator is not None
        port = int(self.simulator.address.rpartition(":")[2])
        try:
            self._simulator = await self._simulator_at(port)
        except ChildFailed as failed:
            self._say(str(failed))

    async def _simulator_at(self, port: int) -> Child:
        ledger = self.data_dir / LEDGER_FILE
        ledger.parent.mkdir(parents=True, exist_ok=True)
        program = (sys.executable, "-m", "agents.providers.simulator")
        argv = (*program, "--port", str(port), "--ledger", str(ledger))
        log = self.data_dir / "logs" / "simulator.log"
        command = Command("provider simulator", argv, log, child_environment({}))

        async def ready(_: Child) -> bool:
            return await answers(port)

        return await Child.start(command, ready, SIMULATOR_READY_S)

    def _refuse_deaths(self) -> None:
        broker, store = self._embedded_broker, self._embedded_store
        held = {
            "broker": broker.child if broker else None,
            "store": store.child if store else None,
        }
        for name, child in held.items():
            if child is not None and not child.running:
                raise ServiceDied(
                    f"the embedded {name} died and has lost records, so everything is stopped; "
                    f"its log is {child.command.log}. The next `chorale up` moves the data aside "
                    "and starts afresh"
                )


async def _retried(start: Callable[[], Awaitable[Started]]) -> Started:
    for _ in range(START_TRIES - 1):
        try:
            return await start()
        except ChildFailed:
            # Somebody may have taken the port in between; the next try looks for another.
            continue
    return await start()


def described(settings: Settings, services: Services) -> list[Started]:
    """Broker, store and providers, started here or found."""
    return [
        services.broker
        or Started("Kafka", "", settings.bootstrap, 0, "yours: replication and its own settings"),
        services.store
        or Started("store", "", shown(settings.store_url), 0, "yours: its own persistence"),
        services.simulator or Started("providers", "", shown(settings.providers_url), 0, "yours"),
    ]
