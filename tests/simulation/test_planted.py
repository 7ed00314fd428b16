"""The crash points would notice: each bug planted here is found by one pass over them.

A test that cannot fail proves nothing. Every case breaks one rule of the protocol, as somebody in
a hurry might, and the same world and audit that pass with the real code must object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from agents import shipping
from agents.kernel import consumer, pipeline, protocol, work
from agents.kernel.protocol import Begin, Reply, Verdict
from agents.providers.simulator.warehouse import WarehouseRules
from tests.simulation.orders import order_body
from tests.simulation.world import World

Plant = Callable[[pytest.MonkeyPatch], None]


def random_key(patch: pytest.MonkeyPatch) -> None:
    """Each try gets a key of its own."""
    keys = iter(range(10**9))
    patch.setattr(work, "forward_key", lambda order, step, n: f"{order}:{step}:{n}:{next(keys)}")


def skip_when_busy(patch: pytest.MonkeyPatch) -> None:
    """A step that somebody holds is taken for done."""
    real = protocol.apply

    def skipping(records: Any, request: Any, *args: Any) -> Reply:
        reply = real(records, request, *args)
        busy = isinstance(request, Begin) and reply.verdict is Verdict.BUSY
        return replace(reply, verdict=Verdict.DROPPED) if busy else reply

    patch.setattr("agents.adapters.memory_stores.apply", skipping)


def silent_when_done(patch: pytest.MonkeyPatch) -> None:
    """A finished step is not published again."""
    real = protocol.apply

    def silent(records: Any, request: Any, *args: Any) -> Reply:
        reply = real(records, request, *args)
        again = reply.verdict is Verdict.REPUBLISH
        return replace(reply, verdict=Verdict.DROPPED) if again else reply

    patch.setattr("agents.adapters.memory_stores.apply", silent)


def settle_before_publish(patch: pytest.MonkeyPatch) -> None:
    """The offset may be committed before the outcome is out."""
    real = pipeline.Pipeline.process

    async def hasty(self: Any, record: Any) -> None:
        self.consumer.settle(record)
        with contextlib.suppress(Exception):
            await self.consumer._commit(self.consumer.subscription_for_tests)
        await real(self, record)

    member = consumer.Consumer._fetch_and_dispatch

    async def remembering(self: Any, subscription: Any, dispatch: Any) -> None:
        self.subscription_for_tests = subscription
        await member(self, subscription, dispatch)

    patch.setattr(consumer.Consumer, "_fetch_and_dispatch", remembering)
    patch.setattr(pipeline.Pipeline, "process", hasty)


def abandoned_carrier_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A carrier in doubt is taken for one that holds nothing."""
    patch.setattr(shipping, "_doubting", lambda refs, _carrier, **_doubt: refs)


def no_release(patch: pytest.MonkeyPatch) -> None:
    """The compensation believes itself and calls nobody."""
    real = WarehouseRules.release

    def believing(self: Any, effect: Any, reservation_id: str) -> Any:
        if not reservation_id.endswith("none"):
            return real(self, effect, reservation_id + ":none")
        return real(self, effect, reservation_id)

    patch.setattr(WarehouseRules, "release", believing)


PLANTED: dict[str, tuple[Plant, str]] = {
    "random provider key": (random_key, "capture-doubt"),
    "skip when busy": (skip_when_busy, "happy"),
    "silent when done": (silent_when_done, "happy"),
    "settle before publish": (settle_before_publish, "happy"),
    "abandoned carrier forgotten": (abandoned_carrier_forgotten, "slow-carrier"),
    "compensation calls nobody": (no_release, "capture-fails"),
}


def found(scenario: str) -> str:
    """What the first point that objects says; empty if none does."""
    calm = World(seed=1)
    calm.submit(order_body("o-1", scenario))
    calm.run()
    calm.close()
    for point in range(len(calm.points.names) + 1):
        world = World(seed=1, crash_at=point)
        world.submit(order_body("o-1", scenario))
        try:
            world.run()
        except AssertionError as stuck:
            return f"point {point}: {stuck}"
        finally:
            world.close()
        report = world.report()
        if not report.balanced or report.in_flight or report.completed + report.failed != 1:
            return f"point {point}: {report}"
    return ""


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over the crash points objects."""
    plant, scenario = PLANTED[name]
    plant(monkeypatch)

    assert found(scenario), f"nobody noticed: {plant.__doc__}"
