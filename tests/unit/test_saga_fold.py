"""The fold gives one status for a set of events, whatever the order and however often they come."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import EVENTS
from schemas.saga import STATUS_BY_EVENT, SagaStatus, status_of

some_events = st.lists(st.sampled_from(sorted(EVENTS)), max_size=30)

HAPPY = (
    ("OrderPlaced", SagaStatus.STARTED),
    ("PaymentCreated", SagaStatus.PAYMENT_PENDING),
    ("PaymentAuthorized", SagaStatus.PAYMENT_CONFIRMED),
    ("StockReserved", SagaStatus.INVENTORY_RESERVED),
    ("ShipmentLabelled", SagaStatus.SHIPPING_INITIATED),
    ("PaymentCaptured", SagaStatus.COMPLETED),
    ("Notified", SagaStatus.COMPLETED),
)
UNDONE = ("CaptureStopped", "ShipmentCancelled", "StockReleased")


def fold(arrived: list[str]) -> SagaStatus:
    """What a tracker holds after these arrivals: it remembers a set."""
    seen: set[str] = set()
    for name in arrived:
        seen.add(name)
    return status_of(seen)


def test_every_event_has_its_row_and_every_row_its_event() -> None:
    """The fold is total: a new event without a row fails here, and in `check`."""
    assert set(STATUS_BY_EVENT) == set(EVENTS)


@settings(deadline=None)
@given(some_events, st.randoms(use_true_random=False))
def test_status_is_the_same_in_every_order_of_arrival(
    arrived: list[str], chance: random.Random
) -> None:
    """Topics give no order between them."""
    shuffled = list(arrived)
    chance.shuffle(shuffled)

    assert fold(shuffled) is fold(arrived)


@settings(deadline=None)
@given(some_events, st.data())
def test_status_is_the_same_when_events_arrive_again(
    arrived: list[str], data: st.DataObject
) -> None:
    """Delivery is at least once."""
    repeats = data.draw(st.lists(st.sampled_from(arrived), max_size=10)) if arrived else []

    assert fold(arrived + repeats) is fold(arrived)


@settings(deadline=None)
@given(st.sets(st.sampled_from(sorted(EVENTS))), st.sampled_from(sorted(EVENTS)))
def test_status_never_falls_back_when_one_more_event_arrives(seen: set[str], more: str) -> None:
    """A saga that has failed never completes afterwards; progress is never taken back.

    One thing is: a rejection stands alone, and counts no more once the saga's own events come.
    """
    order = list(SagaStatus)
    if "OrderRejected" in seen | {more}:
        return

    assert order.index(status_of(seen | {more})) >= order.index(status_of(seen))


def test_happy_order_goes_through_every_status() -> None:
    """Event by event, as most orders live."""
    seen: set[str] = set()
    for name, status in HAPPY:
        seen.add(name)

        assert status_of(seen) is status


def test_happy_order_completes_in_all_arrival_orders() -> None:
    """All 5 040 of them."""
    names = [name for name, _ in HAPPY]

    ends = {fold(list(order)) for order in itertools.permutations(names)}

    assert ends == {SagaStatus.COMPLETED}


@pytest.mark.parametrize("gone_back", ["PaymentRefunded", "PaymentVoided"])
def test_failed_beats_completed_when_money_went_back(gone_back: str) -> None:
    """Money that was given back is never reported as earned."""
    seen = {name for name, _ in HAPPY} | {gone_back}

    assert status_of(seen) is SagaStatus.FAILED


@pytest.mark.parametrize("undoing", UNDONE)
def test_compensating_beats_every_progress(undoing: str) -> None:
    """A label that arrives late does not make a stopped order look alive."""
    progress = {name for name, _ in HAPPY[:5]}

    assert status_of(progress | {undoing}) is SagaStatus.COMPENSATING


def test_rejection_is_a_failure_when_it_stands_alone() -> None:
    """Nothing else is known of the order."""
    assert status_of({"OrderRejected"}) is SagaStatus.FAILED


@settings(deadline=None)
@given(st.sets(st.sampled_from(sorted(set(EVENTS) - {"OrderRejected"})), min_size=1))
def test_rejected_second_submission_leaves_the_first_saga_alone(seen: set[str]) -> None:
    """A contradicting repeat of an id is refused; the saga goes on."""
    assert status_of(seen | {"OrderRejected"}) is status_of(seen)


def test_status_is_started_when_nothing_tells_more() -> None:
    """A cancel request may overtake the order itself."""
    assert status_of(set()) is SagaStatus.STARTED
    assert status_of({"OrderCancelRequested"}) is SagaStatus.STARTED


def test_unknown_event_changes_nothing() -> None:
    """An older tracker meets a newer event."""
    assert status_of({"OrderPlaced", "OrderGiftWrapped"}) is SagaStatus.STARTED


def test_only_completed_and_failed_are_terminal() -> None:
    """Whatever else a saga is, it still owes an end."""
    assert {s for s in SagaStatus if s.terminal} == {SagaStatus.COMPLETED, SagaStatus.FAILED}
