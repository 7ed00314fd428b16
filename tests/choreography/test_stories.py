"""Stories: given an order, when somebody refuses or fails, then these events, and that end."""

from __future__ import annotations

import pytest

from agents.bootstrap import NAMES
from agents.kernel.protocol import OVER, Read
from agents.sightings import view_of
from agents.tracker import COMPACT_AFTER_MS
from schemas.dead_letter import Action
from schemas.saga import SagaStatus
from tests.simulation.acts import cancel_request, decide
from tests.simulation.orders import order_body
from tests.simulation.world import World

HAPPY = [
    "OrderPlaced",
    "PaymentCreated",
    "PaymentAuthorized",
    "StockReserved",
    "ShipmentLabelled",
    "PaymentCaptured",
    "Notified",
]


def told(world: World, scenario: str) -> set[str]:
    world.submit(order_body("o-1", scenario))
    world.run()
    return set(world.events("o-1"))


def status(world: World, order_id: str = "o-1") -> SagaStatus:
    row = world.loop.run_until_complete(world.stores.sagas.get(order_id))
    assert row is not None
    return view_of(row, {}).status


@pytest.mark.parametrize(
    ("scenario", "beside", "end"),
    [
        ("happy", set(), SagaStatus.COMPLETED),
        ("fedex-refuses", {"CarrierSwitched"}, SagaStatus.COMPLETED),
        ("fedex-down", {"CarrierSwitched"}, SagaStatus.COMPLETED),
        ("slow-carrier", {"CarrierSwitched", "CarrierAbandoned"}, SagaStatus.COMPLETED),
        ("capture-doubt", set(), SagaStatus.COMPLETED),
    ],
)
def test_a_completed_order_lives_the_happy_events_and_what_the_carriers_add(
    world: World, scenario: str, beside: set[str], end: SagaStatus
) -> None:
    """Neither customer nor saga notices which carrier took the parcel."""
    events = told(world, scenario)

    assert events == set(HAPPY) | beside
    assert status(world) is end
    assert world.report().balanced


@pytest.mark.parametrize(
    ("scenario", "events"),
    [
        ("payment-declined", "OrderPlaced PaymentCreated PaymentDeclined Notified"),
        ("screened", "OrderPlaced CreateFailing PaymentDeclined Notified"),
        (
            "out-of-stock",
            "OrderPlaced PaymentCreated PaymentAuthorized StockRejected PaymentVoided Notified",
        ),
        (
            "all-carriers-down",
            """OrderPlaced PaymentCreated PaymentAuthorized StockReserved CarrierSwitched
            LabelFailing ShipmentFailed StockReleased PaymentVoided Notified""",
        ),
        (
            "capture-fails",
            """OrderPlaced PaymentCreated PaymentAuthorized StockReserved ShipmentLabelled
            PaymentCaptureFailed ShipmentCancelled StockReleased PaymentVoided Notified""",
        ),
    ],
)
def test_a_refused_order_is_undone_in_reverse_order(
    world: World, scenario: str, events: str
) -> None:
    """What had been done is undone, no more and no less, and the order fails."""
    assert told(world, scenario) == set(events.split())
    assert status(world) is SagaStatus.FAILED
    assert world.report().balanced


def test_a_repeated_submission_is_the_same_order(world: World) -> None:
    """The same body twice starts one saga and charges once."""
    world.submit(order_body("o-1"))
    world.submit(order_body("o-1"))
    world.run()

    assert world.balance().orders["o-1"].payments == 1
    assert set(world.events("o-1")) == set(HAPPY)
    assert world.report().balanced


def test_the_same_id_with_another_body_is_refused_and_the_first_saga_untouched(
    world: World,
) -> None:
    """A contradiction is an OrderRejected; the first order completes at its own price."""
    world.submit(order_body("o-1", quantity=2))
    world.submit(order_body("o-1", quantity=5))
    world.run()

    assert set(world.events("o-1")) == {*HAPPY, "OrderRejected"}
    assert status(world) is SagaStatus.COMPLETED
    assert world.balance().orders["o-1"].captured == 3_000
    assert world.report().balanced


