"""The embedded broker: noida-db, which speaks Kafka, from a pip wheel.

It listens on 127.0.0.1 only, and nothing but that protects it. It holds its data in memory and
writes it about once a second and at SIGTERM, so a kill loses acknowledged records; what that
means for the store beside it is told in `agents.adapters.embedded`. Its glibc warning on older
systems is harmless and goes to the log with everything else that it prints.

Two things it does otherwise than Apache Kafka, and whoever uses it must know:

- It never expires a silent member. A consumer that was killed blocks its group for ever, unless
  its successor bears the same static name (`CHORALE_INSTANCE`, which `chorale up` sets), or
  `forget_members` is called for the group.
- A metadata request for an unknown topic makes that topic, with one partition. So all topics are
  created before anybody subscribes or produces.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

from agents.adapters.children import LOOPBACK, Child, answers, free_port
from agents.adapters.embedded import BROKER, DataFolder, Started, unsupported
from agents.kernel.errors import ConfigurationError, LogUnavailable

PORT = 9092

_READY_WITHIN_S = 10.0
"""It is ready in 0.05 s when young; loading a large data file takes longer."""

_FORGET_WITHIN_S = 5.0
"""A handful of requests on loopback, a millisecond each."""


class EmbeddedBroker:
    """noida-db as a Kafka broker: one node, in memory, written to disk about once a second."""

    def __init__(self, folder: DataFolder, port: int = PORT) -> None:
        self._folder = folder
        self._port = port
        self.child: Child | None = None

    @staticmethod
    def missing() -> str | None:
        """What to do so that it can be started, or None if it can."""
        if reason := unsupported():
            return reason
        program = _program()
        if program is None:
            return (
                "the embedded broker is not installed: pip install 'chorale[embedded]'; where "
                "noida-db has no wheel (musl, some arm64), set CHORALE_BROKER to a Kafka broker"
            )
        if not os.access(program, os.X_OK):
            return f"the embedded broker cannot be run: chmod +x {program}"
        return None

    async def start(self) -> Started:
        """Start it; raises `ConfigurationError` if it is not installed, else `ChildFailed`."""
        program = _program()
        reason = self.missing()
        if program is None or reason:
            raise ConfigurationError(reason)
        port = free_port(self._port)
        data = self._folder.data(BROKER)
        # The binary itself: its Python wrapper would not pass SIGTERM on.
        argv = (str(program), "start", "--only", "kafka", "--kafka-port", str(port))
        command = self._folder.command(BROKER, (*argv, "--data-dir", str(data)))

        async def ready(child: Child) -> bool:
            control = data / "noida.control.json"
            return _control_pid(control) == child.pid and await answers(port)

        self.child = await Child.start(command, ready, _READY_WITHIN_S)
        self._folder.started(self.child)
        return Started(
            name="noida-db",
            version=importlib.metadata.version("noida-db"),
            address=f"{LOOPBACK}:{port}",
            pid=self.child.pid,
            guarantee="one node; a kill or a power loss loses the last second of acknowledged "
            "records, so that both data sets are then moved aside",
        )

    async def stop(self) -> None:
        """End it by SIGTERM, which makes it write what it holds."""
        if self.child is not None:
            await self._folder.stop(self.child)
            self.child = None


async def forget_members(address: str, group: str) -> int:
    """Take every member out of the group; returns how many. Raises `LogUnavailable`.

    A live member is told so by its next heartbeat and joins again within about a second; what it
    had in work stays uncommitted and is read again, as after any rebalance.
    """
    client = AIOKafkaClient(bootstrap_servers=address)
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    try:
        async with asyncio.timeout(_FORGET_WITHIN_S):
            await client.bootstrap()
            await admin.start()
            coordinator = await admin.find_coordinator(group)
            described = await admin.describe_consumer_groups([group])
            members = [str(member[0]) for member in described[0].groups[0][_MEMBERS]]
            for member in members:
                await client.send(coordinator, LeaveGroupRequest(group, member))
    except (KafkaError, OSError, TimeoutError) as failure:
        raise LogUnavailable(
            f"the members of {group} could not be forgotten: {failure!r}; try again"
        ) from failure
    finally:
        await admin.close()
        await client.close()
    return len(members)


_MEMBERS = 5
"""Place of the members in a described group: error, id, state, type, protocol, members."""


def _program() -> Path | None:
    found = importlib.util.find_spec("noida_db")
    if found is None or found.origin is None:
        return None
    program = Path(found.origin).with_name("noida-db")
    return program if program.is_file() else None


def _control_pid(control: Path) -> int | None:
    try:
        return int(json.loads(control.read_text())["pid"])
    except (FileNotFoundError, ValueError):
        return None
