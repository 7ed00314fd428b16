"""The ledger's script answers every request exactly as the protocol's Python function does."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from agents.adapters.redis_client import RedisClient
from agents.kernel.protocol import (
    Begin,
    Compact,
    Direction,
    Finish,
    Read,
    Records,
    Reply,
    Request,
    Role,
    State,
    StepRecord,
    Touch,
    apply,
)
from tests.conformance.ledgers import (
    HOUR_MS,
    LEASE_MS,
    ORDERS,
    TimedLedger,
    begins,
    finishes,
    requests,
    touches,
)


@dataclass
class Model:
    """The protocol's own function over plain dictionaries."""

    epoch: int
    orders: dict[str, Records]

    def apply(self, request: Request, now_ms: int) -> Reply:
        return apply(self.orders.setdefault(request.order_id, {}), request, now_ms, self.epoch)

    def work(self) -> list[tuple[str, str, StepRecord]]:
        """Everything in flight, to aim at it too."""
        return [
            (order, step, record)
            for order, records in self.orders.items()
            for step, record in records.items()
            if record.state in (State.INFLIGHT, State.COMPENSATING)
        ]

    def holds(self, request: Request) -> StepRecord:
        """What the step of a request is now, to aim requests that may succeed at it."""
        step = request.step if isinstance(request, Begin | Touch | Finish) else ""
        return self.orders.get(request.order_id, {}).get(step, StepRecord())


