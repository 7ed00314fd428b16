"""Makes the topics of topics.yaml, or refuses those that are there and are not as they must be.

1. `ensure_topics` may run in many processes at once and as often as one likes.
2. A partition count is fixed at birth: another one is refused, since every order would move.
3. A topic that would lose records which the ledger counts on (shorter retention, compaction,
   fewer replicas) is refused as well. Longer retention is somebody's good right.
4. A broker that does not know a topic setting is given the topic without that one setting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    NotControllerError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from agents.adapters.kafka_clients import ConnectionFailed, KafkaClients, stop_within
from agents.adapters.log_rules import RECORD_BYTES_MAX
from agents.kernel.errors import ConfigurationError
from agents.kernel.topics import Topic, Topics

ENSURE_WITHIN_S = 30.0
"""All of it; nine topics take a second, and a cluster that just started needs a few more."""
LOOK_AGAIN_S = 0.1
"""Until the metadata show what was made."""
BATCH_BYTES_MAX = RECORD_BYTES_MAX + 48_588
"""`max.message.bytes`, which counts a batch with its framing: Kafka's own default, pinned."""

_FOREVER = "-1"


@dataclass(frozen=True, slots=True)
class Ensured:
    """What `ensure_topics` did."""

    made: tuple[str, ...] = ()
    refused_settings: tuple[str, ...] = ()
    """Settings that the broker does not know, as `topic: setting`."""


@dataclass(frozen=True, slots=True)
class _Found:
    partitions: int
    replicas: int


async def ensure_topics(
    bootstrap: str, topics: Topics, security: Mapping[str, Any] | None = None
) -> Ensured:
    """Make what is missing, check what is there. Raises ConfigurationError or LogUnavailable."""
    clients = KafkaClients(bootstrap, security, "chorale-topics")
    admin = clients.admin()
    try:
        async with asyncio.timeout(ENSURE_WITHIN_S):
            await admin.start()
            ensured = await _make_missing(admin, topics.all)
            for topic, found in await _settled(admin, topics.all):
                _refuse_other_shape(topic, found)
            await _refuse_other_settings(admin, topics.all)
            return ensured
    except ConnectionFailed as error:
        raise clients.unavailable("making the topics", error) from error
    finally:
        await stop_within(admin)


async def _make_missing(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> Ensured:
    there = await _found(admin)
    wanted = {topic.name: topic for topic in topics if topic.name not in there}
    settings = {name: _settings(topic) for name, topic in wanted.items()}
    made: list[str] = []
    refused: list[str] = []
    while wanted:
        asked = [_new(topic, settings[name]) for name, topic in wanted.items()]
        response = await admin.create_topics(asked)
        for name, code, *said in response.topic_errors:
            message = str(said[0] or "") if said else ""
            error = for_code(code)
            if error is InvalidConfigurationError and settings[name]:
                unknown = _named(message, settings[name])
                refused += [f"{name}: {setting}" for setting in unknown]
                settings[name] = {k: v for k, v in settings[name].items() if k not in unknown}
            elif error not in (NotControllerError, RequestTimedOutError):
                _refuse_failed(wanted.pop(name), code, message)
                made += [name] if code == 0 else []
        if wanted:
            await asyncio.sleep(LOOK_AGAIN_S)
    return Ensured(tuple(made), tuple(refused))


def _new(topic: Topic, settings: Mapping[str, str]) -> NewTopic:
    return NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=dict(settings))


def _settings(topic: Topic) -> dict[str, str]:
    retention = _FOREVER if topic.retention_ms is None else str(topic.retention_ms)
    return {
        "retention.ms": retention,
        "cleanup.policy": "delete",
        "max.message.bytes": str(BATCH_BYTES_MAX),
    }


def _named(message: str, settings: Iterable[str]) -> list[str]:
    """The settings that a refusal names; all of them if it names none."""
    return [setting for setting in settings if setting in message] or list(settings)


def _refuse_failed(topic: Topic, code: int, message: str) -> None:
    error = for_code(code)
    if code == 0 or error is TopicAlreadyExistsError:
        return
    advice = "look at the broker's log"
    if error is InvalidReplicationFactorError:
        advice = "lower `replication` in topics.yaml, or start more brokers"
    raise ConfigurationError(
        f"topic {topic.name} cannot be made: {message or error.__name__}; {advice}"
    )


async def _settled(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic]
) -> list[tuple[Topic, _Found]]:
    """The topics as they are, as soon as the metadata show them all."""
    while True:
        found = await _found(admin)
        if all(topic.name in found for topic in topics):
            return [(topic, found[topic.name]) for topic in topics]
        await asyncio.sleep(LOOK_AGAIN_S)


async def _found(admin: AIOKafkaAdminClient) -> dict[str, _Found]:
    # All topics, since asking for one by name would make it on many a broker.
    described = await admin.describe_topics(None)
    return {
        topic["topic"]: _Found(
            len(topic["partitions"]), min(len(p["replicas"]) for p in topic["partitions"])
        )
        for topic in described
        if topic["error_code"] == 0 and topic["partitions"]
    }


def _refuse_other_shape(topic: Topic, found: _Found) -> None:
    if found.partitions != topic.partitions:
        raise ConfigurationError(
            f"topic {topic.name} has {found.partitions} partitions, topics.yaml wants "
            f"{topic.partitions}; the count is fixed at birth. Set `partitions: "
            f"{found.partitions}`, or delete all topics and lose what is in them"
        )
    if found.replicas < topic.replication:
        raise ConfigurationError(
            f"topic {topic.name} has {found.replicas} replicas, topics.yaml wants "
            f"{topic.replication}; add replicas with kafka-reassign-partitions, or lower "
            "`replication`"
        )


async def _refuse_other_settings(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    found = await _described(admin, topics)
    for topic in topics:
        settings = found[topic.name]
        retention = settings.get("retention.ms") or _FOREVER
        wanted = _settings(topic)["retention.ms"]
        if _keeps(retention) < _keeps(wanted):
            raise _other_setting(topic, "retention.ms", retention, wanted)
        policy = settings.get("cleanup.policy") or "delete"
        if policy != "delete":
            raise _other_setting(topic, "cleanup.policy", policy, "delete")


def _keeps(retention_ms: str) -> float:
    return float("inf") if retention_ms == _FOREVER else float(retention_ms)


def _other_setting(topic: Topic, setting: str, found: str, wanted: str) -> ConfigurationError:
    return ConfigurationError(
        f"topic {topic.name} has {setting}={found}, topics.yaml wants {wanted}; run kafka-configs "
        f"--alter --topic {topic.name} --add-config {setting}={wanted}, or change topics.yaml"
    )


async def _described(
    admin: AIOKafkaAdminClient, topics: Sequence[Topic]
) -> dict[str, dict[str, str]]:
    """The settings of each topic."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics]
    while True:
        found: dict[str, dict[str, str]] = {}
        for response in await admin.describe_configs(asked):
            for code, _, _, name, entries in response.resources:
                if code == 0:
                    found[name] = {entry[0]: entry[1] for entry in entries}
                elif for_code(code) is not UnknownTopicOrPartitionError:
                    raise for_code(code)(name)
        if len(found) == len(asked):
            return found
        await asyncio.sleep(LOOK_AGAIN_S)  # another broker of the cluster does not know it yet
