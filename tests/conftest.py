"""The services that tests ask for by name, started once a session and only when asked for.

A missing service skips its tests and says how to get it; with CI=true it fails them, because a
CI run that skips proves nothing. Tests share a service, so topics and keys carry unique names.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from agents.adapters.apache_kafka import ApacheKafka
from agents.adapters.embedded import DataFolder
from agents.adapters.embedded_broker import EmbeddedBroker
from agents.adapters.embedded_store import EmbeddedStore

_missing = pytest.StashKey[dict[str, str]]()

_MARKS = {"embedded_broker": "embedded", "valkey": "valkey", "apache_kafka": "kafka"}
"""Which mark a fixture gives to the tests that use it, so that nobody has to remember it."""


@pytest.fixture(scope="session")
def embedded_broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a noida-db broker."""
    _need(request, "the embedded broker", EmbeddedBroker.missing())
    folder = DataFolder(tmp_path_factory.mktemp("broker"))
    asyncio.run(folder.claim())
    broker = EmbeddedBroker(folder, port=0)
    yield asyncio.run(broker.start()).address
    asyncio.run(broker.stop())
    folder.release()


@pytest.fixture(scope="session")
def valkey(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a valkey-server or redis-server."""
    _need(request, "the store", EmbeddedStore.missing())
    folder = DataFolder(tmp_path_factory.mktemp("store"))
    asyncio.run(folder.claim())
    store = EmbeddedStore(folder, port=0)
    yield asyncio.run(store.start()).address
    asyncio.run(store.stop())
    folder.release()


@pytest.fixture(scope="session")
def apache_kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of an Apache Kafka broker."""
    _need(request, "Apache Kafka", ApacheKafka.missing())
    kafka = ApacheKafka(tmp_path_factory.mktemp("kafka"))
    yield asyncio.run(kafka.start()).address
    asyncio.run(kafka.stop())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a service, for `-m "not kafka"` and the like."""
    for item in items:
        for fixture, mark in _MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which services were missing, so that a green run does not claim too much."""
    for service, reason in config.stash.get(_missing, {}).items():
        terminalreporter.write_line(f"Not tested: what needs {service}. {reason}")


def _need(request: pytest.FixtureRequest, service: str, reason: str | None) -> None:
    if reason is None:
        return
    request.config.stash.setdefault(_missing, {})[service] = reason
    if os.environ.get("CI") == "true":
        pytest.fail(f"{service} is missing, and CI must not skip: {reason}", pytrace=False)
    pytest.skip(reason)
