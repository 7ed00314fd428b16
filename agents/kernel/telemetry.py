"""Facts first, sinks second: what the kernel reports of itself.

A sink (metrics, logs, spans) subclasses `Telemetry` and overrides what it wants to hear; the
kernel never knows which sinks there are. Ids and payloads never become labels.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Processed:
    """One record was settled by an agent."""

    agent: str
    event: str
    step: str
    outcome: str
    """The event types that were published, with commas; empty if there was nothing to say."""
    order_id: str
    duration_s: float
    traceparent: str


class Telemetry:
    """Hears nothing; subclass it."""

    def processed(self, fact: Processed) -> None:
        """A record was settled."""

    def retried(self, agent: str, step: str, error_type: str) -> None:
        """A try failed and is to be repeated."""

    def waited(self, agent: str, what: str, why: str) -> None:
        """A dependency is away; the agent waits."""
