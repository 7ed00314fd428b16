"""Everything an agent is run with; bootstrap and the simulation fill it in."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.kernel.health import Health
from agents.kernel.ports import Clock, Ids, Ledger, Log, Random
from agents.kernel.settings import Settings
from agents.kernel.telemetry import Telemetry
from agents.kernel.topics import Topics


@dataclass(frozen=True, slots=True)
class Parts:
    """The ports and tables of one process."""

    log: Log
    ledger: Ledger
    clock: Clock
    random: Random
    ids: Ids
    topics: Topics
    settings: Settings
    health: Health = field(default_factory=Health)
    telemetry: Telemetry = field(default_factory=Telemetry)
