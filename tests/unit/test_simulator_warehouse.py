"""Stock under any sequence of calls: never negative, nothing lost, the ledger agrees."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agents.kernel.errors import LeaseLost, ParameterMismatch, TerminalFault
from agents.kernel.ports import Effect
from agents.ports import Reservation, ReservationStatus
from agents.providers.simulator.journal import MemoryJournal
from agents.providers.simulator.ledger import balance
from agents.providers.simulator.warehouse import Demand, parse_fence
from agents.providers.simulator.world import World

STOCK: Mapping[str, Mapping[str, int]] = {"PHX7": {"A": 4, "B": 2}, "RNO4": {"A": 1, "C": 3}}
SKUS = st.sampled_from(["A", "B", "C", "GHOST"])
NAMES = st.sampled_from([f"o-{number}" for number in range(6)])
LINES = st.lists(st.tuples(SKUS, st.integers(1, 3)), min_size=1, max_size=3).map(tuple)


class NoChance:
    """Chance that never strikes."""

    def random(self) -> float:
        return 0.99


def a_world(journal: MemoryJournal) -> World:
    return World(journal, lambda: 1_000, NoChance(), STOCK)


class WarehouseMachine(RuleBasedStateMachine):
    """Reserves, releases and receives at random, against a model that a child could keep."""

    @initialize()
    def open(self) -> None:
        self.journal = MemoryJournal()
        self.world = a_world(self.journal)
        self.on_hand = {(w, sku): n for w, lines in STOCK.items() for sku, n in lines.items()}
        self.reserved: dict[str, tuple[str, dict[str, int]]] = {}
        self.ended: dict[str, ReservationStatus] = {}
        self.keys = 0
        self.fence = 0

    def effect(self, name: str) -> Effect:
        self.keys += 1
        return Effect(f"{name}:{self.keys}", name, 1, f"1.{self.fence}")

    @rule(name=NAMES, lines=LINES)
    def reserve(self, name: str, lines: tuple[tuple[str, int], ...]) -> None:
        demand = Demand(lines)
        known = self.reserved.get(name)
        if known is not None and known[1] != demand.by_sku():
            with pytest.raises(ParameterMismatch):
                self.world.warehouses.reserve(self.effect(name), name, demand)
            return
        expected = self._expected(name, demand.by_sku())

        found = self.world.warehouses.reserve(self.effect(name), name, demand).present

        assert (found.status, found.warehouse) == expected
        if found.status is ReservationStatus.RESERVED:
            self.reserved[name] = (found.warehouse, demand.by_sku())
        else:
            self.ended[name] = found.status

    @rule(name=NAMES)
    def release(self, name: str) -> None:
        found = self.world.warehouses.release(self.effect(name), name).present

        assert found.status is ReservationStatus.RELEASED
        self.reserved.pop(name, None)
        self.ended[name] = ReservationStatus.RELEASED

    @rule(sku=st.sampled_from(["A", "B", "C"]), quantity=st.integers(1, 3))
    def receive(self, sku: str, quantity: int) -> None:
        self.world.shelves.receive("PHX7", {sku: quantity})
        self.on_hand["PHX7", sku] = self.on_hand.get(("PHX7", sku), 0) + quantity

    @rule()
    def restart(self) -> None:
        self.world = a_world(self.journal)

    @rule(name=NAMES)
    def repeat_under_an_older_fence(self, name: str) -> None:
        self.fence += 1
        self.world.warehouses.release(self.effect(name), name)
        self.reserved.pop(name, None)
        self.ended[name] = ReservationStatus.RELEASED
        stale = Effect(f"{name}:stale:{self.keys}", name, 1, f"1.{self.fence - 1}")
        with pytest.raises(LeaseLost):
            self.world.warehouses.reserve(stale, name, Demand((("A", 1),)))

    @invariant()
    def stock_is_conserved_and_never_negative(self) -> None:
        levels = self.world.shelves.levels()
        for (warehouse, sku), on_hand in self.on_hand.items():
            shelf = levels[warehouse][sku]
            held = self._held(warehouse, sku)
            assert (shelf.on_hand, shelf.reserved) == (on_hand, held)
            assert shelf.available >= 0

    @invariant()
    def ledger_agrees(self) -> None:
        found = balance(self.journal.entries)
        assert found.violations == ()
        for (warehouse, sku), on_hand in self.on_hand.items():
            shelf = found.stock[warehouse, sku]
            assert shelf.initial + shelf.received == on_hand
            assert shelf.reserved == self._held(warehouse, sku)

    def _held(self, warehouse: str, sku: str) -> int:
        return sum(
            lines.get(sku, 0) for place, lines in self.reserved.values() if place == warehouse
        )

    def _expected(self, name: str, lines: dict[str, int]) -> tuple[ReservationStatus, str]:
        if name in self.reserved:
            return ReservationStatus.RESERVED, self.reserved[name][0]
        if name in self.ended:
            return self.ended[name], self.world.warehouses.read(name).warehouse
        for warehouse in STOCK:
            if all(
                self.on_hand.get((warehouse, sku), 0) - self._held(warehouse, sku) >= quantity
                for sku, quantity in lines.items()
            ):
                return ReservationStatus.RESERVED, warehouse
        return ReservationStatus.REJECTED, ""


WarehouseMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
TestWarehouses = WarehouseMachine.TestCase


def test_reservation_is_a_mismatch_when_its_lines_differ() -> None:
    """A reservation never pretends to hold what it does not."""
    world = a_world(MemoryJournal())
    world.warehouses.reserve(Effect("k-1", "o-1", 1), "o-1", Demand((("A", 1),)))

    with pytest.raises(ParameterMismatch):
        world.warehouses.reserve(Effect("k-2", "o-1", 1), "o-1", Demand((("A", 2),)))


def test_fence_is_raised_by_a_repeat_and_survives_a_rebuild() -> None:
    """A newer worker's replayed call shuts the older one out, even after a restart."""
    journal = MemoryJournal()
    demand = Demand((("A", 1),))
    world = a_world(journal)
    world.warehouses.reserve(Effect("k", "o-1", 1, "1.1"), "o-1", demand)
    repeat = world.warehouses.reserve(Effect("k", "o-1", 1, "1.2"), "o-1", demand)

    rebuilt = a_world(journal)

    assert repeat.replayed
    with pytest.raises(LeaseLost):
        rebuilt.warehouses.release(Effect("k-3", "o-1", 1, "1.1"), "o-1")


