"""What every provider variant must do alike: a whole order, keys, payments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agents.kernel.errors import (
    InDoubt,
    ParameterMismatch,
    TerminalFault,
    TransientFault,
)
from agents.ports import (
    Intent,
    IntentStatus,
    LabelStatus,
    Message,
    ReservationStatus,
    Target,
)
from tests.conformance.providers import VARIANTS, Variant, an_order, effect, reach

DAY_MS = 86_400_000
MAIL = Target("customer", "email", "ada@example.com")
NEWS = Message("o-1", "COMPLETED", "Your order", "It is on its way.")


@pytest.fixture(params=VARIANTS)
async def variant(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Variant]:
    async with reach(request.param, tmp_path) as found:
        yield found


# ---- a whole order ---------------------------------------------------------------------------


async def test_order_leaves_the_right_ledger_when_all_goes_well(variant: Variant) -> None:
    """A happy order ends with its money captured, its stock reserved and one label alive."""
    order = an_order()

    captured = await variant.captured(order)
    reserved = await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)
    label = await variant.carriers["fedex"].label(effect(order, "label"), "o-1", order)
    await variant.channels.send(effect(order, "mail"), MAIL, NEWS)

    assert captured == Intent(captured.id, IntentStatus.CAPTURED, 1500, captured=1500)
    assert (reserved.status, reserved.warehouse) == (ReservationStatus.RESERVED, "PHX7")
    assert label.status is LabelStatus.LIVE
    assert label.tracking_number
    found = variant.audit()
    sums = found.orders["o-1"]
    assert (sums.authorised, sums.captured, sums.held, sums.kept) == (1500, 1500, 0, 1500)
    assert sums.live_labels == {"fedex": ("o-1",)}
    assert found.stock["PHX7", "SKU-1"].reserved == 2
    assert found.messages == {("customer", "o-1:mail:1"): 1}
    assert found.violations == ()


async def test_order_leaves_nothing_when_it_is_undone(variant: Variant) -> None:
    """After cancel, release and refund no money, no stock and no label are left."""
    order = an_order()
    captured = await variant.captured(order)
    await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)
    await variant.carriers["ups"].label(effect(order, "label"), "o-1", order)

    label = await variant.carriers["ups"].cancel(effect(order, "unlabel"), "o-1")
    released = await variant.warehouses.release(effect(order, "unreserve"), "o-1")
    refunded = await variant.payments.refund(effect(order, "void"), captured.id)

    assert label.status is LabelStatus.CANCELLED
    assert released.status is ReservationStatus.RELEASED
    assert (refunded.status, refunded.refunded) == (IntentStatus.REFUNDED, 1500)
    found = variant.audit()
    sums = found.orders["o-1"]
    assert (sums.held, sums.kept, sums.labels) == (0, 0, 0)
    assert sums.live_reservations == ()
    assert found.stock["PHX7", "SKU-1"].reserved == 0
    assert found.violations == ()


# ---- idempotency keys ------------------------------------------------------------------------


async def test_create_has_one_effect_when_it_is_called_twice(variant: Variant) -> None:
    """The same key with the same parameters gives the same intent and one ledger entry."""
    order = an_order()

    first = await variant.created(order)
    second = await variant.created(order)

    assert first == second
    assert variant.audit().orders["o-1"].payments == 1


async def test_key_is_refused_when_its_parameters_differ(variant: Variant) -> None:
    """The same key with other parameters is a mismatch, and has no effect."""
    await variant.created(an_order())

    with pytest.raises(ParameterMismatch, match="other parameters"):
        await variant.created(an_order(token="tok_other"))

    assert variant.audit().orders["o-1"].payments == 1


async def test_repeated_call_returns_the_present_state_when_the_object_moved_on(
    variant: Variant,
) -> None:
    """A replayed answer is stale, so the caller gets the object as it is now."""
    order = an_order()
    captured = await variant.captured(order)

    created_again = await variant.created(order)
    confirmed_again = await variant.payments.confirm(effect(order, "confirm"), captured.id)

    assert created_again == confirmed_again == captured


async def test_repeated_reserve_and_label_return_the_present_state_after_undoing(
    variant: Variant,
) -> None:
    """Warehouses and carriers answer a late repeat with what is there now."""
    order = an_order()
    ups = variant.carriers["ups"]
    await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)
    await variant.warehouses.release(effect(order, "unreserve"), "o-1")
    await ups.label(effect(order, "label"), "o-1", order)
    await ups.cancel(effect(order, "unlabel"), "o-1")

    reserved = await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)
    label = await ups.label(effect(order, "label"), "o-1", order)

    assert reserved.status is ReservationStatus.RELEASED
    assert label.status is LabelStatus.CANCELLED


async def test_key_makes_a_second_intent_when_it_is_a_day_old(variant: Variant) -> None:
    """A key is remembered for 24 hours, not longer; that is what the ledger guards against."""
    order = an_order()
    first = await variant.created(order)

    variant.clock.ms += DAY_MS - 1
    assert (await variant.created(order)).id == first.id
    variant.clock.ms += 1
    second = await variant.created(order)

    assert second.id != first.id


async def test_one_key_serves_cancel_and_refund_when_a_step_needs_both(variant: Variant) -> None:
    """A key belongs to one operation, so a void may look first and refund then."""
    order = an_order()
    captured = await variant.captured(order)

    untouched = await variant.payments.cancel(effect(order, "void"), captured.id)
    refunded = await variant.payments.refund(effect(order, "void"), captured.id)

    assert untouched.status is IntentStatus.CAPTURED
    assert refunded.status is IntentStatus.REFUNDED


async def test_call_is_terminal_when_its_key_fits_no_header(variant: Variant) -> None:
    """A key with a line break or none at all is our own mistake, and nothing happens."""
    order = an_order()
    for key in ("", "a\nb", "x" * 256):
        with pytest.raises(TerminalFault):
            await variant.payments.create(replace(effect(order, "create"), key=key), order)

    assert "o-1" not in variant.audit().orders


# ---- payments --------------------------------------------------------------------------------


async def test_confirm_is_declined_when_the_bank_says_no(variant: Variant) -> None:
    """A decline is a state; nothing is held, and cancelling it voids nothing."""
    declined = await variant.authorized(an_order(token="tok_declined"))
    cancelled = await variant.payments.cancel(effect(an_order(), "void"), declined.id)

    assert (declined.status, declined.reason) == (IntentStatus.DECLINED, "card_declined")
    assert cancelled.status is IntentStatus.CANCELLED
    assert variant.audit().orders["o-1"].voided == 0


async def test_capture_is_refused_for_good_when_the_card_fails(variant: Variant) -> None:
    """A refused capture stays refused under a new key too; the hold is voided by cancel."""
    order = an_order(token="tok_capture_fails")
    refused = await variant.captured(order)
    again = await variant.payments.capture(effect(order, "capture-2", attempt=2), refused.id)

    cancelled = await variant.payments.cancel(effect(order, "void"), refused.id)

    assert refused.status is again.status is IntentStatus.CAPTURE_REFUSED
    assert cancelled.status is IntentStatus.CANCELLED
    sums = variant.audit().orders["o-1"]
    assert (sums.authorised, sums.voided, sums.captured, sums.held) == (1500, 1500, 0, 0)


async def test_late_confirm_and_capture_find_a_cancelled_intent(variant: Variant) -> None:
    """Nothing brings a cancelled intent back."""
    order = an_order()
    created = await variant.created(order)
    await variant.payments.cancel(effect(order, "void"), created.id)

    confirmed = await variant.payments.confirm(effect(order, "confirm"), created.id)
    captured = await variant.payments.capture(effect(order, "capture"), created.id)

    assert confirmed.status is captured.status is IntentStatus.CANCELLED
    assert variant.audit().orders["o-1"].authorised == 0


async def test_refund_happens_once_when_it_is_asked_twice(variant: Variant) -> None:
    """A refund under another key changes nothing, and an uncaptured payment has none."""
    order, bare = an_order(), an_order("o-2")
    captured = await variant.captured(order)
    held = await variant.authorized(bare)

    await variant.payments.refund(effect(order, "void"), captured.id)
    again = await variant.payments.refund(effect(order, "void-2"), captured.id)
    untouched = await variant.payments.refund(effect(bare, "void"), held.id)

    assert again.refunded == 1500
    assert untouched.status is IntentStatus.AUTHORIZED
    assert variant.audit().orders["o-1"].refunded == 1500


async def test_unknown_payment_is_terminal(variant: Variant) -> None:
    """An id that the provider never gave out is a mistake that waiting cannot mend."""
    order = an_order()
    with pytest.raises(TerminalFault):
        await variant.payments.confirm(effect(order, "confirm"), "pi_unknown")
    with pytest.raises(TerminalFault):
        await variant.payments.read(effect(order, "confirm"), "pi/../x")


async def test_void_fails_on_the_first_attempt_only(variant: Variant) -> None:
    """`tok_void_fails` answers 'nothing happened' until an operator replays."""
    order = an_order(token="tok_void_fails")
    held = await variant.authorized(order)
    for _ in range(3):
        with pytest.raises(TransientFault):
            await variant.payments.cancel(effect(order, "void"), held.id)
    assert variant.audit().orders["o-1"].held == 1500

    cancelled = await variant.payments.cancel(effect(order, "void", attempt=2), held.id)

    assert cancelled.status is IntentStatus.CANCELLED


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ("tok_create_doubt", IntentStatus.UNCONFIRMED),
        ("tok_confirm_doubt", IntentStatus.AUTHORIZED),
        ("tok_capture_doubt", IntentStatus.CAPTURED),
    ],
)
async def test_reply_is_lost_once_when_the_token_says_so(
    variant: Variant, token: str, status: IntentStatus
) -> None:
    """The effect takes place, the first reply is lost, and the same key finds it done."""
    order = an_order(token=token)
    payments = variant.payments
    doubts = 0

    async def insist(verb: str, payment_id: str) -> Intent:
        nonlocal doubts
        ask = effect(order, verb)
        calls = {
            "create": partial(payments.create, ask, order),
            "confirm": partial(payments.confirm, ask, payment_id),
            "capture": partial(payments.capture, ask, payment_id),
        }
        try:
            return await calls[verb]()
        except InDoubt:
            doubts += 1
            return await calls[verb]()

    intent = await insist("create", "")
    for verb in ("confirm", "capture"):
        if intent.status is not status:
            intent = await insist(verb, intent.id)

    assert intent.status is status
    assert doubts == 1
    assert variant.audit().violations == ()
