"""Chaos draws the same failure for the same order id, here and in any other language."""

from __future__ import annotations

from collections import Counter

import pytest

from agents.kernel.chaos import (
    FAILURES,
    TRANSIENT_TIMES_MAX,
    UNDOINGS,
    Chaos,
    Failure,
    Mulberry32,
    Place,
    draw,
    hash32,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0x811C9DC5),
        ("a", 0xE40C292C),
        ("foobar", 0xBF9CF968),
        ("order-1", 0x2B7FCD6D),
        ("höß", 0xBC1FE3C8),
    ],
)
def test_hash_agrees_with_published_vectors(text: str, value: int) -> None:
    """FNV-1a, 32 bits: the first three vectors are its authors', the others a browser's."""
    assert hash32(text) == value


@pytest.mark.parametrize(
    ("seed", "numbers"),
    [
        (0, [1144304738, 1416247, 958946056, 627933444, 2007157716]),
        (1, [2693262067, 11749833, 2265367787, 4213581821, 4159151403]),
        (42, [2581720956, 1925393290, 3661312704, 2876485805, 750819978]),
        (0xFFFFFFFF, [3850105811, 813802916, 3073704848, 4054706436, 3630262831]),
    ],
)
def test_mulberry32_agrees_with_javascript(seed: int, numbers: list[int]) -> None:
    """The vectors were printed by the JavaScript original."""
    generator = Mulberry32(seed)

    assert [generator.random() * 2**32 for _ in numbers] == numbers


@pytest.mark.parametrize(
    ("order_id", "chaos"),
    [
        ("order-1", Chaos(Place.CANCEL, Failure.TRANSIENT, 1)),
        ("order-2", Chaos(Place.RELEASE, Failure.LOST_REPLY, 1)),
        ("order-4", Chaos(Place.CONFIRM, Failure.DOWN, 2)),
        ("höß", Chaos(Place.CAPTURE, Failure.REFUSED, 1)),
    ],
)
def test_draw_never_changes(order_id: str, chaos: Chaos) -> None:
    """Another release must not move an order's failure elsewhere."""
    assert draw(order_id) == chaos
    assert draw(order_id) == chaos


def test_draws_are_spread_over_all_places_and_failures() -> None:
    """Neighbouring order ids fail at different places, each place about equally often."""
    draws = [draw(f"order-{number}") for number in range(8_000)]

    places = Counter(chaos.place for chaos in draws)
    assert set(places) == set(Place)
    assert all(850 <= count <= 1_150 for count in places.values())
    seen = {(chaos.place, chaos.failure) for chaos in draws}
    assert seen == {(place, failure) for place in Place for failure in FAILURES[place]}
    assert {chaos.times for chaos in draws} == set(range(1, TRANSIENT_TIMES_MAX + 1))


def test_undoing_is_reached_because_the_capture_is_refused() -> None:
    """An order drawn at an undoing would otherwise complete and prove nothing."""
    for number in range(200):
        chaos = draw(f"order-{number}")
        refused = (chaos.place, chaos.failure) == (Place.CAPTURE, Failure.REFUSED)
        assert chaos.refuses_capture == (refused or chaos.place in UNDOINGS)
