"""What lies on the shelves of the warehouses, and what of it is promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.kernel.errors import TerminalFault
from agents.providers.simulator.desk import Decision, Desk
from agents.providers.simulator.ledger import Entry
from agents.providers.simulator.scenarios import SCARCE_UNITS, SKU_OUT_OF_STOCK, SKU_SCARCE

SERVICE = "stock"
PREFERENCE = ("PHX7", "RNO4", "CVG2")
"""Phoenix, Reno, Hebron: the warehouses in the order in which they are asked."""

PLENTY = 1_000_000_000
"""More than any soak test sells, so that only the SKUs meant for it ever run out."""

RECEIVED_MAX = 1_000_000_000
"""More of one SKU at once is a typing error."""

INITIAL_STOCK: Mapping[str, Mapping[str, int]] = {
    warehouse: {
        **{f"SKU-{number}": PLENTY for number in range(1, 10)},
        SKU_SCARCE: SCARCE_UNITS if warehouse == PREFERENCE[0] else 0,
        SKU_OUT_OF_STOCK: 0,
    }
    for warehouse in PREFERENCE
}


@dataclass(frozen=True, slots=True)
class Shelf:
    """One SKU in one warehouse."""

    on_hand: int = 0
    """In the building: available and reserved."""
    reserved: int = 0

    @property
    def available(self) -> int:
        """Promised to nobody."""
        return self.on_hand - self.reserved


class Shelves:
    """All shelves. Goods come in here; reservations move them through `move` alone."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shelves: dict[str, dict[str, Shelf]] = {}

    def open(self, warehouse: str, lines: Mapping[str, int]) -> None:
        """A warehouse is born with this stock."""
        decision = Decision("stock.initial", "", warehouse, lines=dict(lines))
        self._desk.note(self, f"{SERVICE}.open", decision)

    def receive(self, warehouse: str, lines: Mapping[str, int]) -> None:
        """Goods come in. Raises TerminalFault for an unknown warehouse or a senseless quantity."""
        if warehouse not in self._shelves:
            raise TerminalFault(f"no warehouse {warehouse}; there are {', '.join(self._shelves)}")
        if not lines or not all(1 <= quantity <= RECEIVED_MAX for quantity in lines.values()):
            raise TerminalFault(f"goods that come in need quantities from 1 to {RECEIVED_MAX}")
        decision = Decision("stock.received", "", warehouse, lines=dict(lines))
        self._desk.note(self, f"{SERVICE}.receive", decision)

    def fold(self, entry: Entry) -> None:
        """Put the entry's goods on the shelves."""
        shelves = self._shelves.setdefault(entry.place, {})
        for sku, quantity in entry.lines.items():
            shelf = shelves.get(sku, Shelf())
            shelves[sku] = Shelf(shelf.on_hand + quantity, shelf.reserved)

    def move(self, warehouse: str, lines: Mapping[str, int], sign: int) -> None:
        """Reserve these lines (1) or release them (-1)."""
        shelves = self._shelves[warehouse]
        for sku, quantity in lines.items():
            shelf = shelves[sku]
            moved = Shelf(shelf.on_hand, shelf.reserved + sign * quantity)
            assert 0 <= moved.reserved <= moved.on_hand, (warehouse, sku, moved)
            shelves[sku] = moved

    def first_with(self, lines: Mapping[str, int]) -> str:
        """The first warehouse that has all of it; empty if none has."""
        for warehouse, shelves in self._shelves.items():
            if all(shelves.get(sku, _BARE).available >= n for sku, n in lines.items()):
                return warehouse
        return ""

    def shortage(self, lines: Mapping[str, int]) -> str:
        """Why no warehouse has all of it."""
        for sku in lines:
            if not any(sku in shelves for shelves in self._shelves.values()):
                return f"unknown_sku: {sku}"
        short = [
            sku
            for sku, quantity in lines.items()
            if all(s.get(sku, _BARE).available < quantity for s in self._shelves.values())
        ]
        if short:
            return f"out_of_stock: {', '.join(short)}"
        return "out_of_stock: no warehouse has all lines"

    def levels(self) -> dict[str, dict[str, Shelf]]:
        """Every shelf, by warehouse and SKU."""
        return {name: dict(shelves) for name, shelves in self._shelves.items()}


_BARE = Shelf()
