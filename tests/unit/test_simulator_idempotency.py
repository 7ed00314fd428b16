"""Idempotency keys: one effect, the first answer again, a day of memory."""

from __future__ import annotations

import pytest

from agents.kernel.errors import ParameterMismatch, TransientFault
from agents.kernel.ports import Effect
from agents.ports import Intent, IntentStatus
from agents.providers.simulator.idempotency import (
    REMEMBERED_MS,
    KeyInProgress,
    KeyMissing,
    Keys,
    Remembered,
    check_key,
    fingerprint,
)
from agents.providers.simulator.journal import MemoryJournal
from agents.providers.simulator.payments import Purchase
from agents.providers.simulator.world import World

PURCHASE = Purchase(1_500, "USD", "tok_visa")


class Hand:
    """A clock moved by hand, and chance that never strikes."""

    def __init__(self) -> None:
        self.ms = 1_000

    def now_ms(self) -> int:
        return self.ms

    def random(self) -> float:
        return 0.99


def a_world(hand: Hand, journal: MemoryJournal | None = None) -> World:
    return World(journal or MemoryJournal(), hand.now_ms, hand)


def call(step: str, attempt: int = 1) -> Effect:
    return Effect(f"o-1:{step}:1", "o-1", attempt)


def test_first_answer_is_given_again_when_the_object_has_moved_on() -> None:
    """As at Stripe, the replayed answer is the first one, not the present."""
    world = a_world(Hand())
    created = world.payments.create(call("create"), PURCHASE).first
    world.payments.confirm(call("confirm"), created.id)

    again = world.payments.create(call("create"), PURCHASE)

    assert again.replayed
    assert again.first == created
    assert again.present == Intent(created.id, IntentStatus.AUTHORIZED, 1_500)


def test_attempt_and_fence_are_no_parameters() -> None:
    """An operator's replay under the same key gets the same answer, not a mismatch."""
    world = a_world(Hand())
    first = world.payments.create(call("create"), PURCHASE).first

    again = world.payments.create(call("create", attempt=2), PURCHASE)

    assert again.replayed
    assert again.first == first


def test_mismatch_leaves_the_world_alone() -> None:
    """Other parameters under a known key are an error and write nothing."""
    world = a_world(Hand())
    created = world.payments.create(call("create"), PURCHASE).first
    world.payments.confirm(call("confirm"), created.id)
    before = world.entries

    with pytest.raises(ParameterMismatch):
        world.payments.create(call("create"), Purchase(1_501, "USD", "tok_visa"))

    assert world.entries == before


def test_fault_before_the_effect_is_not_remembered() -> None:
    """A refused void leaves the key free, so the next attempt gets through under it."""
    world = a_world(Hand())
    purchase = Purchase(1_500, "USD", "tok_void_fails")
    created = world.payments.create(call("create"), purchase).first
    with pytest.raises(TransientFault):
        world.payments.cancel(call("void"), created.id)

    cancelled = world.payments.cancel(call("void", attempt=2), created.id)

    assert not cancelled.replayed
    assert cancelled.first.status is IntentStatus.CANCELLED


def test_keys_survive_a_rebuild_and_are_forgotten_after_a_day() -> None:
    """A world opened on the same journal knows the keys of the last 24 hours, no longer ones."""
    hand, journal = Hand(), MemoryJournal()
    created = a_world(hand, journal).payments.create(call("create"), PURCHASE).first

    hand.ms += REMEMBERED_MS - 1
    again = a_world(hand, journal).payments.create(call("create"), PURCHASE)
    hand.ms += 1
    fresh = a_world(hand, journal).payments.create(call("create"), PURCHASE)

    assert again.replayed
    assert again.first == created
    assert not fresh.replayed
    assert fresh.first.id != created.id


def test_key_remembered_again_outlives_its_first_memory() -> None:
    """Forgetting the old answer must not take the new one along."""
    keys = Keys()
    keys.remember("op", "k", Remembered("p", 1, 0))
    keys.remember("op", "k", Remembered("p", 2, REMEMBERED_MS))

    found = keys.find("op", "k", "p", REMEMBERED_MS + 1)

    assert found is not None
    assert found.answer == 2
    assert len(keys) == 1


def test_key_in_progress_is_refused_until_the_first_call_ends() -> None:
    """The second caller is told to come back; an error in the first frees the key."""
    keys = Keys()

    with keys.in_progress("op", "k"):
        with pytest.raises(KeyInProgress), keys.in_progress("op", "k"):
            pass
        with keys.in_progress("other", "k"):
            pass
    with pytest.raises(ZeroDivisionError), keys.in_progress("op", "k"):
        raise ZeroDivisionError

    with keys.in_progress("op", "k"):
        pass


@pytest.mark.parametrize("key", ["", "a b", "a\n", "é", "x" * 256])
def test_key_must_fit_a_header(key: str) -> None:
    """Stripe's limit, and nothing that a header cannot carry."""
    with pytest.raises(KeyMissing):
        check_key(key)


def test_fingerprint_differs_when_parameters_do() -> None:
    """Neither shifting text between parameters nor their length makes two alike."""
    assert fingerprint("a", "bc") != fingerprint("ab", "c")
    assert fingerprint("1") != fingerprint(1)
    long = fingerprint("x" * 5_000)
    assert len(long) == 64
    assert long != fingerprint("x" * 5_001)
