"""One crash at every await of every step and compensation, for every kind of order.

A point before a call: it never happened; after a call: it happened, and the answer was lost. After
each run the audit compares the log with the providers' ledger (money, stock, labels), and the
order must have ended as it does without a crash.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agents.audit import Report
from agents.kernel.errors import TerminalFault, TransientFault
from agents.kernel.ports import Effect
from agents.ports import Label
from agents.providers.in_process import InProcessCarrier
from schemas.order import Order
from tests.simulation.acts import cancel_at_point, decide
from tests.simulation.orders import SCENARIOS, order_body
from tests.simulation.world import World

POINTS_MIN = 40
"""Fewer points than this mean that the counting is broken, not that the saga got short."""


def run(scenario: str, crash_at: int | None = None) -> tuple[World, Report]:
    world = World(seed=1, crash_at=crash_at)
    world.submit(order_body("o-1", scenario))
    world.run()
    world.close()
    return world, world.report()


def end_of(report: Report) -> tuple[int, int, int, int]:
    return (report.completed, report.failed, report.waiting_for_person, report.in_flight)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_order_ends_the_same_whatever_crashes(
    scenario: str, record_property: Callable[[str, object], None]
) -> None:
    """A crash at any point changes latency and duplicates, never the outcome."""
    world, calm = run(scenario)
    points = len(world.points.names)
    record_property("points", points)
    assert points > POINTS_MIN
    assert calm.balanced

    for point in range(1, points + 1):
        world, report = run(scenario, point)
        where = f"{scenario}, crash at {point} ({world.points.names[point - 1]})"

        assert report.findings == [], where
        assert end_of(report) == end_of(calm), f"{where}: {world.events('o-1')}"
        assert world.letters().open() == [], where


@pytest.mark.parametrize("scenario", ["happy", "slow-carrier", "out-of-stock"])
def test_a_cancel_at_any_moment_ends_completed_or_cleanly_undone(scenario: str) -> None:
    """Whenever the cancel comes, the order ends one way or the other, never both, never half."""
    world, _ = run(scenario)
    ends = set()

    for point in range(0, len(world.points.names) + 1, 2):
        world = World(seed=1)
        world.submit(order_body("o-1", scenario))
        cancel_at_point(world, "o-1", scenario, point)
        world.run()
        world.close()
        report = world.report()

        assert report.findings == [], f"cancel at {point}: {world.events('o-1')}"
        assert report.completed + report.failed == 1, f"cancel at {point}"
        assert world.letters().open() == []
        ends.add((report.completed, report.failed))

    if scenario == "happy":
        assert ends == {(1, 0), (0, 1)}, "some cancels come in time and some too late"


def test_a_cancel_survives_a_crash_at_every_point() -> None:
    """The stop is decided in the log, so a crash inside of it leaves nothing half done."""

    def cancelled(crash_at: int | None) -> World:
        world = World(seed=1, crash_at=crash_at)
        world.submit(order_body("o-1", "happy"))
        cancel_at_point(world, "o-1", "happy", 25)
        world.run()
        world.close()
        return world

    for point in range(1, len(cancelled(None).points.names) + 1):
        world = cancelled(point)
        report = world.report()

        assert report.findings == [], f"crash at {point}: {world.events('o-1')}"
        assert report.completed + report.failed == 1, f"crash at {point}"


def test_a_dead_compensation_waits_and_a_replay_ends_it_whatever_crashes() -> None:
    """void-fails: the first attempt dies, the saga waits for a person, the replay voids once."""

    def until_dead(crash_at: int | None) -> World:
        world = World(seed=1, crash_at=crash_at)
        world.submit(order_body("o-1", "void-fails"))
        world.run()
        return world

    def replayed(crash_at: int | None) -> World:
        world = until_dead(crash_at)
        letters = world.letters().open()
        assert [(x.step, x.direction) for x in letters] == [("confirm", "compensation")]
        assert letters[0].owed.money is not None
        decide(world, letters[0], "replay")
        world.run()
        world.close()
        return world

    for point in range(1, len(replayed(None).points.names) + 1):
        world = replayed(point)
        report = world.report()

        assert report.findings == [], f"crash at {point}: {world.events('o-1')}"
        assert (report.failed, report.waiting_for_person) == (1, 0), f"crash at {point}"
        assert world.letters().open() == []


def test_a_replayed_label_never_goes_back_to_the_first_carrier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The replay switched carriers and crashed; the decision read again only repeats the switch."""
    real = InProcessCarrier.label
    fedex: list[Exception] = []

    async def label(self: InProcessCarrier, effect: Effect, ref: str, order: Order) -> Label:
        if self.name == "fedex" and fedex:
            raise fedex.pop(0) if len(fedex) > 1 else fedex[0]
        return await real(self, effect, ref, order)

    monkeypatch.setattr(InProcessCarrier, "label", label)

    def replayed(crash_after: int | None) -> tuple[World, int]:
        fedex[:] = [TerminalFault("contract expired")]
        world = World(seed=1)
        world.submit(order_body("o-1"))
        world.run()
        before = len(world.points.names)
        fedex[:] = [TransientFault(), TransientFault(), TransientFault(), TransientFault()]
        world.points.crash_at = before + crash_after if crash_after else None
        decide(world, world.letters().open()[0], "replay")

        async def back() -> None:
            await world.points.passed(before + (crash_after or 10**6))
            fedex.clear()

        if crash_after:
            world.meanwhile(back)
        world.run()
        world.close()
        return world, before

    calm, before = replayed(None)
    for point in range(1, len(calm.points.names) - before + 1):
        world, _ = replayed(point)

        assert world.report().findings == [], f"crash at {point}: {world.events('o-1')}"
        assert world.report().completed == 1, f"crash at {point}"