def test_release_of_a_refusal_leaves_a_tombstone() -> None:
    """Nothing was held, so nothing comes back, and the id is spent."""
    world = a_world(MemoryJournal())
    world.warehouses.reserve(Effect("k-1", "o-1", 1), "o-1", Demand((("GHOST", 1),)))

    released = world.warehouses.release(Effect("k-2", "o-1", 1), "o-1").present

    assert released == Reservation("o-1", ReservationStatus.RELEASED)


@pytest.mark.parametrize("fence", ["", "1", "1.", "a.b", "-1.0", "1.2.3", "1.2\n"])
def test_fence_must_be_two_numbers(fence: str) -> None:
    """Anything else is a mistake of ours, told as one."""
    with pytest.raises(TerminalFault):
        parse_fence(fence)


@pytest.mark.parametrize(
    ("warehouse", "lines"), [("NOWHERE", {"A": 1}), ("PHX7", {"A": 0}), ("PHX7", {})]
)
def test_goods_are_refused_when_they_make_no_sense(warehouse: str, lines: dict[str, int]) -> None:
    """Stock only grows by known goods in known warehouses."""
    world = a_world(MemoryJournal())
    before = world.entries

    with pytest.raises(TerminalFault):
        world.shelves.receive(warehouse, lines)

    assert world.entries == before