def test_a_cancel_before_the_order_leaves_tombstones_and_the_order_never_takes_effect(
    world: World,
) -> None:
    """The chain starts at its tail; each late step meets its tombstone."""
    cancel = cancel_request("o-1", "happy")
    world.publish(cancel.topic, "o-1", cancel.value, **{k: v.decode() for k, v in cancel.headers})
    world.run()
    world.submit(order_body("o-1"))
    world.run()

    order = world.balance().orders["o-1"]
    assert (order.held, order.kept, order.labels, order.live_reservations) == (0, 0, 0, ())
    assert status(world) is SagaStatus.FAILED
    assert world.report().balanced


def test_a_cancel_after_the_capture_is_refused(world: World) -> None:
    """Too late is said in the log, and nothing is undone."""
    told(world, "happy")
    cancel = cancel_request("o-1", "happy")
    world.publish(cancel.topic, "o-1", cancel.value, **{k: v.decode() for k, v in cancel.headers})
    world.run()

    assert "CancelRefused" in world.events("o-1")
    assert status(world) is SagaStatus.COMPLETED
    assert world.report().balanced


def test_a_saga_whose_agent_is_away_times_out_and_is_undone(world: World) -> None:
    """Shipping is down: after the deadline the capture is stopped; shipping's return undoes all."""
    without = tuple(name for name in NAMES if name != "shipping")
    world.submit(order_body("o-1"))
    world.run(without, idle_s=world.settings.saga_deadline_ms / 1000 + 5)
    assert {"SagaTimedOut", "CaptureStopping", "CaptureStopped"} <= set(world.events("o-1"))
    assert status(world) is SagaStatus.COMPENSATING

    world.run()

    assert status(world) is SagaStatus.FAILED
    order = world.balance().orders["o-1"]
    assert (order.held, order.kept, order.labels, order.live_reservations) == (0, 0, 0, ())
    assert world.report().balanced


@pytest.mark.parametrize("action", ["discard", "resolved_by_hand"])
def test_a_settled_letter_lets_the_chain_go_on(world: World, action: Action) -> None:
    """A person says that the void is done; the saga ends, and says by whom."""
    told(world, "void-fails")
    letter = world.letters().open()[0]
    assert status(world) is SagaStatus.COMPENSATING

    decide(world, letter, action)
    world.run()

    assert status(world) is SagaStatus.FAILED
    assert world.letters().open() == []
    voided = [r for r in world.records() if "PaymentVoided" in r.header("ce_type")]
    assert b'"by":"operator"' in (voided[0].value or b"")


def test_only_the_first_decision_about_a_letter_counts(world: World) -> None:
    """Two operators decide at once: one void, one outcome."""
    told(world, "void-fails")
    letter = world.letters().open()[0]

    decide(world, letter, "replay", 1)
    decide(world, letter, "discard", 2)
    decide(world, letter, "replay", 3)
    world.run()

    voided = [r for r in world.records() if "PaymentVoided" in r.header("ce_type")]
    assert len({r.value for r in voided}) == 1
    assert b'"by":"saga"' in (voided[0].value or b"")
    assert world.report().balanced


def test_a_settled_saga_is_compacted_and_still_answers_late_records(world: World) -> None:
    """Some time after its end one small record is left; a late repeat changes nothing."""
    told(world, "happy")
    world.run(idle_s=COMPACT_AFTER_MS / 1000 + 5)
    reply = world.loop.run_until_complete(world.ledger.apply([Read("o-1")]))[0]
    assert [name for name, _ in reply.records] == [OVER]

    world.submit(order_body("o-1"))
    world.submit(order_body("o-1", quantity=9))
    world.run()

    assert world.balance().orders["o-1"].payments == 1
    assert "OrderRejected" in world.events("o-1")
    assert status(world) is SagaStatus.COMPLETED
    assert world.report().balanced
