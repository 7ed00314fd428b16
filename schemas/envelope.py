"""The headers of every record: CloudEvents 1.0 in Kafka's binary mode, W3C trace context, ours.

Sources: CloudEvents Kafka protocol binding 1.0.2 (`ce_` prefix, `content-type`), and W3C Trace
Context (`traceparent`). Structured mode (`application/cloudevents+json`) is accepted too.
"""

from __future__ import annotations

TYPE_PREFIX = "dev.chorale."
SPEC_VERSION = "1.0"
CONTENT_TYPE_JSON = b"application/json"
CONTENT_TYPE_STRUCTURED = b"application/cloudevents+json"

CE_SPECVERSION = "ce_specversion"
CE_ID = "ce_id"
CE_SOURCE = "ce_source"
CE_TYPE = "ce_type"
CE_SUBJECT = "ce_subject"
CE_TIME = "ce_time"
CE_PARTITIONKEY = "ce_partitionkey"
CE_CAUSATIONID = "ce_causationid"
CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"

SCHEMA_VERSION = "chorale-schema-version"
"""`major.minor` of the event's schema."""
EFFECT_KEY = "chorale-effect-key"
"""The effect that produced the event, so that a ledger can be rebuilt from the log."""
STEP = "chorale-step"
ATTEMPT = "chorale-attempt"
STEP_DEADLINE_MS = "chorale-step-deadline-ms"
SAGA_DEADLINE_MS = "chorale-saga-deadline-ms"
"""Deadlines are absolute, in milliseconds since the epoch."""

REASON = "chorale-reason"
"""The event's reason, cut short, so that whoever folds headers can tell why."""
REASON_HEADER_MAX = 200

AGENT = "chorale-agent"
"""On dead letters and decisions: the agent whose step it is."""
LETTER_ID = "chorale-letter-id"


def event_type(name: str, major: int) -> str:
    """The CloudEvents type of an event: `dev.chorale.<Event>.v<major>`."""
    return f"{TYPE_PREFIX}{name}.v{major}"


def parse_event_type(text: str) -> tuple[str, int] | None:
    """`(name, major)` of a CloudEvents type of ours, or None if it is not one."""
    if not text.startswith(TYPE_PREFIX):
        return None
    name, dot, version = text[len(TYPE_PREFIX) :].rpartition(".v")
    if not name or not dot or not version.isascii() or not version.isdigit() or len(version) > 6:
        return None
    return name, int(version)
