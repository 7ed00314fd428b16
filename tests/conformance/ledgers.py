"""What the ledger's tests share: ledgers whose time stands still, requests, and their makers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from hypothesis import strategies as st

from agents.adapters.redis_ledger import RedisLedger
from agents.kernel.protocol import (
    Begin,
    Compact,
    Direction,
    Finish,
    Read,
    Reply,
    Request,
    Role,
    State,
    Touch,
)

START_MS = 1_800_000_000_000
LEASE_MS = 100
HOUR_MS = 3_600_000

ORDERS = st.sampled_from(["o1", "o1", "o1", "o2"])
STEPS = st.sampled_from(["place", "create", "confirm", "label", "capture"])
OWNERS = st.sampled_from(["ann", "bob", "cem"])
TRIGGERS = st.sampled_from(["t1#aa", "t1#bb", "t2#aa", "#aa", "", 't"3\\é\x1f#x'])
OUTCOMES = st.sampled_from(["", "CarrierSwitched", "CaptureStopping", "ShipmentLabelled"])
BLOBS = st.sampled_from(["", '["event"]', "ünï/\x00\n", "b" * 500])
DIRECTIONS = st.sampled_from(["", *Direction])
SETTLED = st.sampled_from([State.DONE, State.DEAD, State.STOPPED, State.COMPENSATED])
GROUPS = st.sampled_from([(), (), ("confirm",), ("confirm", "label")])

begins = st.builds(
    Begin,
    order_id=ORDERS,
    step=STEPS,
    role=st.sampled_from(list(Role)),
    owner=OWNERS,
    lease_ms=st.sampled_from([0, LEASE_MS]),
    trigger=TRIGGERS,
    trigger_type=OUTCOMES,
    group=GROUPS,
    letter_attempt=st.integers(0, 3),
    letter_direction=DIRECTIONS,
    letter_known=st.booleans(),
).map(lambda ask: replace(ask, group=tuple(s for s in ask.group if s != ask.step)))
touches = st.builds(
    Touch,
    order_id=ORDERS,
    step=STEPS,
    owner=OWNERS,
    fence=st.integers(0, 3),
    lease_ms=st.sampled_from([0, LEASE_MS]),
    tries=st.integers(0, 4),
    doubt=st.booleans(),
    progress=st.sampled_from(["", "0110", 'x,"\x7f']),
)
finishes = st.builds(
    Finish,
    order_id=ORDERS,
    step=STEPS,
    owner=OWNERS,
    fence=st.integers(0, 3),
    state=SETTLED,
    outcome=OUTCOMES,
    open=st.booleans(),
    blob=BLOBS,
    direction=DIRECTIONS,
    unclaimed=st.booleans(),
    epoch=st.sampled_from([0, 0, 0, 7]),
)
compacts = st.builds(
    Compact, order_id=ORDERS, fences=st.just((("place", 1),)), ttl_ms=st.just(HOUR_MS)
)
reads = st.builds(Read, order_id=ORDERS)
requests = st.one_of(begins, begins, touches, finishes, finishes, compacts, reads)


class TimedLedger(RedisLedger):
    """The real ledger, whose script takes the time from the test."""

    now_ms = START_MS

    def _time_override(self) -> str:
        return str(self.now_ms)


class Opened(Protocol):
    """A ledger with its epoch."""

    @property
    def epoch(self) -> int: ...
    async def open(self) -> int: ...
    async def create_epoch(self) -> int: ...
    async def apply(self, requests: Sequence[Request]) -> list[Reply]: ...


class StandingClock:
    """Time that stands still."""

    def now_ms(self) -> int:
        return START_MS

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


def begin(order: str = "o1", step: str = "create", owner: str = "ann") -> Begin:
    return Begin(order, step, Role.FORWARD, owner, LEASE_MS, trigger="t1#aa")


def finish(order: str = "o1", step: str = "create", fence: int = 1) -> Finish:
    return Finish(order, step, "ann", fence, State.DONE, "PaymentCreated", blob="[1]")
