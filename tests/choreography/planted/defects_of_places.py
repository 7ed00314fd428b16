"""Planted defects of places and times: topics.yaml and settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.choreography.graph import Choreography
from agents.kernel.settings import Settings
from agents.kernel.topics import DAY_MS, Topics
from tests.choreography.planted.variations import planted, system, topics_with


def timed(**changes: Any) -> Choreography:
    return system(settings=Settings.model_construct(**changes))


def with_twin(name: str, owner: str) -> Topics:
    """Topics as topics.yaml could not say them: the file's reader refuses them already."""
    topics = topics_with()
    twin = replace(topics.all[0], name=name, owner=owner)
    return replace(topics, all=(*topics.all, twin))


@planted("agent_owns_one_topic", says="shipping.events: {owner: shipping}")
def agent_has_no_topic() -> Choreography:
    return system(topics=topics_with(shipping_events=None))


@planted("agent_owns_one_topic", says="tracker")
def observer_that_emits_has_no_topic() -> Choreography:
    return system(topics=topics_with(tracker_events=None))


@planted("agent_owns_one_topic", says="payment.extra")
def agent_has_two_topics() -> Choreography:
    return system(topics=with_twin("payment.extra", "payment"))


@planted("owner_of_a_topic_is_an_agent", says="billing")
def topic_belongs_to_an_agent_that_is_not_there() -> Choreography:
    return system(topics=topics_with(billing_events={"owner": "billing"}))


@planted("owner_of_a_topic_is_an_agent", says="shiping")
def owner_of_a_topic_is_misspelt() -> Choreography:
    return system(topics=topics_with(shipping_events={"owner": "shiping"}))


@planted("partitions_are_equal", says="notification.events")
def one_topic_has_more_partitions() -> Choreography:
    topics = topics_with()
    more = tuple(
        replace(t, partitions=12) if t.name == "notification.events" else t for t in topics.all
    )
    return system(topics=replace(topics, all=more))


@planted("event_topics_outlive_a_replay", says="payment.events")
def events_expire_before_a_replay() -> Choreography:
    return system(topics=topics_with(payment_events={"owner": "payment", "retention": "7d"}))


@planted("event_topics_outlive_a_replay", says="CHORALE_REPLAY_WINDOW_MS")
def replay_window_is_longer_than_the_log() -> Choreography:
    return timed(replay_window_ms=14 * DAY_MS)


@planted("letters_and_decisions_never_expire", says="dlq.chorale")
def dead_letters_expire() -> Choreography:
    entry = {"owner": "kernel", "role": "letters", "retention": "365d"}
    return system(topics=topics_with(dlq_chorale=entry))


@planted("letters_and_decisions_never_expire", says="chorale.decisions")
def decisions_expire() -> Choreography:
    entry = {"owner": "operator", "role": "decisions"}
    return system(topics=topics_with(chorale_decisions=entry))


@planted("every_wait_has_a_deadline", says="CHORALE_LEASE_MS")
def lease_is_shorter_than_two_effects() -> Choreography:
    return timed(lease_ms=9_999)


@planted("every_wait_has_a_deadline", says="CHORALE_STEP_DEADLINE_MS")
def step_may_outlast_its_saga() -> Choreography:
    return timed(step_deadline_ms=60_000)


@planted("every_wait_has_a_deadline", says="CHORALE_EFFECT_TIMEOUT_MS")
def provider_may_outlast_its_step() -> Choreography:
    return timed(effect_timeout_ms=15_000, lease_ms=30_000)


@planted("every_wait_has_a_deadline", says="CHORALE_BREAKER_WAIT_MS")
def open_breaker_may_outlast_the_saga() -> Choreography:
    return timed(breaker_wait_ms=3_600_000)


@planted("every_wait_has_a_deadline", says="CHORALE_TRACKER_SCAN_MS")
def deadlines_are_looked_at_too_late() -> Choreography:
    return timed(tracker_scan_ms=120_000)