class Differential(RuleBasedStateMachine):
    """Sends each request to the script and to the model, and compares all that both answer."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.run(self.open())

    async def open(self) -> None:
        self.client = RedisClient(self.url)
        self.ledger = TimedLedger(self.client, f"{uuid.uuid4().hex}:")
        self.model = Model(await self.ledger.create_epoch(), {})

    def send(self, *asked: Request) -> None:
        expected = [self.model.apply(request, self.ledger.now_ms) for request in asked]
        reads = [Read(order) for order in ("o1", "o2")]
        expected += [self.model.apply(read, self.ledger.now_ms) for read in reads]

        answered = self.runner.run(self.ledger.apply([*asked, *reads]))

        assert answered == expected

    @rule(request=requests)
    def any_request(self, request: Request) -> None:
        self.send(request)

    @rule(batch=st.lists(requests, min_size=2, max_size=6))
    def batch(self, batch: list[Request]) -> None:
        self.send(*batch)

    @rule(request=finishes | touches, choice=st.integers(0, 9))
    def by_the_owner(self, request: Finish | Touch, choice: int) -> None:
        work = self.model.work()
        if work:
            order, step, held = work[choice % len(work)]
            aimed = replace(request, order_id=order, step=step)
            self.send(replace(aimed, owner=held.owner, fence=held.fence))

    @rule(request=finishes)
    def by_the_owner_of_this_epoch(self, request: Finish) -> None:
        held = self.model.holds(request)
        finish = replace(request, owner=held.owner, fence=held.fence, epoch=self.ledger.epoch)
        self.send(finish)

    @rule(touch=touches, request=begins, choice=st.integers(0, 9))
    def take_over(self, touch: Touch, request: Begin, choice: int) -> None:
        """An owner dies at work; then somebody else asks for its step, in whatever role."""
        work = self.model.work()
        if work:
            order, step, held = work[choice % len(work)]
            aimed = replace(touch, order_id=order, step=step)
            self.send(replace(aimed, owner=held.owner, fence=held.fence))
            self.ledger.now_ms += LEASE_MS
            group = tuple(name for name in request.group if name != step)
            self.send(replace(request, order_id=order, step=step, owner="dan", group=group))

    @rule(request=begins, known=st.booleans())
    def decide_the_present_letter(self, request: Begin, known: bool) -> None:
        held = self.model.holds(request)
        ask = replace(request, role=Role.DECIDE, letter_known=known, letter_attempt=held.attempt)
        self.send(replace(ask, letter_direction=held.direction))

    @rule(request=begins, states=st.sampled_from([State.DONE, State.DEAD, State.COMPENSATED]))
    def through(self, request: Begin, states: State) -> None:
        """A whole step, so that sequences go deep."""
        self.send(request)
        held = self.model.holds(request)
        done = Finish(request.order_id, request.step, held.owner, held.fence, states, blob="b")
        self.send(replace(done, open=held.fence % 2 == 0, outcome="CarrierSwitched"))

    @rule(order=ORDERS)
    def compact(self, order: str) -> None:
        records = self.model.orders.get(order, {})
        fences = tuple((step, record.fence) for step, record in sorted(records.items()))
        self.send(Compact(order, fences, HOUR_MS))

    @rule(ms=st.sampled_from([1, LEASE_MS - 1, LEASE_MS, 2 * LEASE_MS]))
    def pass_time(self, ms: int) -> None:
        self.ledger.now_ms += ms

    def teardown(self) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.mark.valkey
def test_script_equals_the_model_for_any_sequence(valkey: str) -> None:
    """Whatever is sent in whatever order, the script answers and stores what the model does."""
    machine = type("DifferentialHere", (Differential,), {"url": valkey})

    run_state_machine_as_test(
        machine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None)
    )


def aimed(rng: random.Random, model: Model, order: str) -> Request:
    """A request that mostly fits what one of two steps of the order is at."""
    step = rng.choice(["create", "confirm"])
    held = model.orders.get(order, {}).get(step, StepRecord())
    owner = rng.choice([held.owner, held.owner, "ann", "bob"])
    kind = rng.choice(["begin", "begin", "touch", "finish"])
    if kind == "touch":
        tries, doubt = rng.randrange(4), rng.random() < 0.5
        return Touch(order, step, owner, held.fence, LEASE_MS, tries, doubt, rng.choice(["", "01"]))
    if kind == "finish":
        settled = rng.choice([State.DONE, State.DONE, State.DEAD, State.COMPENSATED, State.STOPPED])
        return Finish(
            order,
            step,
            owner,
            held.fence,
            settled,
            rng.choice(["", "CarrierSwitched"]),
            open=rng.random() < 0.5,
            blob=rng.choice(["", "[1]", "[2]"]),
            unclaimed=rng.random() < 0.1,
        )
    return Begin(
        order,
        step,
        rng.choice(list(Role)),
        rng.choice(["ann", "bob", "cem"]),
        LEASE_MS,
        rng.choice(["t1#aa", "t1#aa", "t1#bb"]),
        rng.choice(["", "CarrierSwitched"]),
        ("confirm",) if step == "create" and rng.random() < 0.5 else (),
        rng.choice([held.attempt, held.attempt, held.attempt - 1, 1]),
        rng.choice([held.direction, held.direction, *Direction]),
        letter_known=rng.random() < 0.5,
    )


@pytest.mark.valkey
@pytest.mark.parametrize("seed", range(4))
async def test_script_equals_the_model_over_long_histories(valkey: str, seed: int) -> None:
    """A hundred orders at once, sixty requests each, most of them aimed at what may happen next."""
    rng = random.Random(seed)
    client = RedisClient(valkey)
    ledger = TimedLedger(client, f"{uuid.uuid4().hex}:")
    model = Model(await ledger.create_epoch(), {})
    orders = [f"o{n}" for n in range(100)]

    for _ in range(60):
        ledger.now_ms += rng.choice([1, LEASE_MS // 2, LEASE_MS])
        asked = [aimed(rng, model, order) for order in orders]
        expected = [model.apply(request, ledger.now_ms) for request in asked]
        assert await ledger.apply(asked) == expected

    reads = [Read(order) for order in orders]
    assert await ledger.apply(reads) == [model.apply(read, ledger.now_ms) for read in reads]
    await client.close()
