"""What every provider variant must do alike: the knobs, and chaos."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from agents.kernel.chaos import Failure, Place, draw
from agents.kernel.errors import (
    InDoubt,
    TransientFault,
)
from agents.ports import (
    Carrier,
    IntentStatus,
    LabelStatus,
    ReservationStatus,
)
from agents.providers.simulator.knobs import Knob
from schemas.order import Order
from tests.conformance.providers import VARIANTS, Variant, an_order, effect, reach

T = TypeVar("T")
SHORT_S = 0.5
"""A time-out that a late answer certainly misses."""


@pytest.fixture(params=VARIANTS)
async def variant(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Variant]:
    async with reach(request.param, tmp_path) as found:
        yield found


# ---- knobs -----------------------------------------------------------------------------------


async def test_service_that_is_down_does_nothing_and_frees_the_key(variant: Variant) -> None:
    """A fault before the effect is not remembered under the key."""
    order = an_order()
    variant.world.knobs.turn("payments", Knob(down=True))
    with pytest.raises(TransientFault):
        await variant.created(order)
    assert "o-1" not in variant.audit().orders

    variant.world.knobs.turn("payments", Knob())

    assert (await variant.created(order)).status is IntentStatus.UNCONFIRMED


async def test_drawn_failure_and_lost_reply_follow_the_knob(variant: Variant) -> None:
    """Rates above the drawn number strike; a lost reply comes after the effect."""
    order = an_order()
    variant.world.knobs.turn("payments", Knob(failure_rate=0.51))
    with pytest.raises(TransientFault):
        await variant.created(order)
    variant.world.knobs.turn("payments", Knob(failure_rate=0.49, lost_reply_rate=0.51))
    with pytest.raises(InDoubt):
        await variant.created(order)

    assert variant.audit().orders["o-1"].payments == 1


async def test_read_is_never_in_doubt(variant: Variant) -> None:
    """A look has no effect, so a lost look is only a transient fault."""
    order = an_order()
    created = await variant.created(order)
    variant.world.knobs.turn("payments", Knob(lost_reply_rate=1.0))

    with pytest.raises(TransientFault):
        await variant.payments.read(effect(order, "create"), created.id)


async def test_call_is_in_doubt_when_the_service_is_slower_than_the_time_out(
    variant: Variant,
) -> None:
    """The slow call may land after its caller has left; its key finds it."""
    order = an_order()
    variant.world.knobs.turn("payments", Knob(latency_ms=SHORT_S * 1500))
    hurry = replace(effect(order, "create"), timeout_s=SHORT_S)

    with pytest.raises(InDoubt):
        await variant.payments.create(hurry, order)
    variant.world.knobs.turn("payments", Knob())
    for _ in range(200):
        try:
            created = await variant.created(order)
            break
        except TransientFault:
            await asyncio.sleep(0.01)

    assert created.status is IntentStatus.UNCONFIRMED
    assert variant.audit().orders["o-1"].payments == 1


async def test_second_call_is_refused_for_now_when_its_key_is_in_progress(
    variant: Variant,
) -> None:
    """Two workers with one key at once: one is served, the other tries again."""
    order = an_order()
    variant.world.knobs.turn("payments", Knob(latency_ms=1_000))

    found = await asyncio.gather(
        variant.created(order), variant.created(order), return_exceptions=True
    )

    refused = [each for each in found if isinstance(each, TransientFault)]
    assert len(refused) == 1
    assert "in progress" in str(refused[0])
    assert variant.audit().orders["o-1"].payments == 1


# ---- chaos -----------------------------------------------------------------------------------


def _one_order_per_draw() -> list[str]:
    found: dict[tuple[Place, Failure], str] = {}
    for number in range(2_000):
        found.setdefault(_drawn(f"chaos-{number}"), f"chaos-{number}")
    return sorted(found.values())


def _drawn(order_id: str) -> tuple[Place, Failure]:
    chaos = draw(order_id)
    return chaos.place, chaos.failure


@pytest.mark.parametrize("order_id", _one_order_per_draw())
async def test_chaos_order_ends_clean_or_waits_for_a_person(
    variant: Variant, order_id: str
) -> None:
    """A plain saga with three retries completes, compensates, or stands where chaos struck."""
    saga = PlainSaga(variant, an_order(order_id, token="tok_chaos"))

    end = await saga.run()

    found = variant.audit()
    sums = found.orders.get(order_id)
    assert found.violations == ()
    chaos = draw(order_id)
    if chaos.failure is Failure.DOWN and chaos.place is not Place.LABEL:
        assert end == f"dead at {chaos.place}"
        return
    assert sums is not None
    if end == "completed":
        assert (sums.kept, sums.held, sums.labels) == (1500, 0, 1)
    else:
        assert end == "compensated"
        assert (sums.kept, sums.held, sums.labels) == (0, 0, 0)
        assert sums.live_reservations == ()
    assert (end == "compensated") == ((chaos.place, chaos.failure) in _ENDS_COMPENSATED)


async def test_chaos_is_over_at_the_second_attempt(variant: Variant) -> None:
    """What chaos keeps down comes back when an operator replays the step."""
    order_id = next(
        name for name in _one_order_per_draw() if _drawn(name) == (Place.CREATE, Failure.DOWN)
    )
    order = an_order(order_id, token="tok_chaos")
    for _ in range(4):
        with pytest.raises(TransientFault):
            await variant.created(order)

    created = await variant.payments.create(effect(order, "create", attempt=2), order)

    assert created.status is IntentStatus.UNCONFIRMED


_ENDS_COMPENSATED = {
    (Place.CONFIRM, Failure.REFUSED),
    (Place.RESERVE, Failure.REFUSED),
    (Place.LABEL, Failure.REFUSED),
    (Place.CAPTURE, Failure.REFUSED),
    *(
        (place, failure)
        for place in (Place.CANCEL, Place.RELEASE, Place.VOID)
        for failure in (Failure.TRANSIENT, Failure.LOST_REPLY)
    ),
}


class Dead(Exception):
    """A step has used up its retries."""


class PlainSaga:
    """The order's steps one after the other, with three retries each and undoings at the end."""

    def __init__(self, variant: Variant, order: Order) -> None:
        self._v = variant
        self._order = order

    async def run(self) -> str:
        try:
            return await self._forward()
        except Dead as error:
            return f"dead at {error}"

    async def _forward(self) -> str:
        v, order, name = self._v, self._order, self._order.order_id
        intent = await self._try(
            Place.CREATE, lambda: v.payments.create(effect(order, "create"), order)
        )
        held = await self._try(
            Place.CONFIRM, lambda: v.payments.confirm(effect(order, "confirm"), intent.id)
        )
        if held.status is not IntentStatus.AUTHORIZED:
            return await self._void(intent.id)
        reserved = await self._try(
            Place.RESERVE, lambda: v.warehouses.reserve(effect(order, "reserve"), name, order)
        )
        if reserved.status is not ReservationStatus.RESERVED:
            return await self._void(intent.id)
        label = await self._label()
        if label is not None:
            captured = await self._try(
                Place.CAPTURE, lambda: v.payments.capture(effect(order, "capture"), intent.id)
            )
            if captured.status is IntentStatus.CAPTURED:
                return "completed"
            await self._try(Place.CANCEL, lambda: label.cancel(effect(order, "unlabel"), name))
        await self._try(
            Place.RELEASE, lambda: v.warehouses.release(effect(order, "unreserve"), name)
        )
        return await self._void(intent.id)

    async def _label(self) -> Carrier | None:
        order = self._order
        for carrier in self._v.carriers.values():
            try:
                label = await self._try(
                    Place.LABEL,
                    partial(carrier.label, effect(order, "label"), order.order_id, order),
                )
            except Dead:
                continue
            if label.status is LabelStatus.LIVE:
                return carrier
        return None

    async def _void(self, payment_id: str) -> str:
        order = self._order
        await self._try(
            Place.VOID, lambda: self._v.payments.cancel(effect(order, "void"), payment_id)
        )
        return "compensated"

    async def _try(self, place: Place, call: Callable[[], Awaitable[T]]) -> T:
        for _ in range(4):
            try:
                return await call()
            except (TransientFault, InDoubt):
                continue
        raise Dead(place.value)
