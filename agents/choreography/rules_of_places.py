"""Rules of places and times: topics and their owners, how long records live, every deadline."""

from __future__ import annotations

from collections.abc import Iterator

from agents.choreography.graph import Choreography
from agents.kernel.topics import DAY_MS, Topic, TopicRole

EFFECTS_IN_A_LEASE = 2
"""Provider calls that fit into one lease; a void looks the payment up, then cancels it."""


def agent_owns_one_topic(choreography: Choreography) -> Iterator[str]:
    """Each participant, and each observer that emits, owns exactly one event topic."""
    for agent in choreography.agents:
        owned = [t.name for t in _event_topics(choreography) if t.owner == agent.name]
        if not owned and (not agent.observes or agent.unprompted):
            yield (
                f"Agent {agent.name} owns no topic; add "
                f"`{agent.name}.events: {{owner: {agent.name}}}` to topics.yaml."
            )
        if len(owned) > 1:
            yield (
                f"Agent {agent.name} owns {' and '.join(owned)}; keep one of them in topics.yaml, "
                "an agent's events are in one order."
            )


def owner_of_a_topic_is_an_agent(choreography: Choreography) -> Iterator[str]:
    """No event topic belongs to somebody who does not exist."""
    names = {agent.name for agent in choreography.agents}
    for topic in _event_topics(choreography):
        if topic.owner not in names:
            yield (
                f"Topic {topic.name} belongs to {topic.owner}, which is no agent; correct the "
                f"owner in topics.yaml ({', '.join(sorted(names))}), or remove the topic."
            )


def partitions_are_equal(choreography: Choreography) -> Iterator[str]:
    """An order has one partition number everywhere.

    True by construction for a topics.yaml, which has one number for all; this guards tables that
    are built otherwise.
    """
    for topic in choreography.topics.all:
        if topic.partitions != choreography.topics.partitions:
            yield (
                f"Topic {topic.name} has {topic.partitions} partitions, the others "
                f"{choreography.topics.partitions}; one order would be on two workers: make them "
                "equal."
            )


def event_topics_outlive_a_replay(choreography: Choreography) -> Iterator[str]:
    """The log is the truth for as long as somebody may still need it."""
    settings = choreography.settings
    needed_ms = settings.saga_deadline_ms + settings.replay_window_ms + DAY_MS
    for topic in _event_topics(choreography):
        if topic.retention_ms is not None and topic.retention_ms < needed_ms:
            days = -(-needed_ms // DAY_MS)
            yield (
                f"Topic {topic.name} keeps records for {topic.retention_ms / DAY_MS:g} days; saga "
                f"deadline, replay window and a day need {days}: raise `retention` in topics.yaml, "
                "or lower CHORALE_REPLAY_WINDOW_MS."
            )


def letters_and_decisions_never_expire(choreography: Choreography) -> Iterator[str]:
    """What a person still has to decide, and what was decided, is never forgotten."""
    for topic in choreography.topics.all:
        if topic.role in (TopicRole.LETTERS, TopicRole.DECISIONS) and topic.retention_ms:
            yield f"Topic {topic.name} expires; set `retention: forever` in topics.yaml."


def every_wait_has_a_deadline(choreography: Choreography) -> Iterator[str]:
    """Each wait ends before the one around it."""
    s = choreography.settings
    bounds = (
        ("effect_timeout_ms", s.effect_timeout_ms, "step_deadline_ms", s.step_deadline_ms),
        ("step_deadline_ms", s.step_deadline_ms, "saga_deadline_ms", s.saga_deadline_ms),
        ("breaker_wait_ms", s.breaker_wait_ms, "saga_deadline_ms", s.saga_deadline_ms),
        ("tracker_scan_ms", s.tracker_scan_ms, "saga_deadline_ms", s.saga_deadline_ms),
        ("lease_ms", s.lease_ms, "saga_deadline_ms", s.saga_deadline_ms),
    )
    for inner, inner_ms, outer, outer_ms in bounds:
        if inner_ms >= outer_ms:
            yield (
                f"{_env(inner)} is {inner_ms}, which must be less than {_env(outer)}, {outer_ms}; "
                "a wait ends before the one around it."
            )
    if s.lease_ms < EFFECTS_IN_A_LEASE * s.effect_timeout_ms:
        yield (
            f"{_env('lease_ms')} is {s.lease_ms}, less than {EFFECTS_IN_A_LEASE} times "
            f"{_env('effect_timeout_ms')}, {s.effect_timeout_ms}; another worker would take the "
            "step over while its provider still answers."
        )


def _event_topics(choreography: Choreography) -> list[Topic]:
    return [t for t in choreography.topics.all if t.role is TopicRole.EVENTS]


def _env(setting: str) -> str:
    return f"CHORALE_{setting.upper()}"
