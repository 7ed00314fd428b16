"""Knobs: latency, failures, lost replies and outages of each service, turned while it runs.

They are for load and fault tests; what one order meets by its own inputs stands in `scenarios.py`.
Chance comes from an injected generator, two or three draws a call, so a seeded run is repeatable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.kernel.errors import TerminalFault
from agents.kernel.ports import Random
from agents.providers.simulator.carriers import CARRIERS
from agents.providers.simulator.channels import CHANNELS

SERVICES = ("payments", "warehouses", *CARRIERS, *CHANNELS)

LATENCY_MS_MAX = 600_000.0
"""Ten minutes: far beyond any time-out."""


@dataclass(frozen=True, slots=True)
class Knob:
    """How one service behaves."""

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    """Up to that much is added to the latency, evenly distributed."""
    failure_rate: float = 0.0
    """Share of calls that are refused, with nothing done."""
    lost_reply_rate: float = 0.0
    """Share of calls that are done and whose answer is lost."""
    down: bool = False
    """Every call is refused."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one call meets."""

    delay_s: float = 0.0
    refused: str = ""
    reply_lost: bool = False


UNTOUCHED = Drawn()
"""What a call of a service meets whose knob nobody has turned."""


class Knobs:
    """The knobs of all services."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._knobs: dict[str, Knob] = {}

    def turn(self, service: str, knob: Knob) -> None:
        """Set one service. Raises TerminalFault that names what is wrong."""
        if service not in SERVICES:
            raise TerminalFault(f"no service {service}; there are {', '.join(SERVICES)}")
        _check(service, knob)
        if knob == _CALM:
            self._knobs.pop(service, None)
        else:
            self._knobs[service] = knob

    def replace_all(self, knobs: Mapping[str, Knob]) -> None:
        """Set all services; the ones not named become calm. Raises TerminalFault."""
        fresh = Knobs(self._random)
        for service, knob in knobs.items():
            fresh.turn(service, knob)
        self._knobs = fresh._knobs

    def all(self) -> dict[str, Knob]:
        """The knob of every service."""
        return {service: self._knobs.get(service, _CALM) for service in SERVICES}

    def draw(self, service: str) -> Drawn:
        """What the next call of this service meets."""
        knob = self._knobs.get(service)
        if knob is None:
            return UNTOUCHED
        delay_ms = knob.latency_ms + knob.jitter_ms * self._random.random()
        fails = self._random.random() < knob.failure_rate
        lost = self._random.random() < knob.lost_reply_rate
        refused = f"{service} is down" if knob.down else "a drawn failure" if fails else ""
        return Drawn(delay_ms / 1000, refused, lost)


_CALM = Knob()


def _check(service: str, knob: Knob) -> None:
    for name in ("latency_ms", "jitter_ms"):
        if not 0 <= getattr(knob, name) <= LATENCY_MS_MAX:
            raise TerminalFault(f"{service}.{name} must be from 0 to {LATENCY_MS_MAX:.0f}")
    for name in ("failure_rate", "lost_reply_rate"):
        if not 0 <= getattr(knob, name) <= 1:
            raise TerminalFault(f"{service}.{name} must be from 0 to 1")
