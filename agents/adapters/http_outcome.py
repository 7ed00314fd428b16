"""From a job to the outcome that the broker has acknowledged, in bounded time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from agents.adapters.http_problems import UNAVAILABLE, Refusal
from agents.adapters.http_service import GatewayService
from agents.kernel.ports import Outgoing, Record
from agents.kernel.routing import HTTP_TOPIC, Job
from schemas import envelope

PERFORM_TIMEOUT_S = 5.0
"""A broker acknowledges in milliseconds; after five seconds the caller had better try again."""
STORE_TIMEOUT_S = 2.0
"""The store answers in a millisecond; one that hangs is as good as away."""


async def perform(service: GatewayService, job: Job) -> list[Outgoing]:
    """The job's outcome. Raises Refusal when it takes too long: then it may or may not be done.

    Being cut off is a crash like any other: what the job left behind is in the ledger, and the
    same request finds it there.
    """
    try:
        async with asyncio.timeout(PERFORM_TIMEOUT_S):
            return await service.perform(job)
    except TimeoutError as error:
        raise Refusal(UNAVAILABLE) from error


def http_record(order_id: str, body: object, traceparent: str, now_ms: int) -> Record:
    """The record that a dead letter of the job would be written about."""
    headers = [(envelope.CONTENT_TYPE, envelope.CONTENT_TYPE_JSON)]
    if traceparent:
        headers.append((envelope.TRACEPARENT, traceparent.encode()))
    value = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Record(HTTP_TOPIC, 0, 0, order_id.encode(), value, tuple(headers), now_ms)


def names_of(outcome: Sequence[Outgoing]) -> set[str]:
    """The types of what was published."""
    return {name_of(record) for record in outcome}


def name_of(record: Outgoing) -> str:
    """The event type of a published record; empty if it has none of ours."""
    header = dict(record.headers).get(envelope.CE_TYPE, b"")
    parsed = envelope.parse_event_type(header.decode("utf-8", "replace"))
    return parsed[0] if parsed else ""
