"""Patience with a broker that has none.

A consumer asks for records and lets the broker wait up to half a second for some to come. The
embedded broker answers at once instead, and an idle consumer then asks thousands of times a
second. An empty answer that came too soon to have been waited for is therefore held for a moment.
Apache Kafka waits as it is asked to, so nothing is ever held there.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

NOT_WAITED_S = 0.01
"""An empty answer sooner than this was not waited for."""
NAP_S = 0.02
"""How long it is held: fifty questions a second, and 20 ms more for a record that comes then."""


def be_patient(consumer: AIOKafkaConsumer) -> None:
    """Hold hasty empty answers of this consumer's broker."""
    client: Any = consumer._client  # noqa: SLF001 - the library has no hook there
    send = client.send

    async def patient(node_id: Any, request: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        response = await send(node_id, request, **options)
        hasty = loop.time() - asked_s < NOT_WAITED_S
        if hasty and isinstance(request, FetchRequest) and _empty(response):
            await asyncio.sleep(NAP_S)
        return response

    client.send = patient


def _empty(response: Any) -> bool:
    return not any(partition[-1] for _, partitions in response.topics for partition in partitions)
