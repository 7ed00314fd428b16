"""A whole system on this machine: services, topics, store, and one child process an agent.

    services -> topics, store epoch -> agents            stop: agents (drained) -> services

`stop` ends every process that was started, in this order, however far the start had come.
"""

from __future__ import annotations

import asyncio
import os
import platform
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agents.adapters.children import ChildFailed, free_port
from agents.adapters.kafka_admin import ensure_topics
from agents.adapters.tokens import development_secret
from agents.bootstrap import NAMES
from agents.cli.connect import adopt_store, log_of, store_of
from agents.cli.running import KEY_FILE, Running, announce, withdraw
from agents.cli.services import START_TRIES, Services
from agents.cli.supervise import Place, Supervised, child_environment
from agents.kernel.settings import Settings
from agents.kernel.topics import load_topics

GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to run, and how."""

    settings: Settings
    accept_empty_store: bool = False
    agent_settings: Mapping[str, str] = field(default_factory=dict)
    """More settings for the agents, as `CHORALE_…`."""


class Machine:
    """One running system: `start`, `watch`, `stop`."""

    def __init__(self, wish: Wish, say: Callable[[str], None]) -> None:
        self.settings = wish.settings
        self.services = Services(wish.settings, say)
        self.agents: dict[str, Supervised] = {}
        self._wish = wish
        self._say = say

    async def start(self) -> None:
        """Start all of it. May raise; then `stop` still has to be called."""
        settings = await self.services.start()
        data_dir = self.services.data_dir
        found = {
            "data_dir": str(data_dir),
            "http_port": free_port(settings.http_port),
            "jwt_secret_file": settings.jwt_secret_file or _development_key(data_dir),
        }
        self.settings = settings.model_copy(update=found)
        await self._prepare()
        await self._start_agents()
        announce(self.running)

    async def watch(self) -> None:
        """Until a service dies that holds data: start again whatever dies."""
        async with asyncio.TaskGroup() as tasks:
            for name, agent in self.agents.items():
                tasks.create_task(agent.keep(), name=f"keep {name}")
            tasks.create_task(self.services.watch(), name="watch services")

    async def stop(self) -> bool:
        """End everything, agents first; True if all of it ended in order."""
        withdraw(self.services.data_dir, os.getpid())
        async with asyncio.TaskGroup() as tasks:
            ending = [
                tasks.create_task(agent.stop(), name=f"stop {name}")
                for name, agent in self.agents.items()
            ]
        return await self.services.stop() and all(task.result() for task in ending)

    @property
    def running(self) -> Running:
        """Where everything is."""
        settings, services = self.settings, self.services
        started = (services.broker, services.store, services.simulator)
        return Running(
            pid=os.getpid(),
            bootstrap=settings.bootstrap,
            store_url=settings.store_url,
            providers_url=settings.providers_url,
            gateway_url=f"http://{settings.http_host}:{settings.http_port}",
            jwt_secret_file=settings.jwt_secret_file,
            data_dir=settings.data_dir,
            pids={
                **{service.name: service.pid for service in started if service},
                **{name: agent.pid for name, agent in self.agents.items()},
            },
        )

    async def _prepare(self) -> None:
        """The topics, and the store's epoch."""
        topics = load_topics()
        ensured = await ensure_topics(self.settings.bootstrap, topics)
        for refused in ensured.refused_settings:
            self._say(f"the broker does not know a topic setting: {refused}")
        async with log_of(self.settings) as log, store_of(self.settings) as store:
            accept = self._wish.accept_empty_store
            await adopt_store(store.ledger, log, topics, accept_empty=accept)

    async def _start_agents(self) -> None:
        self.agents = {name: Supervised(name, self._place(), self._say) for name in NAMES}
        async with asyncio.TaskGroup() as tasks:
            for name, agent in self.agents.items():
                start = self._start_gateway() if name == GATEWAY else agent.start()
                tasks.create_task(start, name=f"start {name}")

    async def _start_gateway(self) -> None:
        """Start the gateway; a port that somebody else took in the meantime is given up."""
        for _ in range(START_TRIES - 1):
            try:
                await self.agents[GATEWAY].start()
            except ChildFailed:
                port = free_port(self.settings.http_port)
                if port == self.settings.http_port:
                    raise
                self.settings = self.settings.model_copy(update={"http_port": port})
                self.agents[GATEWAY] = Supervised(GATEWAY, self._place(), self._say)
            else:
                return
        await self.agents[GATEWAY].start()

    def _place(self) -> Place:
        return Place(
            self.services.data_dir,
            child_environment({**self._environment(), **self._wish.agent_settings}),
            self.settings.drain_ms,
        )

    def _environment(self) -> dict[str, str]:
        names = (
            "bootstrap",
            "store_url",
            "providers_url",
            "data_dir",
            "http_port",
            "jwt_secret_file",
        )
        given = {f"CHORALE_{name.upper()}": str(getattr(self.settings, name)) for name in names}
        instance = self.settings.instance or _instance(self.services.data_dir)
        return {**given, "CHORALE_INSTANCE": instance}


def _instance(data_dir: Path) -> str:
    """One name for each machine and data folder: a killed agent's successor bears it again."""
    return f"up-{platform.node()}-{zlib.crc32(str(data_dir.resolve()).encode()):08x}"


def _development_key(data_dir: Path) -> str:
    path = data_dir / KEY_FILE
    development_secret(path)
    return str(path)
