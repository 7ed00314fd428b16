"""Stories of faults: what is told, what a person settles, and what an undoing meets."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agents.bootstrap import NAMES
from agents.gateway import Gateway
from agents.inventory import Inventory
from agents.kernel.context import StepContext
from agents.kernel.errors import InDoubt, TransientFault
from agents.kernel.pipeline import Pipeline
from agents.kernel.ports import Effect, Record
from agents.kernel.routing import HTTP_TOPIC, Job, submitted
from agents.kernel.submission import Submission, submission_of
from agents.kernel.telemetry import Processed, Telemetry
from agents.ports import Intent, Reservation, ReservationStatus
from agents.providers.in_process import InProcessPayments
from agents.providers.simulator.knobs import Knob
from agents.tracker import COMPACT_AFTER_MS
from schemas.events import REASON_MAX, PaymentAuthorized, StockRejected
from schemas.order import Order
from schemas.saga import SagaStatus
from tests.choreography.test_stories import status, told
from tests.simulation.acts import cancel_request, decide
from tests.simulation.orders import as_bytes, order_body
from tests.simulation.world import World


class Heard(Telemetry):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.facts: list[Processed] = []

    def processed(self, fact: Processed) -> None:
        self.facts.append(fact)


def test_every_processed_record_is_told_once_with_its_outcome() -> None:
    """Telemetry hears of each step what it published and how long that took."""
    heard = Heard()
    world = World(seed=1, telemetry=heard)
    world.submit(order_body("o-1"))
    world.run()
    world.close()

    told = {(f.agent, f.step): f.outcome for f in heard.facts}
    assert told == {
        ("gateway", "place"): "OrderPlaced",
        ("payment", "create"): "PaymentCreated",
        ("payment", "confirm"): "PaymentAuthorized",
        ("inventory", "reserve"): "StockReserved",
        ("shipping", "label"): "ShipmentLabelled",
        ("payment", "capture"): "PaymentCaptured",
        ("notification", "notify"): "Notified",
    }
    assert {f.order_id for f in heard.facts} == {"o-1"}
    assert all(f.duration_s >= 0 for f in heard.facts)


def test_an_order_over_http_that_died_of_a_bug_is_replayed_as_the_same_order(
    world: World,
) -> None:
    """A letter of the HTTP door is read as the submission that it was."""
    body = order_body("o-1")
    record = Record(HTTP_TOPIC, 0, 0, b"o-1", as_bytes(body))
    place = Gateway.handlers[Submission]
    trigger = submitted(submission_of(record), "")

    async def bug(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    async def over_http() -> None:
        await asyncio.sleep(1.0)
        door = world.nodes[0].host.running["gateway"]
        assert isinstance(door, Pipeline)
        broken = replace(place, call=bug)
        await door.perform(Job(record, trigger, broken, "place", "place"))

    world.meanwhile(over_http)
    world.run(idle_s=5.0)
    letters = world.letters().open()
    assert [(x.step, x.error_type) for x in letters] == [("place", "RuntimeError")]

    decide(world, letters[0], "replay")
    world.run()

    assert world.report().completed == 1
    assert world.report().balanced


def test_a_provider_that_says_a_lot_is_still_only_refusing(world: World) -> None:
    """A reason longer than an event takes is cut; a known "no" is never a bug of ours."""
    long = replace(_refused(), reason="x" * 5_000)
    ctx = StepContext("o-1", "reserve", Effect("o-1:reserve:1", "o-1", 1), 0, 0)
    paid = PaymentAuthorized(order=Order.model_validate(order_body("o-1")))

    event = world.loop.run_until_complete(Inventory(_Saying(long)).reserve(paid, ctx))

    assert isinstance(event, StockRejected)
    assert event.reason == "x" * REASON_MAX


def test_the_undoing_of_an_in_doubt_undoing_keeps_its_key() -> None:
    """A replay raises the attempt in ids; the provider sees the same key until a known refusal."""
    effect = Effect("o-1-comp-confirm:1", "o-1", attempt=2)
    ctx = StepContext("o-1", "confirm", effect, 0, 0, undo_attempt=1)

    assert ctx.undo_effect("capture").key == "o-1-comp-capture:1"
    assert ctx.undo_effect("capture").attempt == 2


def _refused() -> Reservation:
    return Reservation("o-1:reserve", ReservationStatus.REJECTED)


class _Saying:
    """Warehouses that answer with one reservation."""

    def __init__(self, answer: Reservation) -> None:
        self._answer = answer

    async def reserve(self, _effect: Effect, _id: str, _order: Order) -> Reservation:
        return self._answer

    async def release(self, _effect: Effect, _id: str) -> Reservation:
        return self._answer


def test_a_repeat_that_finds_the_payment_further_on_declines_nothing(world: World) -> None:
    """The store was lost and everything is read again: captured once, and never called declined."""
    told(world, "happy")
    world.ledger.flush()
    world.loop.run_until_complete(world.ledger.create_epoch())
    for agent in ("payment", "inventory", "shipping"):
        world.log.redeliver(agent, 0)
    world.run()

    assert "PaymentDeclined" not in world.events("o-1")
    assert world.balance().orders["o-1"].payments == 1
    assert world.report().balanced


def test_an_undoing_of_several_slow_calls_still_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call answers within its time-out; together they take longer than a step's lease."""
    real = InProcessPayments.capture

    async def reply_lost(self: InProcessPayments, effect: Effect, payment_id: str) -> Intent:
        await real(self, effect, payment_id)
        raise InDoubt

    monkeypatch.setattr(InProcessPayments, "capture", reply_lost)
    told(world, "happy")
    letter = world.letters().open()[0]
    slow = Knob(latency_ms=world.settings.effect_timeout_ms * 8 // 10)
    world.outworld.knobs.turn("payments", slow)

    decide(world, letter, "discard")
    world.run()

    assert "PaymentRefunded" in world.events("o-1")
    assert status(world) is SagaStatus.FAILED
    assert world.letters().open() == []
    assert world.report().balanced


def test_a_stop_that_a_person_settles_is_confirmed_and_the_chain_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The payment cannot be read, the stop becomes a letter; discarded, the order is undone."""
    real = InProcessPayments.read

    async def away(_self: InProcessPayments, _effect: Effect, _payment_id: str) -> Intent:
        raise TransientFault

    without = tuple(name for name in NAMES if name != "shipping")
    world.submit(order_body("o-1"))
    world.run(without)
    monkeypatch.setattr(InProcessPayments, "read", away)
    cancel_now(world)
    world.run(without, idle_s=5.0)
    letter = next(x for x in world.letters().open() if not x.step)
    monkeypatch.setattr(InProcessPayments, "read", real)

    decide(world, letter, "discard")
    world.run()

    order = world.balance().orders["o-1"]
    assert status(world) is SagaStatus.FAILED
    assert (order.held, order.kept, order.labels, order.live_reservations) == (0, 0, 0, ())
    assert world.report().balanced


def cancel_now(world: World) -> None:
    cancel = cancel_request("o-1", "happy")
    world.publish(cancel.topic, "o-1", cancel.value, **{k: v.decode() for k, v in cancel.headers})


def test_a_replayed_notification_is_sent_even_if_its_agent_was_away_for_long(world: World) -> None:
    """The tracker reads the decision first; it does not tidy up what the replay still needs."""
    world.outworld.knobs.turn("email", Knob(down=True))
    told(world, "happy")
    letter = world.letters().open()[0]
    assert (letter.step, letter.owed.money) == ("notify/mail", None)
    world.outworld.knobs.turn("email", Knob())

    decide(world, letter, "replay")
    world.run(("tracker",), idle_s=COMPACT_AFTER_MS / 1000 * 2)
    world.run()

    assert ("mail", "o-1:completed:email:customer") in world.balance().messages
    assert world.letters().open() == []
