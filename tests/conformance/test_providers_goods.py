"""What every provider variant must do alike: warehouses, carriers, channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from agents.kernel.errors import (
    InDoubt,
    LeaseLost,
    TerminalFault,
    TransientFault,
)
from agents.ports import (
    LabelStatus,
    Message,
    ReservationStatus,
    Target,
)
from tests.conformance.providers import VARIANTS, Variant, an_order, effect, reach

MAIL = Target("customer", "email", "ada@example.com")
NEWS = Message("o-1", "COMPLETED", "Your order", "It is on its way.")
SHORT_S = 0.5
"""A time-out that a late answer certainly misses."""


@pytest.fixture(params=VARIANTS)
async def variant(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Variant]:
    async with reach(request.param, tmp_path) as found:
        yield found


# ---- warehouses ------------------------------------------------------------------------------


async def test_reserve_takes_all_lines_or_none(variant: Variant) -> None:
    """One line that is out of stock leaves the others alone; the reason names it."""
    order = an_order(lines=(("SKU-1", 2), ("SKU-OUT-OF-STOCK", 1)))

    rejected = await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)

    assert rejected.status is ReservationStatus.REJECTED
    assert "SKU-OUT-OF-STOCK" in rejected.reason
    assert variant.audit().stock["PHX7", "SKU-1"].reserved == 0


async def test_reserve_adds_up_two_lines_of_one_sku(variant: Variant) -> None:
    """Three and three of a SKU of which five exist are six, and are refused."""
    order = an_order(lines=(("SKU-SCARCE", 3), ("SKU-SCARCE", 3)))

    rejected = await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)

    assert rejected.status is ReservationStatus.REJECTED


async def test_reserve_rejects_an_unknown_sku(variant: Variant) -> None:
    """A SKU that no warehouse carries is a business no."""
    order = an_order(lines=(("SKU-NOVEL", 1),))

    rejected = await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)

    assert (rejected.status, rejected.reason) == (
        ReservationStatus.REJECTED,
        "unknown_sku: SKU-NOVEL",
    )


async def test_refusal_is_remembered_under_the_reservation_id(variant: Variant) -> None:
    """Goods that come in later do not turn a refusal that was told into a reservation."""
    order = an_order(lines=(("SKU-OUT-OF-STOCK", 1),))
    await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)
    variant.world.shelves.receive("PHX7", {"SKU-OUT-OF-STOCK": 10})

    again = await variant.warehouses.reserve(effect(order, "reserve-2"), "o-1", order)
    other = an_order("o-2", lines=(("SKU-OUT-OF-STOCK", 1),))
    fresh = await variant.warehouses.reserve(effect(other, "reserve"), "o-2", other)

    assert again.status is ReservationStatus.REJECTED
    assert fresh.status is ReservationStatus.RESERVED


async def test_reserve_goes_to_the_next_warehouse_when_the_first_is_short(
    variant: Variant,
) -> None:
    """Lines are never split; the first warehouse that has all of them serves the order."""
    variant.world.shelves.receive("RNO4", {"SKU-SCARCE": 50})
    order = an_order(lines=(("SKU-SCARCE", 6), ("SKU-1", 1)))

    reserved = await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)

    assert reserved.warehouse == "RNO4"


async def test_scarce_stock_is_never_oversold_when_many_reserve_at_once(variant: Variant) -> None:
    """Of thirty orders for one of five units, five get one."""
    orders = [an_order(f"o-{n}", lines=(("SKU-SCARCE", 1),)) for n in range(30)]

    found = await asyncio.gather(
        *(variant.warehouses.reserve(effect(o, "reserve"), o.order_id, o) for o in orders)
    )

    statuses = [reservation.status for reservation in found]
    assert statuses.count(ReservationStatus.RESERVED) == 5
    assert variant.audit().stock["PHX7", "SKU-SCARCE"].available == 0
    assert variant.audit().violations == ()


async def test_late_reserve_finds_a_tombstone_when_the_release_came_first(
    variant: Variant,
) -> None:
    """A release of an unknown reservation is a success that refuses the late step."""
    order = an_order()

    first = await variant.warehouses.release(effect(order, "unreserve"), "o-1")
    late = await variant.warehouses.reserve(effect(order, "reserve"), "o-1", order)

    assert first.status is late.status is ReservationStatus.RELEASED
    assert variant.audit().stock["PHX7", "SKU-1"].reserved == 0


async def test_lower_fence_is_a_lost_lease(variant: Variant) -> None:
    """Fences are compared as two numbers, and a repeat by a newer worker raises them."""
    order = an_order()
    await variant.warehouses.reserve(effect(order, "reserve", fence="1.9"), "o-1", order)
    await variant.warehouses.reserve(effect(order, "reserve", fence="1.10"), "o-1", order)

    with pytest.raises(LeaseLost):
        await variant.warehouses.release(effect(order, "unreserve", fence="1.9"), "o-1")
    with pytest.raises(LeaseLost):
        await variant.warehouses.reserve(effect(order, "reserve", fence="0.99"), "o-1", order)
    released = await variant.warehouses.release(effect(order, "unreserve", fence="2.1"), "o-1")

    assert released.status is ReservationStatus.RELEASED


async def test_senseless_fence_is_terminal(variant: Variant) -> None:
    """A fence that is not two numbers is our own mistake, and nothing is reserved."""
    order = an_order()
    with pytest.raises(TerminalFault):
        await variant.warehouses.reserve(effect(order, "reserve", fence="new"), "o-1", order)
    assert variant.audit().stock["PHX7", "SKU-1"].reserved == 0


# ---- carriers --------------------------------------------------------------------------------


async def test_label_exists_once_when_another_key_asks_for_the_reference(
    variant: Variant,
) -> None:
    """The reference is a key of its own that never expires."""
    order = an_order()
    fedex = variant.carriers["fedex"]

    first = await fedex.label(effect(order, "label"), "o-1", order)
    second = await fedex.label(effect(order, "label-2"), "o-1", order)

    assert first == second
    assert variant.audit().orders["o-1"].labels == 1


async def test_late_label_finds_a_tombstone_when_the_cancel_came_first(variant: Variant) -> None:
    """A cancel of an unknown reference is a success that refuses the late label."""
    order = an_order()
    ups = variant.carriers["ups"]

    first = await ups.cancel(effect(order, "unlabel"), "o-1")
    late = await ups.label(effect(order, "label"), "o-1", order)

    assert first.status is late.status is LabelStatus.CANCELLED
    assert variant.audit().orders["o-1"].labels == 0


async def test_carriers_are_down_where_the_postcode_says_so(variant: Variant) -> None:
    """00001 closes FedEx, 00002 closes both; nothing happened there."""
    one, both = an_order("o-1", postcode="00001"), an_order("o-2", postcode="00002")
    fedex, ups = variant.carriers["fedex"], variant.carriers["ups"]

    with pytest.raises(TransientFault):
        await fedex.label(effect(one, "label"), "o-1", one)
    live = await ups.label(effect(one, "label"), "o-1", one)
    for carrier in (fedex, ups):
        with pytest.raises(TransientFault):
            await carrier.label(effect(both, "label"), "o-2", both)
        gone = await carrier.cancel(effect(both, "unlabel"), "o-2")
        assert gone.status is LabelStatus.CANCELLED

    assert live.status is LabelStatus.LIVE


async def test_slow_carrier_leaves_the_caller_in_doubt_with_a_live_label(
    variant: Variant,
) -> None:
    """00003: FedEx makes the label and answers too late, each time; cancelling works."""
    order = an_order(postcode="00003")
    fedex = variant.carriers["fedex"]
    hurry = replace(effect(order, "label"), timeout_s=SHORT_S)

    for _ in range(2):
        with pytest.raises(InDoubt):
            await fedex.label(hurry, "o-1", order)
    assert variant.audit().orders["o-1"].live_labels == {"fedex": ("o-1",)}
    cancelled = await fedex.cancel(effect(order, "unlabel"), "o-1")

    assert cancelled.status is LabelStatus.CANCELLED
    assert variant.audit().orders["o-1"].labels == 0


async def test_carrier_refuses_where_the_postcode_says_so(variant: Variant) -> None:
    """00004: FedEx says no for business reasons, UPS takes the parcel."""
    order = an_order(postcode="00004")

    no = await variant.carriers["fedex"].label(effect(order, "label"), "o-1", order)
    yes = await variant.carriers["ups"].label(effect(order, "label"), "o-1", order)

    assert (no.status, no.reason) == (LabelStatus.REFUSED, "address_not_served")
    assert yes.status is LabelStatus.LIVE


# ---- channels --------------------------------------------------------------------------------


async def test_message_is_accepted_once_per_key(variant: Variant) -> None:
    """A repeat under one key is not delivered again; another key is another message."""
    order = an_order()
    for step in ("mail", "mail", "mail-2"):
        await variant.channels.send(effect(order, step), MAIL, NEWS)

    assert variant.audit().messages == {
        ("customer", "o-1:mail:1"): 1,
        ("customer", "o-1:mail-2:1"): 1,
    }


async def test_unknown_channel_is_terminal(variant: Variant) -> None:
    """A channel that does not exist will not exist at the next try."""
    with pytest.raises(TerminalFault):
        await variant.channels.send(
            effect(an_order(), "mail"), replace(MAIL, channel="pigeon"), NEWS
        )
