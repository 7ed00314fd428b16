"""Hasty empty answers are held for a moment; answers that were waited for, or hold records, not."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

from agents.adapters.kafka_patience import NAP_S, NOT_WAITED_S, be_patient
from tests.simulation.loop import VirtualLoop

EMPTY: list[Any] = [("payment.events", [(0, 0, 7, b"")])]
FULL: list[Any] = [("payment.events", [(0, 0, 7, b"records")])]


class FakeClient:
    """Answers every request after a while."""

    def __init__(self, topics: list[Any], after_s: float) -> None:
        self.topics = topics
        self.after_s = after_s

    async def send(self, _node: int, _request: object, **_options: object) -> FakeClient:
        await asyncio.sleep(self.after_s)
        return self


class FakeConsumer:
    """A consumer is its client here."""

    def __init__(self, client: FakeClient) -> None:
        self._client = client


@pytest.mark.parametrize(
    ("topics", "after_s", "held_s"),
    [(EMPTY, 0.0, NAP_S), (EMPTY, NOT_WAITED_S * 2, 0.0), (FULL, 0.0, 0.0)],
    ids=["hasty and empty", "waited for", "with records"],
)
def test_only_a_hasty_empty_answer_is_held(
    topics: list[Any], after_s: float, held_s: float
) -> None:
    """The embedded broker answers at once; Apache Kafka waits, and is never slowed down."""
    loop = VirtualLoop()
    client = FakeClient(topics, after_s)
    be_patient(cast("AIOKafkaConsumer", FakeConsumer(client)))
    fetch = FetchRequest(500, 1, 1_000, 1, [])

    loop.run_until_complete(client.send(1, fetch))

    assert loop.time() == pytest.approx(after_s + held_s)
    loop.close()
