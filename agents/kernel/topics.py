"""`topics.yaml`, read once: which topics exist, who owns them, how long records are kept.

Nothing else names a topic literally; code asks this file by owner or by role.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from agents.kernel.errors import ConfigurationError

DAY_MS = 86_400_000
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": DAY_MS}
PARTITIONS_MAX = 512
"""Sixteen times what the reference load needs; more is a typing error."""
TOPICS_FILE = Path(__file__).parents[2] / "topics.yaml"


class TopicRole(StrEnum):
    """What a topic is for."""

    EVENTS = "events"
    INBOX = "inbox"
    LETTERS = "letters"
    DECISIONS = "decisions"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `retention_ms` is None for records that never expire."""

    name: str
    owner: str
    role: TopicRole
    partitions: int
    replication: int
    retention_ms: int | None


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics of the installation."""

    all: tuple[Topic, ...]
    partitions: int

    def of_owner(self, agent: str) -> str:
        """The event topic of an agent. Raises ConfigurationError if it has none."""
        for topic in self.all:
            if topic.owner == agent and topic.role is TopicRole.EVENTS:
                return topic.name
        raise ConfigurationError(
            f"agent {agent} owns no topic; add `{agent}.events: {{owner: {agent}}}` to topics.yaml"
        )

    def of_role(self, role: TopicRole) -> str:
        """The one topic of a role other than events."""
        return next(t.name for t in self.all if t.role is role)

    @property
    def inbox(self) -> str:
        """Where outsiders write orders."""
        return self.of_role(TopicRole.INBOX)

    @property
    def letters(self) -> str:
        """Where dead letters go."""
        return self.of_role(TopicRole.LETTERS)

    @property
    def decisions(self) -> str:
        """Where operators' decisions go."""
        return self.of_role(TopicRole.DECISIONS)


def load_topics(path: Path = TOPICS_FILE, replication: int | None = None) -> Topics:
    """Read and check the file; `replication` overrides it (one broker, three brokers).

    Raises ConfigurationError that names the key.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path} does not exist; run from the project's root") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    return parse_topics(raw, replication)


def parse_topics(raw: Any, replication: int | None = None) -> Topics:
    """The topics of a parsed file. Raises ConfigurationError that names the key."""
    if not isinstance(raw, dict) or not isinstance(raw.get("topics"), dict):
        raise ConfigurationError("topics.yaml: `topics:` must be a mapping of topic to owner")
    unknown = set(raw) - {"partitions", "replication", "defaults", "topics"}
    if unknown:
        raise ConfigurationError(f"topics.yaml: unknown key {sorted(unknown)[0]!r}; remove it")
    partitions = _count(raw, "partitions", PARTITIONS_MAX)
    copies = replication or _count(raw, "replication", 10)
    defaults = raw.get("defaults") or {}
    topics = tuple(
        _topic(name, {**defaults, **_mapping(name, entry)}, partitions, copies)
        for name, entry in raw["topics"].items()
    )
    _refuse_bad_owners(topics)
    return Topics(topics, partitions)


def _mapping(name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"topics.yaml: {name}: must be a mapping such as {{owner: …}}")
    return entry


def _count(raw: dict[str, Any], key: str, most: int) -> int:
    value = raw.get(key, 1)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigurationError(f"topics.yaml: {key}: must be a number from 1 to {most}")
    return value


def _topic(name: str, entry: dict[str, Any], partitions: int, replication: int) -> Topic:
    unknown = set(entry) - {"owner", "role", "retention"}
    if unknown:
        raise ConfigurationError(f"topics.yaml: {name}: unknown key {sorted(unknown)[0]!r}")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", str(name)):
        raise ConfigurationError(f"topics.yaml: {name!r} is not a topic name")
    if not isinstance(entry.get("owner"), str):
        raise ConfigurationError(f"topics.yaml: {name}: `owner` is missing")
    try:
        role = TopicRole(entry.get("role", "events"))
    except ValueError as error:
        roles = ", ".join(TopicRole)
        raise ConfigurationError(f"topics.yaml: {name}: role must be one of {roles}") from error
    retention = _retention_ms(str(name), entry.get("retention", "14d"))
    return Topic(str(name), entry["owner"], role, partitions, replication, retention)


def _retention_ms(name: str, text: Any) -> int | None:
    if text == "forever":
        return None
    match = re.fullmatch(r"(\d{1,6})([mhd])", str(text))
    if match is None:
        raise ConfigurationError(
            f"topics.yaml: {name}: retention {text!r} must be like 14d, 12h, 30m or forever"
        )
    return int(match[1]) * _UNITS_MS[match[2]]


def _refuse_bad_owners(topics: tuple[Topic, ...]) -> None:
    owners: dict[str, str] = {}
    for topic in topics:
        if topic.role is not TopicRole.EVENTS:
            continue
        if topic.owner in owners:
            raise ConfigurationError(
                f"topics.yaml: {topic.owner} owns both {owners[topic.owner]} and {topic.name}; "
                "an agent owns exactly one event topic"
            )
        owners[topic.owner] = topic.name
    for role in (TopicRole.INBOX, TopicRole.LETTERS, TopicRole.DECISIONS):
        found = [t.name for t in topics if t.role is role]
        if len(found) != 1:
            raise ConfigurationError(
                f"topics.yaml: exactly one topic needs `role: {role}`, found {len(found)}"
            )
