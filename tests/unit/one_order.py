"""One order's ledger records, driven by hand: a short way to write stories of one step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agents.kernel.protocol import (
    NOTHING,
    Begin,
    Compact,
    Direction,
    Finish,
    Read,
    Records,
    Reply,
    Role,
    State,
    StepRecord,
    Touch,
    Verdict,
    apply,
)

LEASE_MS = 100
EPOCH = 7


@dataclass
class Order:
    """One order's records, and the time at its store."""

    records: Records = field(default_factory=dict)
    now_ms: int = 1_000

    def begin(self, step: str = "label", role: Role = Role.FORWARD, **more: object) -> Reply:
        ask = Begin("o1", step, role, "ann", LEASE_MS, trigger="t1#aa")
        return self.send(replace(ask, **more))  # type: ignore[arg-type]

    def send(self, request: Begin | Touch | Finish | Read | Compact) -> Reply:
        return apply(self.records, request, self.now_ms, EPOCH)

    def finish(self, state: State, step: str = "label", **more: object) -> Reply:
        held = self.records.get(step, NOTHING)
        done = Finish("o1", step, held.owner, held.fence, state, blob="[1]")
        return self.send(replace(done, **more))  # type: ignore[arg-type]

    def run(self, state: State, step: str = "label", role: Role = Role.FORWARD) -> StepRecord:
        """A whole step."""
        assert self.begin(step, role).verdict is Verdict.OURS
        assert self.finish(state, step).verdict is Verdict.OK
        return self.records[step]

    def decide(self, attempt: int, direction: Direction, **more: object) -> Reply:
        letter = {"letter_attempt": attempt, "letter_direction": direction, **more}
        return self.begin("label", Role.DECIDE, **letter)

    def lease_ends(self) -> None:
        self.now_ms += LEASE_MS
