"""Apache Kafka itself, one node in KRaft mode without Docker, for tests, CI and benchmarks.

What this file promises:

1. The jars come by Maven, once (`agents.adapters.apache_kafka_jars`); a Java 17 or newer runs
   them.
2. A new folder is formatted; a used one is continued, at the same port, so that a fault test may
   kill the broker (`kafka.child.kill()`) and start it again.
3. Everything listens on 127.0.0.1. Topics are never made by accident, and a consumer group is
   balanced without the delay that production would want; a killed broker may return after 3 s.
4. `missing()` says in a sentence what stands in the way, or None; it fetches the jars first.

    python -m agents.adapters.apache_kafka --port 9092

stays in the foreground until Ctrl-C or SIGTERM, and removes the broker's data then.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from agents.adapters.apache_kafka_jars import (
    CACHE,
    CLASS_PATH,
    VERSION,
    jars_missing,
    java_missing,
    java_program,
    run,
    said,
)
from agents.adapters.children import LOOPBACK, Child, Command, answers, free_port
from agents.adapters.embedded import Started
from agents.kernel.errors import ChoraleError, ConfigurationError

PORT = 9092

_JAVA_OPTIONS = ("-Xms256m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Two cores are shared with the tests: a small heap, and no optimizing compiler in the way."""

_FORMAT_WITHIN_S = 60.0
"""A Java start and a small file: one second, more on a loaded machine."""

_READY_WITHIN_S = 60.0
"""Three to ten seconds; the rest is for a loaded machine."""

_ADMIN_WITHIN_S = 5.0
"""One metadata request to a broker that already listens."""

_CLUSTER_ID = "Y2hvcmFsZS1rYWZrYS0xMg"
"""Any 16 bytes in base64; the broker is alone."""

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class ApacheKafka:
    """One Apache Kafka broker with its data in `folder`. Port 0 means any."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder.resolve()
        self._port = port
        self._controller_port = 0
        self.child: Child | None = None

    @staticmethod
    def missing() -> str | None:
        """What to do so that it can be started, or None; fetches the jars if they are not here."""
        return java_missing() or jars_missing()

    async def start(self) -> Started:
        """Start it; raises `ConfigurationError` if something is missing, else `ChildFailed`."""
        if reason := await asyncio.to_thread(self.missing):
            raise ConfigurationError(reason)
        properties = self._write_properties()
        port = self._port
        await asyncio.to_thread(_format, properties)
        log = self._folder / "kafka.log"
        argv = (*_java(), "-Dlog4j2.level=WARN", "kafka.Kafka", str(properties))

        async def ready(_: Child) -> bool:
            return await answers(port) and await _serves(f"{LOOPBACK}:{port}")

        command = Command("Apache Kafka", argv, log, cwd=self._folder)
        self.child = await Child.start(command, ready, _READY_WITHIN_S)
        return Started(
            name="Apache Kafka",
            version=VERSION,
            address=f"{LOOPBACK}:{port}",
            pid=self.child.pid,
            guarantee="one node, so no replica: a killed broker loses nothing that it "
            "acknowledged, a power loss what was not yet synced",
        )

    async def stop(self) -> None:
        """End it by SIGTERM, or by SIGKILL if it takes too long."""
        if self.child is not None:
            await self.child.stop()
            self.child = None

    def _write_properties(self) -> Path:
        if not self._controller_port:
            self._port, self._controller_port = free_port(self._port), free_port()
        self._folder.mkdir(parents=True, exist_ok=True)
        properties = self._folder / "server.properties"
        data = self._folder / "data"
        properties.write_text(
            _PROPERTIES.format(
                host=LOOPBACK, port=self._port, controller=self._controller_port, data=data
            )
        )
        return properties


def _java() -> tuple[str, ...]:
    return (java_program() or "java", *_JAVA_OPTIONS, "-cp", CLASS_PATH)


def _format(properties: Path) -> None:
    argv = (*_java(), "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", _CLUSTER_ID)
    try:
        run((*argv, "-c", str(properties)), _FORMAT_WITHIN_S)
    except (OSError, subprocess.SubprocessError) as failure:
        raise ConfigurationError(
            f"Kafka's storage cannot be formatted beside {properties}: {said(failure)}"
        ) from failure


async def _serves(address: str) -> bool:
    """Whether the broker answers a client, which it does only after it has joined its quorum."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    try:
        async with asyncio.timeout(_ADMIN_WITHIN_S):
            await admin.start()
            return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()


async def _foreground(port: int) -> None:
    """Run one broker until it is asked to end, or ends by itself."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    with tempfile.TemporaryDirectory(prefix="chorale-kafka-") as folder:
        kafka = ApacheKafka(Path(folder), port)
        _say(f"starting Apache Kafka {VERSION} (the first time fetches 54 MB of jars) ...")
        try:
            started = await kafka.start()
            _say(f"{started.name} {started.version} at {started.address}, Ctrl-C ends it")
            while kafka.child and kafka.child.running and not asked.is_set():
                await _next(asked)
            if kafka.child and not asked.is_set():
                raise ChoraleError(f"Apache Kafka ended by itself\n{kafka.child.tail()}")
        finally:
            await kafka.stop()


async def _next(asked: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await asked.wait()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command of its own


def main() -> int:
    """Run `python -m agents.adapters.apache_kafka`."""
    parser = argparse.ArgumentParser(description="Apache Kafka, one node, for tests.")
    parser.add_argument("--port", type=int, default=PORT, help="preferred port (%(default)s)")
    parser.add_argument("--fetch", action="store_true", help="fetch the jars and end")
    arguments = parser.parse_args()
    if reason := ApacheKafka.missing():
        print(reason, file=sys.stderr)  # noqa: T201
        return 1
    if arguments.fetch:
        _say(f"Apache Kafka {VERSION} is in {CACHE}")
        return 0
    try:
        asyncio.run(_foreground(arguments.port))
    except ChoraleError as failure:
        print(failure, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
