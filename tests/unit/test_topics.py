"""topics.yaml is read once; a bad one is refused with the key that is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.kernel.errors import ConfigurationError
from agents.kernel.topics import DAY_MS, Topics, load_topics, parse_topics

Raw = dict[str, Any]

GOOD: Raw = {
    "partitions": 3,
    "replication": 1,
    "defaults": {"retention": "14d"},
    "topics": {
        "shop.events": {"owner": "shop"},
        "till.events": {"owner": "till", "retention": "12h"},
        "in": {"owner": "outside", "role": "inbox", "retention": "30m"},
        "dead": {"owner": "kernel", "role": "letters", "retention": "forever"},
        "decided": {"owner": "operator", "role": "decisions", "retention": "forever"},
    },
}


def _set(*path: str, to: Any) -> Callable[[Raw], None]:
    def change(raw: Raw) -> None:
        inner = raw
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return change


def _drop(topic: str) -> Callable[[Raw], None]:
    return lambda raw: raw["topics"].pop(topic)


BAD: dict[str, tuple[Callable[[Raw], Any], str]] = {
    "topics is a list": (_set("topics", to=["shop.events"]), "`topics:` must be a mapping"),
    "topics is missing": (lambda raw: raw.pop("topics"), "`topics:` must be a mapping"),
    "unknown top-level key": (_set("partition", to=3), "unknown key 'partition'"),
    "no partitions": (_set("partitions", to=0), "partitions: must be a number from 1 to 512"),
    "too many partitions": (_set("partitions", to=513), "partitions: must be a number"),
    "partitions as text": (_set("partitions", to="3"), "partitions: must be a number"),
    "partitions as a truth": (_set("partitions", to=True), "partitions: must be a number"),
    "replication too high": (_set("replication", to=11), "replication: must be a number"),
    "topic entry is a text": (_set("topics", "shop.events", to="shop"), "shop.events: must be a"),
    "topic entry is empty": (_set("topics", "shop.events", to=None), "shop.events: must be a"),
    "unknown key of a topic": (
        _set("topics", "shop.events", to={"owner": "shop", "retain": "1d"}),
        "shop.events: unknown key 'retain'",
    ),
    "partitions of one topic": (
        _set("topics", "shop.events", to={"owner": "shop", "partitions": 6}),
        "shop.events: unknown key 'partitions'",
    ),
    "name with a blank": (_set("topics", "shop events", to={"owner": "x"}), "'shop events' is not"),
    "owner is missing": (_set("topics", "shop.events", to={}), "shop.events: `owner` is missing"),
    "owner is a number": (
        _set("topics", "shop.events", to={"owner": 7}),
        "shop.events: `owner` is missing",
    ),
    "unknown role": (
        _set("topics", "in", "role", to="outbox"),
        "in: role must be one of events, inbox, letters, decisions",
    ),
    "retention without a unit": (
        _set("topics", "shop.events", to={"owner": "shop", "retention": 14}),
        "shop.events: retention 14 must be like 14d",
    ),
    "retention of weeks": (
        _set("topics", "shop.events", to={"owner": "shop", "retention": "2w"}),
        "shop.events: retention '2w' must be like 14d",
    ),
    "negative retention": (
        _set("topics", "shop.events", to={"owner": "shop", "retention": "-1d"}),
        "shop.events: retention '-1d'",
    ),
    "default retention is wrong": (
        _set("defaults", "retention", to="always"),
        "shop.events: retention 'always'",
    ),
    "unknown default": (_set("defaults", to={"partitions": 3}), "unknown key 'partitions'"),
    "agent owns two topics": (
        _set("topics", "shop.more", to={"owner": "shop"}),
        "shop owns both shop.events and shop.more",
    ),
    "two inboxes": (
        _set("topics", "in2", to={"owner": "outside", "role": "inbox"}),
        "exactly one topic needs `role: inbox`, found 2",
    ),
    "no inbox": (_drop("in"), "exactly one topic needs `role: inbox`, found 0"),
    "no letters": (_drop("dead"), "exactly one topic needs `role: letters`, found 0"),
    "no decisions": (_drop("decided"), "exactly one topic needs `role: decisions`, found 0"),
}


def good() -> Topics:
    return parse_topics(copy.deepcopy(GOOD))


@pytest.mark.parametrize("case", BAD)
def test_topics_are_refused_when(case: str) -> None:
    """The message names the key and what it wants."""
    change, says = BAD[case]
    raw = copy.deepcopy(GOOD)
    change(raw)

    with pytest.raises(ConfigurationError) as refused:
        parse_topics(raw)

    assert says in str(refused.value)


@pytest.mark.parametrize("raw", [None, [], "topics", 3, {"topics": None}])
def test_topics_are_refused_when_the_file_holds_something_else(raw: object) -> None:
    """An empty file is no configuration."""
    with pytest.raises(ConfigurationError, match="must be a mapping"):
        parse_topics(raw)


def test_topics_are_found_by_owner_and_by_role() -> None:
    """Nothing else names a topic."""
    topics = good()

    assert topics.of_owner("till") == "till.events"
    assert (topics.inbox, topics.letters, topics.decisions) == ("in", "dead", "decided")


def test_owner_without_a_topic_is_told_the_line_to_add() -> None:
    """The sentence can be copied into topics.yaml."""
    with pytest.raises(ConfigurationError, match=r"fraud\.events: \{owner: fraud\}"):
        good().of_owner("fraud")


def test_retention_is_read_in_every_unit() -> None:
    """Default, hours, minutes, for ever."""
    retention = {topic.name: topic.retention_ms for topic in good().all}

    assert retention == {
        "shop.events": 14 * DAY_MS,
        "till.events": DAY_MS // 2,
        "in": 30 * 60_000,
        "dead": None,
        "decided": None,
    }


def test_partitions_are_one_number_for_all() -> None:
    """By construction: a topic's own entry cannot say otherwise."""
    topics = good()

    assert {topic.partitions for topic in topics.all} == {topics.partitions} == {3}


def test_replication_is_overridden_by_the_caller() -> None:
    """One broker on a laptop, three in production, the same file."""
    topics = parse_topics(copy.deepcopy(GOOD), replication=3)

    assert {topic.replication for topic in topics.all} == {3}


def test_topics_are_read_from_the_project() -> None:
    """The file in the repository is a good one."""
    topics = load_topics()

    assert topics.of_owner("payment") == "payment.events"
    assert topics.inbox == "orders.inbox"


def test_missing_file_says_where_to_run(tmp_path: Path) -> None:
    """The most common mistake is the wrong directory."""
    with pytest.raises(ConfigurationError, match="run from the project's root"):
        load_topics(tmp_path / "topics.yaml")


@pytest.mark.parametrize("content", [b"topics: [", b"\xff\xfe", b"a: b: c"])
def test_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    """Broken YAML and broken text."""
    path = tmp_path / "topics.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"topics\.yaml cannot be read"):
        load_topics(path)
